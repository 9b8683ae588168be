"""Encoder and head, ready to be fine-tuned; the one place that knows how families name their parts."""

import copy
import dataclasses
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import torch
import transformers
from torch import Tensor, nn

from fewft import sources
from fewft.batching import Encoded, make_pieces, packed_attention
from fewft.config import RunConfig, UsageError
from fewft.kernels import UsedRows, use_cpu_kernels
from fewft.mixout import MixLinear, use_mixout
from fewft.reinit import draw_anew, reinitialize
from fewft.tasks import Split

ATTENTION = "fewft_packed"
transformers.AttentionInterface.register(ATTENTION, packed_attention)


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
        _use_packed_rows(model, encoder.shortcut)
    use_cpu_kernels(model)
    _draw(model, config)
    return dataclasses.replace(encoder, mixed=use_mixout(model, config.mixout_prob))


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


# --- parts --------------------------------------------------------------------------------------------------------


def encoder_blocks(model: nn.Module) -> tuple[str, nn.ModuleList]:
    """The stack of Transformer blocks, bottom first, with the name of the module that runs it; BART's: its decoder.

    Raises:
        UsageError: the model has no such stack, or several.
    """
    return _stacks(model)[-1]


def _stacks(model: nn.Module) -> list[tuple[str, nn.ModuleList]]:
    """The encoder's blocks; of an encoder-decoder model, also the decoder's, last."""
    named = list(model.base_model.named_modules())
    lists = [(name, m) for name, m in named if isinstance(m, nn.ModuleList) and _of_blocks(m)]
    outer = [(n, m) for n, m in lists if not any(n.startswith(other + ".") for other, _ in lists)]
    wanted = 2 if getattr(model.config, "is_encoder_decoder", False) else 1
    if len(outer) != wanted:
        found = ", ".join(name for name, _ in outer) or "none"
        accepted = "one list of Transformer blocks of one class below the encoder (one each in encoder and decoder)"
        raise UsageError(f"model: {type(model).__name__} has these lists of blocks: {found}; accepted: {accepted}")
    return [(name.rpartition(".")[0], m) for name, m in outer]


def _of_blocks(modules: nn.ModuleList) -> bool:
    one_class = len({type(m) for m in modules}) == 1
    composed = all(next(m.children(), None) is not None and not isinstance(m, nn.ModuleList) for m in modules)
    return one_class and composed and any(p.ndim >= 2 for p in modules.parameters())


def all_blocks(model: nn.Module) -> list[nn.Module]:
    """Every Transformer block, bottom first; BART's encoder's before its decoder's."""
    return [block for _, stack in _stacks(model) for block in stack]


def pooler(model: nn.Module) -> nn.Module | None:
    """What pre-training put between the last block and its own head, where it left something there.

    BERT's and ALBERT's pooler, ModernBERT's prediction head. Where a family's pooler starts at random in every
    fine-tuning (DeBERTa, XLNet, ELECTRA, RoBERTa), or the checkpoint lacks it, it counts as part of the head.

    Paper: Section 5.
    """
    if getattr(model, "lacks_pooler", False):
        return None
    found = getattr(model.base_model, "pooler", None)
    return found if found is not None or model.config.model_type != "modernbert" else model.head


def head(model: nn.Module) -> list[nn.Module]:
    """The modules that start at random in every fine-tuning."""
    pretrained = (model.base_model, pooler(model))
    modules = [child for child in model.children() if all(child is not other for other in pretrained)]
    new = getattr(model.base_model, "pooler", None) if getattr(model, "lacks_pooler", False) else None
    return modules if new is None else [*modules, new]


def depths(model: nn.Module) -> dict[str, int]:
    """How far below the head each parameter is, by name: head and pooler 0, top block 1, embeddings one more than blocks.

    A norm behind the last block counts as the head; all else outside the blocks as the embeddings.

    Paper: Section 7.1, "Layer-wise Learning Rate Decay".
    """
    blocks, base = all_blocks(model), model.base_model
    at = {id(p): len(blocks) - i for i, block in enumerate(blocks) for p in block.parameters()}
    top = [*head(model), pooler(model), getattr(base, "final_norm", None)]
    at |= {id(p): 0 for module in top if module is not None for p in module.parameters()}
    return {name: at.get(id(p), len(blocks) + 1) for name, p in model.named_parameters()}


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


# --- packed rows --------------------------------------------------------------------------------------------------


def _use_packed_rows(model: nn.Module, shortcut: bool) -> None:
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


@lru_cache(maxsize=16)
def _packing(name: str, num_hidden_layers: int) -> tuple[bool, bool]:
    """Whether packed rows, and the shortcut in the last block, give a model's own outputs.

    Tried on six sequences, one longer than a local attention's window where the model takes it, in evaluation mode.
    """
    model = _read(name, num_hidden_layers, 2)
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
        _use_packed_rows(model, shortcut)
    first, cpu = _first_position(model), torch.device("cpu")
    pieces = make_pieces(data, range(len(rows)), packed=packed, pad_id=0, first_position=first, device=cpu)
    out = torch.cat([model(**p.inputs).logits for p in pieces])
    return out[torch.cat([p.index for p in pieces]).argsort()]


# --- from sources ------------------------------------------------------------------------------------------------------


def pretrained(name: str, num_hidden_layers: int, num_labels: int) -> Encoder:
    """The model as transformers loads it, with what its batches need.

    Raises:
        UsageError: as `load`.
    """
    model = _read(name, num_hidden_layers, num_labels)
    tokenizer = sources.load_tokenizer(name)
    packed, shortcut = _packing(name, num_hidden_layers)
    left = tokenizer.padding_side == "left"
    return Encoder(model, tokenizer, packed, shortcut, _first_position(model), pad_left=left)


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


def _first_position(model: nn.Module) -> int:
    """RoBERTa and its kin count positions from behind their padding id."""
    positions = getattr(getattr(model.base_model, "embeddings", None), "position_embeddings", None)
    padding = getattr(positions, "padding_idx", None)
    return 0 if padding is None else padding + 1
