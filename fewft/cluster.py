"""A sweep's runs as Ray tasks, on this machine or on a cluster; the driver stores them as they come."""

import faulthandler
import logging
import os
import socket
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, nullcontext
from typing import Any

import ray
import torch
from ray._private import ray_constants
from ray.exceptions import NodeDiedError, OutOfMemoryError, RayError, WorkerCrashedError

from fewft import weights
from fewft.config import RunConfig, UsageError, check_choice
from fewft.results import ResultStore
from fewft.schedule import Done, SweepError, label
from fewft.worker import WORKER_ENVIRONMENT, cores, perform

MAX_RETRIES = 5  # of a run whose worker or node was lost
PASSED_ON = ("FEWFT_GLUE_DIR", "FEWFT_CACHE")  # the same folders on every node
LOCAL = {"address": "local", "include_dashboard": False, "_node_ip_address": "127.0.0.1"}

Outcome = tuple[dict[str, Any] | None, Done, bytes | None]  # a run's record, what to say of it, its encoder


def pick_device(device: str, gpus: float, address: str) -> str:
    """The device of each run; whether its node has that is Ray's to say.

    Raises:
        UsageError: not a device, a GPU with none asked for, or more GPUs than a Ray of our own will ever have.
    """
    check_choice("device", device, ("auto", "cpu", "cuda"))
    if gpus > torch.cuda.device_count() and not address:
        here = torch.cuda.device_count()
        raise UsageError(f"gpus_per_run: {gpus:g} with {here} on this machine; accepted: at most {here}, or an address")
    if device == "cuda" and not gpus:
        raise UsageError("device: 'cuda' with 0 GPUs per run; accepted: 'auto', 'cpu', or GPUs per run above 0")
    return device if gpus else "cpu"  # Ray hides the GPUs from a task that asks for none


class RayCluster:
    """Runs as Ray tasks of one core each; what a lost worker or node was doing is done again on another.

    Every node has this library installed, and the folders that FEWFT_GLUE_DIR and FEWFT_CACHE name.
    """

    def __init__(self, store: ResultStore, device: str, *, slots: int, address: str, gpus: float) -> None:
        self.slots, self.store, self.device = slots, store, device
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a Ray of our own reports to nobody
        names = {**WORKER_ENVIRONMENT, **{name: os.environ.get(name) for name in PASSED_ON}}
        variables = {name: os.environ.get(name, value) for name, value in names.items()}
        runtime_env = {"env_vars": {name: value for name, value in variables.items() if value is not None}}
        where = {"address": address} if address else {**LOCAL, "num_cpus": cores()}
        try:
            _knock(address)
            with nullcontext() if address else _loopback():
                ray.init(**where, runtime_env=runtime_env, logging_level=logging.WARNING)
        except (OSError, RuntimeError, ValueError) as error:
            raise SweepError(f"ray: no connection to {address or 'a Ray of our own'} ({error})") from error
        self.task = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=MAX_RETRIES)(run_task)
        self.encoders: dict[str, ray.ObjectRef] = {}

    def submit(self, config: RunConfig, keep: bool, *, limit: float, alone: bool) -> Future[Outcome]:
        """As `Executor`."""
        return self.task.remote(config, self.device, keep, self._encoder(config), limit).future()

    def _encoder(self, config: RunConfig) -> ray.ObjectRef | None:
        """The encoder that a run starts from, once in Ray's object store for all that need it."""
        first = config.intermediate()
        if first is None:
            return None
        if first.run_id not in self.encoders and (found := weights.read_encoder(first.run_id)):
            self.encoders[first.run_id] = ray.put(found[0])
        return self.encoders.get(first.run_id)

    def finish(self, config: RunConfig, future: Future[Outcome]) -> Done:
        """As `Executor`; a run that lost its worker too often is lost, any other trouble of Ray's ends the sweep."""
        try:
            record, done, encoder = future.result()
        except (NodeDiedError, OutOfMemoryError, WorkerCrashedError) as error:
            return Done(label(config), "lost", f"{type(error).__name__}: {_first_line(error)}", 0.0)
        except RayError as error:
            raise SweepError(f"ray: {_first_line(error)}; finished runs are stored") from error
        if encoder is not None:
            weights.write_encoder(config.run_id, encoder)
        if record:
            self.store.add(record)
        return done

    def close(self) -> None:
        """As `Executor`."""
        ray.shutdown()


def run_task(config: RunConfig, device: str, keep: bool, encoder: bytes | None, limit: float) -> Outcome:
    """One run, on whatever node.

    Args:
        config, device, keep: as for `fine_tune`.
        encoder: what the intermediate run kept, for a node that does not have it.
        limit: seconds after which this process ends itself.
    """
    faulthandler.dump_traceback_later(limit, exit=True)  # a thread of its own, that needs nothing of Python
    try:
        return _run(config, device, keep, encoder)
    finally:
        faulthandler.cancel_dump_traceback_later()


def _run(config: RunConfig, device: str, keep: bool, encoder: bytes | None) -> Outcome:
    torch.set_num_threads(1)
    first = config.intermediate()
    if first and encoder is not None and weights.read_encoder(first.run_id) is None:
        weights.write_encoder(first.run_id, encoder)
    record, done = perform(config, device, keep)
    kept = weights.read_encoder(config.run_id) if keep and done.status == "ok" else None
    return record, done, kept and kept[0]


@contextmanager
def _loopback() -> Iterator[None]:
    """While a Ray of our own starts: let it listen on this machine only.

    Where Ray supports clusters it takes 127.0.0.1 for the address that others see, and then listens on all interfaces;
    it has no public option against that.
    """
    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


def _knock(address: str) -> None:
    """OSError at once where nobody listens: Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=10).close()


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
