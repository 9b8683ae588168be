"""Stored runs as bytes, and how damage to these is found.

Each record has the number of its format and a checksum of all that it says. A JSON file must moreover be spelled as it
was written, and a Parquet file have the digest that it was sealed with: no byte of them can change unseen. This tells
of accidents, not of malice: who changes a record on purpose can write its checksum anew.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

FORMAT = 2  # raise it when a reader of today would misread what is written then; 1 had neither format nor checksum
STATUSES = ("ok", "diverged", "failed")
ROWS = 64  # in a row group of Parquet: what damage to one of them can cost
SEAL = re.compile(rb"fewft-sha256:([0-9a-f]{64})")
BLANK = b"fewft-sha256:" + b"0" * 64
UNREADABLE = (pa.ArrowException, OSError, ValueError, KeyError, TypeError, RecursionError, MemoryError)

Record = dict[str, Any]


class DamageError(ValueError):
    """Not what was written; the message says what is wrong with it."""


def checksum(record: Mapping[str, Any]) -> str:
    """16 hex digits over all that a record says; None says nothing, and 1.0 what 1 does."""
    said = {key: _plain(value) for key, value in record.items() if value is not None and key != "checksum"}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _seal(record: Record) -> Record:
    """With format and checksum, and no character that UTF-8 lacks."""
    texts = {k: v.encode("utf-8", "backslashreplace").decode() for k, v in record.items() if isinstance(v, str)}
    sealed = {"format": FORMAT, **record, **texts}
    return {**sealed, "checksum": checksum(sealed)}


def _unseal(sealed: Any) -> Record:
    """The record alone.

    Raises:
        DamageError: it is not one, is of a later format, or its checksum is another.
    """
    if not isinstance(sealed, dict):
        raise DamageError(f"a {type(sealed).__name__}, not a record")
    record, kind, said = dict(sealed), sealed.get("format"), sealed.get("checksum")
    record.pop("format", None), record.pop("checksum", None)
    if isinstance(kind, int) and kind > FORMAT and said == checksum(sealed):
        raise DamageError(f"format {kind}, of a newer fewft; this one reads up to {FORMAT}")
    if (kind, said) != (None, None) and (kind != FORMAT or said != checksum(sealed)):
        raise DamageError("its checksum is not that of what it says")
    run_id, status = record.get("run_id"), record.get("status")
    if not (isinstance(run_id, str) and re.fullmatch(r"[0-9a-f]{16}", run_id)):
        raise DamageError(f"its run_id is {str(run_id)[:40]!r}")
    if status not in STATUSES or not isinstance(record.get("task"), str):
        raise DamageError(f"its status is {str(status)[:40]!r}, its task {str(record.get('task'))[:40]!r}")
    return record


def to_json(record: Record) -> bytes:
    """One run as the text of its file."""
    return _spell(_seal(record))


def _spell(sealed: Record) -> bytes:
    return json.dumps(sealed, indent=1).encode()


def from_json(content: bytes, run_id: str) -> Record:
    """The run of a file.

    Args:
        content: of the file.
        run_id: as its name says.

    Raises:
        DamageError: it is not what `to_json` gave for this run.
    """
    try:
        sealed = json.loads(content)
        record = _unseal(sealed)
    except DamageError:
        raise
    except UNREADABLE as error:
        raise DamageError(_reason(error)) from error
    if record["run_id"] != run_id:
        raise DamageError(f"it holds run {record['run_id']}")
    if "format" in sealed and _spell(sealed) != content:
        raise DamageError("it is not spelled as it was written")
    return record


def to_parquet(records: Mapping[str, Record]) -> bytes:
    """Runs by id as the content of a Parquet file, sealed with its own digest."""
    rows = [_seal(records[run_id]) for run_id in sorted(records)]
    columns = dict.fromkeys(name for row in rows for name in row)
    table = pa.Table.from_pylist([{c: row.get(c) for c in columns} for row in rows])  # else: the first row's columns
    sink = pa.BufferOutputStream()
    table = table.replace_schema_metadata({b"fewft": BLANK})
    pq.write_table(table, sink, compression="zstd", row_group_size=ROWS, write_page_checksum=True)
    content = sink.getvalue().to_pybytes()
    before, after = content.rsplit(BLANK, 1)
    return before + b"fewft-sha256:" + _digest(content) + after


def _digest(blank: bytes) -> bytes:
    return hashlib.sha256(blank).hexdigest().encode()


def _holds(content: bytes, seal: re.Match[bytes]) -> bool:
    return seal[1] == _digest(content[: seal.start()] + BLANK + content[seal.end() :])


def from_parquet(content: bytes) -> list[Record]:
    """The runs of a Parquet file, in its order.

    Raises:
        DamageError: it is not what `to_parquet` gave, nor a file of the format before it.
    """
    seals = list(SEAL.finditer(content))  # the last one is ours, whatever texts the runs have
    if seals and not _holds(content, seals[-1]):
        raise DamageError("its digest is not the one that it was sealed with")
    try:
        rows = pq.read_table(pa.BufferReader(content)).to_pylist()
    except UNREADABLE as error:
        raise DamageError(_reason(error)) from error
    if not seals and any("format" in row or "checksum" in row for row in rows):
        raise DamageError("it was changed since, and has no seal")
    return [_unseal(row) for row in rows]


def whole_rows(content: bytes) -> tuple[list[Record], set[str]]:
    """Of a damaged Parquet file the rows whose checksums hold, and the ids of the others, as far as they can be read."""
    try:
        file = pq.ParquetFile(pa.BufferReader(content))
        # An id has no checksum but its page's.
        strict = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)
        groups = range(file.num_row_groups)
    except UNREADABLE:
        return [], set()
    whole: list[Record] = []
    ids: set[str] = set()
    for group in groups:
        ids |= {str(row.get("run_id")) for row in _rows(strict, group, ["run_id"])}
        for row in _rows(file, group):
            with suppress(DamageError):
                whole += [_unseal(row)] if row.get("checksum") else []  # without one nothing tells
    return whole, {i for i in ids if re.fullmatch("[0-9a-f]{16}", i)} - {record["run_id"] for record in whole}


def _rows(file: pq.ParquetFile, group: int, columns: list[str] | None = None) -> list[Record]:
    try:
        return file.read_row_group(group, columns=columns).to_pylist()
    except UNREADABLE:
        return []


def _reason(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
