"""A user's own files as a run names them: described with their checksums, read only as they were then."""

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fewft.config import RunConfig, UsageError, check_choice, shown
from fewft.files import check_columns, read_table, to_split
from fewft.metrics import METRICS
from fewft.splits import PARTS, Split, halve

NO_FILE = "no file"  # in place of a checksum


def own_data(files: dict[str, Path], text: Sequence[str], label: str, metric: str) -> str:
    """Describe a user's own files for `RunConfig.data`.

    Args:
        files: paths of `train`, `validation` and, optionally, `test` (else validation is halved as GLUE's dev sets).
        text: one or two text columns.
        label: the label column; numbers for `spearman`, any strings otherwise.
        metric: one of metrics.METRICS.

    Raises:
        UsageError: a missing file, unknown split or metric.
    """
    where = {part: str(path) for part, path in files.items()}
    spec = {"files": where, "sha256": {}, "text": list(text), "label": label, "metric": metric}
    _check_spec(spec)
    for part, path in sorted(where.items()):
        if (found := _sha256(path)) == NO_FILE:
            raise UsageError(f"{part}: no file {shown(path)}; accepted: a .csv, .tsv or .jsonl file")
        spec["sha256"][part] = found
    return json.dumps(spec)


def _check_spec(spec: dict[str, Any]) -> None:
    kinds = {"files": dict, "sha256": dict, "text": list, "label": str, "metric": str}
    for key, kind in kinds.items():
        if not isinstance(spec.get(key), kind):
            raise UsageError(f"data: {key!r} is {shown(spec.get(key))}; accepted: what own_files.own_data gives")
    text, label, files = spec["text"], spec["label"], spec["files"]
    check_choice("metric", spec["metric"], METRICS)
    for part in files:
        check_choice("data file", part, PARTS)
    if not {"train", "validation"} <= set(files) or not 1 <= len(set(text) - {label}) == len(text) <= 2:
        said = f"files for {', '.join(files) or 'nothing'}, text {shown(text)}, label {shown(label)}"
        raise UsageError(
            f"data: {said}; accepted: files for train and validation, and one or two text columns beside the label's"
        )


def _read_spec(data: str) -> dict[str, Any]:
    RunConfig(task="own", data=data)  # refuses what is no JSON of texts
    spec = json.loads(data)
    _check_spec(spec)
    return spec


def _sha256(path: str) -> str:
    if not os.path.isfile(path):  # unlike Path's, no error for a name that no file can have
        return NO_FILE
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]
    except OSError as error:
        raise UsageError(f"data file: {path!r} cannot be read ({error}); accepted: a readable file") from error


def own_labels(data: str) -> tuple[str, ...]:
    """The labels of a user's own training file in the order of the model's outputs; none for `spearman`.

    Args:
        data: as `own_data` gives it.

    Raises:
        UsageError: a missing file or label column.
    """
    spec = _read_spec(data)
    if spec["metric"] == "spearman":
        return ()
    frame = read_table(Path(spec["files"]["train"]))
    check_columns(frame, [spec["label"]], spec["files"]["train"])
    return tuple(sorted(set(frame[spec["label"]]) - {""}))  # a row without one is refused where rows are read


def read_own(data: str) -> tuple[tuple[str, ...], str, tuple[Split, Split, Split]]:
    """The labels, the metric and the three splits of a user's own files.

    Args:
        data: as `own_data` gives it.

    Raises:
        UsageError: a file that has changed since, a missing column, an unreadable label, too few labels.
    """
    spec = _read_spec(data)
    train = spec["files"]["train"]
    for part, path in spec["files"].items():
        if _sha256(path) != spec["sha256"].get(part):
            raise UsageError(
                f"{part}: {shown(path)} has changed since the study was read; accepted: the file as it was"
            )
    frames = {part: read_table(Path(path)) for part, path in spec["files"].items()}
    labels = own_labels(data)
    if spec["metric"] != "spearman":
        if len(labels) < 2:
            raise UsageError(f"label: {train!r} has only {labels}; accepted: two or more different ones")
        if len(labels) != 2 and spec["metric"] == "f1":
            raise UsageError(f"metric: 'f1' with {len(labels)} labels in {train!r}; accepted: two labels")
    parts = {p: to_split(f, spec["text"], spec["label"], labels, spec["files"][p]) for p, f in frames.items()}
    validation, test = (parts["validation"], parts["test"]) if "test" in parts else halve(parts["validation"])
    return labels, spec["metric"], (parts["train"], validation, test)
