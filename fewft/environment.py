"""Where a run runs: device, versions, processor, commit."""

import os
import platform
import subprocess
import time
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import transformers

from fewft.config import UsageError


def pick_device(device: str) -> torch.device:
    """The device named; `auto` is CUDA where there is one.

    Raises:
        UsageError: not a device, or one that is not here.
    """
    here = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    accepted = ["auto", "cpu", *(["cuda"] if here else []), *here]
    if device not in accepted:
        raise UsageError(f"device: {device!r} is not here; accepted: {', '.join(accepted)}")
    if device == "auto":
        device = "cuda" if here else "cpu"
    return torch.device(device)


def environment(device: torch.device) -> dict[str, Any]:
    """Where a run ran."""
    return {
        "torch_version": torch.__version__,
        "transformers_version": transformers.__version__,
        "python_version": platform.python_version(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name(),
        "threads": torch.get_num_threads(),
        "commit": _commit(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


@lru_cache(maxsize=1)
def _cpu_name() -> str:
    """Its name, and the instructions that torch uses on it: one name stands for processors with others, and other bits."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    return f"{name} ({torch.backends.cpu.get_cpu_capability()})"


@lru_cache(maxsize=1)
def _commit() -> str:
    """The checkout's commit, with `+` behind it when the library was changed since; empty outside a checkout."""
    git: Sequence[str] = ("git", "-C", os.fspath(Path(__file__).parent))
    try:
        head = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True)
        dirty = subprocess.run([*git, "status", "--porcelain", "."], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return head.stdout.strip() + ("+" if dirty.stdout.strip() else "")
