"""GLUE tasks and a user's own: columns, labels, metric, and the paper's splits, from hub, folder, file or grammar."""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from fewft import bundled
from fewft.config import RunConfig, UsageError, check_choice, shown
from fewft.files import check_columns, read_table, to_split
from fewft.metrics import METRICS, majority_baseline
from fewft.splits import HELD_OUT, SMALL, SUBSET, Split, halve, majority_label, paper_splits

NLI = ("entailment", "not_entailment")


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
HUB_DEV_ROWS = {"qqp": 40430, "mnli": 9815}  # development rows there, of the tasks whose sample is cut in them too
PARTS = ("train", "validation", "test")
NO_FILE = "no file"  # in place of a checksum
MEASURED_LENGTH = 128  # tokens at which examples are cut before their mean length is taken


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


# --- sources ------------------------------------------------------------------------------------------------------


def _from_folder(task: Task, root: Path) -> tuple[Split, Split]:
    files = [root / task.folder / name for name in ("train.tsv", task.dev)]
    return tuple(to_split(read_table(f, header=task.header), task.text, task.label, task.labels, f) for f in files)


def _from_hub(task: Task) -> tuple[Split, Split]:
    instead = "a network with the hub, or FEWFT_GLUE_DIR=FOLDER with GLUE's TSV files"
    try:
        from datasets import load_dataset

        parts = load_dataset("nyu-mll/glue", task.name)
    except ImportError as error:
        raise UsageError(f"task {task.name!r}: the hub needs 'datasets'; accepted: that package, {instead}") from error
    except OSError as error:
        raise UsageError(f"task {task.name!r}: {error}; accepted: {instead}") from error
    dev = "validation_matched" if task.name == "mnli" else "validation"
    text = task.hub_text or task.text
    numbers = tuple(str(i) for i in range(len(task.labels)))  # the hub's labels are already numbers
    frames = [parts[p].to_pandas() for p in ("train", dev)]
    return tuple(to_split(f.astype({"label": str}), text, task.hub_label, numbers, "nyu-mll/glue") for f in frames)


def _load_bundled(name: str) -> TaskData:
    frames = bundled.load(name)
    regression = name == "bundled:similarity"
    labels = () if regression else ("0", "1")
    metric = {"acceptability": "matthews", "paraphrase": "f1", "similarity": "spearman"}.get(name[8:], "accuracy")
    parts = []
    for part in ("train", "validation", "test"):
        columns = tuple(c for c in ("text_a", "text_b") if c in frames[part] and frames[part][c].notna().all())
        parts.append(to_split(frames[part].astype({"label": str}), columns, "label", labels, name))
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
            raise UsageError(f"data: {key!r} is {shown(spec.get(key))}; accepted: what tasks.own_data gives")
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


def _load_own(name: str, data: str) -> TaskData:
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
    selection = "accuracy" if spec["metric"] == "f1" else spec["metric"]
    splits = (parts["train"], validation, test)
    return _task_data(name, len(labels) or 1, spec["metric"], selection, splits, "own files", parts["train"])


def num_train(name: str, data: str = "") -> int:
    """Training examples of a task; those of GLUE as its whole on the hub gives them, without loading it.

    Raises:
        UsageError: as `load`.
    """
    base = name.removesuffix("-1k")
    if data or base not in GLUE:
        return len(load(name, data).train)
    labels = GLUE[base].num_labels
    if name != base:
        return SUBSET // labels * labels
    return HUB_ROWS[base] - (0 if base in SMALL else HELD_OUT // labels * labels)


def describe(name: str, data: str = "", max_seq_length: int = MEASURED_LENGTH) -> dict[str, object]:
    """Counts, majority baselines and lengths of one task: the rows of Table 3 and of `fewft plan`, from the data.

    Args:
        name, data: as for `load`.
        max_seq_length: tokens of BERT's uncased vocabulary at which examples are cut, for their mean lengths.

    Paper: Appendix A, Table 3.
    """
    loaded = load(name, data)
    base = name.removesuffix("-1k")
    lengths = {f"mean_tokens_{part}": _mean_tokens(getattr(loaded, part), max_seq_length) for part in PARTS}
    return {
        "task": name,
        "num_train": len(loaded.train),
        "num_validation": len(loaded.validation),
        "num_test": len(loaded.test),
        "metric": loaded.metric,
        "majority_validation": majority_baseline(loaded.metric, loaded.validation.labels, loaded.majority),
        "majority_test": majority_baseline(loaded.metric, loaded.test.labels, loaded.majority),
        "source": loaded.source,
        "train_rows": loaded.train_rows,
        "hub_train_rows": HUB_ROWS.get(base, 0),
        **lengths,
        "digest": loaded.digest,
    }


def _mean_tokens(split: Split, max_seq_length: int) -> float:
    """With the tokenizer of the bundled MiniLM, whose vocabulary is that of BERT's uncased models."""
    from fewft.models import encode
    from fewft.sources import load_tokenizer

    return round(float(encode(load_tokenizer("bundled:minilm"), split, max_seq_length).lengths.mean()), 3)
