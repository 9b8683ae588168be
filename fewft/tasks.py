"""GLUE tasks and a user's own: columns, labels, metric, and the paper's splits, from hub, folder, file or grammar."""

import hashlib
import json
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from fewft import bundled
from fewft.config import UsageError, check_choice
from fewft.files import read_table, to_split
from fewft.glue import GLUE, HUB_ROWS, Task
from fewft.own_files import read_own
from fewft.splits import HELD_OUT, PARTS, SMALL, SUBSET, Split, majority_label, paper_splits


@dataclass(frozen=True)
class TaskData:
    """A task with its three splits, ready to be tokenised."""

    name: str
    num_labels: int
    metric: str
    train: Split
    validation: Split
    test: Split
    majority: int  # label of the majority baseline
    source: str  # "hub", "folder", "bundled" or "own files"
    train_rows: int  # rows that the source's training file has

    @property
    def selection(self) -> str:
        """The metric that picks the best checkpoint: the reported one, but for F1, as in the released code."""
        return "accuracy" if self.metric == "f1" else self.metric

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
        data: a user's own files, as `own_files.own_data` describes them.

    Raises:
        UsageError: unknown task, missing file or column, unreadable label.

    Paper: Section 3, "Data"; deviations, "Splits".
    """
    if data:
        labels, metric, parts = read_own(data)
        return _task_data(name, len(labels) or 1, metric, parts, "own files", parts[0])
    check_choice("task", name, names())
    if name in bundled.NAMES:
        return _load_bundled(name)
    task = GLUE[name.removesuffix("-1k")]
    folder = os.environ.get("FEWFT_GLUE_DIR")
    train, dev = _from_folder(task, Path(folder)) if folder else _from_hub(task)
    parts = paper_splits(task.name, train, dev, subset=name.endswith("-1k"))
    source = "folder" if folder else "hub"
    return _task_data(name, task.num_labels, task.metric, parts, source, train)


def _task_data(
    name: str, num_labels: int, metric: str, splits: tuple[Split, Split, Split], source: str, rows: Split
) -> TaskData:
    for part, split in zip(PARTS, splits, strict=True):
        if not len(split):
            raise UsageError(f"task {name!r}: its {part} split has no examples; accepted: at least one")
    majority = 0 if num_labels == 1 else majority_label(splits[1].labels, rows.labels)
    return TaskData(name, num_labels, metric, *splits, majority, source, len(rows))


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
    for part in PARTS:
        columns = tuple(c for c in ("text_a", "text_b") if c in frames[part] and frames[part][c].notna().all())
        parts.append(to_split(frames[part].astype({"label": str}), columns, "label", labels, name))
    return _task_data(name, len(labels) or 1, metric, tuple(parts), "bundled", parts[0])


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
