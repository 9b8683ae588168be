"""What the searches chose, and the runs of each recipe that Tables 1 and 2 compare."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from fewft.config import RunConfig
from fewft.designs import Request, best, longer_cells, method_grids, model_changes, reinit_cells, search_runs
from fewft.experiments import Experiment
from fewft.studies import SEARCHED

BERTADAM, STANDARD, REINIT = "BERTAdam", "Standard", "Re-init"
LONGER, REINIT_LONGER = "Longer", "Re-init, longer"
METHOD_NAMES = {"layerwise_lr_decay": "LLRD"} | {method.setting: method.name for method in SEARCHED}
INTERMEDIATE = "Int. Task"
TABLE_2 = (STANDARD, INTERMEDIATE, "LLRD", *(m.name for m in SEARCHED if m.grid), REINIT, LONGER)  # in its order
Recipes = dict[str, list[RunConfig]]  # a recipe whose search still lacks runs is absent


def chosen_layers(ask: Request, task: str) -> int | None:
    """L with the highest mean validation score; None while a run of its sweep is missing. Paper: Section 5."""
    return best(reinit_cells(ask, task), ask.scores)


def chosen_steps(ask: Request, task: str, layers: int) -> int | None:
    """Number of steps with the highest mean validation score at this L (-1: Standard); None while a run of the search is
    missing, or when three epochs are more steps than any that it tries. Paper: Section 6."""
    return best(search_runs(ask, task, longer_cells(ask, task, layers), "longer_search"), ask.scores)


def chosen_point(ask: Request, task: str, method: str) -> Any:
    """The point of a method's grid (a key of `method_grids`) with the highest mean validation score; None while a run of
    the search is missing. Paper: Section 7, Appendix H."""
    return best(search_runs(ask, task, method_grids(ask.study)[method], "methods_search"), ask.scores)


def table_1(ask: Request, task: str) -> Recipes:
    """Standard and Re-init, three epochs and longer. Paper: Table 1."""
    layers = chosen_layers(ask, task)
    found = {STANDARD: ask.cell(task, ask.count("reinit"))}
    if layers is not None:
        found[REINIT] = ask.cell(task, ask.count("reinit"), reinit_layers=layers)
    for recipe, kept in ((LONGER, -1), (REINIT_LONGER, layers)):
        steps = None if kept is None else chosen_steps(ask, task, kept)
        if steps is not None:
            found[recipe] = ask.cell(task, ask.count("longer"), reinit_layers=kept, max_steps=steps)
    return found


def remedies(ask: Request, task: str) -> Recipes:
    """BERTAdam, and what Sections 4 to 6 put in its place: correction (Standard), Re-init, Longer. For the first page."""
    seeds = range(ask.count("bias_correction"))
    arms = {
        name: [ask.study.run(task, arm, n) for n in seeds]
        for name, arm in ((BERTADAM, "bertadam"), (STANDARD, "debiased"))
    }
    return arms | {name: runs for name, runs in table_1(ask, task).items() if name in (REINIT, LONGER)}


def step_search(ask: Request, task: str) -> Recipes:
    """Standard and Re-init with the chosen L: three epochs and every number of steps tried, with the search's seeds.

    Paper: Section 6, Figures 8 and 14.
    """
    found: Recipes = {}
    for recipe, layers in ((STANDARD, -1), (REINIT, chosen_layers(ask, task))):
        if layers is not None:
            cells = search_runs(ask, task, longer_cells(ask, task, layers), "longer_search")
            three_epochs = ask.cell(task, ask.count("longer_search"), reinit_layers=layers)
            found[recipe] = [*three_epochs, *(config for runs in cells.values() for config in runs)]
    return found


def other_model(ask: Request, task: str, name: str) -> Recipes:
    """Standard and Re-init of a model of Table 7, its L chosen as in Section 5; none where the study lacks the model.

    Paper: Appendix F, Table 7.
    """
    if name not in ask.study.other_models:
        return {}
    changes = model_changes(ask.study, name, task)
    counts = (-1, *ask.study.grid("reinit_layers"))
    cells = {n: ask.cell(task, ask.count("other_models"), reinit_layers=n, **changes) for n in counts}
    standard = cells.pop(-1)
    layers = best(cells, ask.scores)
    return {STANDARD: standard} | ({} if layers is None else {REINIT: cells[layers]})


def table_2(ask: Request, task: str) -> Recipes:
    """Standard, the intermediate task, each method at its chosen point, Re-init and Longer. Paper: Table 2."""
    final, grids = ask.count("methods"), method_grids(ask.study)
    found = {STANDARD: ask.cell(task, final)}
    if ask.study.intermediate_task not in ("", task):
        found[INTERMEDIATE] = ask.cell(task, final, intermediate_task=ask.study.intermediate_task)
    for method in grids:
        point = chosen_point(ask, task, method)
        if point is not None:
            found[METHOD_NAMES[method]] = ask.cell(task, final, **grids[method][point])
    return found | {name: runs for name, runs in table_1(ask, task).items() if name in (REINIT, LONGER)}


def recipe_frame(
    runs: Sequence[Experiment], cells: Callable[[Request, str], Mapping[str, Sequence[RunConfig]]]
) -> pd.DataFrame:
    """The stored runs of each recipe, task by task: their rows with `recipe` and `expected_n`, the runs that it wants.

    Args:
        runs: experiments of one study that hold these runs; the first one says which tasks.
        cells: `table_1`, `table_2` or another function of that kind.
    """
    stored = pd.concat([r.frame for r in runs if len(r.frame)] or [runs[0].frame])
    rows = [
        {"recipe": recipe, "expected_n": len(wanted), "run_id": config.run_id}
        for task in runs[0].tasks
        for recipe, wanted in cells(runs[0].ask, task).items()
        for config in wanted
    ]
    index = pd.DataFrame(rows, columns=["recipe", "expected_n", "run_id"])
    if "run_id" not in stored:
        return stored.assign(recipe=pd.Series(dtype=str), expected_n=pd.Series(dtype=int))
    return index.merge(stored.drop_duplicates("run_id"), on="run_id")
