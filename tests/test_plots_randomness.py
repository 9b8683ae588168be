"""Figures 9 and 10: the cells, their summaries and the deviations are those of the runs; missing pairs stay empty."""

import io

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes

from fewft import plots
from fewft.config import UsageError

# Standard: rows are initialization seeds, columns data seeds; Re-init 2: 10 points more, and a point less spread
SCORES = {-1: [[0.60, 0.62], [0.70, 0.76]], 2: [[0.75, 0.76], [0.80, 0.83]]}


@pytest.fixture(autouse=True)
def book_style():
    with mpl.rc_context():
        plots.apply_style()
        yield


def make_runs(scores: dict[int, list[list[float]]] = SCORES) -> pd.DataFrame:
    rows = [
        {"task": "rte", "reinit_layers": layers, "init_seed": i, "data_seed": j, "best_val": score, "status": "ok"}
        for layers, matrix in scores.items()
        for i, row in enumerate(matrix)
        for j, score in enumerate(row)
    ]
    return pd.DataFrame(rows).assign(metric="accuracy", majority_val=0.53, majority_test=0.52)


def panels(count: int = 2) -> np.ndarray:
    return plots.grid(["Standard", "Re-init 2"][:count], rows=1, height=3.0)[1]


def cells(ax: Axes) -> dict[tuple[float, float], str]:
    """(row, column) from the upper left, in cells, gaps left out -> what is written there."""
    found = {}
    for text in ax.texts:
        x, y = text.get_position()
        found[int(y - 0.3 * (y > 2)), int(x - 0.3 * (x > 2))] = text.get_text()
    return found


def render(ax: Axes) -> None:
    ax.figure.savefig(io.BytesIO(), format="svg")


def words(ax: Axes) -> str:
    return "|".join(text.get_text() for text in ax.texts)


def test_the_matrix_has_a_row_an_initialization_and_a_column_a_data_seed() -> None:
    runs = make_runs()
    matrix = plots.seed_matrix(runs[runs.reinit_layers == -1], seeds=3)
    assert matrix.iloc[:2, :2].round(6).to_numpy().tolist() == [[60, 62], [70, 76]]
    assert matrix.shape == (3, 3) and matrix[2].isna().all() and matrix.loc[2].isna().all()
    with pytest.raises(UsageError, match="several runs of one pair of seeds"):
        plots.seed_matrix(runs)


def test_every_cell_and_its_summaries_are_written() -> None:
    axes = panels()
    plots.seed_scores(make_runs(), axes, layers=(-1, 2), seeds=2)
    assert cells(axes[0]) == {
        (0, 0): "60.0", (0, 1): "62.0", (1, 0): "70.0", (1, 1): "76.0",
        (0, 2): "60.0", (0, 3): "61.0", (0, 4): "62.0", (1, 2): "70.0", (1, 3): "73.0", (1, 4): "76.0",
        (2, 0): "60.0", (3, 0): "65.0", (4, 0): "70.0", (2, 1): "62.0", (3, 1): "69.0", (4, 1): "76.0",
        (3, 3): "",  # the free corner: nothing is missing
    }  # fmt: skip
    assert [t.get_text() for t in axes[0].get_xticklabels()] == ["0", "1", "Min", "Mean", "Max"]
    assert axes[0].get_ylim()[0] > axes[0].get_ylim()[1]  # seed 0 on top, as in the paper
    limits = {mesh.norm.vmin for ax in axes for mesh in ax.collections} | {
        mesh.norm.vmax for ax in axes for mesh in ax.collections
    }
    assert sorted(limits) == pytest.approx([60, 83])  # one scale for both arms
    assert axes[0].figure.axes[-1].get_ylabel() == "Validation accuracy (%)"
    render(axes[0])


def test_a_missing_pair_is_empty_and_a_run_without_a_score_a_cross() -> None:
    runs = make_runs().drop(index=1)  # Standard, seeds 0 and 1
    runs.loc[2, ["best_val", "status"]] = np.nan, "diverged"  # seeds 1 and 0
    axes = panels()
    plots.seed_scores(runs, axes, layers=(-1, 2), seeds=2)
    found = cells(axes[0])
    assert (0, 1) not in found and found[1, 0] == "×"
    assert found[1, 2] == found[1, 3] == found[1, 4] == "76.0"  # over what there is
    assert found[3, 3] == "3 of 4\nruns,\n1 without\na score" and cells(axes[1])[3, 3] == ""
    render(axes[0])


def test_an_arm_without_runs_says_so() -> None:
    runs = make_runs()
    axes = panels()
    plots.seed_scores(runs[runs.reinit_layers == 2], axes, layers=(-1, 2), seeds=2)
    assert words(axes[0]) == "not run" and cells(axes[1])[0, 0] == "75.0"
    render(axes[0])


@pytest.mark.parametrize("status", ["", "failed"])
def test_without_runs_both_figures_say_not_run(status: str) -> None:
    runs = make_runs().assign(status=status) if status else pd.DataFrame({"task": [], "status": []})
    axes = panels()
    plots.seed_scores(runs, axes, layers=(-1, 2), seeds=2)
    assert [words(ax) for ax in axes] == ["not run", "not run"] and len(axes[0].figure.axes) == 2  # no colour bar
    assert words(plots.seed_spread(runs, panels(1)[0], layers=(-1, 2), seeds=2)) == "not run"
    render(axes[0])


def test_only_diverged_runs_have_no_score() -> None:
    axes = panels()
    plots.seed_scores(make_runs().assign(best_val=np.nan), axes, layers=(-1, 2), seeds=2)
    assert [words(ax) for ax in axes] == ["no run has a score"] * 2
    render(axes[0])


def test_the_deviations_are_those_of_rows_and_columns() -> None:
    found = plots.spreads(plots.seed_matrix(make_runs({-1: SCORES[-1]})))
    assert found["init_seed"].tolist() == pytest.approx([2 / 2**0.5, 6 / 2**0.5])  # half the gap times root 2
    assert found["data_seed"].tolist() == pytest.approx([10 / 2**0.5, 14 / 2**0.5])


def test_every_deviation_is_a_dot_and_their_mean_a_bar() -> None:
    ax = panels(1)[0]
    plots.seed_spread(make_runs(), ax, layers=(-1, 2), seeds=2)
    dots = [line.get_ydata() for line in ax.lines if line.get_marker() == "o"]
    root = 2**0.5
    assert [list(y) for y in dots] == [
        pytest.approx([2 / root, 6 / root]), pytest.approx([10 / root, 14 / root]),
        pytest.approx([1 / root, 3 / root]), pytest.approx([5 / root, 7 / root]),
    ]  # fmt: skip
    bars = {(line.get_label(), line.get_ydata()[0]) for line in ax.lines if line.get_marker() != "o"}
    assert {word for word, _ in bars} == {"Standard", "Re-init 2"}
    assert sorted(y for _, y in bars) == pytest.approx([2 / root, 4 / root, 6 / root, 12 / root])
    assert words(ax) == "2.83|8.49|1.41|4.24|"
    plots.legend(ax.figure)
    render(ax)


def test_a_seed_with_one_run_has_no_deviation() -> None:
    runs = make_runs()
    ax = panels(1)[0]
    plots.seed_spread(runs[runs.init_seed == runs.data_seed], ax, layers=(-1, 2), seeds=2)
    assert words(ax) == "too few runs"
    ax = panels(1)[0]
    plots.seed_spread(runs.drop(index=0), ax, layers=(-1, 2), seeds=2)
    assert words(ax).split("|")[0] == "4.24" and words(ax).endswith("3–4 of 4 runs")  # of initialization 1 alone
    render(ax)
