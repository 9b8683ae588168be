"""Packed rows through a model's own code, where that gives the model's own outputs."""

import copy
import dataclasses

import numpy as np
import torch
import transformers
from torch import Tensor, nn

from fewft.batching import Encoded, make_pieces, packed_attention
from fewft.parts import encoder_blocks, first_position

ATTENTION = "fewft_packed"
transformers.AttentionInterface.register(ATTENTION, packed_attention)


def use_packed_rows(model: nn.Module, shortcut: bool) -> None:
    """Let the model's own code take packed rows: after the last block, only each sequence's first token goes on.

    With `shortcut` only that token goes through the last block, but for the keys and values that it looks at.
    """
    model.config._attn_implementation = ATTENTION
    name, blocks = encoder_blocks(model)

    def cut_row(_: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        row, layout = args[0], kwargs["layout"]  # (1, tokens, hidden)
        return (row[:, layout.first], *args[1:]), {**kwargs, "layout": dataclasses.replace(layout, row=row)}

    def keep_first(_: nn.Module, __: tuple, kwargs: dict, output: object) -> object:
        rows = output.last_hidden_state[0]
        output["last_hidden_state"] = (rows if shortcut else rows[kwargs["layout"].first]).unsqueeze(1)
        return output  # (sequences, 1, hidden)

    if shortcut:
        blocks[-1].register_forward_pre_hook(cut_row, with_kwargs=True)
    model.base_model.get_submodule(name).register_forward_hook(keep_first, with_kwargs=True)


def packing(model: nn.Module) -> tuple[bool, bool]:
    """Whether packed rows, and the shortcut in the last block, give a model's own outputs; for that the model is tried.

    Tried on six sequences, one longer than a local attention's window where the model takes it, in evaluation mode.
    """
    if not getattr(model, "_supports_attention_backend", False) or model.config.is_encoder_decoder:
        return False, False
    plain = _trial(model, packed=False, shortcut=False)
    for shortcut in (True, False):
        try:
            found = _trial(copy.deepcopy(model), packed=True, shortcut=shortcut)
        except (AttributeError, IndexError, KeyError, RuntimeError, TypeError):  # the model's code has another form
            continue
        if found.shape == plain.shape and torch.allclose(found, plain, atol=1e-4, rtol=1e-3):
            return True, shortcut
    return False, False


@torch.no_grad()
def _trial(model: nn.Module, *, packed: bool, shortcut: bool) -> Tensor:
    kinds = int(getattr(model.config, "type_vocab_size", 0) or 0)
    limit = getattr(model.config, "max_position_embeddings", 0) or 0
    longest = min(128, limit - 2) if limit > 2 else 128
    rows = [np.arange(5, 5 + n) for n in (7, 3, 12, 5, longest, 3)]
    types = [np.arange(len(r)) % kinds for r in rows] if kinds else None
    data = Encoded(rows, types, torch.zeros(len(rows)))
    model.eval()
    if packed:
        use_packed_rows(model, shortcut)
    first, cpu = first_position(model), torch.device("cpu")
    pieces = make_pieces(data, range(len(rows)), packed=packed, pad_id=0, first_position=first, device=cpu)
    out = torch.cat([model(**p.inputs).logits for p in pieces])
    return out[torch.cat([p.index for p in pieces]).argsort()]
