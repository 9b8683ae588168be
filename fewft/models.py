"""Encoder and head from a hub id, a folder, `bundled:NAME` or `random:NAME`; the one place that knows parameter names."""

import copy
import dataclasses
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import transformers
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from fewft.batching import Encoded, make_pieces, packed_attention
from fewft.config import RunConfig, UsageError, check_choice
from fewft.kernels import UsedRows, use_cpu_kernels
from fewft.tasks import Split
from fewft.weights import bundled_folder

ATTENTION = "fewft_packed"
transformers.AttentionInterface.register(ATTENTION, packed_attention)

RANDOM_SIZES = {  # name: blocks, width, heads
    "tiny": (3, 64, 4),
    "base": (12, 768, 12),
    "large": (24, 1024, 16),
}
RANDOM_FAMILIES = ("bert", "roberta", "electra", "distilbert", "mpnet")


@dataclass(frozen=True)
class Encoder:
    """A model ready to be fine-tuned, and what its batches need."""

    model: nn.Module
    tokenizer: transformers.PreTrainedTokenizerBase
    packed: bool  # whether batches can be packed into rows
    shortcut: bool  # whether only first tokens go through the last block
    first_position: int  # position id of the first token


def load(config: RunConfig, num_labels: int, used: Tensor | None = None) -> Encoder:
    """The pre-trained encoder with a fresh head drawn from `init_seed`.

    Args:
        config: of the run.
        num_labels: outputs of the head.
        used: int (tokens,), ids whose embeddings are to be parameters; None: all.

    Raises:
        UsageError: unknown model, more blocks asked for than it has, weights not in safetensors, wrong checksum.

    Paper: Section 3, "Experimental Setup".
    """
    encoder = pretrained(config.model, config.num_hidden_layers, num_labels)
    model = encoder.model
    table = model.get_input_embeddings()
    shared = sum(p is table.weight for _, p in model.named_parameters(remove_duplicate=False)) > 1
    if used is not None and type(table) is nn.Embedding and not shared:  # not one of the model's own making
        model.set_input_embeddings(UsedRows(table.weight.detach(), used))
    if encoder.packed:
        _use_packed_rows(model, encoder.shortcut)
    use_cpu_kernels(model)
    _init_head(model, config.init_seed)
    return encoder


@lru_cache(maxsize=8)
def load_tokenizer(name: str) -> transformers.PreTrainedTokenizerBase:
    """The tokenizer of a model; that of `bundled:minilm` for random weights."""
    if name.startswith(("random:", "bundled:")):
        return AutoTokenizer.from_pretrained(bundled_folder("minilm" if name.startswith("random:") else name[8:]))
    return AutoTokenizer.from_pretrained(name)


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


def head_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that are not the pre-trained encoder's, by name."""
    prefix = model.base_model_prefix + "."
    return {name: p for name, p in model.named_parameters() if not name.startswith(prefix)}


def encoder_blocks(model: nn.Module) -> tuple[str, nn.ModuleList]:
    """The stack of Transformer blocks, bottom first, with the name of the module that runs it.

    Raises:
        UsageError: the model has no list of blocks.
    """
    lists = [(name, m) for name, m in model.base_model.named_modules() if isinstance(m, nn.ModuleList)]
    if not lists:
        raise UsageError(f"model: {type(model).__name__} has no list of blocks; accepted: an encoder with one")
    name, blocks = max(lists, key=lambda item: len(item[1]))
    return name.rpartition(".")[0], blocks


def _init_head(model: nn.Module, init_seed: int) -> None:
    stream = torch.Generator().manual_seed(init_seed)
    spread = getattr(model.config, "initializer_range", 0.02)
    with torch.no_grad():
        for parameter in head_parameters(model).values():
            if parameter.ndim < 2:
                parameter.zero_()
            else:
                parameter.normal_(0.0, spread, generator=stream)


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

    Tried on five short sequences, in evaluation mode.
    """
    model = _read(name, num_hidden_layers, 2)
    if not getattr(model, "_supports_attention_backend", False):
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
    rows = [np.arange(5, 5 + n) for n in (7, 3, 12, 5, 3)]
    types = [np.arange(len(r)) % kinds for r in rows] if kinds else None
    data = Encoded(rows, types, torch.zeros(len(rows)))
    model.eval()
    if packed:
        _use_packed_rows(model, shortcut)
    first, cpu = _first_position(model), torch.device("cpu")
    pieces = make_pieces(data, range(len(rows)), packed=packed, pad_id=0, first_position=first, device=cpu)
    out = torch.cat([model(**p.inputs).logits for p in pieces])
    return out[torch.cat([p.index for p in pieces]).argsort()]


# --- sources ------------------------------------------------------------------------------------------------------


def pretrained(name: str, num_hidden_layers: int, num_labels: int) -> Encoder:
    """The model as transformers loads it, with what its batches need.

    Raises:
        UsageError: as `load`.
    """
    model = _read(name, num_hidden_layers, num_labels)
    return Encoder(model, load_tokenizer(name), *_packing(name, num_hidden_layers), _first_position(model))


def _read(name: str, num_hidden_layers: int, num_labels: int) -> nn.Module:
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # random: weights are the same in every run
        model = _random(name, num_labels) if name.startswith("random:") else _stored(name, num_labels)
    _, blocks = encoder_blocks(model)
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


def _stored(name: str, num_labels: int) -> nn.Module:
    source = str(bundled_folder(name.removeprefix("bundled:"))) if name.startswith("bundled:") else name
    if Path(source).is_dir() and not list(Path(source).glob("*.safetensors")):
        raise UsageError(f"model: folder {source!r} has no .safetensors file; accepted: weights in safetensors")
    try:
        load_tokenizer(name)
        model, found = AutoModelForSequenceClassification.from_pretrained(
            source, num_labels=num_labels, use_safetensors=True, dtype=torch.float32, output_loading_info=True,
            ignore_mismatched_sizes=True,  # a head of another task's size is drawn anew like any other
        )  # fmt: skip
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        accepted = "a hub id, a folder, bundled:NAME or random:NAME"
        raise UsageError(f"model: {name!r} cannot be loaded ({reason}); accepted: {accepted}") from error
    lacking = {*found["missing_keys"], *(key for key, *_ in found["mismatched_keys"])}
    lacking = {k for k in lacking if k.startswith(model.base_model_prefix + ".") and ".pooler." not in k}
    if lacking:  # transformers would leave them random
        raise UsageError(f"model: {name!r} has no fitting weights for {min(lacking)!r}; accepted: a whole encoder")
    return model


def _random(name: str, num_labels: int) -> nn.Module:
    """A model of the real class with random weights; its words are those of the bundled tokenizer."""
    accepted = [f"random:{family}-{size}" for family in RANDOM_FAMILIES for size in RANDOM_SIZES]
    check_choice("model", name, accepted)
    family, size = name.removeprefix("random:").rsplit("-", 1)
    blocks, width, heads = RANDOM_SIZES[size]
    tokenizer = load_tokenizer(name)
    config = AutoConfig.for_model(
        family, num_hidden_layers=blocks, hidden_size=width, num_attention_heads=heads, intermediate_size=4 * width,
        vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, num_labels=num_labels,
        max_position_embeddings=514, type_vocab_size=2,
    )  # fmt: skip
    return AutoModelForSequenceClassification.from_config(config)
