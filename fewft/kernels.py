"""Faster parts for training on the CPU: dropout from random words, attention inside each sequence of a packed
row, embedding tables whose unused rows cost nothing, products of half-precision numbers without instructions for them.

All give what torch's own give; dropout from other random numbers.
"""

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils._python_dispatch import TorchDispatchMode

WORDS = 1 << 16  # a random word has 16 bits: four draws for the price of one


@dataclass(frozen=True)
class Run:
    """Neighbouring sequences of one length in a packed row."""

    first: int  # the first one's number
    count: int
    start: int  # its first token
    length: int


def keep_mask(numel: int, rate: float) -> Tensor:
    """0 with probability `rate`, else 1 / (1 - rate), to the nearest 2^-16; float (numel,)."""
    seed = int(torch.empty((), dtype=torch.int64).random_())  # a faster generator, started by torch's own
    words = np.random.Generator(np.random.SFC64(seed)).integers(0, 2**64, -(-numel // 4), dtype=np.uint64)
    dropped = round(rate * WORDS)
    kept = words.view(np.uint16)[:numel] >= dropped
    return torch.from_numpy(np.multiply(kept, np.float32(WORDS / (WORDS - dropped)), dtype=np.float32))


class WordDropout(nn.Dropout):
    """nn.Dropout with masks from random words."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or not self.p or input.device.type != "cpu":
            return super().forward(input)
        return input * keep_mask(input.numel(), self.p).view_as(input).to(input.dtype)


def use_cpu_kernels(model: nn.Module) -> None:
    """Let the model's dropout layers be `WordDropout`."""
    for parent in model.modules():
        for name, child in parent.named_children():
            if type(child) is nn.Dropout:
                setattr(parent, name, WordDropout(child.p))


class UsedRows(nn.Embedding):
    """An embedding table of which only the rows that training will meet are parameters.

    Adam leaves the others as they are, having no gradient and no weight decay: they cost it time alone.
    """

    def __init__(self, table: Tensor, used: Tensor) -> None:
        sparse = table.device.type == "cpu"  # gradients that are written only where rows occurred
        super().__init__(len(used), table.shape[1], _weight=table[used], sparse=sparse)
        number = torch.full((len(table),), -1)
        number[used] = torch.arange(len(used))
        self.register_buffer("number", number)  # (vocabulary,) of each row among the parameters; -1: not there
        self.register_buffer("table", table)  # (vocabulary, hidden), only read

    def whole(self) -> Tensor:
        """The table as it is now, (vocabulary, hidden)."""
        return torch.where((self.number < 0).unsqueeze(-1), self.table, self.weight.detach()[self.number.clamp(min=0)])

    def forward(self, input: Tensor) -> Tensor:
        number = self.number[input]
        rows = super().forward(number.clamp(min=0))
        return rows if self.training else torch.where((number < 0).unsqueeze(-1), F.embedding(input, self.table), rows)


class Clipper:
    """Clips gradients together; those of sparse tables become dense, written only where rows occurred."""

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self.parameters = parameters
        self.dense: dict[nn.Parameter, Tensor] = {}
        self.written: dict[nn.Parameter, Tensor] = {}

    @torch.no_grad()
    def clip_(self, max_norm: float) -> Tensor:
        """Scale all gradients so that their L2 norm is at most `max_norm`; returns what it was, float ()."""
        found = {p: p.grad.coalesce() for p in self.parameters if p.grad is not None and p.grad.is_sparse}
        grads = [p.grad for p in self.parameters if p.grad is not None and p not in found]
        grads += [g.values() for g in found.values()]
        norm = nn.utils.get_total_norm(grads)
        factor = max_norm / (norm + 1e-6)
        torch._foreach_mul_(grads, factor.clamp(max=1.0))
        for p, grad in found.items():
            if p in self.written:
                self.dense[p].index_fill_(0, self.written[p], 0.0)
            else:
                self.dense[p] = torch.zeros_like(p)
            self.written[p] = grad.indices()[0]
            p.grad = self.dense[p].index_copy_(0, self.written[p], grad.values())
        return norm


def sequence_attention(
    query: Tensor, key: Tensor, value: Tensor, runs: Sequence[Run], *, scaling: float, dropout: float
) -> Tensor:
    """Attention inside each sequence of a packed row, without padding.

    Args:
        query: float (heads, tokens, width), or (heads, sequences, width) for one query a sequence.
        key, value: float (heads, tokens, width).
        runs: which rows belong together.
        scaling: factor on the products.
        dropout: rate on the attention weights.

    Returns:
        float (queries, heads, width).
    """
    return _Attention.apply(query, key, value, runs, scaling, dropout)


class _Attention(torch.autograd.Function):
    @staticmethod
    @torch.amp.custom_fwd(device_type="cpu", cast_inputs=torch.float32)
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, runs: Sequence[Run], scaling: float, dropout: float
    ) -> Tensor:
        one = query.shape[1] != key.shape[1]  # one query a sequence
        query = query * scaling
        out = _rows_like(query)
        heads, queries = query.shape[0], [1 if one else r.length for r in runs]
        shapes = [(heads * r.count, n, r.length) for r, n in zip(runs, queries, strict=True)]
        weights = query.new_empty(sum(map(math.prod, shapes)))  # in one piece each, lest small ones scatter the memory
        dropped = keep_mask(len(weights), dropout).to(weights.dtype) if dropout else weights
        parts = _parts(weights, shapes), _parts(dropped, shapes)
        for run, p, d in zip(runs, *parts, strict=True):
            q, k, v = _cut(query, run, one), _cut(key, run), _cut(value, run)
            torch.softmax(torch.bmm(q, k.mT), -1, out=p)
            _put(out, run, torch.bmm(d.mul_(p) if dropout else p, v), one)
        ctx.save_for_backward(query, key, value, out, weights, dropped)
        ctx.runs, ctx.scaling, ctx.one, ctx.shapes = runs, scaling, one, shapes
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, out, weights, dropped = ctx.saved_tensors
        one, (dq, dk, dv) = ctx.one, (_rows_like(x) for x in (query, key, value))
        inner = (grad * out).sum(-1).T.unsqueeze(-1)  # (heads, queries, 1), the softmax's own sum of weights * gradient
        grad = grad.transpose(0, 1)
        for run, p, d in zip(ctx.runs, _parts(weights, ctx.shapes), _parts(dropped, ctx.shapes), strict=True):
            q, k, v, g = _cut(query, run, one), _cut(key, run), _cut(value, run), _cut(grad, run, one)
            ds = torch.bmm(g, v.mT).mul_(d).addcmul_(p, _cut(inner, run, one), value=-1.0)
            _put(dq, run, torch.bmm(ds, k), one)
            _put(dk, run, torch.bmm(ds.mT, q))
            _put(dv, run, torch.bmm(d.mT, g))
        dq.mul_(ctx.scaling)
        return *(x.transpose(0, 1) for x in (dq, dk, dv)), None, None, None


def _parts(flat: Tensor, shapes: Sequence[tuple[int, int, int]]) -> list[Tensor]:
    return [part.view(shape) for part, shape in zip(flat.split([math.prod(s) for s in shapes]), shapes, strict=True)]


def _rows_like(x: Tensor) -> Tensor:
    heads, rows, width = x.shape
    return x.new_empty(rows, heads, width)


def _cut(x: Tensor, run: Run, one: bool = False) -> Tensor:
    """A run's rows of (heads, rows, width), as (heads * count, rows of a sequence, width)."""
    start, length = (run.first, 1) if one else (run.start, run.length)
    rows = x[:, start : start + run.count * length]
    return rows if run.count == 1 else rows.unflatten(1, (run.count, length)).flatten(0, 1)


def _put(x: Tensor, run: Run, values: Tensor, one: bool = False) -> None:
    """The inverse of `_cut`, into (rows, heads, width)."""
    start, length = (run.first, 1) if one else (run.start, run.length)
    rows = x[start : start + run.count * length].unflatten(0, (run.count, length))  # (count, length, heads, width)
    rows.permute(2, 0, 1, 3).copy_(values.unflatten(0, (-1, run.count)))


_aten = torch.ops.aten
PRODUCTS = (_aten.mm.default, _aten.addmm.default, _aten.bmm.default, _aten.baddbmm.default)


class WideProducts(TorchDispatchMode):
    """Matrix products of half-precision numbers as products of 32-bit ones, rounded once at the end.

    This is what instructions for half precision compute, up to the order of the sums; without such instructions torch
    takes some ten times as long.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func not in PRODUCTS or args[-1].dtype not in (torch.bfloat16, torch.float16):
            return func(*args, **(kwargs or {}))
        return func(*(a.float() if isinstance(a, Tensor) else a for a in args), **(kwargs or {})).to(args[-1].dtype)


def wide_products(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """`WideProducts` for half precision on a processor that has no instructions for it, else nothing."""
    supported = {
        "bf16": torch.ops.mkldnn._is_mkldnn_bf16_supported,
        "fp16": torch.ops.mkldnn._is_mkldnn_fp16_supported,
    }
    wide = device.type == "cpu" and precision in supported and not supported[precision]()
    return WideProducts() if wide else nullcontext()
