"""The stored runs as one compact object: studies, tasks, arms, and the numbers of each run, rounded to three decimals."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fewft import studies
from fewft.explore.settings import VIEWS, Setting, changes_of, color_of, label_of, rows_of, setting_of, standard
from fewft.plots import METRIC_LABELS, TASK_LABELS
from fewft.results import ResultStore
from fewft.stats import TEST_RUNS, Moments, welch
from fewft.studies import Study
from fewft.tables.words import LAST_STEPS

METRICS = {  # key: label with a place for the task's metric, and the column of its majority baseline
    "test_best": ("Test {}, best checkpoint", "majority_test"),
    "test_last": ("Test {}, last checkpoint", "majority_test"),
    "best_val": ("Validation {}, best checkpoint", "majority_val"),
    "end_loss": (f"Training loss, last {LAST_STEPS} steps", ""),
}
LOSS_POINTS = 16  # a run, each the mean of as many steps
MOST_LOSSES = 8000  # points of all runs together: with more runs than 500 each has fewer
MOST_CURVES = 3000  # runs; with more there are no curves: the page would be too large
Record = Mapping[str, Any]


@dataclass(frozen=True)
class Stored:
    """The runs of one file of results that did not fail, and the study that asked for them, where there is one."""

    name: str
    study: Study | None
    records: list[Record]


@dataclass(frozen=True)
class Shared:
    """What many runs or arms share, each with its place in the list that the page has of it; losses a run."""

    points: int
    steps: dict[tuple[int, ...], int] = field(default_factory=dict)
    colors: dict[str, int] = field(default_factory=dict)


def place_of(value: Any, places: dict[Any, int]) -> int:
    """The place of a value, a new one if it has none yet."""
    return places.setdefault(value, len(places))


def stored(study: str, results: str) -> list[Stored]:
    """Every study with stored runs, the named one first.

    Args:
        study: name or TOML file.
        results: folder; a relative one is below the project's.

    Raises:
        UsageError: an unknown study, a damaged file of results.
    """
    folder = studies.root() / Path(results)
    known = {name: studies.load(name) for name in studies.available()}
    first = studies.load(study)
    known[first.name] = first
    files = {path.stem for path in folder.glob("*.parquet")} | {path.parent.name for path in folder.glob("*/*.json")}
    names = sorted(files, key=lambda name: (name != first.name, name))
    found = [Stored(name, known.get(name), _records(folder, name)) for name in names]
    return [one for one in found if one.records]


def _records(folder: Path, name: str) -> list[Record]:
    records = ResultStore(folder, name).records()
    return [records[key] for key in sorted(records) if records[key]["status"] != "failed"]


def gather(study: str, results: str = "results") -> dict[str, Any]:
    """What the page shows, as JSON has it; arguments and errors as for `stored`."""
    return compact(stored(study, results))


def compact(found: Sequence[Stored]) -> dict[str, Any]:
    """Everything that the page shows. Numbers are whole thousandths, missing ones None; `runs` counts all runs.

    `groups`: one for each study, model and task, see `_group`; `steps` and `colors`: lists of evaluation steps, and colours,
    that runs and arms name by their place.
    """
    count = sum(len(one.records) for one in found)
    points = min(LOSS_POINTS, MOST_LOSSES // max(count, 1)) if count <= MOST_CURVES else 0
    shared = Shared(points)
    groups = [_group(one, *cell, shared) for one in found for cell in _cells(one)]
    about = {"metrics": list(METRICS), "enough": TEST_RUNS, "points": points}
    about |= {"views": {view.key: view.label for view in VIEWS}, "runs": count, "groups": groups}
    return about | {"steps": list(shared.steps), "colors": list(shared.colors)}


def _cells(one: Stored) -> Iterator[tuple[str, str, list[Record]]]:
    """A study's runs by model and task, in the study's order, what it does not name last."""
    models = [one.study.model, *one.study.other_models.values()] if one.study else []
    tasks = [*one.study.all_tasks, one.study.large_task] if one.study else []
    cells: dict[tuple[str, str], list[Record]] = {}
    for record in one.records:
        cells.setdefault((record["model"], record["task"]), []).append(record)

    def place(names: list[str], name: str) -> tuple[int, str]:
        return names.index(name) if name in names else len(names), name

    for model, task in sorted(cells, key=lambda cell: (place(models, cell[0]), place(tasks, cell[1]))):
        yield model, task, cells[model, task]


def _group(one: Stored, model: str, task: str, records: list[Record], shared: Shared) -> dict[str, Any]:
    """One task of a model in a study: what its metrics are called, its arms, and for each view its arms' places and names."""
    by_setting: dict[tuple[Any, ...], list[Record]] = {}
    for record in records:
        by_setting.setdefault(tuple(setting_of(record).items()), []).append(record)
    settings = [dict(key) for key in by_setting]
    base = standard(one.study, model, task, [setting_of(record) for record in records])
    plain = next((own for key, own in by_setting.items() if dict(key) == base), [])
    arms = [_arm(changes_of(dict(key), base), own, plain, shared) for key, own in by_setting.items()]
    views = {view.key: _rows(view.said, rows_of(view, settings, base), settings, base) for view in VIEWS}
    metric = records[0]["metric"]
    names = [label.format(_metric_word(metric, key)) for key, (label, _) in METRICS.items()]
    return {
        "study": one.name, "model": model, "task": task, "label": TASK_LABELS.get(task, task), "names": names, "arms": arms,
        "views": {key: view for key, view in views.items() if len(view) > 1 or key == "all"},
    }  # fmt: skip


def _metric_word(metric: str, key: str) -> str:
    selects = "accuracy" if (key, metric) == ("best_val", "f1") else metric  # F1 selects nothing
    return METRIC_LABELS.get(selects, selects)


def _rows(said: Sequence[str], places: Sequence[int], settings: Sequence[Setting], base: Setting) -> list[list[Any]]:
    return [[i, label_of(settings[i], changes_of(settings[i], base), said)] for i in places]


def _arm(changes: Setting, records: list[Record], plain: list[Record], shared: Shared) -> dict[str, Any]:
    """Whether it is the standard arm, its colour, majority baselines, `summary` by metric, and runs in the order of their seeds."""
    records = sorted(records, key=lambda r: (r["init_seed"], r["data_seed"], r["run_id"]))
    bases = [next((r[name] for r in records if r.get(name) is not None), None) for _, name in METRICS.values()]
    stats = [summary(values(records, key), values(plain if changes else [], key)) for key in METRICS]
    color = place_of(color_of(changes), shared.colors)
    runs = [_run(record, shared) for record in records]
    return {"plain": not changes, "color": color, "stats": stats, "base": _thousandths(bases), "runs": runs}


def values(records: Sequence[Record], key: str) -> np.ndarray:
    """A metric of some runs, those without a finite one left out."""
    found = np.array([_score(record, key) for record in records], float)
    return found[np.isfinite(found)]


def _score(record: Record, key: str) -> float:
    if key == "end_loss":
        losses = [np.nan if loss is None else loss for loss in record["train_loss"][-LAST_STEPS:]]
        return float(np.mean(losses)) if losses else float("nan")
    return float("nan") if record[key] is None else float(record[key])


def summary(own: np.ndarray, plain: Sequence[float]) -> list[Any]:
    """n, mean and sd in thousandths; then the difference of the means and p of Welch's two-tailed test in thousandths: None
    without a standard arm, and where one of the two has fewer runs than a test needs."""
    of = Moments.of(own)
    difference = welch(own, plain) if min(of.n, len(plain)) >= TEST_RUNS else (np.nan, np.nan)
    return [of.n, *_thousandths([of.mean, of.std, *difference])]


def _run(record: Record, shared: Shared) -> list[Any]:
    """Id, seeds, 1 if degenerate and 2 if diverged, the metrics, best step; for curves the place of its evaluation steps, its
    validation scores, the number of its steps and the thinned losses."""
    flags = int(bool(record["degenerate"])) + 2 * (record["status"] == "diverged")
    scores = _thousandths([_score(record, key) for key in METRICS])
    head = [record["run_id"], record["init_seed"], record["data_seed"], flags, scores, record["best_step"]]
    if not shared.points:
        return head
    place = place_of(tuple(record["eval_steps"]), shared.steps)
    losses = np.array([np.nan if x is None else x for x in record["train_loss"]], float)
    return [*head, place, _thousandths(record["val_scores"]), len(losses), thinned(losses, shared.points)]


def thinned(losses: np.ndarray, points: int) -> list[int | None]:
    """Means of that many pieces of a list, as equal as can be, in thousandths; None for a piece with one that is not finite."""
    pieces = np.array_split(losses, min(points, len(losses))) if len(losses) else []
    return _thousandths([piece.mean() if np.isfinite(piece).all() else np.nan for piece in pieces])


def _thousandths(numbers: Sequence[float | None]) -> list[int | None]:
    return [None if x is None or not np.isfinite(x) else round(1000 * round(float(x), 3)) for x in numbers]
