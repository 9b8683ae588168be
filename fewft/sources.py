"""Models and tokenizers as they come: from a hub id, a folder, `bundled:NAME` or `random:NAME`."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, cached_file

from fewft.config import UsageError, check_choice
from fewft.weights import bundled_folder

RANDOM_SIZES = {  # name: blocks, width, heads
    "tiny": (3, 64, 4),
    "base": (12, 768, 12),
    "large": (24, 1024, 16),
}
_BERT = {
    "num_hidden_layers": "blocks",
    "hidden_size": "width",
    "num_attention_heads": "heads",
    "intermediate_size": "inner",
    "max_position_embeddings": "positions",
}
_DEBERTA = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_biased_input": False}
RANDOM_FAMILIES: dict[str, dict[str, Any]] = {  # the config's names for the sizes, and what else its checkpoints have
    "bert": _BERT,
    "roberta": _BERT,
    "electra": _BERT,
    "albert": _BERT,
    "mpnet": _BERT,
    "modernbert": _BERT,
    "distilbert": {"n_layers": "blocks", "dim": "width", "n_heads": "heads", "hidden_dim": "inner",
                   "max_position_embeddings": "positions"},
    "deberta-v2": _BERT | _DEBERTA | {"position_buckets": 256, "share_att_key": True, "norm_rel_ebd": "layer_norm"},
    "xlnet": {"n_layer": "blocks", "d_model": "width", "n_head": "heads", "d_inner": "inner"},
    "bart": {
        "encoder_layers": "blocks", "decoder_layers": "blocks", "d_model": "width", "encoder_attention_heads": "heads",
        "decoder_attention_heads": "heads", "encoder_ffn_dim": "inner", "decoder_ffn_dim": "inner", "max_position_embeddings": "positions",
    },
}  # fmt: skip
NO_SEGMENTS = ("distilbert", "mpnet", "modernbert", "bart")  # families without token types


@lru_cache(maxsize=8)
def load_tokenizer(name: str) -> transformers.PreTrainedTokenizerBase:
    """The tokenizer of a model; that of `bundled:minilm` for random weights.

    Raises:
        UsageError: as `read`.
    """
    if name.startswith(("random:", "bundled:")):
        folder = bundled_folder("minilm" if name.startswith("random:") else name[8:])
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        if name.startswith(tuple(f"random:{family}-" for family in NO_SEGMENTS)):
            tokenizer.model_input_names = [n for n in tokenizer.model_input_names if n != "token_type_ids"]
        if name.startswith("random:xlnet-"):
            tokenizer.padding_side = "left"  # its head reads the last token
        return tokenizer
    try:
        return AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise not_loaded(name, error) from error


def not_loaded(name: str, error: Exception) -> UsageError:
    """What to say of a model that transformers cannot read, or only with code that comes with it."""
    accepted = "a hub id, a folder, bundled:NAME or random:NAME, without code of its own"
    return UsageError(f"model: {name!r} cannot be loaded ({str(error).partition(chr(10))[0]}); accepted: {accepted}")


def read(name: str, num_labels: int) -> nn.Module:
    """The whole model as transformers loads it; its head, and all of a `random:` one, the same in every run.

    Raises:
        UsageError: unknown model, one with code of its own, weights not in safetensors or not all there, wrong checksum.
    """
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return _random(name, num_labels) if name.startswith("random:") else _stored(name, num_labels)


def _stored(name: str, num_labels: int) -> nn.Module:
    source = str(bundled_folder(name.removeprefix("bundled:"))) if name.startswith("bundled:") else name
    _check_files(source)
    load_tokenizer(name)
    try:
        model, found = AutoModelForSequenceClassification.from_pretrained(
            source, num_labels=num_labels, use_safetensors=True, trust_remote_code=False, dtype=torch.float32,
            output_loading_info=True, ignore_mismatched_sizes=True,  # a head of another size is drawn anew like any other
        )  # fmt: skip
    except (OSError, ValueError) as error:
        raise not_loaded(name, error) from error
    lacking = {*found["missing_keys"], *(key for key, *_ in found["mismatched_keys"])}
    model.lacks_pooler = any(".pooler." in k or k.startswith("head.") for k in lacking)
    lacking = {k for k in lacking if k.startswith(model.base_model_prefix + ".") and ".pooler." not in k}
    if lacking:  # transformers would leave them random
        raise UsageError(f"model: {name!r} has no fitting weights for {min(lacking)!r}; accepted: a whole encoder")
    return model


def _check_files(source: str) -> None:
    """Refuse weights that are not in safetensors: an index of parts could name a pickle, which transformers would open."""
    if Path(source).is_dir() and not list(Path(source).glob("*.safetensors")):
        raise UsageError(f"model: folder {source!r} has no .safetensors file; accepted: weights in safetensors")
    try:  # of a folder, or of the hub, where a model without an index is no error
        index = cached_file(
            source, SAFE_WEIGHTS_INDEX_NAME, _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )  # fmt: skip
    except (OSError, ValueError) as error:
        raise not_loaded(source, error) from error
    try:
        parts = sorted(set(json.loads(Path(index).read_bytes())["weight_map"].values())) if index else []
        wrong = [part for part in parts if Path(part).name != part or not part.endswith(".safetensors")]
    except (AttributeError, KeyError, OSError, TypeError, ValueError) as error:
        raise UsageError(f"model: {index!r} is no index of parts ({error!r}); accepted: one of safetensors") from error
    if wrong:
        raise UsageError(f"model: {index!r} names {wrong[0]!r}; accepted: .safetensors files beside it")


def _random(name: str, num_labels: int) -> nn.Module:
    """A model of the real class with random weights; its words are those of the bundled tokenizer."""
    accepted = [f"random:{family}-{size}" for family in RANDOM_FAMILIES for size in RANDOM_SIZES]
    check_choice("model", name, accepted)
    family, size = name.removeprefix("random:").rsplit("-", 1)
    blocks, width, heads = RANDOM_SIZES[size]
    sizes = {"blocks": blocks, "width": width, "heads": heads, "inner": 4 * width, "positions": 514}
    said = {k: sizes.get(v, v) if isinstance(v, str) else v for k, v in RANDOM_FAMILIES[family].items()}
    tokenizer = load_tokenizer(name)
    pad, end = tokenizer.pad_token_id, tokenizer.sep_token_id
    config = AutoConfig.for_model(
        family, **said, vocab_size=len(tokenizer), num_labels=num_labels, type_vocab_size=2, pad_token_id=pad,
        eos_token_id=end, decoder_start_token_id=end,
    )  # fmt: skip
    return AutoModelForSequenceClassification.from_config(config)
