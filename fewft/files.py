"""Tables of texts and labels from .tsv, .csv and .jsonl files."""

import csv
import io
import json
import os.path
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fewft.config import UsageError, check_choice, shown
from fewft.splits import Split

LARGEST = float(np.finfo(np.float32).max)  # label of a regression


def read_text(path: Path) -> str:
    """A whole file in UTF-8, without a byte order mark, its line ends as they are.

    Raises:
        OSError: it cannot be read.
        ValueError: a byte that is not UTF-8; its line is named.
    """
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line, byte = error.object.count(b"\n", 0, error.start) + 1, error.object[error.start]
        raise ValueError(f"line {line}: byte 0x{byte:02x} is not UTF-8") from None


def read_table(path: Path, *, header: Sequence[str] = ()) -> pd.DataFrame:
    """A .tsv (no quoting, as GLUE's), .csv or .jsonl file as strings.

    Raises:
        UsageError: no such file, another ending, or not readable as UTF-8 rows with differently named columns.
    """
    if not os.path.isfile(path):  # unlike Path's, no error for a name that no file can have
        raise UsageError(f"data file: {str(path)!r} does not exist; accepted: a .tsv, .csv or .jsonl file")
    check_choice("data file's ending", path.suffix, (".tsv", ".csv", ".jsonl"))
    try:
        text = read_text(path)
        if "\0" in text:  # pandas would end a field there
            raise ValueError("it has NUL characters, as UTF-16 has")
        return _read_jsonl(text) if path.suffix == ".jsonl" else _read_delimited(text, path.suffix, header)
    except (OSError, ValueError) as error:  # pandas' own errors are ValueErrors
        reason = str(error).partition("\n")[0]
        raise UsageError(f"data file: {str(path)!r} cannot be read ({reason}); accepted: UTF-8 rows") from error


def _read_delimited(text: str, suffix: str, header: Sequence[str]) -> pd.DataFrame:
    """With its first line among the rows, so that pandas renames no column and counts every row's fields by it."""
    options = {"sep": "\t", "quoting": csv.QUOTE_NONE} if suffix == ".tsv" else {}
    frame = pd.read_csv(io.StringIO(text), header=None, keep_default_na=False, dtype=str, **options)
    names = list(header) or frame.iloc[0].tolist()
    if len(names) != len(frame.columns):
        raise ValueError(f"it has {len(frame.columns)} columns, not {len(names)}: {', '.join(names)}")
    _check_once(filter(None, names))
    frame = frame.set_axis(names, axis=1).iloc[0 if header else 1 :].reset_index(drop=True)
    return frame.loc[:, [name != "" for name in names]]


def _check_once(names: Iterable[str]) -> None:
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise ValueError(f"{shown(twice[0])} is named twice")


def _read_jsonl(text: str) -> pd.DataFrame:
    """As strings just as a .csv file would give them: numbers as written, null and a missing key as nothing."""
    rows = []
    for number, line in enumerate(text.split("\n"), start=1):
        try:
            rows += [_read_object(line)] if line.strip() else []
        except json.JSONDecodeError as error:
            raise ValueError(f"line {number}, column {error.colno}: {error.msg}") from error
        except (ValueError, RecursionError) as error:
            raise ValueError(f"line {number}: {error}") from error
    if not rows:
        raise ValueError("it has no rows")
    return pd.DataFrame(rows).fillna("")


def _read_object(line: str) -> dict[str, str]:
    row = json.loads(line, parse_float=str, parse_constant=_refuse, object_pairs_hook=_unique)
    if not isinstance(row, dict):
        raise ValueError("not a JSON object")
    texts = {k: "" if v is None else v if isinstance(v, str) else json.dumps(v) for k, v in row.items()}
    if any("\0" in text for text in (*texts, *texts.values())):
        raise ValueError("a NUL character")
    "".join((*texts, *texts.values())).encode()  # half of a surrogate pair is no text: no tokenizer takes it
    return texts


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    _check_once(key for key, _ in pairs)
    return dict(pairs)


def check_columns(frame: pd.DataFrame, columns: Sequence[str], where: object) -> None:
    """Refuse a file that lacks a column; the error names the columns that it has."""
    for column in columns:
        check_choice(f"column of {str(where)!r}", column, [str(c) for c in frame.columns])


def to_split(frame: pd.DataFrame, text: Sequence[str], label: str, labels: Sequence[str], where: object) -> Split:
    """A table's texts and labels.

    Args:
        frame: all columns as strings.
        text: one or two text columns.
        label: the label column.
        labels: accepted labels in the order of the model's outputs; none: finite numbers.
        where: the file, for errors.

    Raises:
        UsageError: a missing column or an unreadable label; file, row and column are named.
    """
    check_columns(frame, [*text, label], where)
    numbers = {name: i for i, name in enumerate(labels)}
    convert: Callable[[str], float] = numbers.__getitem__ if labels else _finite
    values = []
    for row, value in enumerate(frame[label]):
        try:
            values.append(convert(value))
        except (ValueError, KeyError):
            accepted = ", ".join(labels) or "a number"
            place = f"{str(where)!r}, row {row + 1}, column {label!r}"
            raise UsageError(f"label: {shown(value)} in {place} is not readable; accepted: {accepted}") from None
    dtype = np.int64 if labels else np.float32
    columns = [tuple(frame[c]) for c in text]
    return Split(columns[0], columns[1] if len(columns) > 1 else None, np.asarray(values, dtype=dtype))


def _finite(text: str) -> float:
    if not abs(value := float(text)) <= LARGEST:  # or not a number
        raise ValueError(text)
    return value
