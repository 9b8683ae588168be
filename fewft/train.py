"""One fine-tuning: its data and model made ready, its two seeds, the loop, what it gave."""

import time
from functools import lru_cache

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor

from fewft import models, sources, tasks, weights
from fewft.batching import Encoded
from fewft.config import RunConfig
from fewft.environment import environment, pick_device
from fewft.kernels import wide_products
from fewft.metrics import is_degenerate, majority_baseline
from fewft.outcome import RunResult
from fewft.trainer import DTYPES, Trainer


class IntermediateError(RuntimeError):
    """The run on the intermediate task gave no encoder to go on with."""


def fine_tune(config: RunConfig, *, device: str = "auto", keep: bool = False) -> RunResult:
    """Fine-tune, evaluate and test one model.

    A loss, a gradient norm or an output at the end that is not finite makes the run `diverged`: a result, not an error,
    whose reason names the step. With fp16 a norm may be, for such steps are skipped. A model that gives one answer to
    everything is `ok`: see `collapsed_step`.

    Args:
        config: the run.
        device: auto (CUDA where there is one), cpu, cuda or cuda:N.
        keep: whether the encoder of the best checkpoint is kept (`weights.save_encoder`), for runs that start from it; a
            diverged run's is not.

    Raises:
        UsageError: an unknown device, task or model, before training.
        IntermediateError: the run on the intermediate task, done here where its encoder is not kept, diverged.

    Paper: Section 3, "Experimental Setup"; Section 4.
    """
    trainer = trained(config, device=device)
    result = trainer.result
    if keep and result.best_step and result.status == "ok":
        weights.save_encoder(config.run_id, models.encoder_state(trainer.model))
    return result


def trained(config: RunConfig, *, device: str = "auto") -> Trainer:
    """A run after its test; where an evaluation gave a number, its model has the weights of the best checkpoint.

    Args:
        config, device: as for `fine_tune`.

    Raises:
        UsageError, IntermediateError: as `fine_tune`.
    """
    started = time.perf_counter()
    trainer = prepare(config, device=device)
    devices = [trainer.device] if trainer.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), wide_products(trainer.device, config.precision):
        torch.manual_seed(config.data_seed)  # dropout; the order has a generator of its own
        trainer.run()
    result = trainer.result
    result.degenerate = is_degenerate(result.test_best, result.majority_test)
    result.seconds = time.perf_counter() - started
    return trainer


def prepare(config: RunConfig, *, device: str = "auto") -> Trainer:
    """A run before its first step.

    Args:
        config, device: as for `fine_tune`.

    Raises:
        UsageError: as `fine_tune`.
    """
    where = pick_device(device)
    data = tasks.load(config.task, config.data)
    start, sha256 = _intermediate_encoder(config, device)
    sets = {p: _encoded(config.task, config.data, config.model, config.max_seq_length, p) for p in tasks.PARTS}
    used = torch.as_tensor(np.unique(np.concatenate(sets["train"].input_ids)))
    encoder = models.load(config, data.num_labels, None if config.weight_decay else used, start)  # decay moves all rows
    result = RunResult(
        config=config, metric=data.metric, packed=encoder.packed, data_source=data.source, data_digest=data.digest,
        captured=encoder.packed and where.type == "cuda" and config.precision in DTYPES,
        majority_val=majority_baseline(data.metric, data.validation.labels, data.majority),
        majority_test=majority_baseline(data.metric, data.test.labels, data.majority),
        num_steps=config.num_steps(len(data.train)), intermediate_sha256=sha256, environment=environment(where),
    )  # fmt: skip
    return Trainer(config, data, encoder, sets, where, result)


def _intermediate_encoder(config: RunConfig, device: str) -> tuple[dict[str, Tensor] | None, str]:
    """The kept encoder of the intermediate run and its sha256, after that run where it is not kept; else None."""
    first = config.intermediate()
    if first is None:
        return None, ""
    weights.encoder_file(first.run_id).parent.mkdir(parents=True, exist_ok=True)
    with FileLock(weights.encoder_file(first.run_id).with_suffix(".lock")):
        found = weights.load_encoder(first.run_id)
        if found is None:
            models.load(config, 2)  # what is wrong with this run is said before the other is trained
            done = fine_tune(first, device=device, keep=True)
            found = weights.load_encoder(first.run_id)
            if found is None or done.status != "ok":
                raise IntermediateError(
                    f"intermediate run {first.run_id} on {first.task!r} {done.status}: {done.reason}"
                )
    return found


@lru_cache(maxsize=16)
def _encoded(task: str, data: str, model: str, max_seq_length: int, part: str) -> Encoded:
    tokenizer = sources.load_tokenizer(model)
    return models.encode(tokenizer, getattr(tasks.load(task, data), part), max_seq_length)
