"""Which run of a sweep starts when, how long it may take, and what becomes of one that lost its worker."""

import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from typing import Any, Protocol

from fewft.config import METHODS, RunConfig
from fewft.outcome import RunResult
from fewft.results import ResultStore

PATIENCE = 10.0  # times what the slowest of the finished runs took for the same work
LEAST_PATIENCE = 900.0  # seconds, for starting, loading, and what else does not grow with the work
MOST_PATIENCE = 30 * 86400.0  # seconds
SLOWEST = 1e9  # FLOP/s, before a run has finished: less than any machine has that torch runs on


@dataclass(frozen=True)
class Done:
    """What a worker says of one run; the record itself is in the store, except when its status is `lost`."""

    label: str
    status: str  # as in the record; stored: by another sweep, meanwhile; lost: its worker died, or had no memory left
    reason: str
    seconds: float


class SweepError(RuntimeError):
    """A sweep that could not go on; what had finished is stored."""


class Executor(Protocol):
    """Where runs are done."""

    slots: int  # runs that it is given at once

    def submit(self, config: RunConfig, keep: bool, *, limit: float, alone: bool) -> Future[Any]:
        """Start a run, or put it in line.

        Args:
            config, keep: as for `fine_tune`.
            limit: seconds after which its worker is killed.
            alone: no other run has been started and not finished; what others have left behind makes way.
        """

    def finish(self, config: RunConfig, future: Future[Any]) -> Done:
        """What came of a run whose future is done; it is in the store by then, unless it is lost."""

    def close(self) -> None:
        """End everything that still runs."""


class Schedule:
    """Starts each run as early in the order of `todo` as its intermediate run and the slots allow.

    A run that is lost is done once more when no other is left, alone, with all of the machine's memory; lost again, it
    is stored as failed.
    """

    def __init__(self, todo: Sequence[RunConfig], work: Sequence[float], store: ResultStore, place: Executor) -> None:
        self.store, self.place = store, place
        self.rank = {c.run_id: i for i, c in enumerate(todo)}
        self.work = {c.run_id: w for c, w in zip(todo, work, strict=True)}  # FLOPs, about
        self.needed = set(map(need, todo))
        self.held = {i: [c for c in todo if need(c) == i] for i in self.needed & set(self.rank)}
        self.ready = [c for c in todo if need(c) not in self.held]
        self.running: dict[Future[Any], RunConfig] = {}
        self.lost: list[RunConfig] = []
        self.retried: set[str] = set()
        self.pace = 0.0  # seconds a FLOP, of the slowest finished run

    def __iter__(self) -> Iterator[Done]:
        """What came of each run, as it comes."""
        while self.ready or self.running or self.lost:
            if not (self.ready or self.running):
                self._start(self.lost.pop(0), alone=True)
            while self.ready and len(self.running) < self.place.slots:
                self._start(self.ready.pop(0))
            for future in wait(self.running, return_when=FIRST_COMPLETED).done:
                config = self.running.pop(future)
                yield from self._after(config, self.place.finish(config, future))

    def _start(self, config: RunConfig, *, alone: bool = False) -> None:
        keep = config.run_id in self.needed
        future = self.place.submit(config, keep, limit=self.limit(config), alone=alone)
        self.running[future] = config
        if alone:
            self.retried.add(config.run_id)

    def limit(self, config: RunConfig) -> float:
        """Seconds that a run may take."""
        work = self.work[config.run_id]
        return min(LEAST_PATIENCE + (PATIENCE * self.pace * work if self.pace else work / SLOWEST), MOST_PATIENCE)

    def _after(self, config: RunConfig, done: Done) -> Iterator[Done]:
        if done.status == "lost" and config.run_id not in self.retried:
            print(f"{done.label}: {done.reason}; it is done again, alone, after the others", file=sys.stderr)
            self.lost.append(config)
            return
        if done.status == "lost":
            done = fail(config, f"twice, the second time alone: {done.reason}", self.store)
        if done.status == "ok" and self.work[config.run_id]:
            self.pace = max(self.pace, done.seconds / self.work[config.run_id])
        yield done
        after = self.held.pop(config.run_id, [])
        if done.status in ("ok", "stored"):
            self.ready = sorted([*self.ready, *after], key=lambda c: self.rank[c.run_id])
        else:
            reason = f"intermediate run {config.run_id} {done.status} ({done.reason})"
            yield from (fail(c, reason, self.store) for c in after)


def need(config: RunConfig) -> str:
    """The id of the intermediate run that this one starts from, or nothing."""
    first = config.intermediate()
    return first.run_id if first else ""


def fail(config: RunConfig, reason: str, store: ResultStore) -> Done:
    """Store a run as failed, without doing it."""
    store.add(RunResult(config=config, status="failed", reason=reason).record())
    return Done(label(config), "failed", reason, 0.0)


def label(config: RunConfig) -> str:
    """A run in a few words: its task, arm, rate and seeds, and what else an experiment has set."""
    arm = "debiased" if config.correct_bias else "bertadam"
    plain = RunConfig(task=config.task)
    others = [n for n in (*METHODS, "max_steps", "precision") if getattr(config, n) != getattr(plain, n)]
    more = "".join(f" {name} {getattr(config, name)}" for name in others)
    return f"{config.task} {arm} lr {config.learning_rate:g}{more} seed {config.init_seed}/{config.data_seed}"


def report(results: Iterator[Done], total: int) -> Iterator[Done]:
    """Pass results on: a bar with the time left on a terminal, a line a run elsewhere."""
    from tqdm import tqdm

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
