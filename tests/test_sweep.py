"""Sweeps that are killed, that fail in one run, or are done twice. One killed and resumed sweep serves most tests."""

import errno
import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fewft import cli, processes, weights
from fewft.config import RunConfig, UsageError
from fewft.results import ResultStore
from fewft.schedule import LEAST_PATIENCE, PATIENCE, SLOWEST, Done, Schedule
from fewft.sweep import shard, sweep
from fewft.train import fine_tune
from fewft.worker import perform

BASE: dict[str, Any] = {"task": "bundled:acceptability", "model": "random:bert-tiny", "num_evals": 1}
FAILS = RunConfig(**BASE, max_steps=10**15)  # its loss history does not fit into memory
RUNS = [RunConfig(**BASE, max_steps=4, init_seed=seed, correct_bias=seed % 2 == 0) for seed in range(5)]
TIMES = ("seconds", "train_seconds", "started")
DEADLINE = 300  # seconds, for a machine that is busy with other work
SCRIPT = """
import json, sys
from fewft.config import RunConfig
from fewft.results import ResultStore
from fewft.sweep import sweep
if __name__ == "__main__":
    configs = [RunConfig(**c) for c in json.loads(sys.argv[2])]
    sweep(configs, ResultStore(sys.argv[1], "s"), workers=1, device="cpu")
"""


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


def wait_for(condition: Callable[[], Any]) -> Any:
    """What the condition gives, as soon as that is true."""
    end = time.monotonic() + DEADLINE
    while not (found := condition()):
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.01)
    return found


def stored(folder: Path) -> dict[str, int]:
    """Modification times of the stored runs, by id."""
    return {path.stem: path.stat().st_mtime_ns for path in (folder / "s").glob("*.json")}


def children(pid: int) -> list[int]:
    """Living processes whose parent is `pid`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
        except OSError:  # ended since the listing
            continue
        if int(parent) == pid and state not in "ZX":
            found.append(int(path.parent.name))
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@dataclass
class Story:
    """A sweep killed after its first good run, and what the same call did after that."""

    store: ResultStore
    orphans: list[int]  # processes of the killed sweep
    before: dict[str, int]  # stored runs after the kill
    texts: list[bytes]  # of the files then
    after: dict[str, int]
    done: list[Done]  # by the second call


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    folder = tmp_path_factory.mktemp("sweep")
    script = folder / "script.py"
    script.write_text(SCRIPT)
    configs = [FAILS, *RUNS]
    said = json.dumps([c.to_dict() for c in configs])
    root = str(Path(__file__).parent.parent)
    with subprocess.Popen(
        [sys.executable, str(script), str(folder), said], env={**os.environ, "PYTHONPATH": root},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        try:
            wait_for(lambda: len(stored(folder)) >= 2 or process.poll() is not None)
            orphans = children(process.pid)
        finally:
            process.kill()
    wait_for(lambda: not any(alive(pid) for pid in orphans))
    before, texts = stored(folder), [p.read_bytes() for p in (folder / "s").glob("*.json")]
    store = ResultStore(folder, "s")
    done = sweep([*reversed(configs), RUNS[0]], store, workers=2, device="cpu")
    return Story(store, orphans, before, texts, stored(folder), done)


def test_killed_sweep_leaves_whole_files_and_no_processes(story: Story) -> None:
    assert story.orphans  # there was a worker to end
    assert 2 <= len(story.before) < 6
    records = [json.loads(text) for text in story.texts]
    assert {r["run_id"] for r in records} == set(story.before)
    assert all(len(r["train_loss"]) == 4 for r in records if r["run_id"] != FAILS.run_id)


def test_resumed_sweep_does_the_rest_and_repeats_nothing(story: Story) -> None:
    assert set(story.after) == {c.run_id for c in (FAILS, *RUNS)}
    finished = set(story.before)
    assert {i: story.after[i] for i in finished} == {i: story.before[i] for i in finished}
    assert len(story.done) == 6 - len(finished)
    assert story.store.finished() == {c.run_id for c in RUNS}


def test_failed_run_has_its_reason(story: Story) -> None:
    record = story.store.records()[FAILS.run_id]
    assert record["status"] == "failed" and "(RuntimeError: " in record["reason"]
    assert FAILS.run_id not in story.before  # without memory at first, it had to wait for the others
    assert [d.status for d in story.done].count("failed") == 1


def test_second_call_does_nothing(story: Story) -> None:
    assert sweep([*RUNS, *RUNS], story.store, device="cpu") == []
    assert stored(story.store.folder.parent) == story.after


def test_worker_and_order_do_not_change_a_record(story: Story) -> None:
    """The first runs were done in the killed sweep's one worker, the last in one of two."""
    for settings in (RUNS[0], RUNS[-1]):
        found = story.store.records()[settings.run_id]
        expected = json.loads(json.dumps(fine_tune(settings, device="cpu").record()))
        assert {k: v for k, v in found.items() if k not in TIMES} == {
            k: v for k, v in expected.items() if k not in TIMES
        }


@pytest.mark.parametrize(
    ("changes", "device", "workers", "said"),
    [
        ({"task": "rtee"}, "cpu", 1, "'rtee'"),
        ({"model": "random:bert-tinny"}, "cpu", 1, "model: 'random:bert-tinny'"),
        ({"num_hidden_layers": 4}, "cpu", 1, "num_hidden_layers: 4"),
        ({"reinit_layers": 4}, "cpu", 1, "reinit_layers: 4"),
        ({"intermediate_task": "mnly"}, "cpu", 1, "'mnly'"),
        ({}, "tpu", 1, "device: 'tpu'"),
        ({}, "cpu", -1, "workers: -1"),
    ],
)
def test_wrong_runs_are_refused_before_any_starts(
    changes: dict[str, Any], device: str, workers: int, said: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=said):
        sweep([*RUNS, RunConfig(**{**BASE, **changes})], ResultStore(tmp_path, "s"), workers=workers, device=device)
    assert not list(tmp_path.iterdir())


@contextmanager
def on_worker(action: Callable[[int], None]) -> Iterator[None]:
    """Does something with the process id of the first worker that starts."""

    def acted() -> bool:
        for process in multiprocessing.active_children():
            with suppress(ProcessLookupError):  # one of an earlier sweep, gone since it was listed
                action(process.pid)
                return True
        return False

    def watch() -> None:
        wait_for(acted)

    thread = threading.Thread(target=watch)
    thread.start()
    yield
    thread.join()
    wait_for(lambda: not multiprocessing.active_children())


def test_the_run_of_a_killed_worker_is_done_again_after_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = replace(RUNS[0], max_steps=6)  # the longest goes first
    with on_worker(lambda pid: os.kill(pid, signal.SIGKILL)):
        done = sweep([first, *RUNS[:2]], ResultStore(tmp_path, "s"), workers=1, device="cpu")
    assert [d.status for d in done] == ["ok"] * 3 and "max_steps 6" in done[-1].label
    assert "its worker process was killed" in capsys.readouterr().err


def test_interrupt_ends_the_command_with_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = tmp_path / "tiny.toml"
    study.write_text(
        'description = "tiny"\nmodel = "random:bert-tiny"\ntasks = ["bundled:acceptability"]\n'
        "learning_rate = 1e-3\n[seeds]\nbias_correction = 1\n[settings]\nmax_steps = 3\n"
    )
    with on_worker(lambda _: os.kill(os.getpid(), signal.SIGINT)):
        only = ["--experiment", "bias_correction", "--results", str(tmp_path)]
        code = cli.main(["run", str(study), *only, "--workers", "1", "--device", "cpu"])
    assert code == 1
    assert capsys.readouterr().err == "fewft: interrupted; finished runs are stored, the same call goes on\n"


@pytest.mark.parametrize("attempts", [3, 10**6])
def test_a_pool_interrupted_while_its_thread_starts_is_waited_for_but_not_forever(
    attempts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker, waits = processes.Worker(), []
    close = worker.pool.shutdown

    def shutdown(**options: bool) -> None:
        waits.append(options)
        if len(waits) < attempts:
            raise RuntimeError("cannot join thread before it is started")
        close(**options)

    monkeypatch.setattr(worker.pool, "shutdown", shutdown)
    monkeypatch.setattr(processes.time, "sleep", lambda _: None)
    worker.close()
    assert len(waits) == min(attempts, processes.THREAD_STARTS)


# --- intermediate runs --------------------------------------------------------------------------------------------
AFTER = [
    RunConfig(**BASE, max_steps=3, num_train_epochs=1, intermediate_task="bundled:entailment", init_seed=seed)
    for seed in range(3)
]
FIRST = AFTER[0].intermediate()


def test_intermediate_run_is_done_first_and_again_only_where_its_encoder_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEWFT_CACHE", str(tmp_path / "cache"))
    store = ResultStore(tmp_path, "s")
    done = sweep(AFTER[:2], store, workers=2, device="cpu")
    assert [d.status for d in done] == ["ok"] * 3 and "entailment" in done[0].label
    assert store.finished() == {FIRST.run_id, AFTER[0].run_id, AFTER[1].run_id}
    before = stored(tmp_path)
    weights.encoder_file(FIRST.run_id).unlink()
    assert sweep(AFTER[:2], store, device="cpu") == []  # no missing run needs it
    assert [d.status for d in sweep(AFTER, store, workers=1, device="cpu")] == ["ok", "ok"]
    changed = {i for i, written in stored(tmp_path).items() if before.get(i) != written}
    assert changed == {FIRST.run_id, AFTER[2].run_id}
    assert weights.load_encoder(FIRST.run_id)


@pytest.mark.parametrize(
    ("changes", "status"), [({"num_train_epochs": 10**15}, "failed"), ({"learning_rate": 1e30}, "diverged")]
)
def test_runs_after_an_intermediate_run_without_encoder_fail_untrained(
    changes: dict[str, Any], status: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEWFT_CACHE", str(tmp_path / "cache"))
    store, after = ResultStore(tmp_path, "s"), replace(AFTER[0], **changes)
    done = sweep([after, RUNS[0]], store, workers=1, device="cpu")
    record = store.records()[after.run_id]
    assert sorted(d.status for d in done) == sorted([status, "failed", "ok"])
    assert record["status"] == "failed" and record["train_loss"] == []
    assert record["reason"].startswith(f"intermediate run {after.intermediate().run_id} {status} (")


DYING = """
import os, sys
from fewft import processes, train
from fewft.config import RunConfig
from fewft.results import ResultStore
import json, torch

torch.set_num_threads(1)
folder, first, after, moment = sys.argv[1], *(RunConfig(**json.loads(c)) for c in sys.argv[2:4]), sys.argv[4]
step, add = train.Trainer.step, ResultStore.add

def dies_in_step(self, batch):
    step(self, batch)
    if moment == f"{self.config.task} {self.done}":
        os.kill(os.getpid(), 9)

def dies_before_the_record(self, record):
    if moment == "record":
        os.kill(os.getpid(), 9)
    add(self, record)

train.Trainer.step, ResultStore.add = dies_in_step, dies_before_the_record
for config, keep in ((first, True), (after, False)):
    processes.work(config, ResultStore(folder, "s"), "cpu", keep)
"""


def swept(folder: Path) -> tuple[set[str], str]:
    """What one run after an intermediate run leaves in a store: ids, and all that no clock says."""
    sweep(AFTER[:1], store := ResultStore(folder, "s"), workers=1, device="cpu")
    records = {i: {k: v for k, v in r.items() if k not in TIMES} for i, r in store.records().items()}
    return set(records), json.dumps(records, sort_keys=True)  # as text: NaN is not itself


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[set[str], str]:
    folder = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEWFT_CACHE", str(folder / "cache"))
        return swept(folder)


@pytest.mark.parametrize(
    ("moment", "kept"), [("bundled:entailment 5", 0), ("record", 0), ("bundled:acceptability 2", 1)]
)
def test_a_sweep_killed_around_its_intermediate_run_ends_as_if_it_had_not_been(
    moment: str, kept: int, undisturbed: tuple[set[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in the intermediate run's training, between its encoder and its record, and in the run after it."""
    monkeypatch.setenv("FEWFT_CACHE", str(tmp_path / "cache"))
    texts = [json.dumps(c.to_dict()) for c in (FIRST, AFTER[0])]
    died = subprocess.run([sys.executable, "-c", DYING, str(tmp_path), *texts, moment], check=False)
    assert died.returncode == -signal.SIGKILL and len(ResultStore(tmp_path, "s").finished()) == kept
    assert swept(tmp_path) == undisturbed and undisturbed[0] == {FIRST.run_id, AFTER[0].run_id}


class Place:
    """An executor that does nothing, one run after the other."""

    def __init__(self, slots: int, bad: str = "", lost: tuple[str, ...] = ()) -> None:
        self.slots, self.bad, self.started, self.running = slots, bad, [], 0
        self.lost, self.limits = list(lost), []  # ids, once for each time that the run is lost

    def submit(self, config: RunConfig, keep: bool, *, limit: float, alone: bool) -> Future[None]:
        self.started.append((config, keep))
        self.limits.append(limit)
        assert not (alone and self.running)
        self.running += 1
        assert self.running <= self.slots
        future: Future[None] = Future()
        future.set_result(None)
        return future

    def finish(self, config: RunConfig, future: Future[None]) -> Done:
        self.running -= 1
        if config.run_id in self.lost:
            self.lost.remove(config.run_id)
            return Done(config.run_id, "lost", "killed", 1.0)
        return Done(config.run_id, "failed" if config.run_id == self.bad else "ok", "", 2.0)


def schedule(todo: list[RunConfig], store: ResultStore, place: Place) -> list[Done]:
    return list(Schedule(todo, [10.0] * len(todo), store, place))


@pytest.mark.parametrize("slots", [1, 2, 100])
def test_every_run_starts_once_and_none_before_the_one_that_it_needs(slots: int, tmp_path: Path) -> None:
    place, todo = Place(slots), [FIRST, RUNS[0], *AFTER, RUNS[1]]
    done = [d.label for d in schedule(todo, ResultStore(tmp_path, "s"), place)]
    assert sorted(done) == sorted(c.run_id for c in todo)
    assert {c.run_id for c, keep in place.started if keep} == {FIRST.run_id}
    order = [c for c, _ in place.started]
    assert order.index(FIRST) < min(map(order.index, AFTER)) and len(order) == len(todo)
    assert slots > 1 or order == todo  # in the order given, where one is done after the other


def test_a_failed_intermediate_run_holds_up_no_other(tmp_path: Path) -> None:
    place, store = Place(1, bad=FIRST.run_id), ResultStore(tmp_path, "s")
    done = schedule([FIRST, *AFTER, RUNS[0]], store, place)
    assert [c for c, _ in place.started] == [FIRST, RUNS[0]] and len(done) == 5
    assert {r["run_id"] for r in store.records().values() if r["status"] == "failed"} == {c.run_id for c in AFTER}


@pytest.mark.parametrize("slots", [1, 2, 100])
def test_a_lost_run_is_done_once_more_when_no_other_is_left(slots: int, tmp_path: Path) -> None:
    place, store = Place(slots, lost=(FIRST.run_id, RUNS[0].run_id, RUNS[0].run_id)), ResultStore(tmp_path, "s")
    done = schedule([FIRST, RUNS[0], *AFTER, RUNS[1]], store, place)
    order = [c for c, _ in place.started]
    assert order.count(FIRST) == order.count(RUNS[0]) == 2 and len(order) == 8
    assert {d.status for d in done if d.label != RUNS[0].run_id and "failed" not in d.status} == {"ok"}
    (failed,) = store.records().values()
    assert failed["run_id"] == RUNS[0].run_id and failed["reason"] == "twice, the second time alone: killed"
    assert len(done) == 6 and [d.status for d in done].count("failed") == 1


def test_the_time_limit_follows_from_the_slowest_finished_run(tmp_path: Path) -> None:
    place = Place(1)
    schedule(RUNS[:3], ResultStore(tmp_path, "s"), place)
    assert place.limits[0] == pytest.approx(LEAST_PATIENCE + 10.0 / SLOWEST)
    assert place.limits[1:] == [pytest.approx(LEAST_PATIENCE + PATIENCE * 2.0)] * 2  # each has the same work


def test_a_wedged_worker_is_killed_and_its_run_fails_after_a_second_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fewft.schedule.LEAST_PATIENCE", 1.0)
    monkeypatch.setattr("fewft.schedule.SLOWEST", 1e30)
    (done,) = sweep([replace(RUNS[0], max_steps=10**6)], store := ResultStore(tmp_path, "s"), workers=1, device="cpu")
    assert done.status == "failed" and re.search(r"alone: no result after \d+ s, so .* was killed", done.reason)
    assert [r["status"] for r in store.records().values()] == ["failed"]


def test_too_little_memory_is_tried_again_alone_and_then_recorded(tmp_path: Path) -> None:
    done = sweep([FAILS, RUNS[0]], store := ResultStore(tmp_path, "s"), workers=2, device="cpu")
    assert [d.status for d in done] == ["ok", "failed"]
    assert store.records()[FAILS.run_id]["reason"].startswith(
        "twice, the second time alone: out of memory (RuntimeError"
    )


def test_a_store_that_cannot_be_written_to_is_said_before_any_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "s").write_text("a file where the folder would be")
    monkeypatch.setattr("fewft.processes.work", lambda *_: pytest.fail("a run was started"))
    with pytest.raises(OSError, match=re.escape(str(tmp_path / "s"))):
        sweep(RUNS, ResultStore(tmp_path, "s"), workers=1, device="cpu")


def test_wrong_intermediate_task_is_refused_before_any_run_starts(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'bundled:entailmnt'"):
        sweep([replace(AFTER[0], intermediate_task="bundled:entailmnt")], ResultStore(tmp_path, "s"), device="cpu")
    assert not list(tmp_path.iterdir())


# --- shards -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("n", [1, 2, 3, 4, 8, 30])
def test_shards_are_disjoint_and_together_everything(n: int) -> None:
    distinct = [replace(RUNS[0], init_seed=seed) for seed in range(24)]
    parts = [shard([*distinct, *reversed(distinct)], f"{i}/{n}") for i in range(1, n + 1)]
    assert sorted(c.init_seed for part in parts for c in part) == list(range(24))
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1
    if n == 4:  # plans repeat their kinds of run; no part has only one kind
        assert all({c.init_seed % 4 for c in part} == {0, 1, 2, 3} for part in parts)


def test_no_shard_is_every_run_once() -> None:
    assert shard([*RUNS, *RUNS], "") == RUNS


@pytest.mark.parametrize("part", ["0/2", "3/2", "1/0", "1", "/", "-1/2", "1/2/3", "a/b", "1.0/2", " 1/2"])
def test_wrong_shards_are_refused(part: str) -> None:
    with pytest.raises(UsageError, match=f"shard: '{part}'; accepted: i/n"):
        shard(RUNS, part)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"executor": "slurm"}, "executor: 'slurm' is not known; accepted: local, ray"),
        ({"address": "auto"}, "address: 'auto' with executor 'local'; accepted: only with 'ray'"),
        ({"gpus": -1.0}, "gpus: -1.0; accepted: 0 or more"),
    ],
)
def test_wrong_executors_are_refused(more: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=said):
        sweep([], ResultStore(tmp_path, "s"), **more)


def test_missing_ray_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "fewft.cluster", raising=False)
    monkeypatch.delattr("fewft.cluster", raising=False)
    with pytest.raises(UsageError, match=r"executor: 'ray' .*; accepted: pip install 'fewft\[cluster\]'"):
        sweep(RUNS, ResultStore(tmp_path, "s"), executor="ray")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), "lost"),  # as on a GPU
        (MemoryError(), "lost"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "lost"),
        (OSError(errno.ENOENT, "No such file"), "failed"),
        (RuntimeError("shapes cannot be multiplied"), "failed"),
    ],
)
def test_only_a_lack_of_memory_gets_another_try(monkeypatch: pytest.MonkeyPatch, error: Exception, kind: str) -> None:
    def fine_tune(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("fewft.train.fine_tune", fine_tune)
    record, done = perform(RunConfig(**BASE), "cpu", keep=False)
    assert done.status == kind and type(error).__name__ in done.reason
    assert (record is None) == (kind == "lost") and (record is None or record["status"] == "failed")
