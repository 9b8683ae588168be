"""What runs cost: optimizer steps, tokens and FLOPs, from a formula."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from fewft import inventory
from fewft.config import RunConfig
from fewft.glue import GLUE, HUB_DEV_ROWS
from fewft.splits import PARTS

TRAINING = 3  # forward passes that a training step is worth: itself, and the gradients of inputs and of weights
NAMED = {"large": (24, 1024), "base": (12, 768)}  # blocks and width of models that cannot be read


@dataclass(frozen=True)
class Cost:
    """Of one run, or of several together."""

    steps: int = 0  # of the optimizer
    tokens: int = 0  # trained on; padding is not counted
    flops: float = 0.0  # of training and evaluation

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.steps + other.steps, self.tokens + other.tokens, self.flops + other.flops)


@dataclass(frozen=True)
class Shape:
    """What a model's blocks multiply with each token."""

    weights: int  # elements of the matrices of all blocks
    mixing: int  # for each other token of its sequence: width times attention layers
    width: int
    assumed: str = ""  # what was taken for granted, for the reader


@dataclass(frozen=True)
class Sizes:
    """A data set: (training, validation, test)."""

    examples: tuple[int, int, int]
    lengths: tuple[float, float, float]  # mean tokens per example
    assumed: str = ""  # what was taken for granted, for the reader


def cost(config: RunConfig) -> Cost:
    """What one run takes.

    FLOPs are those of the blocks' linear layers and attention products over real tokens, two a multiply-add, in a
    plain pass: the shortcut in the last block is not taken off, embeddings and the head are left out. Attention is
    counted at the mean length.

    Raises:
        UsageError: a task's data are not known and cannot be read.
    """
    sizes, shape = sizes_of(config.task, config.data, config.max_seq_length), shape_of(config)
    train, validation, test = sizes.examples
    steps = config.num_steps(train)
    epochs, rest = divmod(steps, -(-train // config.train_batch_size))
    trained = epochs * train + min(rest * config.train_batch_size, train)
    evaluations = -(-steps // max(1, steps // config.num_evals))  # every so many steps, and after the last one
    passes = (TRAINING * trained, evaluations * validation, 2 * test)  # best and last checkpoint
    flops = sum(forward_flops(shape, n * length, length) for n, length in zip(passes, sizes.lengths, strict=True))
    return Cost(steps, round(trained * sizes.lengths[0]), flops)


def expected(candidates: Sequence[Sequence[RunConfig]]) -> Cost:
    """The mean cost of the candidates of a choice, each of several runs."""
    sums = [sum(map(cost, runs), Cost()) for runs in candidates]
    whole = sum(sums, Cost())
    n = max(1, len(sums))
    return Cost(round(whole.steps / n), round(whole.tokens / n), whole.flops / n)


def forward_flops(shape: Shape, tokens: float, length: float) -> float:
    """FLOPs of a forward pass over `tokens` in sequences of `length` tokens: linear layers, queries by keys, values."""
    return linear_flops(shape.weights, tokens) + 4.0 * shape.mixing * tokens * length


def linear_flops(weights: int, tokens: Any) -> Any:
    """FLOPs of `tokens`, a number or an array, times matrices of `weights` elements in all."""
    return 2.0 * weights * tokens


def assumptions(configs: Iterable[RunConfig]) -> list[str]:
    """What the costs of these runs take for granted, a sentence each."""
    found: dict[str, dict[str, None]] = {}
    for config in configs:
        found.setdefault(sizes_of(config.task, config.data, config.max_seq_length).assumed, {})[config.task] = None
        found.setdefault(shape_of(config).assumed, {})[config.model] = None
    return [f"{', '.join(names)}: {text}" for text, names in found.items() if text]


# --- data sets and models -----------------------------------------------------------------------------------------


def sizes_of(task: str, data: str, max_seq_length: int) -> Sizes:
    """Counts and lengths of a data set: from results/datasets.csv, else from the data.

    Where no FEWFT_GLUE_DIR is set, a sample's counts in that file make way for the hub's.

    Raises:
        UsageError: as `tasks.load`.
    """
    return _sizes(task, data, max_seq_length, not os.environ.get("FEWFT_GLUE_DIR"))


@lru_cache(maxsize=64)
def _sizes(task: str, data: str, max_seq_length: int, on_hub: bool) -> Sizes:
    table, base = inventory.stored(), task.removesuffix("-1k")
    known = not data and task in table.index
    exact = max_seq_length == inventory.MEASURED_LENGTH or (on_hub and base in GLUE)  # the hub is not asked
    row = table.loc[task].to_dict() if known and exact else inventory.describe(task, data, max_seq_length)
    train, validation, test = (int(row[f"num_{part}"]) for part in PARTS)
    lengths = tuple(min(float(row[f"mean_tokens_{part}"]), max_seq_length) for part in PARTS)
    lacking, assumed = row["hub_train_rows"] - row["train_rows"], ""
    if lacking > 1 and not on_hub:  # MRPC's file is one row short of the hub's
        assumed = "the counts are those of a sample, the data set has more examples"
    elif lacking > 1:
        assumed = "the counts are the hub's, the mean lengths those of the sample in results/datasets.csv"
    if lacking > 0 and on_hub:
        train, test = train + (0 if task != base else lacking), HUB_DEV_ROWS.get(base, test)
    return Sizes((train, validation, test), lengths, assumed)


def shape_of(config: RunConfig) -> Shape:
    """The blocks of a run's model, without its weights and without a network.

    Raises:
        UsageError: unknown bundled model, or one with code of its own.
    """
    return _shape(config.model, config.num_hidden_layers)


@lru_cache(maxsize=16)
def _shape(model: str, num_hidden_layers: int) -> Shape:
    about = None if model.startswith("random:") else _stored_config(model)
    if about is None:
        return _shape_by_name(model, num_hidden_layers)
    width, blocks = about.hidden_size, num_hidden_layers or about.num_hidden_layers
    inner = next((getattr(about, n) for n in INNER if hasattr(about, n)), 4 * width)
    decoders = about.decoder_layers if about.is_encoder_decoder else 0  # each attends twice
    weights = (blocks + decoders) * (4 * width**2 + 2 * width * inner) + decoders * 4 * width**2
    return Shape(weights, (blocks + 2 * decoders) * width, width)


INNER = ("intermediate_size", "d_inner", "hidden_dim", "encoder_ffn_dim")  # of BERT, XLNet, DistilBERT, BART


def _stored_config(model: str) -> Any:
    """A model's configuration where it is on this machine, else None: the hub makes one wait for half a minute.

    Raises:
        UsageError: it is here, and of no kind that transformers knows without code of its own.
    """
    from transformers import AutoConfig

    from fewft.weights import bundled_folder

    source = bundled_folder(model.removeprefix("bundled:")) if model.startswith("bundled:") else model
    try:
        return AutoConfig.from_pretrained(source, local_files_only=True, trust_remote_code=False)
    except OSError:
        return None
    except ValueError as error:
        from fewft.sources import not_loaded

        raise not_loaded(model, error) from error


def _shape_by_name(model: str, num_hidden_layers: int) -> Shape:
    from fewft.sources import RANDOM_SIZES

    size = model.rpartition("-")[2] if model.startswith("random:") else ""
    known = size in RANDOM_SIZES
    blocks, width = RANDOM_SIZES[size][:2] if known else NAMED["large" if "large" in model.lower() else "base"]
    blocks = num_hidden_layers or blocks
    assumed = "" if known else f"not on this machine, so by its name counted as {blocks} blocks of width {width}"
    return Shape(blocks * 12 * width**2, blocks * width, width, assumed)
