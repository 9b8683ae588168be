"""Started by harness.py: imports torch and fewft once, then forks a process for each `fewft` command it is told.

A line of JSON comes in for each order, one goes out. In the forked process nothing of fewft is replaced, only:
workers are forked too (importing torch anew takes them 7 s), and an audit hook can stop a process at the n-th thing
that it does to the store's files, so that a kill can be aimed.
"""

import json
import multiprocessing.util
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
ACTIONS = {"open": "path", "os.rename": "path", "os.remove": "path", "os.chmod": "path", "fcntl.flock": "number"}


def stop_at(folder: str, kind: str, number: int) -> None:
    """Stop this process at the n-th change of a file below `folder`, just before it is made.

    Args:
        folder: of the store.
        kind: writing (a worker's changes), collecting (the command's own), or an event of ACTIONS, the command's own.
        number: n, from 1.
    """
    command, seen = os.getpid(), 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if event not in ACTIONS or (event == "open" and not _is_write(arguments)):
            return
        path = arguments[0]
        if isinstance(path, int):
            path = os.readlink(f"/proc/self/fd/{path}")
        if isinstance(path, bytes) or not os.fspath(path).startswith(folder):
            return
        if (os.getpid() == command) == (kind == "writing") or kind not in ("writing", "collecting", event):
            return
        seen += 1
        if seen == number:
            os.kill(os.getpid(), signal.SIGSTOP)

    sys.addaudithook(hook)


def _is_write(arguments: tuple[Any, ...]) -> bool:
    return isinstance(arguments[0], str | os.PathLike) and bool((arguments[2] or 0) & WRITES)


def die_at_call(number: int) -> Callable[[], int]:
    """Kill this process at the n-th call of a C function, or return from one, in the code that writes files.

    Returns:
        Says how many there have been so far.
    """
    seen = 0

    def watch(frame: Any, event: str, _: Any) -> None:
        nonlocal seen
        if event in ("c_call", "c_return") and any(p in frame.f_code.co_filename for p in ("fewft", "tempfile")):
            seen += 1
            if seen == number:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(watch)
    return lambda: seen


def wild_clock(seed: int) -> None:
    """Clocks that jump, mostly back, by up to years: what Python's `time` says from now on."""
    rng, now = random.Random(seed), time.time
    time.time = lambda: now() - rng.uniform(-1e6, 1e8)
    time.time_ns = lambda: int(time.time() * 1e9)
    gmtime = time.gmtime
    time.gmtime = lambda seconds=None: gmtime(time.time() if seconds is None else seconds)


def store_work(order: dict[str, Any], acknowledge: Callable[[str], None]) -> None:
    """Adds records, collects and merges, in an order drawn from a seed, and says what is done."""
    from fewft.merge import merge
    from fewft.results import ResultStore

    rng, store = random.Random(order["seed"]), ResultStore(order["folder"], order["study"])
    steps = order["steps"] or [rng.choice(["add"] * 6 + ["collect", "merge"]) for _ in range(1000)]
    records = iter(order["records"])
    said = die_at_call(order["call"]) if order["call"] else None
    for step in steps:
        if step == "add":
            if (record := next(records, None)) is None:
                break
            store.add(record)
            acknowledge(record["run_id"])
        elif step == "collect":
            store.collect()
        else:
            merge(store.parquet, [order["other"]])
            acknowledge("merged")
    sys.setprofile(None)
    acknowledge(f"calls {said()}" if said else "end")


def child(order: dict[str, Any]) -> int:
    """What a forked process does; its exit status."""
    from fewft import cli

    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for number in (1, 2):
        os.dup2(log, number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ.update(order["env"])
    os.chdir(order["cwd"])
    context = multiprocessing.get_context
    multiprocessing.get_context = lambda method=None: context("fork" if method == "spawn" else method)
    if order["clock"]:
        wild_clock(order["clock"])
    if order["aim"]:
        stop_at(*order["aim"])
    if order["argv"] is None:
        store_work(order, lambda text: os.write(log, f"{text}\n".encode()))
        return 0
    return cli.main(order["argv"])


def run_child(order: dict[str, Any]) -> None:
    status = 3
    try:
        status = child(order)
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        multiprocessing.util._exit_function()
        os._exit(status)


def ended(pid: int) -> dict[str, Any]:
    """The exit status of a command, negative for a signal, and its peak memory in bytes; nothing while it runs."""
    found, status, used = os.wait4(pid, os.WNOHANG)
    return {"code": os.waitstatus_to_exitcode(status), "peak": used.ru_maxrss * 1024} if found else {}


def main() -> None:
    import tempfile  # noqa: F401

    import torch

    from fewft import book, claims, cli, costs, merge, processes, results, train, verify, weights  # noqa: F401

    torch.set_num_threads(1)  # a pool of threads would not survive a fork
    print("ready", flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        if "ended" in order:
            print(json.dumps(ended(order["ended"])), flush=True)
            continue
        pid = os.fork()
        if pid == 0:
            run_child(order)
        print(json.dumps({"pid": pid}), flush=True)


if __name__ == "__main__":
    main()
