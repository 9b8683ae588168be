"""A user's own files as one task: checked, and what is missing of validation and test held out of the training file."""

import json
import math
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from fewft import own_files, studies, tasks
from fewft.config import UsageError, check_choice, shown
from fewft.files import check_columns, read_table, to_split
from fewft.metrics import METRICS
from fewft.results import replace_file
from fewft.splits import PARTS, Split, shuffled_groups

SHARE = 5  # of the training file's rows, a part that has no file gets one in so many
FEWEST = 20  # rows of a validation or test set: with fewer, one row is over 5 points of accuracy
MOST_LABELS = 20  # more different numbers than this are taken for a scale
NORMAL_95 = 1.96  # half-width of a 95 % interval in standard errors


@dataclass(frozen=True)
class OwnData:
    """Files that are ready to be trained on."""

    name: str  # of the task, and of the stored runs
    data: str  # as RunConfig.data
    held_out: tuple[str, ...]  # parts that the training file gave


def read(
    name: str, files: Mapping[str, Path | str], text: Sequence[str], label: str, *, metric: str = "", folder: Path
) -> OwnData:
    """Check a user's files; parts without a file are held out of the training file, label by label, the same each time.

    Args:
        name: of the task; no study may have it.
        files: paths by part: `train`, and `validation` and `test` where there are any (an empty path is none).
        text: one or two text columns.
        label: the label column.
        metric: one of metrics.METRICS; empty: as `infer_metric` says.
        folder: where the parts go, as `<name>/train.jsonl` and so on, when some are held out.

    Raises:
        UsageError: names the file, row and column of a missing column, an empty text or an unreadable label; one label
            only; fewer than FEWEST rows for validation or test.
    """
    _check_name(name)
    files = {part: Path(path) for part, path in files.items() if str(path)}
    if "train" not in files:
        raise UsageError("train: no file; accepted: a .csv, .tsv or .jsonl file")
    check_choice("metric", metric or METRICS[0], METRICS)
    if not 1 <= len(set(text) - {label}) == len(text) <= 2:
        raise UsageError(
            f"text: {shown(list(text))} with label {shown(label)}; accepted: one or two columns beside the label's"
        )
    frames = {part: _table(path, text, label) for part, path in files.items()}
    metric = metric or infer_metric(frames["train"][label])
    missing = tuple(part for part in ("validation", "test") if part not in frames)
    labels = () if metric == "spearman" else _labels(frames["train"], label, files["train"])
    splits = {p: to_split(frame, text, label, labels, files[p]) for p, frame in frames.items()}
    sizes = {p: len(split) for p, split in splits.items()}
    _check_sizes(sizes | dict.fromkeys(missing, round(sizes["train"] / SHARE)), files, missing)
    if missing:
        values = splits["train"].labels if labels else np.zeros(sizes["train"])
        _check_rare(Counter(frames["train"][label]) if labels else {}, label, files["train"])
        files |= _part(frames["train"], values, files, missing, folder / name)
    data = own_files.own_data(files, text, label, metric)
    tasks.load(name, data)  # refuses what is left, such as F1 with three labels
    return OwnData(name, data, missing)


def _table(path: Path, text: Sequence[str], label: str) -> pd.DataFrame:
    """The rows of a file that has these columns, and no empty text."""
    frame = read_table(path)
    check_columns(frame, [*text, label], path)
    _check_texts(frame, text, path)
    return frame


def _part(
    frame: pd.DataFrame, values: np.ndarray, files: Mapping[str, Path], missing: Sequence[str], folder: Path
) -> dict[str, Path]:
    """Write the training file's rows in parts, and the paths of these; `values` are what `hold_out` looks at."""
    rows = hold_out(values, missing)
    _check_sizes({part: len(rows[part]) for part in missing}, files, missing)  # rounded label by label
    return {part: _write(frame.iloc[rows[part]], folder / f"{part}.jsonl") for part in ("train", *missing)}


def infer_metric(labels: Sequence[str]) -> str:
    """`spearman` for numbers of which some are not whole, or that have over MOST_LABELS values; else `accuracy`."""
    try:
        values = {float(value) for value in labels}
    except ValueError:
        return "accuracy"
    a_scale = len(values) > MOST_LABELS or any(value % 1 for value in values)
    return "spearman" if a_scale and all(map(math.isfinite, values)) else "accuracy"


def hold_out(labels: np.ndarray, parts: Sequence[str]) -> dict[str, list[int]]:
    """Rows of `train` and of each of `parts`, in file order: of every label's rows a SHAREth, at least one, a part.

    Args:
        labels: (rows,); all the same for a split that does not look at them.
        parts: to be held out.
    """
    rows: dict[str, list[int]] = {part: [] for part in ("train", *parts)}
    for group in shuffled_groups(labels):
        size = max(1, round(len(group) / SHARE))
        for i, part in enumerate(parts):
            rows[part] += group[i * size : (i + 1) * size]
        rows["train"] += group[len(parts) * size :]
    return {part: sorted(found) for part, found in rows.items()}


def half_width(metric: str, rows: int) -> float:
    """Half of the widest 95 % interval of a score on `rows` rows: of a share (accuracy, about F1), or of a correlation."""
    return NORMAL_95 * (0.5 if metric in ("accuracy", "f1") else 1.0) / math.sqrt(rows)


def notes(own: OwnData, max_seq_length: int = 128) -> list[str]:
    """What a reader of the scores should know of the data: sizes, metric, what is too few, repeated and cut texts.

    Args:
        own: as `read` gives it.
        max_seq_length: tokens at which the runs cut an example.
    """
    loaded, labels = tasks.load(own.name, own.data), own_files.own_labels(own.data)
    parts = {part: getattr(loaded, part) for part in PARTS}
    sizes = ", ".join(f"{len(split)} {part}" for part, split in parts.items())
    held = f"; {' and '.join(own.held_out)} held out of the training file" if own.held_out else ""
    kind = f"{len(labels)} labels: {', '.join(labels[:8])}{', ...' if len(labels) > 8 else ''}" if labels else "numbers"
    positive = f" of {labels[1]!r}" if loaded.metric == "f1" else ""
    said = [f"rows: {sizes}{held}", f"metric: {loaded.metric}{positive} ({kind})"]
    fewest = min(len(loaded.validation), len(loaded.test))
    said.append(
        f"resolution: on {fewest} rows chance alone moves a score by up to ± {half_width(loaded.metric, fewest):.2f} "
        f"(95 %), one row by {1 / fewest:.3f}; smaller differences may be the rows' and not the recipes'"
    )
    for part, split in parts.items():
        counts = Counter(split.labels.tolist())
        rare = [f"{label!r} {counts[i]}" for i, label in enumerate(labels) if counts[i] < 2]
        said += [f"too few: {part} rows of label {', '.join(rare)}"] if rare else []
    known = set(zip(*_texts(loaded.train), strict=True))
    for part in ("validation", "test"):
        again = sum(texts in known for texts in zip(*_texts(parts[part]), strict=True))
        said += [f"repeated: {again} {part} texts are also training texts"] if again else []
    long = sum(len(" ".join(x).split()) > max_seq_length for s in parts.values() for x in zip(*_texts(s), strict=True))
    return said + ([f"cut: {long} texts or more are longer than max_seq_length = {max_seq_length} tokens"] * (long > 0))


def _texts(split: Split) -> list[tuple[str, ...]]:
    return [column for column in (split.text_a, split.text_b) if column is not None]


def _check_name(name: str) -> None:
    if not re.fullmatch(r"\w[\w .+-]{,59}", name):  # it becomes the name of files
        raise UsageError(f"name: {shown(name)}; accepted: up to 60 letters, digits, '_', '-', '.', '+' and spaces")
    if name in studies.available():
        raise UsageError(f"name: {name!r} is a study, whose stored runs have that name; accepted: another one")


def _check_texts(frame: pd.DataFrame, columns: Sequence[str], path: Path) -> None:
    for column in columns:
        empty = np.flatnonzero(frame[column].str.strip() == "")
        if len(empty):
            more = f" and {len(empty) - 1} more" if len(empty) > 1 else ""
            raise UsageError(
                f"text: {str(path)!r}, column {column!r} is empty in row {empty[0] + 1}{more}; accepted: some text"
            )


def _labels(frame: pd.DataFrame, column: str, path: Path) -> tuple[str, ...]:
    found = tuple(sorted(set(frame[column]) - {""}))  # an empty one is refused with its row
    if len(found) < 2:
        raise UsageError(
            f"label: {str(path)!r}, column {column!r} has only {found}; accepted: two or more different labels"
        )
    return found


def _check_sizes(sizes: Mapping[str, int], files: Mapping[str, Path], missing: Sequence[str]) -> None:
    for part in ("validation", "test"):
        if (n := sizes.get(part, FEWEST)) < FEWEST:
            where = f"held out of {str(files['train'])!r}" if part in missing else f"in {str(files[part])!r}"
            chance = f"on {n} rows chance alone moves a score by up to ± {half_width('accuracy', max(n, 1)):.2f}"
            accepted = f"{FEWEST} or more, so about {FEWEST * SHARE} in a file that all parts come from"
            raise UsageError(f"{part}: {n} rows {where} are too few ({chance}); accepted: {accepted}")


def _check_rare(counts: Mapping[str, int], column: str, path: Path) -> None:
    for value, count in counts.items():
        if count < SHARE:
            raise UsageError(
                f"label: {value!r} in {str(path)!r}, column {column!r} has {count} row(s); accepted: {SHARE} or more, "
                "for each part to get one, or files for validation and test"
            )


def _write(frame: pd.DataFrame, path: Path) -> Path:
    """All columns of some rows as JSON Lines; the path is relative, so that stored runs name no folder of this machine."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in frame.to_dict("records"))
    replace_file(path, "".join(lines).encode())
    return Path(os.path.relpath(path))
