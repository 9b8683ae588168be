"""The loop of Section 3: its seeds, steps, evaluations and best checkpoint, and runs that diverge."""

import dataclasses
import hashlib
import json
import math
import re
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import nn

from fewft import batching, environment, models, parts, sources, train, weights
from fewft import trainer as loop
from fewft.config import RunConfig, UsageError
from fewft.environment import pick_device
from fewft.kernels import UsedRows
from fewft.metrics import score
from fewft.outcome import RunResult
from fewft.train import IntermediateError, fine_tune
from fewft.trainer import example_losses

TASK = "bundled:similarity"
TIMES = ("seconds", "train_seconds", "started")
NAN = math.nan


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


def config(**changes: Any) -> RunConfig:
    base = {"task": TASK, "model": "random:bert-tiny", "max_steps": 6, "num_evals": 2, "learning_rate": 1e-3}
    return RunConfig(**{**base, **changes})


@lru_cache
def run(**changes: Any) -> RunResult:
    return fine_tune(config(**changes), device="cpu")


def same(result: RunResult) -> str:
    """All that may not differ between two runs of one config."""
    return json.dumps({k: v for k, v in result.record().items() if k not in TIMES})


class Spy(train.Trainer):
    """Measures the test set at every evaluation, with weights copied then, and keeps the final weights."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        Spy.test_scores, Spy.model, Spy.planned = {}, self.model, getattr(Spy, "planned", {})

    def evaluate(self, step: int) -> None:
        real, loop.score = loop.score, lambda *_: Spy.planned[step]
        try:
            super().evaluate(step)
        finally:
            loop.score = real
        Spy.test_scores[step] = score(self.data.metric, self.logits("test"), self.data.test.labels)


def test_same_config_same_record_whatever_the_global_seed() -> None:
    torch.manual_seed(123)
    state = torch.get_rng_state()
    again = fine_tune(config(), device="cpu")
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(321)
    assert same(again) == same(run())


@pytest.mark.parametrize("seed", ["init_seed", "data_seed"])
def test_each_seed_matters(seed: str) -> None:
    other = run(**{seed: 1})
    assert other.train_loss != run().train_loss
    assert other.data_digest == run().data_digest


@pytest.mark.parametrize(
    ("changes", "steps"),
    [
        ({"max_steps": 6, "num_evals": 2}, [3, 6]),
        ({"max_steps": 7, "num_evals": 3}, [2, 4, 6, 7]),
        ({"max_steps": 3, "num_evals": 10}, [1, 2, 3]),
        ({"max_steps": 0, "num_train_epochs": 2, "train_batch_size": 150, "num_evals": 2}, [3, 6]),
    ],
)
def test_steps_and_evaluations(changes: dict[str, int], steps: list[int]) -> None:
    result = run(**changes)
    assert result.eval_steps == steps and len(result.val_scores) == len(steps)
    assert len(result.train_loss) == result.num_steps == steps[-1]
    assert all(math.isfinite(x) for x in result.train_loss) and result.status == "ok"


def test_an_epoch_is_every_example_once() -> None:
    """The last batch of an epoch is short, none is dropped, and the order differs between epochs."""
    batches = [b for _, b in zip(range(8), batching.batches(100, config(train_batch_size=30)), strict=False)]
    assert [len(b) for b in batches] == [30, 30, 30, 10] * 2
    first, second = np.concatenate(batches[:4]), np.concatenate(batches[4:])
    assert sorted(first) == sorted(second) == list(range(100)) and list(first) != list(second)
    encoded = train._encoded(TASK, "", "random:bert-tiny", 128, "train")
    two_epochs = run(max_steps=0, num_train_epochs=2, train_batch_size=150, num_evals=2)
    assert two_epochs.tokens == 2 * encoded.lengths.sum()


@pytest.mark.parametrize(
    ("planned", "best"),
    [
        ([0.5, 0.5, 0.4], 1),  # strictly better replaces, equal does not
        ([NAN, 0.3, 0.3], 2),
        ([0.1, 0.2, 0.3], 3),
        ([NAN, NAN, NAN], 0),
    ],
)
def test_best_checkpoint_is_the_one_that_is_tested(
    planned: list[float], best: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "Trainer", Spy)
    monkeypatch.setattr(Spy, "planned", dict(enumerate(planned, 1)), raising=False)
    result = fine_tune(config(max_steps=3, num_evals=3, learning_rate=0.01, warmup_ratio=0.0), device="cpu")
    assert len(set(Spy.test_scores.values())) == 3  # the checkpoints differ
    assert result.best_step == best and result.test_last == Spy.test_scores[3]
    expected = [Spy.test_scores[best], planned[best - 1]] if best else [NAN, NAN]
    np.testing.assert_equal([result.test_best, result.best_val], expected)
    assert result.degenerate is not (result.test_best > result.majority_test)


def test_a_loss_that_is_not_finite_is_a_result() -> None:
    result = run(task="bundled:acceptability", learning_rate=1e30, warmup_ratio=0.0)
    assert (result.status, result.reason) == ("diverged", "loss is nan at step 2")
    assert [math.isfinite(x) for x in result.train_loss] == [True, False, False]  # seen at the evaluation
    assert result.eval_steps == [] and result.best_step == 0 and result.degenerate
    assert math.isnan(result.test_best) and math.isnan(result.test_last)


def test_a_late_divergence_keeps_the_best_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "linear_schedule", lambda step, *_: 1.0 if step < 3 else 1e33)
    result = fine_tune(config(), device="cpu")
    assert (result.status, result.reason) == ("diverged", "loss is nan at step 5")
    assert result.eval_steps == [3] and result.best_step == 3 and len(result.train_loss) == 6
    assert math.isfinite(result.test_best) and math.isnan(result.test_last)


@pytest.mark.parametrize(
    ("losses", "norms", "precision", "said"),
    [
        ([0.7, 0.6, 0.5], [1.0, 2.0, 3.0], "fp32", ""),
        ([0.7, NAN, NAN], [1.0, NAN, NAN], "fp32", "loss is nan at step 2"),  # before its gradient
        ([0.7, 0.6, NAN], [1.0, math.inf, NAN], "fp32", "gradient norm is inf at step 2"),
        ([0.7, 0.6, -math.inf], [1.0, 2.0, 3.0], "bf16", "loss is -inf at step 3"),
        ([0.7, 0.6, 0.5], [math.inf, NAN, 3.0], "fp16", ""),
        ([0.7, 0.6, NAN], [math.inf, NAN, 3.0], "fp16", "loss is nan at step 3"),
    ],
)
def test_the_first_number_that_is_not_finite(
    losses: list[float], norms: list[float], precision: str, said: str
) -> None:
    """Of three steps done; the others' places still have no numbers."""
    trainer = train.prepare(config(precision=precision), device="cpu")
    trainer.done = 3
    trainer.losses[:3], trainer.norms[:3] = torch.tensor(losses), torch.tensor(norms)
    assert trainer.first_fault() == said


def test_training_lowers_the_loss() -> None:
    losses = run(max_steps=20).train_loss
    assert np.mean(losses[-5:]) < 0.85 * np.mean(losses[:3])


def test_weight_decay_shrinks_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over six steps by rate * decay * (1 + 5/6 + ... + 1/6); also conventional 0.1, at which the paper tunes it."""
    norms = {}
    monkeypatch.setattr(train, "Trainer", Spy)
    monkeypatch.setattr(Spy, "planned", {3: 0.0, 6: 1.0}, raising=False)
    for decay in (0.0, 0.1, 5.0):
        fine_tune(config(weight_decay=decay), device="cpu")
        matrices = [p for p in Spy.model.bert.encoder.parameters() if p.ndim >= 2]
        norms[decay] = nn.utils.parameters_to_vector(matrices).double().norm().item()
    for decay in (0.1, 5.0):
        assert 1 - norms[decay] / norms[0.0] == pytest.approx(1e-3 * decay * 3.5, rel=0.1)


@pytest.mark.parametrize("outputs", [1, 2, 3])
def test_loss_of_each_example(outputs: int) -> None:
    logits = torch.tensor([[0.5, -1.0, 2.0], [0.0, 3.0, 1.0]])[:, :outputs]
    if outputs == 1:
        assert example_losses(logits, torch.tensor([2.0, -1.0])).tolist() == pytest.approx([1.5**2, 1.0])
    else:
        expected = [math.log(sum(math.exp(x - row[0]) for x in row)) for row in logits.tolist()]
        assert example_losses(logits, torch.tensor([0, 0])).tolist() == pytest.approx(expected)


def without_dropout(monkeypatch: pytest.MonkeyPatch, *, packed: bool) -> None:
    """Let `fine_tune` get its model with dropout off, and for packed=False without packed rows."""
    load = models.load

    def changed(config: RunConfig, num_labels: int, used: torch.Tensor | None, start: None = None) -> models.Encoder:
        encoder = load(config, num_labels, used if packed else None, start)
        model = encoder.model
        if not packed:
            model = models.pretrained(config.model, 0, num_labels).model
            model.load_state_dict(encoder.model.state_dict())
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        return dataclasses.replace(encoder, model=model, packed=packed)

    monkeypatch.setattr(models, "load", changed)


def test_loop_equals_a_plain_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Padded batches, torch's AdamW, transformers' schedule; a large epsilon lets the size of gradients matter."""
    settings = config(adam_epsilon=1e-3, max_grad_norm=0.5, warmup_ratio=0.4)
    monkeypatch.setattr(batching, "MICRO_BATCHES", 1)
    with monkeypatch.context() as patch:
        without_dropout(patch, packed=False)
        model = models.load(settings, 1, None).model.eval()
    data = train._encoded(TASK, "", settings.model, 128, "train")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, eps=1e-3, weight_decay=0.0)
    schedule = transformers.get_linear_schedule_with_warmup(optimizer, 2, 6)
    losses = []
    for _, batch in zip(range(6), batching.batches(len(data), settings), strict=False):
        (piece,) = batching.make_pieces(
            data, batch, packed=False, pad_id=0, first_position=0, device=pick_device("cpu")
        )
        loss = nn.functional.mse_loss(model(**piece.inputs).logits[:, 0], data.labels[batch][piece.index])
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        schedule.step()
    without_dropout(monkeypatch, packed=True)
    np.testing.assert_allclose(fine_tune(settings, device="cpu").train_loss, losses, rtol=1e-5)


@pytest.mark.parametrize("model", ["random:bert-tiny", "random:mpnet-tiny"])
def test_packed_rows_and_micro_batches_train_alike(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    results = []
    for packed, pieces in ((model == "random:bert-tiny", 1), (False, 4)):
        with monkeypatch.context() as patch:
            patch.setattr(batching, "MICRO_BATCHES", pieces)
            without_dropout(patch, packed=packed)
            settings = config(model=model, task="bundled:entailment", max_steps=40, num_evals=1, max_grad_norm=0.1)
            results.append(fine_tune(settings, device="cpu"))
    first, second = results
    assert first.packed is (model == "random:bert-tiny") and not second.packed and first.tokens == second.tokens
    np.testing.assert_allclose(first.train_loss, second.train_loss, rtol=0, atol=1e-5)
    assert np.ptp(first.train_loss) > 1e-3


@pytest.mark.parametrize(("family", "column"), [("xlnet", -1), ("mpnet", 0)])
def test_padding_is_on_the_side_away_from_what_the_head_reads(family: str, column: int) -> None:
    trainer = train.prepare(config(model=f"random:{family}-tiny", task="bundled:acceptability"), device="cpu")
    masks = [piece.inputs["attention_mask"] for piece in trainer.pieces(trainer.sets["train"], range(32))]
    assert not all(mask.all() for mask in masks)
    assert all(mask[:, column].all() for mask in masks)


def test_bf16_on_the_cpu_is_close_to_fp32() -> None:
    half = run(precision="bf16")
    assert half.status == "ok" and half.train_loss != run().train_loss
    np.testing.assert_allclose(half.train_loss, run().train_loss, rtol=0.02)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("correct_bias", [True, False])
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 0.01), ("bf16", 0.05), ("fp16", 0.05)])
def test_precisions_on_cuda(
    precision: str, tolerance: float, correct_bias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against fp32 on the CPU, with dropout off; fp16 may skip a first step for its loss scale."""
    without_dropout(monkeypatch, packed=True)
    settings = {"correct_bias": correct_bias, "learning_rate": 1e-4}
    state = torch.cuda.get_rng_state()
    on_cuda = fine_tune(config(precision=precision, **settings), device="cuda")
    assert torch.equal(torch.cuda.get_rng_state(), state)
    on_cpu = fine_tune(config(**settings), device="cpu")
    assert on_cuda.status == "ok" and on_cuda.environment["device"] == torch.cuda.get_device_name()
    np.testing.assert_allclose(on_cuda.train_loss, on_cpu.train_loss, rtol=tolerance)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(
    "method",
    [{"reinit_layers": 1}, {"layerwise_lr_decay": 0.9}, {"prior_weight_decay": 1.0}, {"weight_decay": 0.1}],
)
def test_methods_on_cuda(method: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """As captured graphs, against fp32 on the CPU, with dropout off."""
    without_dropout(monkeypatch, packed=True)
    on_cuda = fine_tune(config(precision="bf16", learning_rate=1e-3, **method), device="cuda")
    on_cpu = fine_tune(config(learning_rate=1e-3, **method), device="cpu")
    assert on_cuda.captured and on_cuda.status == "ok"
    np.testing.assert_allclose(on_cuda.train_loss, on_cpu.train_loss, rtol=0.05)
    np.testing.assert_allclose(on_cuda.block_distances, on_cpu.block_distances, rtol=0.1)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_mixout_on_cuda_repeats_with_its_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    without_dropout(monkeypatch, packed=True)
    runs = [fine_tune(config(precision="bf16", mixout_prob=0.5, data_seed=s), device="cuda") for s in (0, 0, 1)]
    assert all(r.captured and r.status == "ok" for r in runs)
    assert runs[0].train_loss == runs[1].train_loss != runs[2].train_loss


@pytest.mark.parametrize("device", ["tpu", "cuda:99", ""])
def test_devices_that_are_not_here_are_refused(device: str) -> None:
    with pytest.raises(UsageError, match=f"device: {device!r} is not here; accepted: auto, cpu"):
        pick_device(device)
    assert pick_device("cpu") == torch.device("cpu")


def test_processors_of_one_name_with_other_instructions_are_other_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    names = []
    for said in ("AVX2", "AVX512"):  # their bits differ: book/execution.md
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda said=said: said)
        names.append(environment._cpu_name.__wrapped__())
    assert names[0] != names[1] and names[0].endswith(" (AVX2)")


def test_record_is_one_flat_row() -> None:
    record, settings = run().record(), config()
    assert record["run_id"] == settings.run_id
    assert {k: record[k] for k in settings.to_dict()} == settings.to_dict()
    assert record["torch_version"] == torch.__version__ and record["threads"] == 1
    assert json.loads(json.dumps(record)) == record
    assert record["seconds"] >= record["train_seconds"] > 0 and record["metric"] == "spearman"
    assert not any(isinstance(value, dict) for value in record.values())


# --- methods of Sections 5 to 7 -----------------------------------------------------------------------------------

NEUTRAL = {
    "reinit_layers": -1, "mixout_prob": 0.0, "layerwise_lr_decay": 1.0, "prior_weight_decay": 0.0, "weight_decay": 0.0,
    "intermediate_task": "", "warmup_steps": 0,
}  # fmt: skip


def outcome(result: RunResult, *more: str) -> str:
    """All that training gave, without its config."""
    left_out = {"run_id", *config().to_dict(), *TIMES, *more}
    return json.dumps({k: v for k, v in result.record().items() if k not in left_out})


def test_neutral_settings_are_plain_fine_tuning(monkeypatch: pytest.MonkeyPatch) -> None:
    """To the bit, and none of the methods' code runs."""

    def unwanted(*_: object) -> None:
        raise AssertionError("not in a plain run")

    for module, name in ((models, "reinitialize"), (loop, "PriorDecay"), (models.MixLinear, "forward")):
        monkeypatch.setattr(module, name, unwanted)
    monkeypatch.setattr(weights, "load_encoder", unwanted)
    assert same(fine_tune(config(**NEUTRAL), device="cpu")) == same(run())


@pytest.mark.parametrize(
    "changes",
    [
        {"prior_weight_decay": 1e-300},
        {"layerwise_lr_decay": 0.5},  # with every parameter at the head's depth
        {"warmup_steps": 2, "warmup_ratio": 0.4},
        {"mixout_prob": 1e-30, "reinit_layers": -1},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_methods_too_weak_to_matter_change_no_bit(changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Here their code does run; with dropout off, for mixout turns it off."""
    without_dropout(monkeypatch, packed=True)
    depths = parts.depths
    monkeypatch.setattr(parts, "depths", lambda model: dict.fromkeys(depths(model), 0))
    plain = {k: v for k, v in changes.items() if k == "warmup_ratio"}
    expected, found = (fine_tune(config(**settings), device="cpu") for settings in (plain, changes))
    assert outcome(found) == outcome(expected)


def test_taking_distances_changes_nothing_else() -> None:
    with_them, without = run(), run(num_distances=0)
    taken = ("distance_steps", "block_distances")
    assert outcome(with_them, *taken) == outcome(without, *taken)
    assert without.distance_steps == without.block_distances == []
    assert with_them.distance_steps == [1, 2, 3, 4, 5, 6] and np.shape(with_them.block_distances) == (6, 3)


def stepped(settings: RunConfig, steps: int) -> train.Trainer:
    trainer = train.prepare(settings, device="cpu")
    for _, batch in zip(range(steps), batching.batches(len(trainer.labels), settings), strict=False):
        trainer.step(batch)
    return trainer


@pytest.mark.parametrize(
    ("family", "stacks"), [("bert", ["bert.encoder.layer"]), ("bart", ["model.encoder.layers", "model.decoder.layers"])]
)
def test_distances_by_hand(family: str, stacks: list[str]) -> None:
    """From where each block was before the first step, after Re-init; encoder before decoder, bottom first."""
    settings = config(model=f"random:{family}-tiny", reinit_layers=1, learning_rate=1e-4, task="bundled:acceptability")
    names = [re.escape(f"{stack}.{i}.") for stack in stacks for i in range(3)]
    trainer = train.prepare(settings, device="cpu")
    assert trainer.distances().tolist() == [0.0] * len(names)
    before = {name: p.detach().double() for name, p in models.load(settings, 2).model.named_parameters()}
    trainer = stepped(settings, 2)
    squares = [
        sum(
            (p.detach().double() - before[name]).square().sum().item()
            for name, p in trainer.model.named_parameters()
            if re.match(pattern, name)
        )
        for pattern in names
    ]
    assert trainer.distances().tolist() == pytest.approx([math.sqrt(x) for x in squares], rel=1e-4)
    assert all(0 < x < 0.1 for x in squares)  # from the pre-trained top block Re-init alone is 6 away


@pytest.mark.parametrize(
    ("total", "number", "expected"),
    [(234, 25, [*range(9, 235, 9)]), (235, 25, [*range(9, 235, 9), 235]), (10, 3, [3, 6, 9, 10]), (2, 25, [1, 2])],
)
def test_steps_at_which_distances_are_taken(
    total: int, number: int, expected: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def idle(self: train.Trainer, _: np.ndarray) -> None:
        self.losses[self.done] = self.norms[self.done] = 0.0
        self.done += 1

    monkeypatch.setattr(train.Trainer, "step", idle)
    result = fine_tune(config(max_steps=total, num_distances=number, num_evals=1), device="cpu")
    assert result.distance_steps == expected
    assert result.block_distances == [[0.0] * 3] * len(expected)


def test_strong_prior_decay_pulls_the_encoder_back() -> None:
    plain, pulled = (run(max_steps=20, num_evals=1, prior_weight_decay=strength) for strength in (0.0, 700.0))
    assert pulled.status == "ok"
    assert all(a < 0.4 * b for a, b in zip(pulled.block_distances[-1], plain.block_distances[-1], strict=True))


# --- an intermediate task -----------------------------------------------------------------------------------------

TRANSFER = {
    "task": "bundled:acceptability", "intermediate_task": "bundled:entailment", "num_train_epochs": 1, "max_steps": 0,
}  # fmt: skip


@pytest.fixture
def kept(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An empty place for intermediate runs' encoders; the file that the one of TRANSFER would be kept in."""
    sources.load_tokenizer("random:bert-tiny")  # from the usual place
    monkeypatch.setenv("FEWFT_CACHE", str(tmp_path))
    return weights.encoder_file(config(**TRANSFER).intermediate().run_id)


def whole_encoder(model: nn.Module) -> dict[str, torch.Tensor]:
    """Copies of an encoder's parameters, and of the rows of its embedding table that are none."""
    found = {name: p.detach().clone() for name, p in model.base_model.named_parameters()}
    for name, module in model.base_model.named_modules():
        if isinstance(module, UsedRows):
            table = module.table.clone()
            for row, number in enumerate(module.number.tolist()):
                if number >= 0:
                    table[row] = module.weight.detach()[number]
            found[f"{name}.weight"] = table
    return found


class Keeper(train.Trainer):
    """Copies its encoder at each evaluation."""

    def evaluate(self, step: int) -> None:
        super().evaluate(step)
        Keeper.encoders[step] = whole_encoder(self.model)


def test_the_encoder_goes_on_from_the_intermediate_runs_best_checkpoint(
    kept: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config(**TRANSFER)
    with monkeypatch.context() as patch:
        patch.setattr(Keeper, "encoders", {}, raising=False)
        patch.setattr(train, "Trainer", Keeper)
        first = fine_tune(settings.intermediate(), device="cpu")
        best = Keeper.encoders[first.best_step]
    assert not kept.exists()  # only what asks for it is kept
    trainer = train.prepare(settings, device="cpu")
    found = whole_encoder(trainer.model)
    assert found.keys() == best.keys() and all(torch.equal(found[name], best[name]) for name in best)
    plain = train.prepare(config(**TRANSFER | {"intermediate_task": ""}), device="cpu").model
    words = "embeddings.word_embeddings.weight"
    moved = (found[words] != whole_encoder(plain)[words]).any(1)
    unused = trainer.model.base_model.embeddings.word_embeddings.number < 0
    assert (moved & unused).sum() > 10  # rows that only the intermediate task trained
    assert torch.equal(trainer.model.classifier.weight, plain.classifier.weight)
    assert trainer.result.intermediate_sha256 == hashlib.sha256(kept.read_bytes()).hexdigest()


def test_a_kept_encoder_is_used_again_unless_it_is_damaged(kept: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    first = fine_tune(config(**TRANSFER), device="cpu")
    content = kept.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(train, "fine_tune", None)  # no second intermediate run
        assert same(fine_tune(config(**TRANSFER), device="cpu")) == same(first)
    kept.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert same(fine_tune(config(**TRANSFER), device="cpu")) == same(first)
    assert kept.read_bytes() == content
    assert first.intermediate_sha256 == hashlib.sha256(content).hexdigest()
    assert first.train_loss != fine_tune(config(**TRANSFER | {"intermediate_task": ""}), device="cpu").train_loss


@pytest.mark.parametrize("from_step", [1, 6], ids=["at once", "after its best checkpoint"])
def test_an_intermediate_run_that_diverges_gives_nothing_to_go_on_with(
    from_step: int, kept: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "linear_schedule", lambda step, *_: 1.0 if step < from_step else 1e33)
    for _ in range(2):  # nor does a second attempt find any
        with pytest.raises(IntermediateError, match="on 'bundled:entailment' diverged: loss is nan at step"):
            fine_tune(config(**TRANSFER), device="cpu")
    assert not kept.exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "nope"}, "task: 'nope' is not known"),
        ({"reinit_layers": 9}, "reinit_layers: 9 for 'random:bert-tiny'; accepted: -1 to 3"),
        ({"intermediate_task": "nope"}, "'nope' is not known"),
    ],
)
def test_what_is_wrong_is_said_before_the_intermediate_run(
    changes: dict[str, Any], message: str, kept: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train.Trainer, "run", None)
    with pytest.raises(UsageError, match=message):
        fine_tune(config(**TRANSFER | changes), device="cpu")
