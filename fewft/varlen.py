"""Attention inside the sequences of a row given by tensors alone, so that one CUDA graph serves rows of any lengths."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Offsets:
    """Where the sequences of a row are; padding at its end makes sequences too, and sequences may be empty."""

    offsets: Tensor  # int32 (sequences + 1,)
    first: Tensor  # (examples,) each one's first token; any token for those that a short batch lacks
    longest: int  # tokens in the longest sequence there can be
    row: Tensor | None = None  # given where queries are of `first` only, as in batching.Layout


def offsets_attention(
    query: Tensor, key: Tensor, value: Tensor, layout: Offsets, *, scaling: float, dropout: float
) -> Tensor:
    """Attention inside each sequence: the flash kernel for half precision on a GPU, elsewhere an exact slow way.

    Args:
        query: float (heads, tokens, width), or (heads, examples, width) for the first token of each.
        key, value: float (heads, tokens, width).
        layout: of the row.
        scaling: factor on the products.
        dropout: rate on the attention weights; the kernel rounds it to 26 / 256 for 0.1.

    Returns:
        float (queries, heads, width).
    """
    ends, queries, one = layout.offsets, query.shape[1], layout.row is not None
    if query.is_cuda and query.dtype in (torch.float16, torch.bfloat16):
        # The operator under jagged tensors' attention, which refuse empty sequences; `varlen_attn` has no dropout.
        # Both of the kernel's passes skip empty sequences, and write 0 for a query without keys.
        q, k, v = (x.transpose(0, 1) for x in (query, key, value))  # (tokens, heads, width)
        starts = torch.arange(len(ends), dtype=ends.dtype, device=ends.device).clamp(max=queries) if one else ends
        longest = 1 if one else layout.longest
        return torch.ops.aten._flash_attention_forward(
            q, k, v, starts, ends, longest, layout.longest, dropout, False, False, scale=scaling
        )[0]
    tokens = torch.arange(key.shape[1], dtype=ends.dtype, device=ends.device)
    sequence = torch.searchsorted(ends[1:], tokens, right=True)
    asking = sequence[layout.first] if one else sequence
    mask = asking[:, None] == sequence  # (queries, tokens)
    mixed = F.scaled_dot_product_attention(
        query[None], key[None], value[None], attn_mask=mask, dropout_p=dropout, scale=scaling
    )
    return mixed[0].transpose(0, 1)
