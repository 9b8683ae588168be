"""Appendix H in tables: the grids, the validation score of each of their points, and what they chose."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from fewft.choices import METHOD_NAMES, chosen_point
from fewft.config import RunConfig
from fewft.designs import Request, method_grids, search_runs
from fewft.markup import with_markup
from fewft.plots import TASK_LABELS
from fewft.studies import GRIDS, SEARCHED, SEEDS, Study
from fewft.tables.words import NOT_RUN

SETTINGS = {  # grid of a study -> method, setting
    "llrd_learning_rate": ("LLRD", "learning rate of the top block"),
    "layerwise_lr_decay": ("LLRD", "factor per block"),
    **{method.setting: (method.name, method.values) for method in SEARCHED},
}


def grid_table(study: Study) -> pd.DataFrame:
    """The paper's grids beside the study's, and the runs of each point. Paper: Appendix H; Section 7.2 for the runs."""
    rows = [(*SETTINGS[name], _listed(GRIDS[name]), _listed(study.grid(name))) for name in SETTINGS]
    rows.append(("all", "runs a point", str(SEEDS["methods_search"]), str(study.count("methods_search"))))
    return pd.DataFrame(rows, columns=["Method", "Setting", "Appendix H", "Here"])


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values) or "–"


def search_table(ask: Request) -> pd.DataFrame:
    """Mean validation score of each point, a column a task, with the runs that there are; bold is what was chosen.

    A run that diverged before its first evaluation counts as 0, as in the choice itself. Paper: Appendix H.
    """
    rows = []
    for method in method_grids(ask.study):
        cells = {task: _search(ask, task, method) for task in ask.tasks}
        chosen = {task: chosen_point(ask, task, method) for task in ask.tasks}
        for point in method_grids(ask.study)[method]:
            row = {"Method": METHOD_NAMES[method], "Point": point_words(point)}
            for task in ask.tasks:
                text = _scored(cells[task][point], ask.scores)
                row[TASK_LABELS.get(task, task)] = f"**{text}**" if point == chosen[task] else text
            rows.append(row)
    return with_markup(pd.DataFrame(rows), *(TASK_LABELS.get(task, task) for task in ask.tasks))


def _search(ask: Request, task: str, method: str) -> dict[Any, list[RunConfig]]:
    return search_runs(ask, task, method_grids(ask.study)[method], "methods_search")


def _scored(runs: Sequence[RunConfig], scores: Mapping[str, float]) -> str:
    found = [scores[run.run_id] for run in runs if run.run_id in scores]
    return f"{np.mean(found):.3f} ({len(found)} of {len(runs)})" if found else NOT_RUN


def point_words(point: object) -> str:
    """A point of a grid: its value, for LLRD the learning rate and the factor."""
    return "rate {:g}, factor {:g}".format(*point) if isinstance(point, tuple) else f"{point:g}"


def choice_table(ask: Request) -> pd.DataFrame:
    """What each search chose on each task, or how far it is. Not in the paper, which does not print it."""
    rows = [
        {"Method": METHOD_NAMES[method]}
        | {TASK_LABELS.get(task, task): _chosen(ask, task, method) for task in ask.tasks}
        for method in method_grids(ask.study)
    ]
    return pd.DataFrame(rows)


def _chosen(ask: Request, task: str, method: str) -> str:
    point = chosen_point(ask, task, method)
    if point is not None:
        return point_words(point)
    runs = [run for own in _search(ask, task, method).values() for run in own]
    done = sum(run.run_id in ask.scores for run in runs)
    return f"search unfinished: {done} of {len(runs)} runs" if done else NOT_RUN


def search_words(ask: Request) -> dict[str, str]:
    """How many searches are finished, and how many of their runs are there."""
    methods = list(method_grids(ask.study))
    searches = [_search(ask, task, method) for task in ask.tasks for method in methods]
    runs = {run.run_id for cells in searches for own in cells.values() for run in own}
    done = sum(chosen_point(ask, task, method) is not None for task in ask.tasks for method in methods)
    return {
        "searches_said": f"{done} of {len(searches)} searches",
        "search_runs_said": f"{len(runs & set(ask.scores))} of {len(runs)} runs",
    }
