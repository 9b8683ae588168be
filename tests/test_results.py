"""fewft.results: what was stored comes back as it was, whole or not at all, from one JSON file a run or from Parquet."""

import errno
import json
import math
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fewft import records
from fewft.config import RunConfig, UsageError
from fewft.merge import ConflictError, Merged, merge
from fewft.records import FORMAT
from fewft.results import ResultStore, differences

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
        with pytest.raises(UsageError, match=re.escape(f"results: {str(damaged)!r} is damaged")):
            read()
    assert damaged.exists() and store.has(CONFIGS[0].run_id)


def test_a_parquet_file_of_something_else_is_named(store: ResultStore) -> None:
    store.parquet.parent.mkdir()
    for write in (lambda path: path.write_bytes(b"PAR1"), lambda path: pq.write_table(pa.table({"a": [1]}), path)):
        write(store.parquet)
        with pytest.raises(UsageError, match=re.escape(f"results: {str(store.parquet)!r} is damaged")):
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


# --- several files into one ---------------------------------------------------------------------------------------
@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """A Parquet file of its own with these records."""

    def file(name: str, *records: dict[str, Any]) -> Path:
        store = ResultStore(tmp_path, name)
        for record in records:
            store.add(record)
        store.collect()
        return store.parquet

    return file


def runs(path: Path) -> dict[str, dict[str, Any]]:
    return ResultStore(path.parent, path.stem).records()


def test_merging_adds_what_is_not_there(write: Callable[..., Path], stored_run: Run, tmp_path: Path) -> None:
    a, b, c = (stored_run(config) for config in CONFIGS)
    first, second, third = write("first", a), write("second", a, b), write("third", b, c)
    before = second.read_bytes(), third.read_bytes()
    assert merge(first, [second, third]) == Merged(added=2, known=2, total=3)
    assert text(runs(first)) == text({r["run_id"]: r for r in (a, b, c)})
    assert (second.read_bytes(), third.read_bytes()) == before
    written = first.read_bytes()
    assert merge(first, [first, second]) == Merged(known=5, total=3) and first.read_bytes() == written
    new = tmp_path / "folder" / "new.parquet"
    assert merge(new, [first]) == Merged(added=3, total=3) and text(runs(new)) == text(runs(first))


def test_merging_keeps_columns_that_one_file_lacks(write: Callable[..., Path], stored_run: Run) -> None:
    old, new = stored_run(CONFIGS[0]), stored_run(CONFIGS[0], captured=False, l2=[0.5, 0.25])
    first = write("first", old)
    second = write("second", new, stored_run(CONFIGS[1], captured=False, l2=[0.5]))
    assert merge(first, [second]) == Merged(added=1, known=1, total=2)
    assert runs(first)[CONFIGS[1].run_id]["l2"] == [0.5] and runs(first)[CONFIGS[0].run_id]["l2"] is None
    assert merge(second, [first]) == Merged(known=2, total=2)


def test_where_and_how_fast_a_run_was_done_is_no_conflict(write: Callable[..., Path], stored_run: Run) -> None:
    here = {"device": "a CPU", "threads": 1, "commit": "a", "started": "2025", "seconds": 1.0, "data": "{}"}
    there = {"device": "a GPU", "threads": 8, "commit": "b", "started": "2026", "seconds": 2.0, "data": ""}
    first = write("first", stored_run(CONFIGS[0], **here))
    assert merge(first, [write("second", stored_run(CONFIGS[0], **there))]) == Merged(known=1, total=1)
    assert runs(first)[CONFIGS[0].run_id]["device"] == "a CPU"


CHANGES = [
    ({"test_best": 0.75}, "test_best 0.55 | 0.75"),
    ({"status": "diverged", "test_last": math.nan}, "status 'ok' | 'diverged'; test_last 0.5 | nan"),
    ({"train_loss": [0.7, 0.6000001]}, "train_loss[1] 0.6 | 0.6000001"),
    ({"val_scores": [0.6, 0.5]}, "val_scores[1] nan | 0.5"),
    ({"train_loss": [0.7]}, "train_loss of 2 | 1 entries"),
    ({"learning_rate": 0.5}, "learning_rate 2e-05 | 0.5"),
    ({"learning_rate": 0.5, "best_val": 0.1, "test_best": 0.1, "test_last": 0.1, "best_step": 1}, "; 2 more columns"),
]


@pytest.mark.parametrize(("changes", "said"), CHANGES, ids=[said for _, said in CHANGES])
def test_a_conflict_is_shown_and_nothing_is_written(
    write: Callable[..., Path], stored_run: Run, changes: dict[str, Any], said: str
) -> None:
    first = write("first", stored_run(CONFIGS[0], device="a CPU", commit="abc"))
    pending = ResultStore(first.parent, "first")
    pending.add(stored_run(CONFIGS[2]))
    second = write("second", stored_run(CONFIGS[1]), stored_run(CONFIGS[0], device="a GPU", **changes))
    before = first.read_bytes()
    with pytest.raises(ConflictError) as conflict:
        merge(first, [second])
    lines = str(conflict.value).splitlines()
    assert lines[0] == "1 conflict, nothing was written" and len(lines) == 3
    assert lines[1].startswith(f"{CONFIGS[0].run_id} rte-1k: ") and said in lines[1]
    assert lines[2].strip() == f"{first} (a CPU, commit abc) | {second} (a GPU, commit not known)"
    assert first.read_bytes() == before and pending.has(CONFIGS[2].run_id)


def test_two_added_files_can_conflict_and_so_can_a_run_not_yet_collected(
    write: Callable[..., Path], stored_run: Run, tmp_path: Path
) -> None:
    second, third = write("second", stored_run(CONFIGS[0])), write("third", stored_run(CONFIGS[0], test_best=0.1))
    with pytest.raises(ConflictError, match=re.escape(f"{second} (device not known")):
        merge(tmp_path / "first.parquet", [second, third])
    assert not (tmp_path / "first.parquet").exists()
    ResultStore(tmp_path, "first").add(stored_run(CONFIGS[0]))
    with pytest.raises(ConflictError):
        merge(tmp_path / "first.parquet", [third])
    assert merge(tmp_path / "first.parquet", [second]) == Merged(known=1, total=1)
    assert len(runs(tmp_path / "first.parquet")) == 1


def test_a_failed_run_gives_way(write: Callable[..., Path], stored_run: Run) -> None:
    good = [stored_run(config) for config in CONFIGS]
    failed = [{**run, "status": "failed", "test_best": math.nan} for run in good]
    first, second = write("first", failed[0], good[1], failed[2]), write("second", good[0], failed[1], failed[2])
    ResultStore(first.parent, "first").add(failed[0])  # a file that would go before the Parquet row
    assert merge(first, [second]) == Merged(replaced=1, known=2, total=3)
    assert text(runs(first)) == text({r["run_id"]: r for r in (*good[:2], failed[2])})


def test_files_that_cannot_be_merged_are_named(write: Callable[..., Path], stored_run: Run, tmp_path: Path) -> None:
    first, damaged, other = write("first", stored_run(CONFIGS[0])), tmp_path / "damaged.parquet", tmp_path / "b.parquet"
    damaged.write_bytes(first.read_bytes()[:-9])
    pq.write_table(pa.table({"run_id": ["a"]}), other)
    before = first.read_bytes()
    for paths, message in (
        ([first, tmp_path / "none.parquet"], "none.parquet'; accepted: a study's Parquet file"),
        ([first, damaged], "damaged.parquet' is damaged"),
        ([damaged, first], "damaged.parquet' is damaged"),
        ([first, other], "b.parquet' is damaged (its run_id is 'a')"),
        ([tmp_path / "first", first], "accepted: a name that ends in .parquet"),
    ):
        with pytest.raises(UsageError, match=re.escape(message)):
            merge(paths[0], paths[1:])
    assert first.read_bytes() == before


def test_differences_go_by_value() -> None:
    nan = float("nan")
    one = {"a": 1.0, "b": [nan, [1.0, nan]], "c": nan, "d": None, "seconds": 1.0}
    assert differences(one, {**one, "a": 1, "b": [nan, [1.0, nan]], "c": float("nan"), "d": 3, "seconds": 2.0}) == []
    assert differences(one, {"a": nan, "b": [nan, [nan, 1.0]], "c": 0.0, "e": 1}) == ["a", "b", "c"]


@pytest.mark.skipif(not STORED, reason="results/ has no Parquet file")
def test_every_stored_column_is_explained() -> None:
    explained = set(re.findall(r"^\| *`(\w+)`", (ROOT / "results" / "README.md").read_text("utf8"), re.MULTILINE))
    assert {name for path in STORED for name in pq.read_schema(path).names} <= explained


# --- formats ------------------------------------------------------------------------------------------------------
def test_runs_of_the_first_format_are_read_and_written_in_todays(tmp_path: Path) -> None:
    """Three runs as they were stored before records had a format and a checksum."""
    old = ROOT / "tests" / "fixtures"
    shutil.copy(old / "format-1.parquet", tmp_path / "s.parquet")
    (tmp_path / "s").mkdir()
    (single,) = old.glob("*.json")
    shutil.copy(single, tmp_path / "s")
    store = ResultStore(tmp_path, "s")
    before = store.records()
    assert len(before) == 3 and single.stem in before and all(r["train_loss"] for r in before.values())
    assert "checksum" not in pq.read_schema(store.parquet).names
    assert store.collect() == 3
    table = pq.read_table(store.parquet)
    assert set(table.column("format").to_pylist()) == {FORMAT} and len(set(table.column("checksum").to_pylist())) == 3
    after = store.records()
    assert all(not differences(before[i], after[i]) for i in before)


@pytest.mark.parametrize("write", ["json", "parquet"])
def test_a_later_format_is_refused_with_its_number(
    store: ResultStore, stored_run: Run, write: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "FORMAT", FORMAT + 1)
    store.add(stored_run(CONFIGS[0]))
    if write == "parquet":
        store.collect()
    monkeypatch.undo()
    with pytest.raises(UsageError, match=f"format {FORMAT + 1}, of a newer fewft; this one reads up to {FORMAT}"):
        store.records()


def test_links_out_of_the_results_are_not_followed(store: ResultStore, stored_run: Run, tmp_path: Path) -> None:
    outside = ResultStore(tmp_path / "outside", "other")
    outside.add(stored_run(CONFIGS[0]))
    store.folder.mkdir(parents=True)
    (store.folder / f"{CONFIGS[0].run_id}.json").symlink_to(outside.folder / f"{CONFIGS[0].run_id}.json")
    with pytest.raises(UsageError, match="a link, which could lead out"):
        store.records()
    store.repair()
    assert outside.has(CONFIGS[0].run_id) and store.records() == {}
    linked = ResultStore(tmp_path, "linked")
    linked.folder.symlink_to(outside.folder)
    with pytest.raises(UsageError, match="is a link; accepted: a folder"):
        linked.add(stored_run(CONFIGS[1]))
