"""GLUE tasks and a user's own: columns, labels, metric, and the paper's splits, from hub, folder, file or grammar."""

import hashlib
import json
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from fewft import bundled
from fewft.config import UsageError, check_choice
from fewft.metrics import METRICS, majority_baseline

NLI = ("entailment", "not_entailment")
SMALL, LARGE = ("rte", "mrpc", "stsb", "cola"), ("sst2", "qnli", "qqp", "mnli")
SUBSET = 1000  # training examples of the "-1k" versions; Section 3
HELD_OUT = 1000  # validation examples taken from the training set of LARGE; Section 3


@dataclass(frozen=True)
class Task:
    """One data set: where its columns are and how it is scored."""

    name: str
    folder: str  # in the classic glue_data/ layout
    text: tuple[str, ...]  # one or two columns
    label: str
    labels: tuple[str, ...]  # in the order of the model's outputs; () for regression
    metric: str  # reported, Table 3
    selection: str  # picks the best checkpoint; the released code
    header: tuple[str, ...] = ()  # columns of files without a header line
    dev: str = "dev.tsv"
    hub_text: tuple[str, ...] = ()  # where the hub's columns differ
    hub_label: str = "label"

    @property
    def num_labels(self) -> int:
        """Outputs of the classification head; 1 for regression."""
        return len(self.labels) or 1


_PAIR = ("sentence1", "sentence2")
GLUE = {
    t.name: t
    for t in (
        Task("rte", "RTE", _PAIR, "label", NLI, "accuracy", "accuracy"),
        Task(
            "mrpc", "MRPC", ("#1 String", "#2 String"), "Quality", ("0", "1"), "f1", "accuracy", hub_text=_PAIR
        ),
        Task("stsb", "STS-B", _PAIR, "score", (), "spearman", "spearman"),
        Task(
            "cola", "CoLA", ("sentence",), "label", ("0", "1"), "matthews", "matthews",
            header=("source", "label", "star", "sentence"),
        ),
        Task("sst2", "SST-2", ("sentence",), "label", ("0", "1"), "accuracy", "accuracy"),
        Task("qnli", "QNLI", ("question", "sentence"), "label", NLI, "accuracy", "accuracy"),
        Task("qqp", "QQP", ("question1", "question2"), "is_duplicate", ("0", "1"), "accuracy", "accuracy"),
        Task(
            "mnli", "MNLI", _PAIR, "gold_label", ("entailment", "neutral", "contradiction"), "accuracy", "accuracy",
            dev="dev_matched.tsv", hub_text=("premise", "hypothesis"),
        ),
    )
}  # fmt: skip
HUB_ROWS = {"rte": 2490, "mrpc": 3668, "stsb": 5749, "cola": 8551, "sst2": 67349, "qnli": 104743, "qqp": 363846,
            "mnli": 392702}  # fmt: skip  # training rows of nyu-mll/glue: fewer means a sample


@dataclass(frozen=True)
class Split:
    """Texts and labels of one split, in order."""

    text_a: tuple[str, ...]
    text_b: tuple[str, ...] | None
    labels: np.ndarray  # int64 (examples,), or float32 for regression

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: Sequence[int]) -> "Split":
        """The examples at `indices`, in that order."""
        second = None if self.text_b is None else tuple(self.text_b[i] for i in indices)
        return Split(tuple(self.text_a[i] for i in indices), second, self.labels[np.asarray(indices, dtype=int)])


@dataclass(frozen=True)
class TaskData:
    """A task with its three splits, ready to be tokenised."""

    name: str
    num_labels: int
    metric: str
    selection: str
    train: Split
    validation: Split
    test: Split
    majority: int  # label of the majority baseline
    source: str  # "hub", "folder", "bundled" or "own files"
    train_rows: int  # rows that the source's training file has

    @property
    def digest(self) -> str:
        """16 hex digits over every text and label, to tell one copy of the data from another."""
        parts = [(s.text_a, s.text_b, s.labels.tolist()) for s in (self.train, self.validation, self.test)]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def names() -> list[str]:
    """Every task that can be named without files of one's own."""
    return [*GLUE, *(f"{name}-1k" for name in GLUE), *bundled.NAMES]


@lru_cache(maxsize=16)
def load(name: str, data: str = "") -> TaskData:
    """The splits of a task.

    GLUE is read from the folder that FEWFT_GLUE_DIR names, or else from the hub (`nyu-mll/glue`).

    Args:
        name: one of `names()`, or any name together with `data`.
        data: a user's own files, as `own_data` describes them.

    Raises:
        UsageError: unknown task, missing file or column, unreadable label.

    Paper: Section 3, "Data"; deviations, "Splits".
    """
    if data:
        return _load_own(name, data)
    check_choice("task", name, names())
    if name in bundled.NAMES:
        return _load_bundled(name)
    task = GLUE[name.removesuffix("-1k")]
    folder = os.environ.get("FEWFT_GLUE_DIR")
    train, dev = _from_folder(task, Path(folder)) if folder else _from_hub(task)
    parts = paper_splits(task.name, train, dev, subset=name.endswith("-1k"))
    source = "folder" if folder else "hub"
    return _task_data(name, task.num_labels, task.metric, task.selection, parts, source, train)


def _task_data(
    name: str, num_labels: int, metric: str, selection: str, parts: tuple[Split, Split, Split], source: str, rows: Split
) -> TaskData:
    train, validation, test = parts
    for part, split in (("train", train), ("validation", validation), ("test", test)):
        if not len(split):
            raise UsageError(f"task {name!r}: its {part} split has no examples; accepted: at least one")
    majority = 0 if num_labels == 1 else majority_label(validation.labels, rows.labels)
    return TaskData(name, num_labels, metric, selection, train, validation, test, majority, source, len(rows))


def majority_label(validation: np.ndarray, train: np.ndarray) -> int:
    """The most frequent validation label; among equals, the one that the training file has first.

    This rule gives every majority baseline of Table 3 from the paper's splits.
    """
    labels, counts = np.unique(validation, return_counts=True)
    tied = set(labels[counts == counts.max()].tolist())
    return next((int(x) for x in train if x in tied), int(labels[counts.argmax()]))


# --- the paper's splits -------------------------------------------------------------------------------------------


def paper_splits(name: str, train: Split, dev: Split, *, subset: bool) -> tuple[Split, Split, Split]:
    """Train, validation and test as the released code makes them from GLUE's train and dev sets.

    RTE, MRPC, STS-B, CoLA: dev is halved. The others: validation is held out of train, dev is the test set.

    Args:
        name: a key of GLUE.
        train: GLUE's training set, in file order.
        dev: GLUE's development set, in file order.
        subset: whether to cut the training set to 1,000 examples.

    Raises:
        UsageError: too few rows for training and validation sets without a common example.

    Paper: Section 3, "Data".
    """
    if name == "stsb":
        kept = _torch_permutation(len(train))[:SUBSET] if subset else range(len(train))
        return train.take(kept), *halve(dev)
    groups = shuffled_groups(train.labels)
    share = SUBSET // len(groups)
    if name in SMALL:
        kept = [i for g in groups for i in g[:share]] if subset else range(len(train))
        return train.take(kept), *halve(dev)
    held = HELD_OUT // len(groups)
    if subset and min(map(len, groups)) < share + held:
        raise UsageError(f"task '{name}-1k': a label has under {share + held} training rows; accepted: more rows")
    kept = [i for g in groups for i in (g[:share] if subset else g[:-held])]
    return train.take(kept), train.take([i for g in groups for i in g[-held:]]), dev


def shuffled_groups(labels: np.ndarray) -> list[list[int]]:
    """Indices by label in order of first appearance, each group shuffled from one stream of seed 0."""
    groups: dict[float, list[int]] = {}
    for i, label in enumerate(labels.tolist()):
        groups.setdefault(label, []).append(i)
    stream = np.random.RandomState(0)
    for group in groups.values():
        stream.shuffle(group)
    return list(groups.values())


def halve(dev: Split) -> tuple[Split, Split]:
    """Validation and test: per label value a fresh shuffle of seed 1, the first half (rounded down) to validation."""
    first: list[int] = []
    second: list[int] = []
    for label in dict.fromkeys(dev.labels.tolist()):
        group = np.flatnonzero(dev.labels == label).tolist()
        np.random.RandomState(1).shuffle(group)
        first += group[: len(group) // 2]
        second += group[len(group) // 2 :]
    return dev.take(first), dev.take(second)


def _torch_permutation(n: int) -> list[int]:
    import torch

    return torch.randperm(n, generator=torch.Generator().manual_seed(0)).tolist()


# --- sources ------------------------------------------------------------------------------------------------------


def _from_folder(task: Task, root: Path) -> tuple[Split, Split]:
    files = [root / task.folder / name for name in ("train.tsv", task.dev)]
    return tuple(_split(read_table(f, header=task.header), task.text, task.label, task.labels, f) for f in files)


def _from_hub(task: Task) -> tuple[Split, Split]:
    from datasets import load_dataset

    parts = load_dataset("nyu-mll/glue", task.name)
    dev = "validation_matched" if task.name == "mnli" else "validation"
    text = task.hub_text or task.text
    numbers = tuple(str(i) for i in range(len(task.labels)))  # the hub's labels are already numbers
    frames = [parts[p].to_pandas() for p in ("train", dev)]
    return tuple(_split(f.astype({"label": str}), text, task.hub_label, numbers, "nyu-mll/glue") for f in frames)


def _load_bundled(name: str) -> TaskData:
    frames = bundled.load(name)
    regression = name == "bundled:similarity"
    labels = () if regression else ("0", "1")
    metric = {"acceptability": "matthews", "paraphrase": "f1", "similarity": "spearman"}.get(name[8:], "accuracy")
    parts = []
    for part in ("train", "validation", "test"):
        columns = tuple(c for c in ("text_a", "text_b") if c in frames[part] and frames[part][c].notna().all())
        parts.append(_split(frames[part].astype({"label": str}), columns, "label", labels, name))
    selection = "accuracy" if metric == "f1" else metric
    return _task_data(name, len(labels) or 1, metric, selection, tuple(parts), "bundled", parts[0])


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
    check_choice("metric", metric, METRICS)
    for part, path in files.items():
        check_choice("data file", part, ("train", "validation", "test"))
        if not Path(path).is_file():
            raise UsageError(f"{part}: no file {str(path)!r}; accepted: a .csv, .tsv or .jsonl file")
    if not {"train", "validation"} <= set(files) or not 1 <= len(text) <= 2:
        raise UsageError("data: accepted: files for train and validation, and one or two text columns")
    sums = {part: hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16] for part, path in sorted(files.items())}
    where = {part: str(path) for part, path in files.items()}
    return json.dumps({"files": where, "sha256": sums, "text": list(text), "label": label, "metric": metric})


def _load_own(name: str, data: str) -> TaskData:
    spec = json.loads(data)
    frames = {part: read_table(Path(path)) for part, path in spec["files"].items()}
    labels: tuple[str, ...] = ()
    if spec["metric"] != "spearman":
        _check_columns(frames["train"], [spec["label"]], spec["files"]["train"])
        labels = tuple(sorted(set(frames["train"][spec["label"]]) - {""}))  # an empty label is refused below
        if len(labels) < 2:
            raise UsageError(f"task {name!r}: training labels are {labels}; accepted: two or more different ones")
        if len(labels) != 2 and spec["metric"] == "f1":
            raise UsageError(f"metric: 'f1' with {len(labels)} labels; accepted: two labels")
    parts = {p: _split(f, spec["text"], spec["label"], labels, spec["files"][p]) for p, f in frames.items()}
    validation, test = (parts["validation"], parts["test"]) if "test" in parts else halve(parts["validation"])
    selection = "accuracy" if spec["metric"] == "f1" else spec["metric"]
    splits = (parts["train"], validation, test)
    return _task_data(name, len(labels) or 1, spec["metric"], selection, splits, "own files", parts["train"])


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


def _check_columns(frame: pd.DataFrame, columns: Sequence[str], where: object) -> None:
    for column in columns:
        check_choice(f"column of {str(where)!r}", column, [str(c) for c in frame.columns])


def _split(frame: pd.DataFrame, text: Sequence[str], label: str, labels: Sequence[str], where: object) -> Split:
    _check_columns(frame, [*text, label], where)
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


def describe(name: str) -> dict[str, object]:
    """Counts and majority baselines of one task: the rows of Table 3, from the data.

    Paper: Appendix A, Table 3.
    """
    data = load(name)
    base = name.removesuffix("-1k")
    return {
        "task": name,
        "num_train": len(data.train),
        "num_validation": len(data.validation),
        "num_test": len(data.test),
        "metric": data.metric,
        "majority_validation": majority_baseline(data.metric, data.validation.labels, data.majority),
        "majority_test": majority_baseline(data.metric, data.test.labels, data.majority),
        "source": data.source,
        "train_rows": data.train_rows,
        "hub_train_rows": HUB_ROWS.get(base, 0),
        "digest": data.digest,
    }
