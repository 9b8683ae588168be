"""Tables of texts and labels from .tsv, .csv and .jsonl files."""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from fewft.config import UsageError, check_choice
from fewft.splits import Split


def read_table(path: Path, *, header: Sequence[str] = ()) -> pd.DataFrame:
    """A .tsv (no quoting, as GLUE's), .csv or .jsonl file as strings.

    Raises:
        UsageError: no such file, another ending, or not readable as UTF-8 rows.
    """
    if not path.is_file():
        raise UsageError(f"data file: {str(path)!r} does not exist; accepted: a .tsv, .csv or .jsonl file")
    check_choice("data file's ending", path.suffix, (".tsv", ".csv", ".jsonl"))
    try:
        if path.suffix == ".jsonl":
            return _read_jsonl(path)
        names = {"names": list(header), "header": None} if header else {}
        quoting = {"sep": "\t", "quoting": 3} if path.suffix == ".tsv" else {}
        frame = pd.read_csv(path, keep_default_na=False, dtype=str, encoding="utf-8-sig", **names, **quoting)
        if not isinstance(frame.index, pd.RangeIndex):  # pandas would take the first field for an index
            raise ValueError(f"its rows have more fields than the {len(frame.columns)} columns named")
        return frame
    except (ValueError, UnicodeError) as error:  # pandas' own errors are ValueErrors
        reason = str(error).splitlines()[0]
        raise UsageError(f"data file: {str(path)!r} cannot be read ({reason}); accepted: UTF-8 rows") from error


def _read_jsonl(path: Path) -> pd.DataFrame:
    """As strings just as a .csv file would give them: numbers as written, null and a missing key as nothing."""
    rows = [json.loads(line, parse_float=str) for line in path.read_text("utf-8-sig").split("\n") if line.strip()]
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError("a line is not a JSON object")
    texts = [{k: "" if v is None else v if isinstance(v, str) else json.dumps(v) for k, v in r.items()} for r in rows]
    return pd.DataFrame(texts).fillna("")


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
    convert: Callable[[str], float] = list(labels).index if labels else _finite
    values = []
    for row, value in enumerate(frame[label]):
        try:
            values.append(convert(value))
        except ValueError:
            accepted = ", ".join(labels) or "a number"
            place = f"{str(where)!r}, row {row + 1}, column {label!r}"
            raise UsageError(f"label: {value!r} in {place} is not readable; accepted: {accepted}") from None
    dtype = np.int64 if labels else np.float32
    columns = [tuple(frame[c]) for c in text]
    return Split(columns[0], columns[1] if len(columns) > 1 else None, np.asarray(values, dtype=dtype))


def _finite(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise ValueError(text)
    return value
