"""Stored runs: one atomic JSON file a run while running, one Parquet file a study for sharing."""

import json
import math
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock

from fewft.config import UsageError

CIRCUMSTANCES = {  # columns that say where, when and how a run was done, not what came out; `data` holds paths
    "data", "reason", "seconds", "train_seconds", "tokens", "packed", "captured", "data_source", "core_version",
    "torch_version", "transformers_version", "python_version", "device", "threads", "commit", "started",
}  # fmt: skip


class ResultStore:
    """The runs of one study: `<folder>/<study>.parquet`, and `<folder>/<study>/<run_id>.json` until collected.

    Every file is written under another name, flushed to the disk and then renamed: it is there whole or not at all.
    """

    def __init__(self, folder: Path | str, study: str) -> None:
        self.parquet = Path(folder) / f"{study}.parquet"
        self.folder = Path(folder) / study

    def add(self, record: dict[str, Any]) -> None:
        """Store one run, in place of an earlier one with the same `run_id`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        replace_file(self.folder / f"{record['run_id']}.json", json.dumps(record, indent=1).encode())

    def records(self) -> dict[str, dict[str, Any]]:
        """All runs by id; a JSON file goes before the Parquet row of the same id.

        Raises:
            UsageError: a file that is not what this store writes.
        """
        found = {row["run_id"]: row for row in read_parquet(self.parquet)}
        for path in sorted(self.folder.glob("*.json")):
            try:
                record = json.loads(path.read_bytes())
                found[record["run_id"]] = record
            except FileNotFoundError:  # collected by another process since the listing
                continue
            except (ValueError, KeyError, TypeError) as error:
                raise UsageError(f"run file: {str(path)!r} is damaged ({error}); accepted: one stored run") from error
        return found

    def finished(self) -> set[str]:
        """Ids of the runs that need not be done again: all but the failed ones."""
        return {run_id for run_id, record in self.records().items() if record["status"] != "failed"}

    def has(self, run_id: str) -> bool:
        """Whether this run was stored as a JSON file, by this or another process, and did not fail."""
        path = self.folder / f"{run_id}.json"
        return path.is_file() and json.loads(path.read_bytes())["status"] != "failed"

    def frame(self) -> pd.DataFrame:
        """All runs as a tidy frame, one row a run; columns as `results/README.md` says."""
        records = self.records()
        return pd.DataFrame([records[run_id] for run_id in sorted(records)])

    def collect(self) -> int:
        """Move the JSON files into the Parquet file; how many runs it then holds."""
        with self.rewriting() as records:
            return len(records)

    @contextmanager
    def rewriting(self) -> Iterator[dict[str, dict[str, Any]]]:
        """All runs by id, under the store's lock; with the changes made to them they become the Parquet file."""
        self.parquet.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(self.parquet.with_suffix(".lock")):
            files = {path: path.stat().st_mtime_ns for path in self.folder.glob("*.json")}
            records = self.records()
            before = dict(records)
            yield records
            if files or records != before:
                replace_file(self.parquet, _to_parquet(records))
            for path, written in files.items():
                if path.is_file() and path.stat().st_mtime_ns == written:  # else it holds a newer run by now
                    path.unlink()


def differences(first: dict[str, Any], second: dict[str, Any]) -> list[str]:
    """Columns in which two records of one run have another outcome or description; NaN equals NaN.

    CIRCUMSTANCES do not count, and neither does a column that one of the two lacks, written before there was one.
    """
    both = [name for name in first if name in second and name not in CIRCUMSTANCES]
    return [n for n in both if None not in (first[n], second[n]) and not _same(first[n], second[n])]


def _same(first: Any, second: Any) -> bool:
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(map(_same, first, second))
    if isinstance(first, float) and isinstance(second, float) and math.isnan(first):
        return math.isnan(second)
    return first == second


def _to_parquet(records: dict[str, dict[str, Any]]) -> bytes:
    columns = dict.fromkeys(name for record in records.values() for name in record)
    rows = [{c: records[run_id].get(c) for c in columns} for run_id in sorted(records)]
    table = pa.Table.from_pylist(rows)  # alone, it would keep the columns of the first row only
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue().to_pybytes()


def read_parquet(path: Path) -> list[dict[str, Any]]:
    """The runs of a Parquet file, in its order; none if there is no such file.

    Raises:
        UsageError: a file that is not what this store writes.
    """
    if not path.is_file():
        return []
    try:
        table = pq.read_table(path)
        table.column("run_id")  # KeyError: a Parquet file of something else
        return table.to_pylist()
    except (pa.ArrowException, OSError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(
            f"results: {str(path)!r} cannot be read ({reason}); accepted: a study's Parquet file"
        ) from error


def replace_file(path: Path, content: bytes) -> None:
    """Write a file under another name, flush it to the disk, and rename it."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", suffix=".tmp", delete=False) as file:
        try:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        except OSError:  # a full disk: leave nothing behind
            os.unlink(file.name)
            raise
    os.chmod(file.name, 0o644)
    os.replace(file.name, path)
