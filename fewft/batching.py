"""Batches of exactly the right examples without padding waste.

A batch is one or more pieces. Where the model can, there is one: the real tokens of all sequences in a single row,
through the model's own code, with an attention function that keeps the sequences apart. Elsewhere a batch is cut into
micro-batches of similar length, whose gradients add up to the batch's.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from fewft.config import RunConfig
from fewft.kernels import Run, sequence_attention
from fewft.varlen import Offsets, offsets_attention

MICRO_BATCHES = 4  # pieces of a batch where packing is not possible
EVAL_TOKENS = {"cpu": 2048, "cuda": 4096}  # in an evaluation batch, about


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
class Layout:
    """Where the sequences of a packed row are."""

    runs: tuple[Run, ...]
    first: Tensor  # (sequences,) each one's first token
    row: Tensor | None = None  # (1, tokens, hidden) what keys and values are made of, where queries are of `first` only


@dataclass(frozen=True)
class Piece:
    """Part of a batch: keyword arguments for the model, and which examples of the batch its outputs are for."""

    inputs: dict[str, object]
    index: Tensor  # (sequences,)
    tokens: int  # real ones


def packed_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None,
    *, scaling: float | None = None, dropout: float = 0.0, layout: Layout | Offsets, **_: object,
) -> tuple[Tensor, None]:  # fmt: skip
    """Attention within each sequence of a packed row, in the form of transformers' attention interface.

    Args:
        module: the calling attention layer.
        query, key, value: float (1, heads, tokens, width).
        attention_mask: unused: `layout` says what may see what.
        scaling: factor on the products; None: 1 / sqrt(width).
        dropout: rate on the attention weights.
        layout: of the row.

    Returns:
        float (1, queries, heads, width), and None for the weights.
    """
    if layout.row is not None:
        key, value = (
            layer(layout.row).unflatten(-1, (-1, query.shape[-1])).transpose(1, 2) for layer in key_and_value(module)
        )
    factor = query.shape[-1] ** -0.5 if scaling is None else scaling
    query, key, value = (x.squeeze(0) for x in (query, key, value))
    if isinstance(layout, Offsets):
        out = offsets_attention(query, key, value, layout, scaling=factor, dropout=dropout)
    else:
        out = sequence_attention(query, key, value, layout.runs, scaling=factor, dropout=dropout)
    return out.unsqueeze(0), None


def key_and_value(module: nn.Module) -> tuple[nn.Module, nn.Module]:
    """The linear layers of an attention layer that make its keys and values; by the names that families use.

    Raises:
        AttributeError: it has none of these names.
    """
    for names in (("key", "value"), ("k_proj", "v_proj"), ("k_lin", "v_lin")):
        if hasattr(module, names[0]):
            return getattr(module, names[0]), getattr(module, names[1])
    raise AttributeError(f"{type(module).__name__} has no layer for its keys by a known name")


def make_pieces(
    data: Encoded, batch: Sequence[int], *, packed: bool, pad_id: int, first_position: int, device: torch.device,
    pad_left: bool = False,
) -> list[Piece]:  # fmt: skip
    """The pieces of one batch.

    Args:
        data: the tokenised split.
        batch: indices of its examples.
        packed: one packed row, or else length-sorted micro-batches.
        pad_id: token id of padding (micro-batches only).
        first_position: position id of a sequence's first token (packed rows only).
        device: where the pieces are to be.
        pad_left: whether padding comes before the tokens (micro-batches only; XLNet).
    """
    lengths = np.array([len(data.input_ids[i]) for i in batch])
    order = np.argsort(lengths, kind="stable")
    if packed:
        return [_packed_piece(data, batch, order, first_position, device)]
    parts = [part for part in np.array_split(order, MICRO_BATCHES) if len(part)]
    return [_padded_piece(data, batch, part, pad_id, pad_left, device) for part in parts]


def batches(num_examples: int, config: RunConfig) -> Iterator[np.ndarray]:
    """Uniform random batches, epoch after epoch; the last of an epoch may be short."""
    stream = torch.Generator().manual_seed(config.data_seed)
    while True:
        order = torch.randperm(num_examples, generator=stream).numpy()
        for start in range(0, num_examples, config.train_batch_size):
            yield order[start : start + config.train_batch_size]


def evaluation_batches(data: Encoded, tokens: int) -> Iterator[np.ndarray]:
    """All examples, shortest first, in batches of about so many tokens."""
    order = np.argsort(data.lengths, kind="stable")
    part = np.cumsum(data.lengths[order]) // tokens
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
    inputs["layout"] = _layout(starts, lengths, device)
    return Piece(inputs, torch.as_tensor(order, device=device), int(lengths.sum()))


def _layout(starts: np.ndarray, lengths: np.ndarray, device: torch.device) -> Layout | Offsets:
    first = torch.as_tensor(starts, device=device)
    if device.type == "cuda":
        ends = torch.as_tensor(np.append(starts, lengths.sum()), dtype=torch.int32, device=device)
        return Offsets(ends, first, int(lengths.max()))
    sizes, number, counts = np.unique(lengths, return_index=True, return_counts=True)
    runs = zip(number.tolist(), counts.tolist(), starts[number].tolist(), sizes.tolist(), strict=True)
    return Layout(tuple(Run(*run) for run in runs), first)


def _row(values: np.ndarray, device: torch.device) -> Tensor:
    return torch.as_tensor(values, dtype=torch.long, device=device).unsqueeze(0)  # (1, tokens)


def _padded_piece(
    data: Encoded, batch: Sequence[int], part: np.ndarray, pad_id: int, pad_left: bool, device: torch.device
) -> Piece:
    chosen, side = [batch[i] for i in part], "left" if pad_left else "right"

    def padded(rows: list[np.ndarray], fill: int) -> Tensor:
        tensors = [torch.as_tensor(rows[i]) for i in chosen]
        padding = nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=fill, padding_side=side)
        return padding.to(device)

    lengths = torch.tensor([len(data.input_ids[i]) for i in chosen], device=device)
    ids = padded(data.input_ids, pad_id)  # (sequences, longest)
    places = torch.arange(ids.shape[1], device=device)
    inputs: dict[str, object] = {"input_ids": ids}
    inputs["attention_mask"] = ((places.flip(0) if pad_left else places) < lengths[:, None]).long()
    if data.token_type_ids is not None:
        inputs["token_type_ids"] = padded(data.token_type_ids, 0)
    return Piece(inputs, torch.as_tensor(part, device=device), int(lengths.sum()))
