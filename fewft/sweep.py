"""Many runs on worker processes of one thread each, or on Ray; what is stored is not done again."""

import os
import re
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from tqdm import tqdm

from fewft.config import METHODS, RunConfig, UsageError, check_choice
from fewft.results import ResultStore

if TYPE_CHECKING:
    import torch

EXECUTORS = ("local", "ray")


class SweepError(RuntimeError):
    """A sweep that could not go on; what had finished is stored."""


@dataclass(frozen=True)
class Done:
    """What a worker says of one run; the record itself is in the store."""

    label: str
    status: str
    reason: str
    seconds: float


class Executor(Protocol):
    """Where runs are done."""

    slots: int  # runs that it is given at once

    def submit(self, config: RunConfig, keep: bool) -> Future[Any]:
        """Start a run, or put it in line; `keep` as for `fine_tune`."""

    def finish(self, config: RunConfig, future: Future[Any]) -> Done:
        """What came of a run whose future is done; it is in the store by then."""

    def close(self) -> None:
        """End everything that still runs."""


def sweep(
    configs: Sequence[RunConfig], store: ResultStore, *, workers: int = 0, device: str = "auto",
    executor: str = "local", address: str = "", gpus: float = 0.0,
) -> list[Done]:  # fmt: skip
    """Do the runs that are not in the store yet, and the intermediate runs that these need.

    Args:
        configs: the runs wanted, the longest done first; several with the same id count once.
        store: where finished runs are, and go.
        workers: runs at once; 0: one per core that this process may use, on a GPU one; on Ray what the nodes hold.
        device: as for `fine_tune`; on Ray without an index.
        executor: local (processes of one thread each) or ray.
        address: of a running Ray; empty: one of our own, on this machine.
        gpus: on Ray, those that a run takes; a part of 1 where several share one.

    Raises:
        UsageError: a wrong argument, or a wrong task, model or device in any of the runs, before the first one starts.
        SweepError: a worker was killed, or Ray cannot go on.
    """
    check_choice("executor", executor, EXECUTORS)
    for name, value in (("workers", workers), ("gpus", gpus)):
        if value < 0:
            raise UsageError(f"{name}: {value}; accepted: 0 or more")
    if address and executor != "ray":
        raise UsageError(f"address: {address!r} with executor {executor!r}; accepted: only with 'ray'")
    todo = _todo(configs, store)
    if not todo:
        return []
    make = partial(_on_ray, address=address, gpus=gpus) if executor == "ray" else _on_processes
    with closing(make(todo, store, workers, device)) as place:
        return list(_report(_schedule(_in_order(todo), store, place), len(todo)))


def shard(configs: Sequence[RunConfig], part: str) -> list[RunConfig]:
    """One of n equal parts of the distinct runs, whatever is stored of them; each round is dealt from the next part on.

    Args:
        configs: all runs wanted, the same and in the same order for every part.
        part: "i/n", the first part being 1; empty: all.

    Raises:
        UsageError: another `part`.
    """
    found = re.fullmatch(r"(\d+)/(\d+)", part or "1/1", re.ASCII)
    i, n = map(int, found.groups()) if found else (0, 0)
    if not 1 <= i <= n:
        raise UsageError(f"shard: {part!r}; accepted: i/n with whole numbers, 1 <= i <= n")
    distinct = {c.run_id: c for c in configs}.values()
    return [c for position, c in enumerate(distinct) if (position + position // n) % n == i - 1]


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def preflight(configs: Sequence[RunConfig], device: str) -> "torch.device":
    """Load every task and model once, intermediate ones too, so that a wrong one is refused now; the device meant.

    Raises:
        UsageError: as `fine_tune`.
    """
    from fewft import models, tasks, train

    where = train.pick_device(device)
    configs = [*configs, *filter(None, map(RunConfig.intermediate, configs))]
    for task, data in dict.fromkeys((c.task, c.data) for c in configs):
        tasks.load(task, data)
    for model, blocks in dict.fromkeys((c.model, c.num_hidden_layers) for c in configs):
        most = max(c.reinit_layers for c in configs if (c.model, c.num_hidden_layers) == (model, blocks))
        models.load(RunConfig(task="rte", model=model, num_hidden_layers=blocks, reinit_layers=most), 2)
    return where


def _work_of(config: RunConfig) -> float:
    """How much there is to do in a run, next to others with the same model: characters read, a trained one thrice."""
    from fewft import tasks

    data = tasks.load(config.task, config.data)
    texts = [*data.validation.text_a, *(data.validation.text_b or ())]
    examples = 3 * config.num_steps(len(data.train)) * config.train_batch_size
    examples += config.num_evals * len(data.validation) + 2 * len(data.test)
    return examples * sum(map(len, texts)) / len(data.validation)


def _todo(configs: Sequence[RunConfig], store: ResultStore) -> list[RunConfig]:
    """The runs that are missing, with the intermediate runs that they need and that are missing or have no encoder."""
    finished = store.finished()
    missing = {c.run_id: c for c in configs if c.run_id not in finished}
    needed = {c.run_id: c for c in map(RunConfig.intermediate, missing.values()) if c}
    if needed:
        from fewft.weights import read_encoder

        needed = {i: c for i, c in needed.items() if i not in finished or read_encoder(i) is None}
    return list({**needed, **missing}.values())


def _in_order(todo: Sequence[RunConfig]) -> list[RunConfig]:
    """Those that others wait for first; then the longest, so that no worker is left with a long run at the end."""
    needed = set(map(_need, todo))
    return sorted(todo, key=lambda c: (c.run_id in needed, _work_of(c)), reverse=True)


def _need(config: RunConfig) -> str:
    """The id of the intermediate run that this one starts from, or nothing."""
    first = config.intermediate()
    return first.run_id if first else ""


def _schedule(todo: Sequence[RunConfig], store: ResultStore, place: Executor) -> Iterator[Done]:
    """Start each run as early in the order of `todo` as its intermediate run and the slots allow; what came of them."""
    rank, needed = {c.run_id: i for i, c in enumerate(todo)}, set(map(_need, todo))
    held = {i: [c for c in todo if _need(c) == i] for i in needed & set(rank)}
    ready = [c for c in todo if _need(c) not in held]
    running: dict[Future[Any], RunConfig] = {}
    while ready or running:
        free = place.slots - len(running)
        starting, ready = ready[:free], ready[free:]
        running |= {place.submit(c, c.run_id in needed): c for c in starting}
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            config = running.pop(future)
            yield (done := place.finish(config, future))
            after = held.pop(config.run_id, [])
            if done.status in ("ok", "stored"):
                ready = sorted([*ready, *after], key=lambda c: rank[c.run_id])
            else:
                reason = f"intermediate run {config.run_id} {done.status} ({done.reason})"
                yield from (fail(c, reason, store) for c in after)


def fail(config: RunConfig, reason: str, store: ResultStore) -> Done:
    """Store a run as failed, without doing it."""
    from fewft.train import RunResult

    store.add(RunResult(config=config, status="failed", reason=reason).record())
    return Done(label(config), "failed", reason, 0.0)


# --- executors ----------------------------------------------------------------------------------------------------


def _on_processes(todo: Sequence[RunConfig], store: ResultStore, workers: int, device: str) -> Executor:
    from fewft.processes import Processes

    on_gpu = preflight(todo, device).type == "cuda"
    return Processes(min(workers or (1 if on_gpu else cores()), len(todo)), store, device)


def _on_ray(
    todo: Sequence[RunConfig], store: ResultStore, workers: int, device: str, *, address: str, gpus: float
) -> Executor:
    try:
        from fewft import cluster
    except ImportError as error:
        raise UsageError(f"executor: 'ray' needs Ray ({error}); accepted: pip install 'fewft[cluster]'") from error
    device = cluster.pick_device(device, gpus, address)
    preflight(todo, "auto")  # the devices are the nodes'
    return cluster.RayCluster(store, device, slots=workers or len(todo), address=address, gpus=gpus)


def perform(config: RunConfig, device: str, keep: bool) -> tuple[dict[str, Any], Done]:
    """One run's record; one that fails must not end the sweep: its record has the reason."""
    from fewft.train import RunResult, fine_tune

    begun = time.perf_counter()
    try:
        result = fine_tune(config, device=device, keep=keep)
    except Exception as error:
        traceback.print_exc()
        result = RunResult(config=config, status="failed", reason=f"{type(error).__name__}: {error}")
    return result.record(), Done(label(config), result.status, result.reason, time.perf_counter() - begun)


def label(config: RunConfig) -> str:
    """A run in a few words: its task, arm, rate and seeds, and what else an experiment has set."""
    arm = "debiased" if config.correct_bias else "bertadam"
    plain = RunConfig(task=config.task)
    others = [n for n in (*METHODS, "max_steps", "precision") if getattr(config, n) != getattr(plain, n)]
    more = "".join(f" {name} {getattr(config, name)}" for name in others)
    return f"{config.task} {arm} lr {config.learning_rate:g}{more} seed {config.init_seed}/{config.data_seed}"


def _report(results: Iterator[Done], total: int) -> Iterator[Done]:
    """Pass results on: a bar with the time left on a terminal, a line a run elsewhere."""
    if sys.stderr.isatty():
        yield from tqdm(results, total=total, unit="run", smoothing=0)
        return
    begun = time.perf_counter()
    for number, done in enumerate(results, 1):
        left = (time.perf_counter() - begun) / number * (total - number)
        reason = f" ({done.reason})" if done.reason else ""
        took = f"{done.seconds:.0f} s, {_minutes(left)} left"
        print(f"[{number}/{total}] {done.label}: {done.status}{reason}, {took}", flush=True)
        yield done


def _minutes(seconds: float) -> str:
    return f"{int(seconds // 3600)}:{int(seconds // 60) % 60:02d}:{int(seconds) % 60:02d}"
