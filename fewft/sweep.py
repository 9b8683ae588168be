"""Many runs on worker processes of one thread each; what is stored is not done again."""

import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tqdm import tqdm

from fewft.config import RunConfig, UsageError
from fewft.results import ResultStore

if TYPE_CHECKING:
    import torch

WORKER_ENVIRONMENT = {  # read when a worker starts
    "OMP_NUM_THREADS": "1",
    # glibc: small freed pieces kept apart scatter the large ones (0.3 GB more a worker), and memory that goes back to
    # the system after each step comes again page by page (2 % of the time)
    "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0:glibc.malloc.mxfast=0:"
    "glibc.malloc.mmap_threshold=33554432:glibc.malloc.trim_threshold=536870912",
}


class SweepError(RuntimeError):
    """A sweep that could not go on; what had finished is stored."""


@dataclass(frozen=True)
class Done:
    """What a worker says of one run; the record itself is in the store."""

    label: str
    status: str
    reason: str
    seconds: float


def sweep(configs: Sequence[RunConfig], store: ResultStore, *, workers: int = 0, device: str = "auto") -> list[Done]:
    """Do the runs that are not in the store yet. Each is on the disk before its worker starts the next.

    Args:
        configs: the runs wanted, the longest done first; several with the same id count once.
        store: where finished runs are, and go.
        workers: processes of one thread each; 0: one per core that this process may use, on a GPU one.
        device: as for `fine_tune`.

    Raises:
        UsageError: a wrong task, model or device in any of the runs, before the first one starts.
        SweepError: a worker was killed.
    """
    if workers < 0:
        raise UsageError(f"workers: {workers}; accepted: 0 (one per core) or more")
    finished = store.finished()
    missing = list({c.run_id: c for c in configs if c.run_id not in finished}.values())
    if not missing:
        return []
    on_gpu = preflight(missing, device).type == "cuda"
    missing.sort(key=_work_of, reverse=True)  # no worker is left with a long run at the end
    count = min(workers or (1 if on_gpu else cores()), len(missing))
    os.environ.update({**WORKER_ENVIRONMENT, **os.environ})
    pool = ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), _start_worker)
    started = pool._processes  # a broken pool forgets its workers, perhaps before they are gone
    try:
        return list(_report(_results(pool, missing, store, device), len(missing)))
    except BrokenProcessPool as error:
        raise SweepError("a worker process was killed; finished runs are stored, the same call goes on") from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        processes = list(started.values())
        for process in processes:
            process.terminate()
        for process in processes:
            process.join()


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def preflight(configs: Sequence[RunConfig], device: str) -> "torch.device":
    """Load every task and model once, so that a wrong one is refused before training starts; the device meant.

    Raises:
        UsageError: as `fine_tune`.
    """
    from fewft import models, tasks, train

    where = train.pick_device(device)
    for task, data, model, blocks in dict.fromkeys((c.task, c.data, c.model, c.num_hidden_layers) for c in configs):
        config = RunConfig(task=task, data=data, model=model, num_hidden_layers=blocks)
        models.load(config, tasks.load(task, data).num_labels)
    return where


def _work_of(config: RunConfig) -> float:
    """How much there is to do in a run, next to others with the same model: characters read, a trained one thrice."""
    from fewft import tasks

    data = tasks.load(config.task, config.data)
    texts = [*data.validation.text_a, *(data.validation.text_b or ())]
    examples = 3 * config.num_steps(len(data.train)) * config.train_batch_size
    examples += config.num_evals * len(data.validation) + 2 * len(data.test)
    return examples * sum(map(len, texts)) / len(data.validation)


def _results(
    pool: ProcessPoolExecutor, missing: Sequence[RunConfig], store: ResultStore, device: str
) -> Iterator[Done]:
    waiting: set[Future[Done]] = {pool.submit(_work, config, store, device) for config in missing}
    while waiting:
        done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
        for future in done:
            yield future.result()


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    parent = multiprocessing.parent_process()

    def follow_parent() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow_parent, daemon=True).start()
    import torch

    torch.set_num_threads(1)


def _work(config: RunConfig, store: ResultStore, device: str) -> Done:
    from fewft.train import RunResult, fine_tune

    label = f"{config.task} {'debiased' if config.correct_bias else 'bertadam'} lr {config.learning_rate:g} "
    label += f"seed {config.init_seed}/{config.data_seed}"
    if store.has(config.run_id):  # another sweep was faster
        return Done(label, "stored", "", 0.0)
    begun = time.perf_counter()
    try:
        result = fine_tune(config, device=device)
    except Exception as error:  # a run that fails must not end the sweep: it is recorded with its reason
        traceback.print_exc()
        result = RunResult(config=config, status="failed", reason=f"{type(error).__name__}: {error}")
    store.add(result.record())
    return Done(label, result.status, result.reason, time.perf_counter() - begun)


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
