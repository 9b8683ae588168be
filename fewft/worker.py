"""What a worker of a sweep is given, and one run of it, whatever becomes of that."""

import errno
import os
import time
import traceback
from typing import Any

from fewft.config import RunConfig
from fewft.outcome import RunResult
from fewft.schedule import Done, label

WORKER_ENVIRONMENT = {  # read when a worker starts
    "OMP_NUM_THREADS": "1",
    # glibc: small freed pieces kept apart scatter the large ones (0.3 GB more a worker), and memory that goes back to
    # the system after each step comes again page by page (2 % of the time)
    "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0:glibc.malloc.mxfast=0:"
    "glibc.malloc.mmap_threshold=33554432:glibc.malloc.trim_threshold=536870912",
}


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def perform(config: RunConfig, device: str, keep: bool) -> tuple[dict[str, Any] | None, Done]:
    """One run's record; one that fails must not end the sweep: its record has the reason.

    A run that found too little memory is lost, without a record.
    """
    from fewft.train import fine_tune

    begun = time.perf_counter()
    try:
        result = fine_tune(config, device=device, keep=keep)
    except Exception as error:
        traceback.print_exc()
        reason = f"{type(error).__name__}: {str(error)[:500]}"
        if _out_of_memory(error):
            return None, Done(label(config), "lost", f"out of memory ({reason})", time.perf_counter() - begun)
        result = RunResult(config=config, status="failed", reason=reason)
    return result.record(), Done(label(config), result.status, result.reason, time.perf_counter() - begun)


def _out_of_memory(error: Exception) -> bool:
    """Whether Python, torch on a GPU, torch on the CPU or the system had no memory to give."""
    import torch

    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)
