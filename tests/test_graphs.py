"""Filled-up rows against the ordinary packed step; on a GPU, the captured step against the eager one."""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from fewft import batching, graphs, models
from fewft import train as training
from fewft.batching import Encoded, make_pieces
from fewft.config import RunConfig
from fewft.graphs import GraphStep, bucket_size, static_arrays
from fewft.optim import make_optimizer

STEPS = 10
LENGTHS = np.random.default_rng(0).integers(1, 41, 100).tolist()  # batches of 32, the last has 4
SIZES = {"batch_size": 3, "longest": 4, "first_position": 2}
on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


def random_data(lengths: Sequence[int], labels: int = 2) -> Encoded:
    rng = np.random.default_rng(1)
    ids = [rng.integers(1000, 3000, n) for n in lengths]
    types = [(np.arange(n) > n // 2).astype(np.int64) for n in lengths]
    values = rng.normal(size=len(ids)).astype(np.float32) if labels == 1 else rng.integers(0, labels, len(ids))
    return Encoded(ids, types, torch.as_tensor(values))


def example_losses(logits: Tensor, labels: Tensor) -> Tensor:
    if logits.shape[1] == 1:
        return F.mse_loss(logits[:, 0], labels, reduction="none")
    return F.cross_entropy(logits, labels, reduction="none")


def batches(count: int = STEPS) -> list[np.ndarray]:
    order = np.random.default_rng(2).permutation(len(LENGTHS))
    return ([order[i : i + 32] for i in range(0, len(order), 32)] * count)[:count]


def make_step(
    device: str = "cpu", *, labels: int = 2, dropout: bool = False, precision: str = "fp32", capture: bool = False,
    family: str = "bert", rate: float = 1e-3,
) -> tuple[GraphStep, models.Encoder]:  # fmt: skip
    config = RunConfig(task="rte", model=f"random:{family}-tiny", precision=precision, adam_epsilon=1e-3)
    encoder = models.load(config, labels)
    for module in encoder.model.modules():
        if isinstance(module, nn.Dropout) and not dropout:
            module.p = 0.0
    model = encoder.model.to(device)
    data = random_data(LENGTHS, labels)
    if family != "bert":
        data = Encoded(data.input_ids, None, data.labels)
    step = GraphStep(
        model, make_optimizer(model.named_parameters(), config),
        torch.amp.GradScaler(device, enabled=precision == "fp16"), config, data,
        first_position=encoder.first_position, schedule=torch.linspace(rate, 0, STEPS, device=device),
        losses=torch.full((STEPS,), torch.nan, device=device), norms=torch.full((STEPS,), torch.nan, device=device),
        example_losses=example_losses,
        dtype={"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision), capture=capture,
    )  # fmt: skip
    return step, encoder


def train(step: GraphStep, chosen: Sequence[np.ndarray] | None = None) -> Tensor:
    for batch in batches() if chosen is None else chosen:
        step.step(batch)
    return step.losses.cpu()


def test_static_arrays_by_hand() -> None:
    data = Encoded([np.array([7, 8, 9]), np.array([5]), np.array([6, 4])], None, torch.tensor([0.5, 1.5, 2.5]))
    arrays = static_arrays(data, np.array([2, 0]), bucket=15, **SIZES)
    assert arrays["input_ids"].tolist() == [6, 4, 7, 8, 9] + [0] * 10
    assert arrays["position_ids"][:5].tolist() == [2, 3, 2, 3, 4]
    assert arrays["offsets"].tolist() == [0, 2, 5, 9, 13] + [15] * 7  # 3 examples and 8 fillers
    assert arrays["first"].tolist() == [0, 2, 0]
    assert arrays["labels"].tolist() == [2.5, 0.5, 0.0]
    assert arrays["weight"].tolist() == [0.5, 0.5, 0.0]
    assert "token_type_ids" not in arrays


@pytest.mark.parametrize("longest", [40, 128])
def test_offsets_cover_the_row_once_with_sequences_that_are_not_too_long(longest: int) -> None:
    data, rng, sizes = random_data(LENGTHS), np.random.default_rng(3), {}
    for examples in (1, 2, 31, *[32] * 20):
        batch = rng.permutation(len(LENGTHS))[:examples]
        tokens = int(data.lengths[batch].sum())
        for bucket in (tokens, bucket_size(tokens), tokens + max(32, tokens // 8)):
            arrays = static_arrays(data, batch, bucket=bucket, batch_size=32, longest=longest, first_position=0)
            lengths = np.diff(arrays["offsets"])
            assert arrays["offsets"][0] == 0 and arrays["offsets"][-1] == bucket
            assert lengths.min() >= 0 and lengths.max() <= longest
            assert lengths[:examples].tolist() == data.lengths[batch].tolist()
            sizes.setdefault(bucket, []).append([len(x) for x in arrays.values()])
    assert max(len(found) for found in sizes.values()) > 3  # of them the same, so that batches share memory
    assert all(found == found[:1] * len(found) for found in sizes.values())


def test_bucket_is_the_next_of_eight_lengths_to_a_doubling() -> None:
    expected = {1: 32, 32: 32, 33: 64, 256: 256, 257: 288, 350: 352, 512: 512, 513: 576, 2047: 2048, 2049: 2304}
    assert {n: bucket_size(n) for n in expected} == expected
    sizes = [bucket_size(n) for n in range(1, 5000)]
    assert all(0 <= size - n <= max(31, size // 8) for n, size in enumerate(sizes, 1))
    assert sizes == sorted(sizes) and len(set(sizes)) <= 8 * 6


def ordinary_losses(encoder: models.Encoder, step: GraphStep) -> list[float]:
    """The packed step as the CPU takes it."""
    model, config, data, losses = copy.deepcopy(encoder.model), step.config, step.data, []
    optimizer = make_optimizer(model.named_parameters(), config)
    for rate, batch in zip(step.schedule.tolist(), batches(), strict=True):
        (piece,) = make_pieces(
            data, batch, packed=True, pad_id=0, first_position=encoder.first_position, device=torch.device("cpu")
        )
        losses.append(example_losses(model(**piece.inputs).logits, data.labels[batch][piece.index]).mean())
        losses[-1].backward()
        nn.utils.clip_grad_norm_(model.parameters(), config.max_grad_norm)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        optimizer.zero_grad()
    return [x.item() for x in losses]


@pytest.mark.parametrize(("family", "labels"), [("bert", 2), ("bert", 1), ("roberta", 3), ("distilbert", 2)])
def test_step_equals_the_ordinary_packed_one(family: str, labels: int) -> None:
    """Dropout off; every fourth batch is short."""
    step, encoder = make_step(family=family, labels=labels)
    expected = ordinary_losses(encoder, step)
    assert step.step(batches()[0]) == step.lengths[batches()[0]].sum()
    np.testing.assert_allclose(train(step, batches()[1:]).tolist(), expected, rtol=0, atol=1e-5)
    assert np.ptp(expected) > 1e-3 and step.done.item() == STEPS
    assert all(group["lr"] == step.schedule[-1] for group in step.optimizer.param_groups)
    assert all(p.grad is None for p in step.model.parameters())


METHODS = {"mixout_prob": 0.3, "layerwise_lr_decay": 0.8, "prior_weight_decay": 100.0, "reinit_layers": 1}


def test_step_equals_the_eager_one_under_the_methods(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mixout turns dropout off, so both draw the same masks from one seed; a large epsilon tames rounding."""
    load = models.load
    monkeypatch.setattr(models, "load", lambda config, labels, used, start: load(config, labels, None, start))
    monkeypatch.setitem(training.DTYPES, "fp32", None)

    def trained(graph: bool, **changes: Any) -> tuple[Tensor, Tensor]:
        common = {"learning_rate": 1e-3, "adam_epsilon": 1e-3, "max_steps": 4, **changes}
        config = RunConfig(task="bundled:acceptability", model="random:bert-tiny", **common)
        trainer = training.prepare(config, device="cpu")
        trainer.graph = trainer.graph_step(models.pretrained(config.model, 0, 2)) if graph else None
        torch.manual_seed(0)
        for _, batch in zip(range(4), batching.batches(len(trainer.labels), config), strict=False):
            trainer.step(batch)
        return trainer.losses, nn.utils.parameters_to_vector(trainer.model.parameters()).detach()

    eager, found = trained(False, **METHODS), trained(True, **METHODS)
    for a, b in zip(found, eager, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)
    for left_out in METHODS:  # each of them matters
        _, other = trained(True, **{k: v for k, v in METHODS.items() if k != left_out})
        assert not torch.allclose(other, found[1], rtol=0, atol=1e-4), left_out


def test_neither_bucket_nor_order_nor_missing_examples_change_the_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    short = batches()[3]
    assert len(short) == 4
    losses = []
    for batch, more in ((short, 0), (short[::-1].copy(), 0), (short, 5), (short, 32)):
        monkeypatch.setattr(graphs, "bucket_size", lambda tokens, more=more: tokens + more)
        step, _ = make_step()
        step.step(batch)
        step.step(batch)
        losses.append(step.losses[:2].tolist())
    np.testing.assert_allclose(losses, losses[:1] * 4, rtol=0, atol=1e-6)
    assert abs(losses[0][0] - losses[0][1]) > 1e-3


def test_dropout_differs_from_step_to_step_and_repeats_with_the_seed() -> None:
    runs = []
    for seed in (0, 0, 1):
        step, _ = make_step(dropout=True, rate=0.0)
        torch.manual_seed(seed)
        runs.append(train(step, batches()[:1] * 5)[:5])
    assert torch.equal(runs[0], runs[1]) and not torch.equal(runs[0], runs[2])
    assert len(set(runs[0].tolist())) == 5


class HostReads(TorchDispatchMode):
    """Collects operations that would make the host wait for a GPU, or cannot be captured."""

    names = ("_local_scalar_dense", "nonzero", "equal", "is_nonzero", "masked_select", "_unique2", "bincount")

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket.__name__ in self.names:
            self.found.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("family", ["bert", "roberta", "electra", "distilbert"])
def test_nothing_in_a_step_is_read_by_the_host(family: str) -> None:
    """A stand-in for a GPU, on which the optimizer's fused step does not read its rate as it does on the CPU."""
    step, _ = make_step(family=family)
    step.step(batches()[0])
    (row,) = step.rows.values()
    step.optimizer.step = lambda: None
    with HostReads() as reads:
        step.body(row)
        assert reads.found == []
        step.losses[0].item()
    assert reads.found == ["_local_scalar_dense"]


# --- on a GPU -----------------------------------------------------------------------------------------------------


@pytest.mark.gpu
@on_gpu
@pytest.mark.parametrize(("precision", "tolerance"), [("bf16", 0.05), ("fp16", 0.02)])
def test_captured_steps_equal_eager_ones_and_fp32_on_the_cpu(precision: str, tolerance: float) -> None:
    captured = train(make_step("cuda", precision=precision, capture=True, rate=1e-4)[0])
    eager = train(make_step("cuda", precision=precision, rate=1e-4)[0])
    exact = train(make_step(rate=1e-4)[0])
    assert captured.isfinite().all()
    torch.testing.assert_close(captured, eager, rtol=0, atol=2e-3)
    torch.testing.assert_close(captured, exact, rtol=0, atol=tolerance)


@pytest.mark.gpu
@on_gpu
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_same_seed_same_bits(precision: str) -> None:
    runs = []
    for seed in (0, 0, 1):
        step, _ = make_step("cuda", precision=precision, capture=True, dropout=True)
        torch.manual_seed(seed)
        losses = train(step)
        runs.append(torch.cat([losses, nn.utils.parameters_to_vector(step.model.parameters()).detach().cpu()]))
        assert all(row.graph is not None for row in step.rows.values())
    assert torch.equal(runs[0], runs[1]) and not torch.equal(runs[0], runs[2])


@pytest.mark.gpu
@on_gpu
def test_replays_draw_fresh_dropout_and_take_one_step_each() -> None:
    step, _ = make_step("cuda", precision="bf16", capture=True, dropout=True, rate=0.0)
    before = nn.utils.parameters_to_vector(step.model.parameters()).clone()
    losses = train(step, batches()[:1] * STEPS)
    (row,) = step.rows.values()
    assert row.graph is not None and step.done.item() == STEPS
    assert len(set(losses.tolist())) > STEPS // 2 and losses.std() > 1e-3
    assert torch.equal(nn.utils.parameters_to_vector(step.model.parameters()), before)


@pytest.mark.gpu
@on_gpu
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_no_step_waits_for_the_gpu(precision: str) -> None:
    step, _ = make_step("cuda", precision=precision, capture=True, dropout=True)
    train(step, batches()[:1] * 2)
    torch.cuda.set_sync_debug_mode("error")
    try:
        tokens = [step.step(batch) for batch in batches()[:1] * 3]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert min(tokens) > 0 and step.done.item() == 5
