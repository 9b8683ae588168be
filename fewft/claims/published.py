"""Claims on the paper's own tables: the same questions from printed means and deviations, the raw runs being unpublished."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from scipy import stats as scipy_stats

from fewft import paper, stats
from fewft.claims.kinds import EQUAL, Outcome, Side, linear
from fewft.claims.orders import near_share
from fewft.stats import Moments

RUNS = {1: 20, 2: 20, 4: 20, 5: 3, 7: 20}  # behind a cell of each table
Cell = tuple[str, str]  # row and column of a table
Published = Callable[[], Outcome]


def _printed(table: int) -> dict[tuple[str, str, str], Moments]:
    """The cells of a table by task, row and column, in percent."""
    cells = paper.published(table).dropna(subset="std")
    keys = zip(cells["task"], cells["row"], cells["column"], strict=True)
    moments = (Moments(mean, std, RUNS[table]) for mean, std in zip(cells["value"], cells["std"], strict=True))
    return dict(zip(keys, moments, strict=True))


def _cells(table: int, cells: Sequence[Cell], tasks: Callable[[str], bool] | None) -> list[list[Moments]]:
    """Of each task that has them all, the cells."""
    known = _printed(table)
    names = filter(tasks, dict.fromkeys(task for task, _, _ in known))
    wanted = ([(task, row, column) for row, column in cells] for task in names)
    return [[known[key] for key in keys] for keys in wanted if all(key in known for key in keys)]


def means(
    table: int, cells: Sequence[Cell], weights: Sequence[float] = (1, -1), *, side: Side = "above", margin: float = EQUAL,
    tasks: Callable[[str], bool] | None = None,
) -> Published:  # fmt: skip
    """A weighted sum of printed means by Welch's t-test, see `kinds.linear`."""

    def outcome() -> Outcome:
        found = _cells(table, cells, tasks)
        made = linear(*stats.contrast(found, weights), side=side, margin=margin)
        return replace(made, test="Welch's t", n=sum(c.n for row in found for c in row), tasks=len(found))

    return outcome


def steadier(table: int, cells: Sequence[Cell], *, tasks: Callable[[str], bool] | None = None) -> Published:
    """The second of two cells, the fourth of four and so on, has the smaller deviation: F-tests of the variances, combined
    by Stouffer."""

    def outcome() -> Outcome:
        pairs = [row[i : i + 2] for row in _cells(table, cells, tasks) for i in range(0, len(cells), 2)]
        stds, n = (
            np.array([[cell.std for cell in row] for row in pairs]),
            np.array([[c.n for c in row] for row in pairs]),
        )
        p = scipy_stats.f.sf((stds[:, 0] / stds[:, 1]) ** 2, n[:, 0] - 1, n[:, 1] - 1)
        error = np.sqrt((stds**2 / (2 * (n - 1))).sum()) / len(pairs)
        made = linear(float(-np.diff(stds).mean()), float(error), np.inf)
        combined = float(scipy_stats.combine_pvalues(p, method="stouffer").pvalue)
        return replace(made, p=combined, test="F", n=int(n.sum()), tasks=2 * len(pairs) // len(cells))

    return outcome


def one_k(recipe: str) -> Published:
    """What Longer adds to a row of Table 1 on the 1,000-example tasks, less what it adds on the whole ones."""

    def outcome() -> Outcome:
        known = _printed(1)
        names = dict.fromkeys(task for task, _, _ in known if f"{task}-1k" in {t for t, _, _ in known})
        found = [[known[t, recipe, length] for t in (f"{task}-1k", task) for length in LENGTHS] for task in names]
        made = linear(*stats.contrast(found, (1, -1, -1, 1)))
        return replace(made, test="Welch's t", n=sum(c.n for row in found for c in row), tasks=len(found))

    return outcome


LENGTHS = ("Longer", "3 Epochs")


def rte_share() -> Outcome:
    """Section 4's share of 50 runs below 55 % accuracy."""
    percent = paper.value("text", task="rte", row="No correction", column="Runs below the threshold")
    n = int(paper.value("text", task="all", row="Section 4", column="Trials per arm"))
    runs = np.arange(n) < round(percent * n / 100)
    return near_share(percent, SHARE_MARGIN).of({"rte": (runs.astype(float),)})


SHARE_MARGIN = 20.0  # points around Section 4's 48 %
