"""A table of the paper beside ours: published value, ours, difference, n, agreement, and the paper's markings."""

from collections.abc import Callable, Mapping, Sequence

import pandas as pd

from fewft import paper
from fewft.config import UsageError
from fewft.markup import with_markup
from fewft.plots import TASK_LABELS
from fewft.stats import ALPHA, TEST_RUNS, Moments, t_test
from fewft.tables.words import NOT_RUN

Marking = Callable[[Mapping[str, Moments]], set[str]]  # recipes of one task -> those that the paper would mark


def printed(number: int, n: int, *, task: str, row: str, column: str = "") -> Moments | None:
    """Mean and deviation of a cell of the paper, in percent, from `n` runs; None where it has no such cell."""
    try:
        mean = paper.value(number, task=task, row=row, column=column)
    except UsageError:
        return None
    cells = paper.published(number)
    cell = cells[(cells["task"] == task) & (cells["row"] == row) & (cells["column"] == column)].iloc[0]
    return Moments(mean, float(cell["std"]), n)


def best_of_group(cells: Mapping[str, Moments]) -> set[str]:
    """The highest mean, and those that a one-tailed Student's t-test at 0.05 does not find below it. Paper: Table 1."""
    known = _testable(cells)
    if not known:
        return set()
    top = max(known.values(), key=lambda cell: cell.mean)
    return {name for name, cell in known.items() if cell == top or not t_test(top, cell, alternative="greater") < ALPHA}


def better_than_standard(cells: Mapping[str, Moments]) -> set[str]:
    """Those that a one-tailed Student's t-test at 0.05 finds above the first of the cells. Paper: Tables 2 and 7."""
    known = _testable(cells)
    standard = next(iter(cells), "")
    if standard not in known:
        return set()
    return {name for name, cell in known.items() if t_test(cell, known[standard], alternative="greater") < ALPHA}


def _testable(cells: Mapping[str, Moments]) -> dict[str, Moments]:
    return {name: cell for name, cell in cells.items() if cell.n >= TEST_RUNS and cell.std == cell.std}


def comparison(
    frame: pd.DataFrame, tasks: Sequence[str], recipes: Sequence[str],
    published: Callable[[str, str], Moments | None], *, marking: Marking, expected_n: int,
) -> pd.DataFrame:  # fmt: skip
    """A row a task and recipe: the paper's mean and deviation, ours, their difference, n, and whether they agree.

    Args:
        frame: runs with `task`, `recipe`, `test_best` (a fraction) and `expected_n`, see `choices.recipe_frame`.
        recipes: those of the paper's table, in its order; the first is what the others are compared with.
        published: the paper's cell of a task and recipe, see `printed`.
        marking: which recipes of a task stand in bold, in the paper's numbers and in ours.
        expected_n: runs of a recipe whose search is not finished.
    Returns: texts; scores in percent; NaN scores are left out of mean and n.
    Paper: Tables 1, 2, 4, 5 and 7.
    """
    rows = []
    for task in tasks:
        theirs = {r: cell for r in recipes if (cell := published(task, r))}
        ours = {r: Moments.of(100 * _scores(frame, task, r)) for r in recipes}
        bold_theirs, bold_ours = marking(theirs), marking(ours)
        for recipe in recipes:
            known, own = theirs.get(recipe), ours[recipe]
            wanted = frame.loc[_of(frame, task, recipe), "expected_n"]
            rows.append({
                "Task": TASK_LABELS.get(task, task),
                "Recipe": recipe,
                "Paper": _said(known, recipe in bold_theirs) if known else "–",
                "Ours": _said(own, recipe in bold_ours) if own.n else NOT_RUN,
                "Difference": f"{own.mean - known.mean:+.1f}" if known and own.n else "–",
                "n": f"{own.n} of {int(wanted.iloc[0]) if len(wanted) else expected_n}",
                "Agreement": agreement(known, own),
            })  # fmt: skip
    return with_markup(pd.DataFrame(rows), "Paper", "Ours")


def agreement(known: Moments | None, own: Moments) -> str:
    """Whether Welch's t-test at 0.05 tells our mean from the published one."""
    if known is None or not own.n:
        return "–"
    if own.n < TEST_RUNS:
        return "too few runs"
    p = t_test(own, known, equal_var=False)
    if p != p:
        return "cannot be tested"
    return f"{'differ' if p < ALPHA else 'not told apart'} (p {'< 0.001' if p < 0.001 else f'= {p:.3f}'})"


def _of(frame: pd.DataFrame, task: str, recipe: str) -> pd.Series:
    return (frame.task == task) & (frame.recipe == recipe)


def _scores(frame: pd.DataFrame, task: str, recipe: str) -> pd.Series:
    return frame.loc[_of(frame, task, recipe), "test_best"].dropna() if len(frame) else pd.Series(dtype=float)


def _said(cell: Moments, bold: bool) -> str:
    text = f"{cell.mean:.1f}" + (f" ± {cell.std:.1f}" if cell.std == cell.std else "")
    return f"**{text}**" if bold else text
