"""Tables 2, 4 and 5: the methods that Section 7 revisits, two precisions, and a large data set."""

from collections.abc import Callable, Mapping, Sequence

import pandas as pd

from fewft.choices import INTERMEDIATE, STANDARD, TABLE_2
from fewft.experiments import Experiment
from fewft.plots import TASK_LABELS
from fewft.stats import TEST_RUNS, Moments
from fewft.tables.beside import (
    OTHER_DATA,
    PAPER_RUNS,
    PAPER_TASKS,
    beside,
    moments,
    theirs,
    told_apart,
    two_tailed,
    visible,
)
from fewft.tables.compare import better_than_standard
from fewft.tables.words import NOT_RUN

PRECISIONS = ("Mixed precision", "Full precision")  # rows of Table 4
LARGE_ARMS = {False: "No bias correction", True: "Bias correction"}  # correct_bias -> row of Table 5
LARGE_SCORES = {"Dev Acc.": "val_reported", "Test Acc.": "test_best"}  # column of Table 5 -> ours
P_VALUES = "p, paper / ours"


def method_table(frame: pd.DataFrame, runs: Experiment) -> pd.DataFrame:
    """Standard, the intermediate task, the methods at their chosen points, Re-init and Longer beside the paper's.

    Args:
        frame: as `choices.recipe_frame` gives it with `choices.table_2`.
        runs: the experiment `methods`.

    Returns:
        `comparison` with what each recipe gains over Standard, in points; where the data sets differ, agreement is on
        being significantly above it.

    Paper: Section 7, Table 2.
    """
    recipes = _recipes(frame)
    table = beside(frame, runs.tasks, 2, recipes, marking=better_than_standard, expected_n=runs.seeds)
    gains, sides = [], []
    for task in runs.tasks:
        printed = {recipe: cell for recipe in TABLE_2 if (cell := theirs(2, task, recipe))}
        ours = moments(frame, task, recipes)
        gains += [" / ".join(gain.get(recipe, "–") for gain in (_gains(printed), _gains(ours))) for recipe in recipes]
        sides += _sides(printed, ours)
    table.insert(5, "Over Standard", gains)
    table["Agreement"] = table["Agreement"].mask(table["Agreement"] == OTHER_DATA, pd.Series(sides, dtype=object))
    itself = [task for task in runs.tasks if runs.study.intermediate_task in ("", task)]
    no_run = table.Task.isin([TASK_LABELS.get(task, task) for task in itself]) & (table.Recipe == INTERMEDIATE)
    table.loc[no_run, ["Ours", "n"]] = "–"  # the study asks for none
    return table


def _recipes(frame: pd.DataFrame) -> tuple[str, ...]:
    """Those of Table 2, then the study's own."""
    return tuple(dict.fromkeys((*TABLE_2, *frame.recipe)))


def _sides(printed: Mapping[str, Moments], ours: Mapping[str, Moments]) -> list[str]:
    """For each recipe where it is significantly above Standard: what can agree where the means cannot."""
    marked = better_than_standard(printed), better_than_standard(ours)
    sides = {(True, True): "both better", (False, False): "neither better", (True, False): "better in the paper only"}
    sides[False, True] = "better here only"
    words = []
    for recipe in ours:
        fewest = 0 if recipe == STANDARD else min(ours[STANDARD].n, ours[recipe].n)
        known = sides[recipe in marked[0], recipe in marked[1]]
        words.append("–" if not fewest else known if fewest >= TEST_RUNS else "too few runs")
    return words


def _gains(cells: Mapping[str, Moments]) -> dict[str, str]:
    standard = cells.get(STANDARD)
    if standard is None or not standard.n:
        return {}
    return {
        name: f"{round(cell.mean - standard.mean, 1) + 0:+.1f}"
        for name, cell in cells.items()
        if cell.n and name != STANDARD
    }


def method_words(frame: pd.DataFrame, tasks: Sequence[str]) -> dict[str, str]:
    """On how many tasks each recipe beats Standard: in the paper and here, by the test and by the mean alone."""
    printed = [{recipe: cell for recipe in TABLE_2 if (cell := theirs(2, task, recipe))} for task in PAPER_TASKS]
    ours = [moments(frame, task, _recipes(frame)) for task in tasks]
    pairs = [(cells[STANDARD].n, cell.n) for cells in ours for name, cell in cells.items() if name != STANDARD]
    said = {"better_paper": _counted(printed, better_than_standard), "higher_paper": _counted(printed, _higher)}
    if not any(map(min, pairs)):
        return said | {"better_ours": NOT_RUN, "higher_ours": NOT_RUN}
    tested = any(min(pair) >= TEST_RUNS for pair in pairs)
    few = f"too few runs for the test, which needs {TEST_RUNS} of each"
    better = _counted(ours, better_than_standard, TEST_RUNS) if tested else few
    return said | {"better_ours": better, "higher_ours": _counted(ours, _higher)}


def _higher(cells: Mapping[str, Moments]) -> set[str]:
    return {name for name, cell in cells.items() if cell.mean > cells[STANDARD].mean}


def _counted(tasks: Sequence[Mapping[str, Moments]], found: Callable[[Mapping[str, Moments]], set[str]], least: int = 1) -> str:  # fmt: skip
    """Each recipe with the number of tasks on which it is found, among those where it and Standard have the runs."""
    words = []
    for recipe in dict.fromkeys(name for cells in tasks for name in cells if name != STANDARD):
        able = [c for c in tasks if recipe in c and min(c[STANDARD].n, c[recipe].n) >= least]
        if able:
            words.append(f"{recipe} on {sum(recipe in found(cells) for cells in able)} of {len(able)}")
    return ", ".join(words) + " tasks"


# --- Appendix C ---------------------------------------------------------------------------------------------------


def precision_frame(frame: pd.DataFrame, expected_n: int) -> pd.DataFrame:
    """The runs with `recipe`, Table 4's word for their precision, and `expected_n`."""
    full = frame.reindex(columns=["precision"]).precision == "fp32"
    return frame.assign(recipe=full.map({True: PRECISIONS[1], False: PRECISIONS[0]}), expected_n=expected_n)


def precision_table(frame: pd.DataFrame, tasks: Sequence[str], expected_n: int) -> pd.DataFrame:
    """Mixed and full precision beside the paper's, with p of Student's two-tailed t-test between the two.

    Args:
        frame: as `precision_frame` gives it.
    Paper: Appendix C, Table 4.
    """
    table = beside(frame, tasks, 4, PRECISIONS, marking=lambda _: set(), expected_n=expected_n)
    table[P_VALUES] = [words for pair in precision_tests(frame, tasks) for words in (" / ".join(pair), "")]
    table["Recipe"] = table["Recipe"].str.removesuffix(" precision")
    return table.rename(columns={"Recipe": "Precision"})


def precision_tests(frame: pd.DataFrame, tasks: Sequence[str]) -> list[tuple[str, str]]:
    """For each task p in words, of the paper's numbers and of ours."""
    return [
        (two_tailed(*(theirs(4, task, row) for row in PRECISIONS)), two_tailed(*moments(frame, task, PRECISIONS).values()))
        for task in tasks
    ]  # fmt: skip


def precision_words(frame: pd.DataFrame, tasks: Sequence[str]) -> dict[str, str]:
    """How many pairs the test tells apart, in the paper and here, by how much our means differ at most, and what difference
    the test sees in half of all cases where runs spread as in the paper on RTE."""
    ours = [moments(frame, task, PRECISIONS) for task in tasks]
    printed = theirs(4, "rte", PRECISIONS[0]) or Moments.of([])
    gaps = [abs(mixed.mean - full.mean) for mixed, full in (cells.values() for cells in ours) if mixed.n and full.n]
    return {
        "apart_paper": told_apart([p for p, _ in precision_tests(frame, PAPER_TASKS)]),
        "apart_ours": told_apart([p for _, p in precision_tests(frame, tasks)]),
        "gap_ours": f"{max(gaps):.1f} points" if gaps else NOT_RUN,
        "visible_paper": f"{visible(printed.std, PAPER_RUNS[4]):.1f} points",
        "visible_five": f"{visible(printed.std, TEST_RUNS):.1f} points",
    }


# --- Appendix D ---------------------------------------------------------------------------------------------------


def large_table(frame: pd.DataFrame, tasks: Sequence[str], expected_n: int) -> pd.DataFrame:
    """Both arms on a large data set beside the paper's, on validation and test, with p between the arms; without a task
    the paper's alone.

    Args:
        frame: runs of one task, with `correct_bias`, `val_reported` and `test_best`.
    Paper: Appendix D, Table 5.
    """
    parts, (task,) = [], tasks or ("mnli",)
    arms = tuple(LARGE_ARMS.values())
    for column, score in LARGE_SCORES.items():
        own = _large_frame(frame, expected_n).assign(test_best=frame.reindex(columns=[score])[score])
        part = beside(own, [task], 5, arms, marking=lambda _: set(), expected_n=expected_n, column=column)
        part.insert(0, "Split", {"Dev Acc.": "validation", "Test Acc.": "test"}[column])
        printed = two_tailed(*(theirs(5, task, arm, column) for arm in arms), least=PAPER_RUNS[5])
        part[P_VALUES] = [f"{printed} / {two_tailed(*moments(own, task, arms).values())}", ""]
        parts.append(part)
    table = pd.concat(parts, ignore_index=True).drop(columns="Task").rename(columns={"Recipe": "Correction"})
    return table.assign(Correction=table["Correction"].map({LARGE_ARMS[False]: "without", LARGE_ARMS[True]: "with"}))


def _large_frame(frame: pd.DataFrame, expected_n: int) -> pd.DataFrame:
    return frame.assign(recipe=frame.correct_bias.map(LARGE_ARMS), expected_n=expected_n)


def large_words(frame: pd.DataFrame, tasks: Sequence[str], expected_n: int) -> dict[str, str]:
    """What Table 5 says here: the test scores of both arms, and whether a test tells them apart."""
    arms = tuple(LARGE_ARMS.values())
    cells = moments(_large_frame(frame, expected_n), (tasks or ("mnli",))[0], arms)
    if not all(cell.n for cell in cells.values()):
        return {"large_scores": NOT_RUN, "large_apart": NOT_RUN}
    scores = " and ".join(
        f"{cell.mean:.1f} {word} correction ({cell.n} runs)"
        for cell, word in zip(cells.values(), ("without", "with"), strict=True)
    )
    p = two_tailed(*cells.values())
    return {"large_scores": scores, "large_apart": f"p = {p}" if p[:1] == "0" else p}
