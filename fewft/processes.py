"""A sweep's runs on worker processes of this machine; each stores its own."""

import multiprocessing
import os
import signal
import threading
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from fewft import sweep
from fewft.config import RunConfig
from fewft.results import ResultStore

WORKER_ENVIRONMENT = {  # read when a worker starts
    "OMP_NUM_THREADS": "1",
    # glibc: small freed pieces kept apart scatter the large ones (0.3 GB more a worker), and memory that goes back to
    # the system after each step comes again page by page (2 % of the time)
    "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0:glibc.malloc.mxfast=0:"
    "glibc.malloc.mmap_threshold=33554432:glibc.malloc.trim_threshold=536870912",
}


class Processes:
    """Worker processes of one thread each; every run is on the disk before its worker starts the next."""

    def __init__(self, slots: int, store: ResultStore, device: str) -> None:
        self.slots, self.store, self.device = slots, store, device
        os.environ.update({**WORKER_ENVIRONMENT, **os.environ})
        self.pool = ProcessPoolExecutor(slots, multiprocessing.get_context("spawn"), _start_worker)
        self.started = self.pool._processes  # a broken pool forgets its workers, perhaps before they are gone

    def submit(self, config: RunConfig, keep: bool) -> Future[sweep.Done]:
        """As `Executor`."""
        return self.pool.submit(work, config, self.store, self.device, keep)

    def finish(self, config: RunConfig, future: Future[sweep.Done]) -> sweep.Done:
        """As `Executor`."""
        try:
            return future.result()
        except BrokenProcessPool as error:
            raise sweep.SweepError(
                "a worker process was killed; finished runs are stored, the same call goes on"
            ) from error

    def close(self) -> None:
        """As `Executor`."""
        self.pool.shutdown(wait=False, cancel_futures=True)
        processes = list(self.started.values())
        for process in processes:
            process.terminate()
        for process in processes:
            process.join()


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    parent = multiprocessing.parent_process()

    def follow_parent() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow_parent, daemon=True).start()
    import torch

    torch.set_num_threads(1)


def work(config: RunConfig, store: ResultStore, device: str, keep: bool) -> sweep.Done:
    from fewft.weights import read_encoder

    if store.has(config.run_id) and not (keep and read_encoder(config.run_id) is None):  # another sweep was faster
        return sweep.Done(sweep.label(config), "stored", "", 0.0)
    record, done = sweep.perform(config, device, keep)
    store.add(record)
    return done
