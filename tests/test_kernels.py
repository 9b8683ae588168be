"""Dropout from random words, used embedding rows and clipping against torch's own."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fewft import models
from fewft.config import RunConfig
from fewft.kernels import (
    Clipper,
    Run,
    UsedRows,
    WideProducts,
    WordDropout,
    keep_mask,
    sequence_attention,
    wide_products,
)

USED = torch.tensor([1, 2, 5, 8])


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_masks_have_the_right_rate_and_scale(rate: float) -> None:
    torch.manual_seed(0)
    mask = keep_mask(1_000_001, rate)
    kept = mask > 0
    assert mask.shape == (1_000_001,) and mask.dtype == torch.float32
    assert abs((~kept).double().mean().item() - rate) < 4 * math.sqrt(rate * (1 - rate) / 1e6)
    assert mask[kept].unique().item() == pytest.approx(1 / (1 - rate), rel=2e-4)
    pairs = (kept[:-1] & kept[1:]).double().mean().item()  # neighbours come from one word
    assert pairs == pytest.approx((1 - rate) ** 2, abs=4e-3)


def test_masks_follow_torchs_seed() -> None:
    masks = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        masks.append(torch.stack([keep_mask(1000, 0.1), keep_mask(1000, 0.1)]))
    assert torch.equal(masks[0], masks[1]) and not torch.equal(masks[0], masks[2])
    assert not torch.equal(*masks[0])


def test_dropout_is_off_in_evaluation_and_its_gradient_has_the_same_mask() -> None:
    layer, x = WordDropout(0.3), torch.ones(50, 40, requires_grad=True)
    assert layer.eval()(x) is x
    y = layer.train()(x)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach()) and 0 < (y == 0).double().mean() < 1


def test_every_dropout_layer_of_a_model_is_from_words() -> None:
    model = models.load(RunConfig(task="rte", model="random:bert-tiny"), 2).model
    kinds = [type(m) for m in model.modules() if isinstance(m, nn.Dropout)]
    assert len(kinds) > 5 and set(kinds) == {WordDropout}


@pytest.mark.parametrize("one", [False, True])
@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_attention_gradients(one: bool, dropout: float) -> None:
    """Against numerical ones, the random numbers held; sequences of 3, 3 and 2 tokens."""
    runs = (Run(0, 2, 0, 3), Run(2, 1, 6, 2))
    stream = torch.Generator().manual_seed(0)
    shapes = [(2, 3 if one else 8, 4), (2, 8, 4), (2, 8, 4)]
    inputs = [torch.randn(s, generator=stream, dtype=torch.float64, requires_grad=True) for s in shapes]

    def attend(*rows: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(1)
        return sequence_attention(*rows, runs, scaling=0.5, dropout=dropout)

    assert torch.autograd.gradcheck(attend, inputs)


def test_used_rows_train_as_the_whole_table_does() -> None:
    torch.manual_seed(0)
    whole = nn.Embedding(10, 4)
    part = UsedRows(whole.weight.detach().clone(), USED)
    ids, other = torch.tensor([[1, 5, 5], [8, 2, 1]]), torch.tensor([[0, 9, 5]])
    updates = []
    for module in (whole, part):
        optimizer = torch.optim.AdamW(module.parameters(), lr=0.1, weight_decay=0.0)
        for _ in range(3):
            (module.train()(ids) ** 2).sum().backward()
            module.weight.grad = module.weight.grad.to_dense()
            optimizer.step()
            optimizer.zero_grad()
        updates.append([module.eval()(x).detach() for x in (ids, other)])
    assert part.weight.shape == (4, 4)
    for mine, theirs in zip(*updates, strict=True):
        assert torch.equal(mine, theirs)


def test_a_model_has_only_the_used_rows_as_parameters() -> None:
    config = RunConfig(task="rte", model="random:bert-tiny")
    part, whole = (models.load(config, 2, used).model for used in (USED, None))
    assert part.get_input_embeddings().weight.shape[0] == len(USED)
    ids = torch.tensor([[1, 2, 5, 7]])
    expected, found = (m.get_input_embeddings()(ids) for m in (whole.eval(), part.eval()))
    assert torch.equal(expected, found)


@pytest.mark.parametrize("max_norm", [0.1, 100.0])
def test_clipping_is_torchs_own(max_norm: float) -> None:
    """Twice, with other rows the second time: those of the first must be zero again."""
    torch.manual_seed(0)
    plain = nn.ModuleDict({"words": nn.Embedding(6, 3), "layer": nn.Linear(3, 2)})
    sparse = copy.deepcopy(plain)
    sparse["words"].sparse = True
    clipper = Clipper(list(sparse.parameters()))
    for ids in (torch.tensor([0, 3, 3]), torch.tensor([1, 3])):
        for model in (plain, sparse):
            model.zero_grad()
            F.cross_entropy(model["layer"](model["words"](ids)), torch.ones_like(ids)).backward()
        norm = nn.utils.clip_grad_norm_(plain.parameters(), max_norm)
        torch.testing.assert_close(clipper.clip_(max_norm), norm)
        for mine, theirs in zip(sparse.parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-6, atol=1e-9)
    assert not sparse["words"].weight.grad[0].any() and sparse["words"].weight.grad[1].any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_wide_products_and_their_gradients_are_rounded_once(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x, w, b = (torch.randn(size).to(dtype).requires_grad_() for size in ((3, 5), (4, 5), (4,)))
    above = torch.randn(3, 4).to(dtype)
    with WideProducts():
        out = F.linear(x, w, b)
        out.backward(above)
    exact = x.detach().double() @ w.detach().double().T + b.detach().double()
    assert out.dtype == x.grad.dtype == dtype
    step = torch.finfo(dtype).eps
    assert torch.allclose(out.double(), exact, rtol=step / 2 * 1.01, atol=1e-6)
    assert torch.allclose(w.grad.double(), above.double().T @ x.detach().double(), rtol=step / 2 * 1.01, atol=1e-6)


def test_wide_products_leave_32_bits_alone() -> None:
    a, b = torch.randn(3, 4), torch.randn(4, 2)
    plain = a @ b
    with WideProducts():
        assert torch.equal(a @ b, plain)


@pytest.mark.parametrize(("device", "precision"), [("cpu", "fp32"), ("cuda", "bf16")])
def test_products_are_wide_only_where_half_precision_is_slow(device: str, precision: str) -> None:
    assert not isinstance(wide_products(torch.device(device), precision), WideProducts)


def test_products_are_wide_without_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    for supported in (False, True):
        monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda supported=supported: supported)
        assert isinstance(wide_products(torch.device("cpu"), "bf16"), WideProducts) is not supported
