"""Encoder and head, ready to be fine-tuned."""

import dataclasses
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import torch
import transformers
from torch import Tensor, nn

from fewft import sources
from fewft.batching import Encoded
from fewft.config import RunConfig, UsageError
from fewft.kernels import UsedRows, use_cpu_kernels
from fewft.mixout import MixLinear, use_mixout
from fewft.packing import packing, use_packed_rows
from fewft.parts import all_blocks, encoder_blocks, first_position, head, pooler
from fewft.reinit import draw_anew, reinitialize
from fewft.splits import Split


@dataclass(frozen=True)
class Encoder:
    """A model ready to be fine-tuned, and what its batches need."""

    model: nn.Module
    tokenizer: transformers.PreTrainedTokenizerBase
    packed: bool  # whether batches can be packed into rows
    shortcut: bool  # whether only first tokens go through the last block
    first_position: int  # position id of the first token
    mixed: list[MixLinear] = field(default_factory=list)  # the layers under mixout, if any
    pad_left: bool = False  # whether padding comes before the tokens


def load(
    config: RunConfig, num_labels: int, used: Tensor | None = None, start: dict[str, Tensor] | None = None
) -> Encoder:
    """The pre-trained encoder with a fresh head, and Re-init's blocks, drawn from `init_seed`.

    The head is drawn first, so it is the same with and without Re-init (Appendix B).

    Args:
        config: of the run.
        num_labels: outputs of the head.
        used: int (tokens,), ids whose embeddings are to be parameters; None: all.
        start: an encoder to start from in place of the pre-trained one, as `encoder_state` gives it.

    Raises:
        UsageError: unknown model, more blocks asked for than it has, weights not in safetensors, wrong checksum.

    Paper: Section 3, "Experimental Setup"; Section 5.
    """
    encoder = pretrained(config.model, config.num_hidden_layers, num_labels)
    model = encoder.model
    if start:
        with torch.no_grad():
            for name, parameter in model.base_model.named_parameters():
                parameter.copy_(start[name])
    table = model.get_input_embeddings()
    shared = sum(p is table.weight for _, p in model.named_parameters(remove_duplicate=False)) > 1
    if used is not None and type(table) is nn.Embedding and not shared:  # not one of the model's own making
        model.set_input_embeddings(UsedRows(table.weight.detach(), used))
    if encoder.packed:
        use_packed_rows(model, encoder.shortcut)
    use_cpu_kernels(model)
    _draw(model, config)
    return dataclasses.replace(encoder, mixed=use_mixout(model, config.mixout_prob))


def _draw(model: nn.Module, config: RunConfig) -> None:
    """The head, then what Re-init draws anew, from one stream."""
    stream = torch.Generator().manual_seed(config.init_seed)
    spread = getattr(model.config, "initializer_range", None) or getattr(model.config, "init_std", 0.02)
    for module in head(model):
        draw_anew(module, spread, stream)
    if config.reinit_layers < 0:
        return
    _, blocks = encoder_blocks(model)
    most, why = len(blocks), ""
    if model.config.num_hidden_layers > len(all_blocks(model)):  # ALBERT
        most, why = 0, f" ({type(model).__name__}'s blocks share their weights: none can be drawn anew alone)"
    if config.reinit_layers > most:
        raise UsageError(f"reinit_layers: {config.reinit_layers} for {config.model!r}{why}; accepted: -1 to {most}")
    reinitialize(config.reinit_layers, pooler(model), blocks, spread, stream)


def encode(tokenizer: transformers.PreTrainedTokenizerBase, split: Split, max_seq_length: int) -> Encoded:
    """Tokenise one split; longer inputs are cut to `max_seq_length` tokens."""
    second = None if split.text_b is None else list(split.text_b)
    names = [n for n in ("input_ids", "token_type_ids") if n in tokenizer.model_input_names]
    out = tokenizer(
        list(split.text_a), second, truncation=True, max_length=max_seq_length, padding=False, verbose=False,
        return_token_type_ids="token_type_ids" in names,
    )  # fmt: skip
    columns = {n: [np.asarray(row, dtype=np.int64) for row in out[n]] for n in names}
    return Encoded(columns["input_ids"], columns.get("token_type_ids"), torch.as_tensor(split.labels))


def pretrained(name: str, num_hidden_layers: int, num_labels: int) -> Encoder:
    """The model as transformers loads it, with what its batches need.

    Raises:
        UsageError: as `load`.
    """
    model = _read(name, num_hidden_layers, num_labels)
    tokenizer = sources.load_tokenizer(name)
    packed, shortcut = _packing(name, num_hidden_layers)
    left = tokenizer.padding_side == "left"
    return Encoder(model, tokenizer, packed, shortcut, first_position(model), pad_left=left)


@lru_cache(maxsize=16)
def _packing(name: str, num_hidden_layers: int) -> tuple[bool, bool]:
    return packing(_read(name, num_hidden_layers, 2))


def _read(name: str, num_hidden_layers: int, num_labels: int) -> nn.Module:
    model = sources.read(name, num_labels)
    _, blocks = encoder_blocks(model)
    if num_hidden_layers and model.config.is_encoder_decoder:
        raise UsageError(f"num_hidden_layers: {num_hidden_layers} for {name!r}; accepted: 0 for an encoder-decoder")
    if num_hidden_layers > len(blocks):
        raise UsageError(f"num_hidden_layers: {num_hidden_layers} for {name!r}; accepted: 0 to {len(blocks)}")
    if num_hidden_layers:  # the bottom ones
        del blocks[num_hidden_layers:]
        model.config.num_hidden_layers = num_hidden_layers
    return model


def encoder_state(model: nn.Module) -> dict[str, Tensor]:
    """The encoder's parameters on the CPU, by their names within it, the embedding table whole again."""
    return _whole_state(model.base_model)


def _whole_state(module: nn.Module) -> dict[str, Tensor]:
    state = {name: p.detach().cpu() for name, p in module.named_parameters()}
    for name, child in module.named_modules():
        if isinstance(child, UsedRows):
            state[f"{name}.weight"] = child.whole().cpu()
    return state


@torch.no_grad()
def portable(config: RunConfig, model: nn.Module, num_labels: int) -> nn.Module:
    """A trained model's weights in one as transformers makes it, on the CPU, which `from_pretrained` reads once saved.

    Args:
        config: of the run.
        model: as `load` gave it, trained.
        num_labels: outputs of its head.
    """
    plain, state = _read(config.model, config.num_hidden_layers, num_labels), _whole_state(model)
    for name, parameter in plain.named_parameters():
        parameter.copy_(state[name])
    return plain
