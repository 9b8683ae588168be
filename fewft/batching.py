"""Batches of exactly the right examples without padding waste.

A batch is one or more pieces. Where the model can, there is one: the real tokens of all sequences in a single row,
through the model's own code, with an attention function that keeps the sequences apart. Elsewhere a batch is cut into
micro-batches of similar length, whose gradients add up to the batch's.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

GROUPS = 8  # attention groups of similar length in a packed row of 32; best of 4, 8, 16 on the CPU
MICRO_BATCHES = 4  # pieces of a batch where packing is not possible
EVAL_TOKENS = 2048  # tokens in an evaluation piece


@dataclass(frozen=True)
class Encoded:
    """A tokenised split; sequences are int64 arrays of different lengths."""

    input_ids: list[np.ndarray]
    token_type_ids: list[np.ndarray] | None
    labels: Tensor  # (examples,)

    def __len__(self) -> int:
        return len(self.input_ids)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens per example, int (examples,)."""
        return np.array([len(ids) for ids in self.input_ids])


@dataclass(frozen=True)
class Group:
    """Neighbouring sequences of a packed row, padded to the longest of them inside attention only."""

    shape: tuple[int, int]  # (sequences, longest)
    gather: Tensor  # (sequences * longest,) rows of the packed row; padding points at a sequence's first token
    mask: Tensor | None  # (sequences, 1, 1, longest), True for real tokens; None without padding
    keep: Tensor | None  # (tokens of the group,) where the real tokens are in `gather`


@dataclass(frozen=True)
class Layout:
    """Where the sequences of a packed row are."""

    groups: list[Group]
    first: Tensor  # (sequences,) each one's first token


@dataclass(frozen=True)
class Piece:
    """Part of a batch: keyword arguments for the model, and which examples of the batch its outputs are for."""

    inputs: dict[str, object]
    index: Tensor  # (sequences,)
    tokens: int  # real ones


def packed_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None,
    *, scaling: float | None = None, dropout: float = 0.0, layout: Layout, **_: object,
) -> tuple[Tensor, None]:  # fmt: skip
    """Attention within each sequence of a packed row, in the form of transformers' attention interface.

    Args:
        module: the calling attention layer (unused, as the mask: `layout` says what may see what).
        query, key, value: float (1, heads, tokens, width).
        attention_mask: unused.
        scaling: factor on the products; None: 1 / sqrt(width).
        dropout: rate on the attention weights.
        layout: of the row.

    Returns:
        float (1, tokens, heads, width), and None for the weights.
    """
    rows = [x[0].transpose(0, 1) for x in (query, key, value)]  # (tokens, heads, width)
    out = []
    for group in layout.groups:
        q, k, v = (x.index_select(0, group.gather).unflatten(0, group.shape).transpose(1, 2) for x in rows)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=group.mask, dropout_p=dropout, scale=scaling)
        mixed = mixed.transpose(1, 2).flatten(0, 1)  # (sequences * longest, heads, width)
        out.append(mixed if group.keep is None else mixed.index_select(0, group.keep))
    return torch.cat(out).unsqueeze(0), None


def make_pieces(
    data: Encoded, batch: Sequence[int], *, packed: bool, pad_id: int, first_position: int, device: torch.device
) -> list[Piece]:
    """The pieces of one batch.

    Args:
        data: the tokenised split.
        batch: indices of its examples.
        packed: one packed row, or else length-sorted micro-batches.
        pad_id: token id of padding (micro-batches only).
        first_position: position id of a sequence's first token (packed rows only).
        device: where the pieces are to be.
    """
    lengths = np.array([len(data.input_ids[i]) for i in batch])
    order = np.argsort(lengths, kind="stable")
    if packed:
        return [_packed_piece(data, batch, order, first_position, device)]
    parts = [part for part in np.array_split(order, MICRO_BATCHES) if len(part)]
    return [_padded_piece(data, batch, part, pad_id, device) for part in parts]


def evaluation_batches(data: Encoded) -> Iterator[np.ndarray]:
    """All examples, shortest first, in batches of about EVAL_TOKENS tokens."""
    order = np.argsort(data.lengths, kind="stable")
    part = np.cumsum(data.lengths[order]) // EVAL_TOKENS
    yield from (order[part == p] for p in np.unique(part))


def _packed_piece(
    data: Encoded, batch: Sequence[int], order: np.ndarray, first_position: int, device: torch.device
) -> Piece:
    ids = [data.input_ids[batch[i]] for i in order]
    lengths = np.array([len(x) for x in ids])
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    positions = np.concatenate([np.arange(n) for n in lengths]) + first_position
    inputs: dict[str, object] = {
        "input_ids": _row(np.concatenate(ids), device),
        "position_ids": _row(positions, device),
    }
    if data.token_type_ids is not None:
        inputs["token_type_ids"] = _row(np.concatenate([data.token_type_ids[batch[i]] for i in order]), device)
    parts = [p for p in np.array_split(np.arange(len(ids)), GROUPS) if len(p)]
    groups = [_group(starts[p], lengths[p], device) for p in parts]
    inputs["layout"] = Layout(groups, torch.as_tensor(starts, device=device))
    return Piece(inputs, torch.as_tensor(order, device=device), int(lengths.sum()))


def _row(values: np.ndarray, device: torch.device) -> Tensor:
    return torch.as_tensor(values, dtype=torch.long, device=device).unsqueeze(0)  # (1, tokens)


def _group(starts: np.ndarray, lengths: np.ndarray, device: torch.device) -> Group:
    columns = np.arange(lengths.max())
    real = columns < lengths[:, None]  # (sequences, longest)
    gather = torch.as_tensor(np.where(real, starts[:, None] + columns, starts[:, None]).ravel(), device=device)
    if real.all():
        return Group(real.shape, gather, None, None)
    mask = torch.as_tensor(real, device=device)[:, None, None, :]
    return Group(real.shape, gather, mask, torch.as_tensor(np.flatnonzero(real), device=device))


def _padded_piece(data: Encoded, batch: Sequence[int], part: np.ndarray, pad_id: int, device: torch.device) -> Piece:
    chosen = [batch[i] for i in part]

    def padded(rows: list[np.ndarray], fill: int) -> Tensor:
        tensors = [torch.as_tensor(rows[i]) for i in chosen]
        return nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=fill).to(device)

    lengths = torch.tensor([len(data.input_ids[i]) for i in chosen], device=device)
    ids = padded(data.input_ids, pad_id)  # (sequences, longest)
    inputs: dict[str, object] = {"input_ids": ids}
    inputs["attention_mask"] = (torch.arange(ids.shape[1], device=device) < lengths[:, None]).long()
    if data.token_type_ids is not None:
        inputs["token_type_ids"] = padded(data.token_type_ids, 0)
    return Piece(inputs, torch.as_tensor(part, device=device), int(lengths.sum()))
