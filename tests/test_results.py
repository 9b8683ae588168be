"""fewft.results: what was stored comes back as it was, whole or not at all, from one JSON file a run or from Parquet."""

import errno
import json
import math
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fewft.config import RunConfig, UsageError
from fewft.results import ResultStore

ROOT = Path(__file__).parents[1]
STORED = sorted((ROOT / "results").glob("*.parquet"))
CONFIGS = [RunConfig(task="rte-1k", init_seed=seed, data_seed=seed) for seed in range(3)]
Run = Callable[..., dict[str, Any]]


@pytest.fixture
def store(tmp_path: Path) -> ResultStore:
    return ResultStore(tmp_path / "results", "small")


def text(records: dict[str, Any]) -> str:
    """To compare by value: a NaN does not equal itself."""
    return json.dumps(records, sort_keys=True)


def test_records_come_back_from_json_and_from_parquet(store: ResultStore, stored_run: Run) -> None:
    nan = float("nan")
    runs = {
        "ok": stored_run(CONFIGS[0], val_scores=[0.5, 0.5], test_best=0.7),
        "diverged": stored_run(CONFIGS[1], status="diverged", val_scores=[], train_loss=[0.7, nan], test_best=nan),
        "long": stored_run(CONFIGS[2], train_loss=[1.0, math.inf, nan], device="a CPU"),
    }
    for run in runs.values():
        store.add(run)
    wanted = {run["run_id"]: run for run in runs.values()}
    assert text(store.records()) == text(wanted)
    assert store.collect() == 3 and not list(store.folder.iterdir())
    for run in wanted.values():
        run.setdefault("device", None)
    assert text(store.records()) == text(wanted)
    frame = store.frame().set_index("run_id")
    assert frame.index.tolist() == sorted(wanted)
    assert math.isnan(frame.train_loss[CONFIGS[1].run_id][1]) and frame.val_scores[CONFIGS[1].run_id] == []
    assert frame.correct_bias.dtype == bool and frame.test_best[CONFIGS[0].run_id] == 0.7


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_collecting_keeps_a_column_that_only_some_runs_have(store: ResultStore, order: tuple, stored_run: Run) -> None:
    first, second = (sorted(CONFIGS[:2], key=lambda c: c.run_id)[i] for i in order)
    store.add(stored_run(first))  # a failed run has no environment
    store.add(stored_run(second, device="a GPU"))
    store.collect()
    assert store.records()[second.run_id]["device"] == "a GPU"


def test_collecting_twice_and_adding_between_changes_nothing_else(store: ResultStore, stored_run: Run) -> None:
    store.add(stored_run(CONFIGS[0]))
    assert store.collect() == 1
    before = store.parquet.read_bytes()
    assert store.collect() == 1 and store.parquet.read_bytes() == before
    store.add(stored_run(CONFIGS[1]))
    assert store.collect() == 2 and set(store.records()) == {c.run_id for c in CONFIGS[:2]}


def test_json_goes_before_parquet(store: ResultStore, stored_run: Run) -> None:
    store.add(stored_run(CONFIGS[0], test_best=0.1))
    store.collect()
    store.add(stored_run(CONFIGS[0], test_best=0.9))
    assert store.frame().test_best.tolist() == [0.9]
    assert store.collect() == 1 and store.frame().test_best.tolist() == [0.9]


def test_failed_runs_are_not_finished(store: ResultStore, stored_run: Run) -> None:
    for config, status in zip(CONFIGS, ("ok", "diverged", "failed"), strict=True):
        store.add(stored_run(config, status=status))
    finished = {c.run_id for c in CONFIGS[:2]}
    assert store.finished() == finished and {c.run_id for c in CONFIGS if store.has(c.run_id)} == finished
    store.collect()
    assert store.finished() == finished and len(store.records()) == 3


def test_an_empty_store_is_empty(store: ResultStore) -> None:
    assert store.records() == {} and store.frame().empty and store.collect() == 0
    assert not store.parquet.exists() and not store.has(CONFIGS[0].run_id)


@pytest.mark.parametrize("content", ['{"run_id": "abc", "sta', "", "[]", "{}", "3"])
def test_a_damaged_run_is_named(store: ResultStore, stored_run: Run, content: str) -> None:
    store.add(stored_run(CONFIGS[0]))
    damaged = store.folder / "abc.json"
    damaged.write_text(content)
    for read in (store.records, store.frame, store.collect):
        with pytest.raises(UsageError, match=re.escape(f"run file: {str(damaged)!r} is damaged")):
            read()
    assert damaged.exists() and store.has(CONFIGS[0].run_id)


def test_a_parquet_file_of_something_else_is_named(store: ResultStore) -> None:
    store.parquet.parent.mkdir()
    for write in (lambda path: path.write_bytes(b"PAR1"), lambda path: pq.write_table(pa.table({"a": [1]}), path)):
        write(store.parquet)
        with pytest.raises(UsageError, match=re.escape(f"results: {str(store.parquet)!r} cannot be read")):
            store.records()


def test_a_leftover_is_never_read(store: ResultStore, stored_run: Run) -> None:
    store.add(stored_run(CONFIGS[0]))
    (store.folder / ".abc.tmp").write_text('{"run_id": "abc"')
    assert set(store.records()) == {CONFIGS[0].run_id} and store.collect() == 1


def test_a_full_disk_leaves_what_was_there(
    store: ResultStore, stored_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.add(stored_run(CONFIGS[0], test_best=0.1))
    store.collect()
    store.add(stored_run(CONFIGS[1]))
    before = {path: path.read_bytes() for path in store.parquet.parent.rglob("*") if path.is_file()}

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    for run in (stored_run(CONFIGS[0], test_best=0.9), stored_run(CONFIGS[1]), stored_run(CONFIGS[2])):
        with pytest.raises(OSError, match="No space left"):
            store.add(run)
    with pytest.raises(OSError, match="No space left"):
        store.collect()
    assert {path: path.read_bytes() for path in store.parquet.parent.rglob("*") if path.is_file()} == before


@pytest.mark.skipif(not STORED, reason="results/ has no Parquet file")
def test_every_stored_column_is_explained() -> None:
    explained = set(re.findall(r"^\| *`(\w+)`", (ROOT / "results" / "README.md").read_text("utf8"), re.MULTILINE))
    assert {name for path in STORED for name in pq.read_schema(path).names} <= explained
