"""What Tables 2, 4 and 5 share: the paper's cells beside ours, also where its data set is the whole of ours."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from fewft import paper
from fewft.plots import TASK_LABELS
from fewft.stats import ALPHA, TEST_RUNS, Moments, t_test
from fewft.tables.compare import Marking, comparison, printed
from fewft.tables.words import NOT_RUN, p_words

PAPER_RUNS = {2: 20, 4: 20, 5: 3}  # table -> runs a cell: Section 7, Appendices C and D
PAPER_TASKS = ("rte", "mrpc", "stsb", "cola")  # of Tables 2 and 4
OTHER_DATA = "other data"  # in place of an agreement: ours is the 1,000-example version of the paper's data set
SLIP = "†"  # where the paper contradicts itself


def theirs(number: int, task: str, row: str, column: str = "") -> Moments | None:
    """The paper's cell of a task, for a `-1k` task that of its whole; None where it has none."""
    return printed(number, PAPER_RUNS[number], task=task.removesuffix("-1k"), row=row, column=column)


def moments(frame: pd.DataFrame, task: str, recipes: Sequence[str], score: str = "test_best") -> dict[str, Moments]:
    """Mean and deviation of each recipe on a task in percent, over the runs that have a score."""
    own = frame[frame.task == task].reindex(columns=["recipe", score])
    return {r: Moments.of(100 * own[score][own.recipe == r].dropna().to_numpy(float)) for r in recipes}


def beside(
    frame: pd.DataFrame, tasks: Sequence[str], number: int, rows: Sequence[str], *, marking: Marking, expected_n: int,
    column: str = "",
) -> pd.DataFrame:  # fmt: skip
    """`comparison` with one of the paper's tables: where the paper contradicts itself its cell has a mark, and where our
    data set is a part of its, agreement is not asked. Paper: Tables 2, 4 and 5."""
    table = comparison(
        frame, tasks, rows, lambda task, row: theirs(number, task, row, column), marking=marking, expected_n=expected_n
    )
    cells = paper.published(number)
    odd = {(cell["task"], cell["row"], cell["column"]) for _, cell in cells[cells["note"] != ""].iterrows()}
    places = [(task, row) for task in tasks for row in rows]
    slip = np.array([(task.removesuffix("-1k"), row, column) in odd for task, row in places], bool)
    part = np.array([task.endswith("-1k") for task, _ in places], bool) & (table["Paper"] != "–")
    table.loc[slip, "Paper"] += f" {SLIP}"
    table.loc[part, ["Difference", "Agreement"]] = "–", OTHER_DATA
    return table


def slip_table(number: int) -> pd.DataFrame:
    """Where a table of the paper contradicts another one: its cell, and what the other prints. Paper: Tables 1 and 2."""
    cells = paper.published(number)
    odd = cells[cells["note"] != ""]
    found = odd.assign(task=odd["task"].replace(TASK_LABELS))[["task", "row", "text", "note"]]
    return found.set_axis(["Task", "Row", "Printed", "But"], axis=1).reset_index(drop=True)


def data_words(tasks: Sequence[str]) -> str:
    """How the data sets of the paper's column relate to ours."""
    if any(task.endswith("-1k") for task in tasks):
        return "the paper's numbers are of the whole data sets, ours of their 1,000-example versions"
    if tasks and all(task in TASK_LABELS and not task.startswith("bundled:") for task in tasks):
        return "both are of the same data sets"
    return "the paper has no numbers for these data sets"


def two_tailed(first: Moments | None, second: Moments | None, least: int = TEST_RUNS) -> str:
    """p of Student's two-tailed t-test on two cells, or why there is none; `least` runs a cell are needed.

    Paper: Appendix C."""
    if first is None or second is None:
        return "–"
    if not min(first.n, second.n):
        return NOT_RUN
    if min(first.n, second.n) < least:
        return "too few runs"
    return p_words(t_test(first, second), "cannot be tested")


def visible(std: float, n: int) -> float:
    """The difference of two means of `n` runs that spread by `std` at which a two-tailed t-test at 0.05 rejects in about
    half of all repetitions: its critical value."""
    return float(stats.t.ppf(1 - ALPHA / 2, 2 * n - 2) * std * np.sqrt(2 / n))


def told_apart(values: Sequence[str]) -> str:
    """Of some p in words, as `two_tailed` gives them, how many are below 0.05."""
    known = [0.0 if value.startswith("<") else float(value) for value in values if value[:1] in "0123456789<"]
    if not known:
        return "too few runs" if "too few runs" in values else NOT_RUN
    return f"{sum(p < ALPHA for p in known)} of {len(known)} pairs"
