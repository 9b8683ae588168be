"""Sweeps on Ray: a cluster on this machine that loses a node, a worker and its user; and one that the sweep starts."""

import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from fewft import cluster, sweep, weights
from fewft.config import RunConfig, UsageError
from fewft.results import ResultStore
from fewft.schedule import SweepError
from fewft.train import fine_tune

cluster_utils = pytest.importorskip("ray.cluster_utils")
import ray  # noqa: E402

BASE: dict[str, Any] = {"task": "bundled:acceptability", "model": "random:bert-tiny", "num_evals": 1}
RUNS = [RunConfig(**BASE, max_steps=400 if seed < 2 else 3, init_seed=seed) for seed in range(5)]
FAILS = RunConfig(**BASE, max_steps=10**15)  # its loss history does not fit into memory
AFTER = RunConfig(**BASE, max_steps=3, num_train_epochs=1, intermediate_task="bundled:entailment")
NODE = {"num_cpus": 1, "no_monitor": True, "include_log_monitor": False}  # processes that these tests do not need
DEADLINE = 300  # seconds, for a machine that is busy with other work
Task = Callable[[RunConfig, str, bool, bytes | None], Any]


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    """A Ray of one node with one core."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_worker_niceness", "0")  # else other work starves the tasks
        nodes = cluster_utils.Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    yield nodes
    nodes.shutdown()


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ResultStore]:
    monkeypatch.setenv("FEWFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("RAY_worker_niceness", "0")  # as above, for a Ray that a test starts
    yield ResultStore(tmp_path, "s")
    assert not ray.is_initialized()


def traced(log: Path) -> Task:
    """A task that says in a file when it starts and when it has done its run; a closure, so that Ray sends it along."""

    def task(config: RunConfig, device: str, keep: bool, encoder: bytes | None, limit: float) -> Any:
        from fewft import cluster

        def say(what: str) -> None:
            with log.open("a") as file:
                file.write(f"{what} {config.run_id} {ray.get_runtime_context().get_node_id()} {os.getpid()}\n")

        say("start")
        outcome = cluster.run_task(config, device, keep, encoder, limit)
        say("end")
        return outcome

    return task


def said(log: Path, what: str) -> list[list[str]]:
    """Run, node and process of each line."""
    lines = log.read_text().splitlines() if log.is_file() else []
    return [line.split()[1:] for line in lines if line.startswith(what)]


def test_run_on_a_lost_node_is_done_again_and_none_is_lost_or_done_twice(
    nodes: Any, store: ResultStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, lost = tmp_path / "log", nodes.add_node(**NODE)
    monkeypatch.setattr(cluster, "run_task", traced(log))
    killed: list[list[str]] = []

    def watch() -> None:
        end = time.monotonic() + DEADLINE
        while not killed and time.monotonic() < end:
            killed.extend(line for line in said(log, "start") if line[1] == lost.node_id)
            time.sleep(0.01)
        nodes.remove_node(lost, allow_graceful=False)
        os.kill(int(killed[0][2]), signal.SIGKILL)

    thread = threading.Thread(target=watch)
    thread.start()
    done = sweep.sweep([*RUNS, AFTER], store, executor="ray", address=nodes.address)
    thread.join()
    ids = {c.run_id for c in (*RUNS, AFTER, AFTER.intermediate())}
    assert [d.status for d in done] == ["ok"] * 7
    assert store.finished() == set(store.records()) == ids
    starts, ends = said(log, "start"), said(log, "end")
    assert killed[0][1:] not in [line[1:] for line in ends]  # it was in the middle of its run
    assert Counter(line[0] for line in ends) == dict.fromkeys(ids, 1)
    assert Counter(line[0] for line in starts) == {**dict.fromkeys(ids, 1), killed[0][0]: 2}
    assert len({line[1] for line in starts if line[0] == killed[0][0]}) == 2  # first on the lost node, then elsewhere


def test_run_that_loses_every_worker_has_failed_and_the_others_go_on(
    nodes: Any, store: ResultStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = RUNS[2].run_id

    def task(config: RunConfig, device: str, keep: bool, encoder: bytes | None, limit: float) -> Any:
        from fewft import cluster

        if config.run_id == bad:
            os.kill(os.getpid(), signal.SIGKILL)
        return cluster.run_task(config, device, keep, encoder, limit)

    monkeypatch.setattr(cluster, "run_task", task)
    monkeypatch.setattr(cluster, "MAX_RETRIES", 1)
    done = sweep.sweep(RUNS[2:4], store, executor="ray", address=nodes.address)
    assert sorted(d.status for d in done) == ["failed", "ok"]
    assert store.records()[bad]["reason"].startswith("twice, the second time alone: WorkerCrashedError: ")
    assert store.finished() == {RUNS[3].run_id}


def test_a_run_that_is_over_its_time_limit_ends_its_worker(
    nodes: Any, store: ResultStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fewft.schedule.LEAST_PATIENCE", 2.0)
    monkeypatch.setattr("fewft.schedule.SLOWEST", 1e30)
    monkeypatch.setattr(cluster, "MAX_RETRIES", 0)
    endless = replace(RUNS[2], max_steps=10**6)
    (done,) = sweep.sweep([endless], store, executor="ray", address=nodes.address)
    assert done.status == "failed" and "WorkerCrashedError" in done.reason


def test_interrupt_ends_the_tasks(nodes: Any, store: ResultStore, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = os.getpid()

    def task(config: RunConfig, device: str, keep: bool, encoder: bytes | None, limit: float) -> Any:
        os.kill(driver, signal.SIGINT)
        threading.Event().wait(DEADLINE)

    monkeypatch.setattr(cluster, "run_task", task)
    with pytest.raises(KeyboardInterrupt):
        sweep.sweep(RUNS[2:3], store, executor="ray", address=nodes.address)
    assert not store.records()


def listening() -> dict[str, str]:
    """Who listens on TCP among this process and all below it: address and port, and the program."""
    here = psutil.Process()
    found = {}
    for process in (here, *here.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            ports = [c.laddr for c in process.net_connections("tcp") if c.status == psutil.CONN_LISTEN]
            found |= {f"{at.ip}:{at.port}": " ".join(process.cmdline())[-200:] for at in ports}
    return found


def test_ray_of_our_own_gives_the_same_records(store: ResultStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """It also listens on this machine's loopback only, and has no dashboard."""
    torch.set_num_threads(1)
    others, ports, close = listening(), {}, cluster.RayCluster.close  # others: of the cluster that the tests above use
    monkeypatch.setattr(cluster.RayCluster, "close", lambda self: (ports.update(listening()), close(self)))
    done = sweep.sweep([FAILS, AFTER, RUNS[2]], store, executor="ray", workers=2)
    first, records = AFTER.intermediate().run_id, store.records()
    assert sorted(d.status for d in done) == ["failed", "ok", "ok", "ok"]
    assert records[FAILS.run_id]["reason"].startswith("twice, the second time alone: out of memory (RuntimeError: ")
    assert store.finished() == {first, AFTER.run_id, RUNS[2].run_id}
    assert weights.load_encoder(first)
    ports = {at: who for at, who in ports.items() if at not in others}
    assert len(ports) > 3  # the head, its node, the workers
    assert {
        at: who for at, who in ports.items() if not at.startswith(("127.0.0.1:", "::1:", "::ffff:127.0.0.1:"))
    } == {}
    assert not any("dashboard/dashboard.py" in who for who in ports.values())
    times = ("seconds", "train_seconds", "started")
    expected = json.loads(json.dumps(fine_tune(RUNS[2], device="cpu").record()))
    assert {k: v for k, v in records[RUNS[2].run_id].items() if k not in times} == {
        k: v for k, v in expected.items() if k not in times
    }


def test_task_brings_the_encoder_to_a_node_without_it(
    store: ResultStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = AFTER.intermediate()
    record, done, encoder = cluster.run_task(first, "cpu", True, None, DEADLINE)
    assert done.status == record["status"] == "ok"
    monkeypatch.setenv("FEWFT_CACHE", str(tmp_path / "another node"))
    assert weights.read_encoder(first.run_id) is None
    assert cluster.run_task(AFTER, "cpu", False, encoder, DEADLINE)[1].status == "ok"
    assert weights.read_encoder(first.run_id)[0] == encoder


@pytest.mark.parametrize(
    ("device", "gpus", "message"),
    [
        ("cuda:0", 1.0, "device: 'cuda:0' is not known .* accepted: auto, cpu, cuda"),
        ("cuda", 0.0, "device: 'cuda' with 0 GPUs per run"),
        ("cpu", -1.0, "gpus: -1.0; accepted: 0 or more"),
        ("auto", 99.0, "gpus_per_run: 99 with .* on this machine; accepted: at most"),
    ],
)
def test_wrong_devices_are_refused(store: ResultStore, device: str, gpus: float, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        sweep.sweep(RUNS, store, executor="ray", device=device, gpus=gpus)


def test_device_is_what_ray_gives() -> None:
    assert [cluster.pick_device("auto", gpus, "head:6379") for gpus in (0, 0.5, 1)] == ["cpu", "auto", "auto"]


def test_no_ray_at_the_address_is_said(store: ResultStore, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SweepError, match="ray: no connection to 127.0.0.1:1 "):
        sweep.sweep(RUNS[2:3], store, executor="ray", address="127.0.0.1:1")
