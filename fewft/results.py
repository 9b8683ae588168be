"""Stored runs: one atomic JSON file a run while running, one Parquet file a study for sharing."""

import math
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock

from fewft.config import UsageError
from fewft.records import DamageError, from_json, from_parquet, to_json, to_parquet, whole_rows

CIRCUMSTANCES = {  # columns that say where, when and how a run was done, not what came out; `data` holds paths
    "data", "reason", "seconds", "train_seconds", "tokens", "packed", "captured", "data_source", "core_version",
    "torch_version", "transformers_version", "python_version", "device", "threads", "commit", "started",
}  # fmt: skip


@dataclass
class Repair:
    """What was damaged, and what became of it."""

    aside: dict[Path, Path] = field(default_factory=dict)  # damaged file: where it is now
    why: dict[Path, str] = field(default_factory=dict)  # damaged file: what is wrong with it
    kept: int = 0  # runs of a damaged Parquet file whose checksums hold
    lost: set[str] = field(default_factory=set)  # ids of the others, as far as they are known


class ResultStore:
    """The runs of one study: `<folder>/<study>.parquet`, and `<folder>/<study>/<run_id>.json` until collected.

    Every file is written under another name, flushed to the disk and then renamed: it is there whole or not at all.
    All writing is done under one lock.
    """

    def __init__(self, folder: Path | str, study: str) -> None:
        self.parquet = Path(folder) / f"{study}.parquet"
        self.folder = Path(folder) / study

    def add(self, record: dict[str, Any]) -> None:
        """Store one run, in place of an earlier one with the same `run_id`."""
        with self._locked():
            replace_file(self.folder / f"{record['run_id']}.json", to_json(record))

    def check_writable(self) -> None:
        """See that runs can be stored, before any is done.

        Raises:
            OSError: they cannot; with the file's name.
        """
        with self._locked(), tempfile.TemporaryFile(dir=self.folder):
            pass

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.folder.is_symlink():
            raise UsageError(f"results: {str(self.folder)!r} is a link; accepted: a folder")
        with FileLock(self.parquet.with_suffix(".lock")):
            yield

    def read(self) -> tuple[dict[str, dict[str, Any]], dict[Path, str]]:
        """All whole runs by id, a JSON file before the Parquet row of the same id; damaged files, with the reason."""
        single: dict[str, dict[str, Any]] = {}
        damaged: dict[Path, str] = {}
        for path in sorted(self.folder.glob("*.json")):
            try:
                single[path.stem] = from_json(_content(path), path.stem)
            except FileNotFoundError:  # collected since it was listed: it is in the Parquet file, which is read last
                continue
            except DamageError as error:
                damaged[path] = str(error)
        try:
            rows = from_parquet(_content(self.parquet))
        except FileNotFoundError:
            rows = []
        except DamageError as error:
            rows, damaged[self.parquet] = [], str(error)
        return {row["run_id"]: row for row in rows} | single, damaged

    def records(self) -> dict[str, dict[str, Any]]:
        """All runs by id.

        Raises:
            UsageError: a damaged file, or one of something else; how many there are, and the first one's name.
        """
        records, damaged = self.read()
        for path, reason in damaged.items():
            more = f", and {len(damaged) - 1} more are" if len(damaged) > 1 else ""
            raise UsageError(
                f"results: {str(path)!r} is damaged ({reason}){more}; accepted: whole files "
                "(`fewft status STUDY --repair` sets damaged ones aside and does their runs again)"
            )
        return records

    def finished(self) -> set[str]:
        """Ids of the runs that need not be done again: all but the failed ones."""
        return {run_id for run_id, record in self.records().items() if record["status"] != "failed"}

    def has(self, run_id: str) -> bool:
        """Whether this run was stored as a whole JSON file, by this or another process, and did not fail."""
        try:
            return from_json(_content(self.folder / f"{run_id}.json"), run_id)["status"] != "failed"
        except (FileNotFoundError, DamageError):
            return False

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
        with self._locked():
            files = list(self.folder.glob("*.json"))
            records = self.records()
            before = dict(records)
            yield records
            if files or records != before:
                replace_file(self.parquet, to_parquet(records))
            for path in files:
                path.unlink()

    def repair(self) -> Repair:
        """Move damaged files to `<folder>/<study>/damaged/`, and what is left of writing that was cut off out of the way.

        Of a damaged Parquet file the rows whose checksums hold stay.
        """
        done = Repair()
        with self._locked():
            leftovers = (*self.folder.glob(".*.tmp"), *self.parquet.parent.glob(f".{self.parquet.name}.*.tmp"))
            for path in leftovers:  # nobody writes now
                path.unlink()
            records, done.why = self.read()
            for path in done.why:
                rows: list[dict[str, Any]] = []
                if path == self.parquet and not path.is_symlink():
                    rows, done.lost = whole_rows(path.read_bytes())
                done.aside[path] = self._set_aside(path, rows)
                done.kept += len(rows)
            done.lost = (done.lost | {path.stem for path in done.why if path.suffix == ".json"}) - records.keys()
        return done

    def _set_aside(self, path: Path, rows: list[dict[str, Any]]) -> Path:
        """A damaged file under a name of its own; with rows, a new file of them stands in its place."""
        folder = self.folder / "damaged"
        folder.mkdir(exist_ok=True)
        number = sum(1 for _ in folder.iterdir()) + 1
        target = folder / f"{number}-{path.name}"
        if rows:
            replace_file(target, path.read_bytes())
            replace_file(path, to_parquet({row["run_id"]: row for row in rows}))
        else:
            path.rename(target)
        return target


def _content(path: Path) -> bytes:
    if path.is_symlink():
        raise DamageError("a link, which could lead out of the results folder")
    return path.read_bytes()


def read_parquet(path: Path) -> list[dict[str, Any]]:
    """The runs of a Parquet file, in its order; none if there is no such file.

    Raises:
        UsageError: a file that is not what a store writes.
    """
    if not path.is_file():
        return []
    try:
        return from_parquet(path.read_bytes())
    except DamageError as error:
        raise UsageError(f"results: {str(path)!r} is damaged ({error}); accepted: a study's Parquet file") from error


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


def replace_file(path: Path, content: bytes) -> None:
    """Write a file under another name, flush it to the disk, and rename it; the rename is flushed too.

    Raises:
        OSError: with the file's name; a full disk leaves nothing behind.
    """
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp", delete=False) as file:
            try:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
                os.fchmod(file.fileno(), 0o644)
                os.replace(file.name, path)
            except OSError:
                os.unlink(file.name)
                raise
        _flush_names(path.parent)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def _flush_names(folder: Path) -> None:
    """Without this a machine that loses power may forget a rename, and yet remember what was deleted after it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
