"""Attention over offsets: sequences do not mix, may be empty, and the kernel on a GPU does as the exact way."""

import dataclasses
import itertools

import pytest
import torch
from torch import Tensor

from fewft.varlen import Offsets, offsets_attention

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
LENGTHS = [3, 0, 5, 1, 0]


def make_layout(lengths: list[int], device: str = "cpu") -> Offsets:
    """All but the last are examples, and the batch lacks one more."""
    ends = torch.tensor([0, *itertools.accumulate(lengths)], dtype=torch.int32, device=device)
    first = torch.cat([ends[:-2][torch.tensor(lengths[:-1], device=device) > 0], ends[:1]]).long()
    return Offsets(ends, first, max(lengths))


def random_rows(count: int, tokens: int, device: str = "cpu") -> list[Tensor]:
    stream = torch.Generator(device).manual_seed(0)
    return [torch.randn(4, tokens, 32, generator=stream, device=device, dtype=torch.float64) for _ in range(count)]


def test_each_sequence_is_on_its_own() -> None:
    layout = make_layout(LENGTHS)
    q, k, v = random_rows(3, sum(LENGTHS))
    out = offsets_attention(q, k, v, layout, scaling=0.3, dropout=0.0)
    for start, end in itertools.pairwise(layout.offsets.tolist()):
        weights = (q[:, start:end] @ k[:, start:end].transpose(1, 2) * 0.3).softmax(-1)
        torch.testing.assert_close(out[start:end], (weights @ v[:, start:end]).transpose(0, 1))


def test_first_tokens_alone_get_what_they_get_among_all() -> None:
    layout = make_layout(LENGTHS)
    q, k, v = random_rows(3, sum(LENGTHS))
    expected = offsets_attention(q, k, v, layout, scaling=0.3, dropout=0.0)[layout.first]
    short = dataclasses.replace(layout, row=k)
    found = offsets_attention(q[:, layout.first], k, v, short, scaling=0.3, dropout=0.0)
    assert layout.first.tolist() == [0, 3, 8, 0]
    torch.testing.assert_close(found, expected)


@pytest.mark.gpu
@on_gpu
@pytest.mark.parametrize("one", [False, True])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_kernel_against_the_exact_way(dtype: torch.dtype, one: bool) -> None:
    """The last example is missing, and its sequence is empty; what comes of it has no weight."""
    lengths = [30, 128, 42, 1, 0, 55, 0]
    ends = torch.tensor([0, *itertools.accumulate(lengths)], dtype=torch.int32, device="cuda")
    layout = Offsets(ends, torch.tensor([0, 30, 158, 200, 0], device="cuda"), 128)
    q, k, v, up = (x.to(dtype) for x in random_rows(4, 256, "cuda"))
    if one:
        layout = dataclasses.replace(layout, row=k)
        q, up = q[:, layout.first], up[:, layout.first].clone()
        up[:, 4] = 0
    results = []
    for kind in (dtype, torch.float64):
        inputs = [x.to(kind).requires_grad_() for x in (q, k, v)]
        out = offsets_attention(*inputs, layout, scaling=0.3, dropout=0.0)
        out.backward(up.transpose(0, 1).to(kind))
        assert out.isfinite().all() and all(x.grad.isfinite().all() for x in inputs)
        results.append([x.double() for x in (out[:4] if one else out, *(x.grad for x in inputs))])
    for half, exact in zip(*results, strict=True):
        assert (half - exact).norm() < 0.01 * exact.norm()


@pytest.mark.gpu
@on_gpu
def test_dropout_of_the_kernel_has_the_right_rate_and_scale() -> None:
    """The kernel draws 8 bits for each weight: of 256 it keeps 230 at rate 0.1."""
    ends = torch.arange(0, 64 * 33, 64, dtype=torch.int32, device="cuda")
    zeros = torch.zeros(8, 64 * 32, 64, device="cuda", dtype=torch.float16)
    value = torch.eye(64, device="cuda", dtype=torch.float16).repeat(32, 1).expand_as(zeros)  # outputs: the weights
    torch.manual_seed(0)
    out = offsets_attention(zeros, zeros, value, Offsets(ends, ends[:-1].long(), 64), scaling=1.0, dropout=0.1)
    noise = (0.1 * 0.9 / out.numel()) ** 0.5
    assert abs((out > 0).double().mean().item() - 230 / 256) < 5 * noise
    torch.testing.assert_close(
        out[out > 0].float(), torch.full_like(out[out > 0].float(), 1 / 64 / 0.9), rtol=0.01, atol=0
    )
