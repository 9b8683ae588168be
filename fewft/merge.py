"""Several result files into one: the runs of other machines join ours, unless two of them disagree."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fewft.config import UsageError
from fewft.results import ResultStore, differences, read_parquet

SHOWN = 3  # differing columns in a message
Record = dict[str, Any]


class ConflictError(ValueError):
    """Runs that came out differently in two files; nothing was written."""


@dataclass
class Merged:
    """What a merge did, in runs."""

    added: int = 0
    replaced: int = 0  # failed before, not failed in another file
    known: int = 0  # already there
    total: int = 0  # then in the first file


def merge(first: Path | str, others: Sequence[Path | str]) -> Merged:
    """Add the runs of other Parquet files to the first, all or none.

    A failed run gives way to one of the same id that did not fail. Where, when and how fast a run was done, and
    columns that one file lacks, are no conflict.

    Args:
        first: a study's Parquet file, made if there is none; its runs still in JSON files are collected.
        others: files of the same kind, only read.

    Raises:
        UsageError: a file that is missing, damaged or of something else.
        ConflictError: a run whose outcome differs between two files; the message shows each.
    """
    target = Path(first)
    if target.suffix != ".parquet":
        raise UsageError(f"file: {str(target)!r}; accepted: a name that ends in .parquet")
    rows = [(Path(path), row) for path in others for row in _rows(Path(path))]
    with ResultStore(target.parent, target.stem).rewriting() as records:
        done, conflicts = _add(rows, records, {run_id: target for run_id in records})
        if conflicts:
            count = f"{len(conflicts)} conflict{'s' if len(conflicts) > 1 else ''}"
            raise ConflictError("\n".join([f"{count}, nothing was written", *conflicts]))
    return done


def _rows(path: Path) -> list[Record]:
    if not path.is_file():
        raise UsageError(f"file: no file {str(path)!r}; accepted: a study's Parquet file")
    return read_parquet(path)


def _add(
    rows: Iterable[tuple[Path, Record]], records: dict[str, Record], source: dict[str, Path]
) -> tuple[Merged, list[str]]:
    """Put rows among the records, in place; a message for each that conflicts with the one there."""
    done, conflicts = Merged(), []
    for path, row in rows:
        run_id = row["run_id"]
        there = records.get(run_id)
        if there and "failed" not in (there["status"], row["status"]) and (names := differences(there, row)):
            conflicts.append(_conflict(names, there, row, source[run_id], path))
        elif there and (row["status"] == "failed" or there["status"] != "failed"):
            done.known += 1
        else:
            records[run_id], source[run_id] = row, path
            done.replaced += bool(there)
            done.added += not there
    done.total = len(records)
    return done, conflicts


def _conflict(names: list[str], there: Record, row: Record, first: Path, second: Path) -> str:
    shown = [f"{n}{compare(there[n], row[n])}" for n in names[:SHOWN]]
    shown += [f"{len(names) - SHOWN} more columns"] if len(names) > SHOWN else []
    where = [
        f"{path} ({record.get('device') or 'device not known'}, commit {record.get('commit') or 'not known'})"
        for path, record in ((first, there), (second, row))
    ]
    return f"{row['run_id']} {row['task']}: {'; '.join(shown)}\n    {' | '.join(where)}"


def compare(first: Any, second: Any) -> str:
    """Both values beside each other; of two lists of one length the first entries that differ, with their place."""
    if isinstance(first, list) and isinstance(second, list) and len(first) == len(second):
        pairs = zip(first, second, strict=True)
        place = next((i for i, (a, b) in enumerate(pairs) if differences({"": a}, {"": b})), 0)
        return f"[{place}]{compare(first[place], second[place])}" if first else ""
    if isinstance(first, list) and isinstance(second, list):
        return f" of {len(first)} | {len(second)} entries"
    return f" {first!r} | {second!r}"
