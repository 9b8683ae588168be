"""A sweep's runs on worker processes of this machine; each stores its own."""

import multiprocessing
import os
import signal
import threading
import time
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from fewft.config import RunConfig
from fewft.results import ResultStore
from fewft.schedule import Done, label
from fewft.worker import WORKER_ENVIRONMENT, perform

THREAD_STARTS = 200  # hundredths of a second that a pool's thread has for it


class Worker:
    """A process of one thread that does one run after another; a pool of its own, so that its death ends no other."""

    def __init__(self) -> None:
        self.pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _start_worker)
        self.processes = self.pool._processes  # by pid; a broken pool forgets them, perhaps before they are gone
        self.limit, self.begun, self.timer = 0.0, 0.0, threading.Timer(0.0, self.kill)

    def start(self, limit: float, config: RunConfig, store: ResultStore, device: str, keep: bool) -> Future[Done]:
        """Do a run; `limit` seconds later the process is killed, unless `stop_clock` was called."""
        future = self.pool.submit(work, config, store, device, keep)
        self.limit, self.begun = limit, time.monotonic()
        self.timer = threading.Timer(limit, self.kill)
        self.timer.daemon = True
        self.timer.start()
        return future

    def kill(self) -> None:
        """End the process, whatever it does."""
        for process in list(self.processes.values()):
            process.kill()

    def stop_clock(self) -> float:
        """Seconds since the run was started."""
        self.timer.cancel()
        return time.monotonic() - self.begun

    def said_of_death(self, seconds: float) -> str:
        """Why the process is no more."""
        if seconds >= self.limit:
            return f"no result after {seconds:.0f} s, so its worker process was killed (limit: {self.limit:.0f} s)"
        return "its worker process was killed, as the system does when memory runs out, or died"

    def close(self) -> None:
        """End the process, and wait for it and for the pool's thread: Python's own end would find that half closed."""
        self.timer.cancel()
        self.kill()
        for _ in range(THREAD_STARTS):
            try:
                self.pool.shutdown(wait=True, cancel_futures=True)
                break
            except RuntimeError:  # Ctrl-C came while the thread was starting: it cannot be waited for yet
                time.sleep(0.01)
        for process in list(self.processes.values()):  # interrupted before there was a thread
            process.join()


class Processes:
    """Worker processes of one thread each; every run is on the disk before its worker starts the next."""

    def __init__(self, slots: int, store: ResultStore, device: str) -> None:
        self.slots, self.store, self.device = slots, store, device
        os.environ.update({**WORKER_ENVIRONMENT, **os.environ})
        self.all: list[Worker] = []  # known before they start, lest Ctrl-C leave one behind
        self.idle: list[Worker] = []
        self.busy: dict[Future[Done], Worker] = {}

    def submit(self, config: RunConfig, keep: bool, *, limit: float, alone: bool) -> Future[Done]:
        """As `Executor`."""
        while alone and self.idle:  # they hold memory
            self.idle.pop().close()
        if not self.idle:
            self.all.append(Worker())
        worker = self.idle.pop() if self.idle else self.all[-1]
        future = worker.start(limit, config, self.store, self.device, keep)
        self.busy[future] = worker
        return future

    def finish(self, config: RunConfig, future: Future[Done]) -> Done:
        """As `Executor`; only a worker that did its run well goes on."""
        worker = self.busy.pop(future)
        seconds = worker.stop_clock()
        try:
            done = future.result()
        except BrokenProcessPool:
            done = Done(label(config), "lost", worker.said_of_death(seconds), seconds)
        except BaseException:  # of storing the run
            worker.close()
            raise
        if done.status in ("lost", "failed"):
            worker.close()
        else:
            self.idle.append(worker)
        return done

    def close(self) -> None:
        """As `Executor`."""
        for worker in self.all:
            worker.close()


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    parent = multiprocessing.parent_process()

    def follow_parent() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow_parent, daemon=True).start()
    import torch

    torch.set_num_threads(1)


def work(config: RunConfig, store: ResultStore, device: str, keep: bool) -> Done:
    """One run, here, and its record into the store, unless it is there by now or the run is lost."""
    from fewft.weights import read_encoder

    if store.has(config.run_id) and not (keep and read_encoder(config.run_id) is None):  # another sweep was faster
        return Done(label(config), "stored", "", 0.0)
    record, done = perform(config, device, keep)
    if record:
        store.add(record)
    return done
