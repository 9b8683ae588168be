"""How fast this machine does `costs`' formula: from a study's stored runs, or from training steps done now."""

import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from fewft.config import RunConfig
from fewft.costs import NAMED, TRAINING, Shape, cost, forward_flops, shape_of

TRY_SECONDS = 5.0  # of training steps, to measure a rate
TRY_STEPS = (3, 50)  # at least, at most
TRY_WEIGHTS = 30_000_000  # in all blocks; on a CPU a larger model is not tried itself
TRY_BLOCKS = 3  # of the model that is tried in its place


@dataclass(frozen=True)
class Rate:
    """How much of the formula's work is done in a second, and how that was found."""

    flops: float  # a second, of all worker processes together
    source: str


def rate(configs: Sequence[RunConfig], records: Iterable[dict[str, Any]]) -> Rate:
    """The FLOP/s of this machine with all its worker processes, by `cost`'s formula.

    From the study's stored runs on the same device, loading and evaluation included; where there are none, from
    training steps done now.

    Args:
        configs: runs of the study, one at least.
        records: its stored runs.
    """
    from fewft.environment import environment, pick_device
    from fewft.worker import cores

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
    from fewft.batching import batches

    lengths, found = trainer.sets["train"].lengths, []
    order, begun = batches(len(lengths), trainer.config), time.perf_counter()
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
