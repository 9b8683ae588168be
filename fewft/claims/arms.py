"""Which stored runs a claim compares: of each task, the values of its arms' runs."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from fewft.claims.kinds import Strata
from fewft.claims.runs import Runs
from fewft.designs import longer_cells

LAYERS = "reinit_layers"
Select = Callable[[Runs], Strata]
Pick = Callable[[Runs, str], Any]  # an arm of a task; None where it is not known yet


def _values(frame: pd.DataFrame, columns: Sequence[str], **where: Any) -> np.ndarray:
    """Of the rows `where` these columns have these values: (runs,), or (runs, columns) of several; NaN left out."""
    if frame.empty or None in where.values():
        return np.empty(0)
    mask = np.logical_and.reduce([frame[column].to_numpy() == value for column, value in where.items()])
    values = np.column_stack([frame[column].to_numpy(float)[mask] for column in columns])
    values = values[~np.isnan(values).any(axis=1)]
    return values[:, 0] if len(columns) == 1 else values


def _cells(
    frame: pd.DataFrame, tasks: Iterable[str], columns: Sequence[str], arms: Sequence[Mapping[str, Any]]
) -> Strata:
    """Of each task the values of each arm, the rows where its columns have its values."""
    return {task: tuple(_values(frame, columns, task=task, **arm) for arm in arms) for task in tasks}


def by_arm(
    experiment: str, by: str, arms: Sequence[Any], *columns: str, tasks: Callable[[str], bool] | None = None
) -> Select:
    """The runs of an experiment whose column `by` is each of `arms`: values, or functions of runs and task (Pick)."""

    def select(runs: Runs) -> Strata:
        frame, found = runs.frame(experiment), {}
        for task in filter(tasks, runs.experiment(experiment).tasks):
            picked = [_picked(arm, runs, task) for arm in arms]
            if len(set(picked)) == len(picked):  # else the grid is too short to compare them
                found |= _cells(frame, [task], columns, [{by: value} for value in picked])
        return found

    return select


def _picked(arm: Any, runs: Runs, task: str) -> Any:
    return arm(runs, task) if callable(arm) else arm


def by_recipe(table: int, recipes: Sequence[str], *columns: str, tasks: Callable[[str], bool] | None = None) -> Select:
    """The runs of recipes of Table 1 or 2, whose searches are done."""

    def select(runs: Runs) -> Strata:
        frame, name = (runs.table_1, "reinit") if table == 1 else (runs.table_2, "methods")
        own = filter(tasks, runs.experiment(name).tasks)
        return _cells(frame, own, columns, [{"recipe": recipe} for recipe in recipes])

    return select


def by_length(arms: Sequence[tuple[Any, Any]], *, tasks: Callable[[str], bool] | None = None) -> Select:
    """Validation scores of Section 6's search; arms as pairs of L (-1: Standard) and steps (0: three epochs)."""

    def select(runs: Runs) -> Strata:
        frame, found = runs.frame("longer"), {}
        for task in filter(tasks, runs.experiment("longer").tasks):
            picked = [[_picked(pick, runs, task) for pick in arm] for arm in arms]
            found |= _cells(frame, [task], ["val"], [{LAYERS: n, "max_steps": steps} for n, steps in picked])
        return found

    return select


def in_percent(select: Select, of: int = 0) -> Select:
    """Values in percent of an arm's mean, task by task."""

    def scaled(runs: Runs) -> Strata:
        return {
            task: tuple(100 * arm / arms[of].mean() for arm in arms) if len(arms[of]) else arms
            for task, arms in select(runs).items()
        }

    return scaled


def first_task(select: Select) -> Select:
    """The first of the tasks alone, as the paper takes RTE."""
    return lambda runs: dict(list(select(runs).items())[:1])


def one_k(select: Select) -> Select:
    """The arms of each 1,000-example task, and after them those of its whole."""

    def both(runs: Runs) -> Strata:
        found = select(runs)
        pairs = {task.removesuffix("-1k"): arms for task, arms in found.items() if task.endswith("-1k")}
        return {name: arms + found[name] for name, arms in pairs.items() if name in found}

    return both


# --- arms that depend on the study or on a search -----------------------------------------------------------------
def chosen(runs: Runs, task: str) -> int | None:
    """L that validation chose."""
    return runs.layers(task)


def smallest(grid: str) -> Pick:
    """The first value of a grid of the study."""
    return lambda runs, _: min(runs.study.grid(grid))


def largest(grid: str) -> Pick:
    """The last value of a grid of the study."""
    return lambda runs, _: max(runs.study.grid(grid))


def middle(grid: str) -> Pick:
    """The value half-way up a grid of the study, the lower of two."""
    return lambda runs, _: sorted(runs.study.grid(grid))[(len(runs.study.grid(grid)) - 1) // 2]


def other_precision(runs: Runs, _: str) -> str | None:
    """What full precision is compared with."""
    kinds = {config.precision for config in runs.experiment("precision").configs} - {"fp32"}
    return next(iter(kinds), None)


# --- what needs more than two columns -----------------------------------------------------------------------------
def every_layer(runs: Runs) -> Strata:
    """Validation scores of each L, an arm each. Paper: Figures 5 and 13."""
    arms = [{LAYERS: n} for n in runs.study.grid(LAYERS)]
    return _cells(runs.frame("reinit"), runs.experiment("reinit").tasks, ["val"], arms) if len(arms) > 1 else {}


def every_length(runs: Runs) -> Strata:
    """Validation scores of standard fine-tuning for each number of steps that every task tries. Paper: Figures 8 and 14."""
    ask = runs.experiment("longer").ask
    tried = [longer_cells(ask, task, -1) for task in ask.tasks]
    arms = [{LAYERS: -1, "max_steps": n} for n in runs.study.grid("max_steps") if all(n in cells for cells in tried)]
    return _cells(runs.frame("longer"), ask.tasks, ["val"], arms) if len(arms) > 1 else {}


def fewer_steps(runs: Runs) -> Strata:
    """1 for a task where Re-init's best number of steps on validation is lower than standard fine-tuning's, -1 where it is
    higher, 0 where equal; without those whose searches lack runs. Paper: Section 6."""
    found = {}
    for task in runs.experiment("longer").tasks:
        best = [_best_length(runs, task, layers) for layers in (-1, runs.layers(task))]
        if None not in best:
            found[task] = (np.array([np.sign(best[0] - best[1])]),)
    return found


def _best_length(runs: Runs, task: str, layers: int | None) -> int | None:
    if layers is None:
        return None
    lengths = (0, *longer_cells(runs.experiment("longer").ask, task, layers))  # 0: three epochs, fewer than the others
    arms = [{LAYERS: layers, "max_steps": n} for n in lengths]
    cells = _cells(runs.frame("longer"), [task], ["val"], arms)[task]
    if len(cells) < 2 or not all(map(len, cells)):
        return None
    return lengths[int(np.argmax([values.mean() for values in cells]))]


def crossed(fixed: str, *, arms: Sequence[int]) -> Select:
    """Validation scores of Appendix B's pairs of seeds, a stratum for each value of the seed `fixed`; `arms` orders standard
    fine-tuning (0) and Re-init (1)."""

    def select(runs: Runs) -> Strata:
        frame, about = runs.frame("randomness"), runs.experiment("randomness")
        layers, task = (-1, runs.study.grid("randomness_layers")[0]), about.tasks[0]
        cells = {seed: [{LAYERS: layers[a], fixed: seed} for a in arms] for seed in range(about.seeds)}
        return {f"{task} {fixed} {seed}": _cells(frame, [task], ["val"], own)[task] for seed, own in cells.items()}

    return select


def spreads(runs: Runs) -> Strata:
    """Standard deviations with the weights' seed fixed, and with the data's, of each arm of Appendix B."""

    def of(fixed: str, arm: int) -> np.ndarray:
        groups = crossed(fixed, arms=[arm])(runs).values()
        return np.array([values.std(ddof=1) for (values,) in groups if len(values) > 1])

    return {f"arm {arm}": (of("init_seed", arm), of("data_seed", arm)) for arm in (0, 1)}


def models(groups: Sequence[Sequence[str]], *, standard_first: bool = False) -> Select:
    """Test scores of other models on a task: arms Re-init (its L chosen on validation) and Standard of a model of each group,
    a stratum for the first models, for the second and so on. Paper: Appendix F, Table 7."""

    def select(runs: Runs) -> Strata:
        strata = {}
        for task in runs.experiment("other_models").tasks:
            for group in zip(*groups, strict=True):
                arms = [_model_arms(runs, task, name)[:: -1 if standard_first else 1] for name in group]
                strata[f"{' '.join(group)} {task}"] = tuple(arm for pair in arms for arm in pair)
        return strata

    return select


def _model_arms(runs: Runs, task: str, name: str) -> tuple[np.ndarray, np.ndarray]:
    frame, grid = runs.frame("other_models"), runs.study.grid(LAYERS)
    where = {"task": task, "model": runs.study.other_models.get(name)}
    cells = {n: _values(frame, ["val"], reinit_layers=n, **where) for n in grid}
    full = min(map(len, cells.values())) >= runs.experiment("other_models").seeds
    layers = max(grid, key=lambda n: cells[n].mean()) if full else None
    return tuple(_values(frame, ["test"], reinit_layers=n, **where) for n in (layers, -1))
