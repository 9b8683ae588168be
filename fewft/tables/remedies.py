"""Tables of Re-init and Longer: Sections 5 and 6, Appendix F."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from fewft import choices, paper
from fewft.designs import Request, longer_cells
from fewft.experiments import Experiment
from fewft.figures import SMALL
from fewft.plots import TASK_LABELS, distance_frame
from fewft.plots.look import arm
from fewft.stats import Moments
from fewft.tables.compare import best_of_group, better_than_standard, comparison, printed
from fewft.tables.words import NOT_RUN

TABLE_1 = {  # recipe -> the paper's row and column
    choices.STANDARD: ("Standard", "3 Epochs"),
    choices.REINIT: ("Re-init", "3 Epochs"),
    choices.LONGER: ("Standard", "Longer"),
    choices.REINIT_LONGER: ("Re-init", "Longer"),
}
UNDECIDED = "too few runs"
NOTHING = pd.DataFrame({"Task": [NOT_RUN]})  # a table without a task


def table_1(runs: Sequence[Experiment], tasks: Sequence[str], recipes: Sequence[str] = tuple(TABLE_1)) -> pd.DataFrame:
    """Standard and Re-init beside the paper's, three epochs and longer; bold: the best of a task, and those that a test
    does not tell from it.

    Args:
        runs: experiments of one study that hold the runs; the first, `longer` where it is among them, was loaded last,
            since its searches decide.
        tasks: rows, in this order.
        recipes: names in TABLE_1; the best is sought among these.

    Paper: Table 1.
    """

    def published(task: str, recipe: str) -> Moments | None:
        row, column = TABLE_1[recipe]
        return printed(1, 20, task=task, row=row, column=column)

    if not tasks:
        return NOTHING
    frame = choices.recipe_frame(runs, choices.table_1)
    return comparison(frame, tasks, recipes, published, marking=best_of_group, expected_n=runs[0].seeds)


def table_7(runs: Experiment) -> pd.DataFrame:
    """Standard and Re-init of four other models beside the paper's; bold: the higher mean, with a star where a one-tailed
    t-test at 0.05 finds Re-init above Standard. Models that the study lacks are not run.

    Paper: Appendix F, Table 7.
    """
    parts = []
    tasks = runs.tasks if runs.study.other_models else SMALL
    for name in paper.OTHER_MODELS:

        def cells(ask: Request, task: str, name: str = name) -> choices.Recipes:
            return choices.other_model(ask, task, name)

        def published(task: str, recipe: str, name: str = name) -> Moments | None:
            return printed(7, 20, task=task, row=name, column=recipe)

        frame = choices.recipe_frame([runs], cells)
        recipes, options = (choices.STANDARD, choices.REINIT), {"expected_n": runs.seeds}
        table = comparison(frame, tasks, recipes, published, marking=higher, **options)
        tested = comparison(frame, tasks, recipes, published, marking=better_than_standard, **options)
        for column in ("Paper", "Ours"):
            table[column] += np.where(tested[column].str.startswith("**"), " \\*", "")
        if name not in runs.study.other_models:
            table["n"] = "–"
        parts.append(table.assign(Model=name))
    return pd.concat(parts, ignore_index=True)[["Model", *parts[0].columns.drop("Model")]]


def higher(cells: Mapping[str, Moments]) -> set[str]:
    """The cell with the highest mean, where there are two or more; no test. Paper: Table 7."""
    known = {name: cell.mean for name, cell in cells.items() if cell.n}
    return {name for name, mean in known.items() if mean == max(known.values())} if len(known) > 1 else set()


def layer_table(runs: Experiment, tasks: Sequence[str]) -> pd.DataFrame:
    """Mean validation score by number of re-initialised blocks, a row a task, with the L that it chooses.

    Args:
        runs: of the experiment `reinit`.

    Paper: Section 5, "We evaluate Re-init by selecting L".
    """
    layers = (-1, 0, *runs.study.grid("reinit_layers"))
    heads = [arm("reinit_layers", n)[0] if n else "Pooler alone" for n in layers]
    rows = []
    for task in tasks:
        own = runs.frame[runs.frame.task == task]
        if own.empty:
            rows.append({"Task": TASK_LABELS.get(task, task)} | dict.fromkeys([*heads, "Chosen L"], NOT_RUN))
            continue
        means = own.groupby("reinit_layers").best_val.mean()
        counts = [int((own.reinit_layers == n).sum()) for n in layers]
        cells = {head: f"{means[n]:.3f}" if n in means else NOT_RUN for head, n in zip(heads, layers, strict=True)}
        chosen = choices.chosen_layers(runs.ask, task)
        ends = " to ".join(map(str, sorted({min(counts), max(counts)})))
        found = {"Chosen L": UNDECIDED if chosen is None else str(chosen), "Runs a cell": ends}
        rows.append({"Task": TASK_LABELS.get(task, task)} | cells | found)
    return pd.DataFrame(rows) if rows else NOTHING


def step_table(runs: Experiment, tasks: Sequence[str]) -> pd.DataFrame:
    """The steps of three epochs and those that the search chose, with L where blocks are drawn anew.

    Args:
        runs: of the experiment `longer`.

    Paper: Section 6.
    """
    rows = []
    for task in tasks:
        layers = choices.chosen_layers(runs.ask, task)
        row = {
            "Task": TASK_LABELS.get(task, task),
            "Tried": ", ".join(map(str, longer_cells(runs.ask, task, -1))) or "–",
        }
        row["Standard: steps"] = _steps_said(runs, task, -1)
        row["Re-init: L"] = (
            NOT_RUN if not (runs.frame.task == task).any() else UNDECIDED if layers is None else str(layers)
        )
        row["Re-init: steps"] = NOT_RUN if layers is None else _steps_said(runs, task, layers)
        rows.append(row)
    return pd.DataFrame(rows) if rows else NOTHING


def _steps_said(runs: Experiment, task: str, layers: int) -> str:
    chosen = choices.chosen_steps(runs.ask, task, layers)
    if chosen is not None:
        return str(chosen)
    wanted = {c.run_id for c in runs.configs if (c.task, c.reinit_layers) == (task, layers) and c.max_steps}
    if not wanted:
        return f"none above {runs.epochs:g} epochs"
    return UNDECIDED if wanted & set(runs.frame.get("run_id", [])) else NOT_RUN


def distance_table(frame: pd.DataFrame) -> pd.DataFrame:
    """Mean L2 distance of each block from its start after the last step, a row a block, a column for Standard and each L.

    Args:
        frame: one task's runs; those that diverged or have no distances are left out.

    Paper: Section 5, Figure 7.
    """
    long = distance_frame(frame[frame.status == "ok"])
    if long.empty:
        return pd.DataFrame({"Block": [NOT_RUN if frame.empty else "not recorded"]})
    last = long[long.step == long.step.max()]
    table = last.groupby(["block", "reinit_layers"]).distance.mean().unstack()
    table.columns = [arm("reinit_layers", layers)[0] for layers in table.columns]
    return table.rename_axis("Block").reset_index()
