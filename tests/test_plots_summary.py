"""The figure of the first page: every run is there, and rows say how many of those asked for."""

import io

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex

from fewft import plots
from fewft.plots import palette

EXPECTED = {"BERTAdam": 3, "Standard": 3, "Re-init": 2, "Longer": 2}


@pytest.fixture
def ax() -> Axes:
    with mpl.rc_context():
        plots.apply_style()
        yield plots.grid(["rte-1k"])[1][0]


def make_runs(*recipes: str) -> pd.DataFrame:
    rows = [(recipe, 0.5 + 0.1 * row + 0.02 * run) for row, recipe in enumerate(recipes) for run in range(3)]
    frame = pd.DataFrame(rows, columns=["recipe", "test_best"])
    return frame.assign(task="rte-1k", status="ok", metric="accuracy", majority_val=0.5, majority_test=0.53)


def test_each_recipe_has_a_row_with_its_runs_their_mean_and_their_number(ax: Axes) -> None:
    frame = make_runs("BERTAdam", "Standard", "Longer").drop(index=8)
    plots.recipe_strips(frame, ax, expected=EXPECTED)
    for recipe, own in frame.groupby("recipe"):
        row = list(EXPECTED).index(recipe)
        marks, mean = (line for line in ax.lines if abs(np.mean(line.get_ydata()) - row) < 0.01)
        assert sorted(marks.get_xdata()) == pytest.approx(sorted(own.test_best))
        assert list(mean.get_xdata()) == pytest.approx([own.test_best.mean()] * 2)
        assert {to_hex(line.get_color()).upper() for line in (marks, mean)} == {plots.COLORS[recipe]}
    assert [text.get_text() for text in ax.texts] == ["3 of 3", "3 of 3", "not run", "2 of 2"]
    assert [label.get_text() for label in ax.get_yticklabels()] == list(EXPECTED) and ax.yaxis_inverted()
    assert ax.get_legend_handles_labels()[1] == ["Majority baseline"]
    ax.figure.savefig(io.BytesIO(), format="png", dpi=72)


def test_a_run_without_a_score_is_counted_as_lost(ax: Axes) -> None:
    frame = make_runs("Standard")
    frame.loc[0, ["test_best", "status"]] = [np.nan, "diverged"]
    plots.recipe_strips(frame, ax, expected={"Standard": 5})
    assert [text.get_text() for text in ax.texts] == ["3 of 5, 1 lost"]


def test_without_runs_the_axis_says_so(ax: Axes) -> None:
    plots.recipe_strips(make_runs(), ax, expected=EXPECTED)
    assert [text.get_text() for text in ax.texts] == ["not run"]


def test_each_recipe_has_a_mark_of_its_own() -> None:
    assert len(set(plots.SUMMARY.values())) == len(plots.SUMMARY)
    assert {f"--fewft-{palette.slug(name)}" for name in plots.SUMMARY} <= set(palette.variables())
