"""Which of a study's tasks stand in the paper's figures of Sections 5 and 6 and Appendices F and G."""

from collections.abc import Sequence

import pandas as pd

from fewft.experiments import Experiment

SMALL = ("rte", "mrpc", "stsb", "cola")  # the paper's small data sets, in the order of Figures 15 to 18
LARGE = ("sst2", "qnli", "qqp", "mnli")  # those that it cuts to 1,000 examples
NO_TASK = ("",)  # a panel without a name and without runs, which says "not run"


def figure_tasks(runs: Experiment, number: int) -> tuple[str, ...]:
    """The tasks of one of the paper's figures, among those of an experiment; NO_TASK where the study has none.

    Where a study has no GLUE task, its own take the places of RTE, MRPC, STS-B and CoLA, in its order; Figure 8 then shows
    the first half of them, Figure 14 the others.

    Args:
        number: 5 to 8 or 13 to 18.

    Paper: Figures 5 to 8 and 13 to 18.
    """
    study, every = runs.study.tasks, runs.study.all_tasks
    glue, half = any(_base(task) in SMALL for task in every), -(-len(every) // 2)
    places: dict[int, Sequence[str]] = {
        5: study[:2],
        6: study[:2],
        7: study[:1],
        8: [f"{task}-1k" for task in SMALL] if glue else every[:half],
        13: [task for task in every if task not in study[:2]],
        14: [f"{task}-1k" for task in LARGE] if glue else every[half:],
    }
    for place, name in enumerate(SMALL):
        places[15 + place] = [task for task in study if _base(task) == name] if glue else study[place : place + 1]
    return tuple(task for task in places[number] if task in runs.tasks) or NO_TASK


def _base(task: str) -> str:
    return task.removesuffix("-1k")


def with_runs(frame: pd.DataFrame, tasks: Sequence[str], *, otherwise: Sequence[str] = NO_TASK) -> tuple[str, ...]:
    """Those tasks that have a run in the frame; `otherwise` where none has."""
    return tuple(task for task in tasks if task in set(frame.task)) or tuple(otherwise)


def of_tasks(frame: pd.DataFrame, tasks: Sequence[str]) -> pd.DataFrame:
    """The runs of these tasks."""
    return frame[frame.task.isin(list(tasks))]
