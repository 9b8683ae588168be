"""What runs cost: optimizer steps, tokens and FLOPs from a formula, hours from a rate measured on this machine."""

import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from statistics import median
from typing import Any

from fewft import experiments
from fewft import tasks as glue
from fewft.config import RunConfig

TRAINING = 3  # forward passes that a training step is worth: itself, and the gradients of inputs and of weights
NAMED = {"large": (24, 1024), "base": (12, 768)}  # blocks and width of models that cannot be read
TRY_SECONDS = 5.0  # of training steps, to measure a rate
TRY_STEPS = (3, 50)  # at least, at most
TRY_WEIGHTS = 30_000_000  # in all blocks; on a CPU a larger model is not tried itself
TRY_BLOCKS = 3  # of the model that is tried in its place


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


@dataclass(frozen=True)
class Rate:
    """How much of the formula's work is done in a second, and how that was found."""

    flops: float  # a second, of all worker processes together
    source: str


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
    table, base = experiments.datasets(), task.removesuffix("-1k")
    known = not data and task in table.index
    exact = max_seq_length == glue.MEASURED_LENGTH or (on_hub and base in glue.GLUE)  # the hub is not asked
    row = table.loc[task].to_dict() if known and exact else glue.describe(task, data, max_seq_length)
    train, validation, test = (int(row[f"num_{part}"]) for part in glue.PARTS)
    lengths = tuple(min(float(row[f"mean_tokens_{part}"]), max_seq_length) for part in glue.PARTS)
    lacking, assumed = row["hub_train_rows"] - row["train_rows"], ""
    if lacking > 1 and not on_hub:  # MRPC's file is one row short of the hub's
        assumed = "the counts are those of a sample, the data set has more examples"
    elif lacking > 1:
        assumed = "the counts are the hub's, the mean lengths those of the sample in results/datasets.csv"
    if lacking > 0 and on_hub:
        train, test = train + (0 if task != base else lacking), glue.HUB_DEV_ROWS.get(base, test)
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


# --- hours --------------------------------------------------------------------------------------------------------


def rate(configs: Sequence[RunConfig], records: Iterable[dict[str, Any]]) -> Rate:
    """The FLOP/s of this machine with all its worker processes, by `cost`'s formula.

    From the study's stored runs on the same device, loading and evaluation included; where there are none, from
    training steps done now.

    Args:
        configs: runs of the study, one at least.
        records: its stored runs.
    """
    from fewft.environment import environment, pick_device
    from fewft.sweep import cores

    where = pick_device("auto")
    device = environment(where)["device"]
    workers = cores() if where.type == "cpu" else 1
    files = {c.task: c.data for c in configs}  # those that a record names are not opened
    here = [r for r in records if r["status"] == "ok" and r.get("device") == device]
    here = [{**r, "data": files.get(r["task"], "")} for r in here if not r.get("data") or r["task"] in files]
    if here:
        each = sum(map(_done, here)) / sum(r["seconds"] for r in here)
        said = f"{len(here)} stored runs of this study, loading and evaluation included"
    else:
        each, said = measure(configs)
    return Rate(each * workers, f"{device}, {workers} worker process{'es' * (workers > 1)}; measured in {said}")


def _done(record: dict[str, Any]) -> float:
    """FLOPs of a stored run, which may have had a sample's data where now the hub's are meant."""
    names = RunConfig.__dataclass_fields__
    expected = cost(RunConfig(**{k: v for k, v in record.items() if k in names and v is not None}))
    return expected.flops * record["tokens"] / expected.tokens


def measure(configs: Sequence[RunConfig]) -> tuple[float, str]:
    """The FLOP/s of one worker process in a few training steps, done now, and of what they were."""
    import torch

    from fewft import train

    threads, cuda = torch.get_num_threads(), torch.cuda.is_available()
    config, counted = _trial(configs[0], cuda)
    torch.set_num_threads(threads if cuda else 1)  # as a worker has
    try:
        with torch.random.fork_rng():
            trainer = train.prepare(config)
            found = _timed_steps(trainer, shape_of(counted), time.perf_counter if cuda else time.process_time)
    finally:
        torch.set_num_threads(threads)
    blocks = f", {config.num_hidden_layers} blocks" if config.num_hidden_layers else ""
    return median(
        found
    ), f"{len(found)} {config.precision} training steps of {config.model}{blocks} on {config.task} just now"


def _timed_steps(trainer: Any, shape: Shape, clock: Any) -> list[float]:
    """FLOP/s of each step."""
    from fewft import train

    lengths, found = trainer.sets["train"].lengths, []
    order, begun = train.batches(len(lengths), trainer.config), time.perf_counter()
    while len(found) < TRY_STEPS[0] or (len(found) < TRY_STEPS[1] and time.perf_counter() - begun < TRY_SECONDS):
        batch, started = next(order), clock()
        trainer.step(batch)
        float(trainer.losses[len(found)])  # waits for the device
        work = TRAINING * forward_flops(shape, float(lengths[batch].sum()), float(lengths[batch].mean()))
        found.append(work / (clock() - started))
    return found


def _trial(config: RunConfig, cuda: bool) -> tuple[RunConfig, RunConfig]:
    """A run like this one that can be tried here in seconds, and the one whose work it does.

    A model that is not here, or too large for a CPU, is tried as a random BERT of its width; of its few blocks the last
    is not counted, as it computes little more than keys and values.
    """
    kept = ("train_batch_size", "max_seq_length", "precision", "model", "num_hidden_layers")
    values = {name: getattr(config, name) for name in kept} | {"max_steps": TRY_STEPS[1], "task": "bundled:entailment"}
    shape = shape_of(config)
    if not cuda:  # half precision is tens of times slower where a processor has no instructions for it
        values["precision"] = "fp32"
    if _weights_are_here(config.model) and (cuda or shape.weights <= TRY_WEIGHTS):
        if config.data or config.task.startswith("bundled:") or os.environ.get("FEWFT_GLUE_DIR"):
            values |= {"task": config.task, "data": config.data}
        return RunConfig(**values), RunConfig(**values)
    values["model"] = f"random:bert-{'large' if shape.width >= NAMED['large'][1] else 'base'}"
    blocks = (0, 0) if cuda else (TRY_BLOCKS, TRY_BLOCKS - 1)
    tried, counted = (RunConfig(**{**values, "num_hidden_layers": n}) for n in blocks)
    return tried, counted


def _weights_are_here(model: str) -> bool:
    from huggingface_hub import try_to_load_from_cache

    own = model.startswith(("random:", "bundled:")) or Path(model).is_dir()
    return own or isinstance(try_to_load_from_cache(model, "model.safetensors"), str)
