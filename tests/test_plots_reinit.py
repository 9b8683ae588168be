"""Scores over blocks and steps, distances of weights: what is drawn is what was given; what is missing is said."""

import io

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex, to_rgb

from fewft import plots
from fewft.config import UsageError


@pytest.fixture(autouse=True)
def book_style():
    with mpl.rc_context():
        plots.apply_style()
        yield


def make_runs(layers: tuple[int, ...] = (-1, 0, 2), n: int = 3, task: str = "rte-1k") -> pd.DataFrame:
    """n runs for each number of re-initialised blocks; scores rise by 0.1 a value of it, by 0.01 a run."""
    rows = []
    for value in layers:
        for run in range(n):
            score = 0.5 + 0.1 * (value + 1) + 0.01 * run
            row = {"run_id": f"{value}/{run}", "task": task, "reinit_layers": value, "metric": "accuracy"}
            row |= {"status": "ok", "best_val": score, "test_best": score, "majority_val": 0.5, "majority_test": 0.5}
            # (steps, blocks): block b is step * b from its start, Re-init half as far, each run 1 further
            far = [[step * block * (0.5 if value > 0 else 1) + run for block in (1, 2, 3)] for step in (10, 20)]
            rows.append(row | {"distance_steps": [10, 20], "block_distances": far, "num_steps": 20})
    return pd.DataFrame(rows)


def one_axis() -> Axes:
    return plots.grid(["rte-1k"])[1][0]


def texts(ax: Axes) -> str:
    return "|".join(text.get_text() for text in ax.texts if text.get_text())


def lines(ax: Axes) -> dict[str, np.ndarray]:
    """label -> (x, y) of each labelled line."""
    return {line.get_label(): line.get_xydata().T for line in ax.lines if not line.get_label().startswith("_")}


def render(ax: Axes) -> None:
    """Lay out and draw for real: warnings are errors here."""
    plots.legend(ax.figure)
    assert ax.figure._repr_svg_().startswith("<?xml")
    ax.figure.savefig(io.BytesIO(), format="png", dpi=72)


# --- scores over blocks -------------------------------------------------------------------------------------------
def test_a_box_for_standard_the_pooler_and_each_l_with_its_mean() -> None:
    frame = make_runs()
    ax = plots.layer_boxes(frame, one_axis(), layers=(-1, 0, 1, 2), expected_n=3)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["Std.", "0", "1", "2"]
    means = [tuple(line.get_xydata()[0]) for line in ax.lines if line.get_marker() == "D"]
    assert means == [(0, pytest.approx(0.51)), (1, pytest.approx(0.61)), (3, pytest.approx(0.81))]
    dots = np.concatenate([line.get_ydata() for line in ax.lines if line.get_marker() == "."])
    assert sorted(dots) == sorted(frame.best_val)
    colors = [to_hex(patch.get_edgecolor()).upper() for patch in ax.patches]
    assert colors == [plots.COLORS["Standard"], *[plots.COLORS["Re-init"]] * 2]
    assert texts(ax) == "not run"  # L = 1, in its place
    assert next(text for text in ax.texts if text.get_text()).get_position()[0] == 2
    render(ax)
    assert [text.get_text() for text in ax.figure.legends[0].texts] == ["Standard", "Re-init"]


def test_missing_runs_and_scores_are_counted_over_blocks() -> None:
    frame = make_runs(layers=(-1, 1))
    frame.loc[0, ["best_val", "status"]] = [np.nan, "diverged"]
    frame.loc[3:, "best_val"] = np.nan
    ax = plots.layer_boxes(frame.drop(index=5), one_axis(), expected_n=4)
    assert texts(ax) == "no score|2–3 of 4 runs, 3 without a score"
    assert len(ax.patches) == 1
    render(ax)
    both = pd.concat([make_runs(), make_runs(task="cola")])
    with pytest.raises(UsageError, match="cola, rte-1k"):
        plots.layer_boxes(both, one_axis())


# --- scores over steps --------------------------------------------------------------------------------------------
def make_search() -> pd.DataFrame:
    """Standard after 96, 200 and 400 steps, Re-init with L = 2 after 96 alone; two runs each."""
    cells = [("Standard", -1, 96), ("Standard", -1, 200), ("Standard", -1, 400), ("Re-init", 2, 96)]
    rows = []
    for place, (recipe, layers, steps) in enumerate(cells):
        for run in range(2):
            row = {"task": "rte-1k", "recipe": recipe, "reinit_layers": layers, "num_steps": steps, "status": "ok"}
            score = 0.5 + 0.1 * place + 0.02 * run
            rows.append(row | {"metric": "accuracy", "best_val": score, "majority_val": 0.5, "majority_test": 0.5})
    return pd.DataFrame(rows)


def test_the_longer_curve_is_mean_and_range_at_each_number_of_steps() -> None:
    ax = plots.longer_curve(make_search(), one_axis(), expected_n=2)
    drawn = lines(ax)
    assert drawn["Standard"] == pytest.approx(np.array([[96, 200, 400], [0.51, 0.61, 0.71]]))
    assert drawn["Re-init"] == pytest.approx(np.array([[96], [0.81]]))
    (single,) = (item for item in ax.collections if isinstance(item, LineCollection))  # a band would have no width
    assert single.get_segments()[0] == pytest.approx(np.array([[96, 0.8], [96, 0.82]]))
    assert ax.get_title(loc="left") == "RTE (1k), Re-init 2"
    assert texts(ax) == "0–2 of 2 runs"  # Re-init after 200 and 400
    assert [label.get_text() for label in ax.get_xticklabels()] == ["96", "200", "400"]
    render(ax)


def test_a_search_without_reinit_or_with_lost_scores_says_so() -> None:
    frame = make_search()[:6]
    frame.loc[0, "best_val"] = np.nan
    ax = plots.longer_curve(frame, one_axis(), expected_n=2)
    assert ax.get_title(loc="left") == "RTE (1k), Re-init not run"
    assert lines(ax)["Standard"][1] == pytest.approx([0.52, 0.61, 0.71])
    assert texts(ax) == "1 without a score"
    render(ax)


# --- distances ----------------------------------------------------------------------------------------------------
def test_distances_have_a_row_a_run_step_and_block() -> None:
    frame = make_runs(n=2)
    long = plots.distance_frame(frame)
    assert len(long) == len(frame) * 2 * 3
    row = long[(long.run_id == "2/1") & (long.step == 20) & (long.block == 3)]
    assert row.distance.tolist() == [20 * 3 * 0.5 + 1] and row.reinit_layers.tolist() == [2]
    frame.at[0, "block_distances"] = [[1.0, 2.0, np.nan], [1.0, np.inf, 3.0]]
    assert len(plots.distance_frame(frame)) == len(frame) * 2 * 3 - 2


def test_runs_without_distances_are_left_out_whatever_stands_there() -> None:
    frame = make_runs()
    for row, nothing in enumerate((None, np.nan, [])):
        frame.at[row, "block_distances"] = nothing
    assert len(plots.tracked(frame)) == len(frame) - 3
    assert plots.tracked(frame.drop(columns="block_distances")).empty
    assert plots.distance_frame(pd.DataFrame({"task": []})).columns.tolist()[-1] == "distance"


@pytest.mark.parametrize(
    ("count", "most", "expected"),
    [(24, 4, [6, 12, 18, 24]), (12, 4, [3, 6, 9, 12]), (6, 4, [2, 3, 5, 6]), (2, 4, [1, 2]), (3, 0, [1, 2, 3])],
)
def test_four_blocks_stand_for_all(count: int, most: int, expected: list[int]) -> None:
    frame = pd.DataFrame({"task": ["rte", "rte"], "block_distances": [[[0.0] * count], None]})
    assert plots.blocks_of(frame, most=most) == expected


def test_no_runs_have_no_blocks_and_one_panel() -> None:
    assert plots.blocks_of(pd.DataFrame({"task": []}), most=4) == []
    assert len(plots.block_grid([])[1]) == 1


@pytest.mark.parametrize(("count", "rows", "columns"), [(6, 3, 2), (12, 4, 3), (24, 6, 4)])
def test_a_panel_a_block(count: int, rows: int, columns: int) -> None:
    figure, axes = plots.block_grid(range(1, count + 1))
    spec = axes[-1].get_subplotspec().get_gridspec()
    assert (len(axes), spec.nrows, spec.ncols) == (count, rows, columns)
    assert axes[-1].get_title(loc="left") == f"Block {count}" and figure.get_figwidth() == 6.5


def test_distance_curves_are_mean_and_range_of_each_l() -> None:
    frame = make_runs(layers=(-1, 1, 2))
    figure, axes = plots.block_grid([1, 2, 3])
    plots.distance_curves(frame, axes, blocks=[1, 2, 3], expected_n=3)
    for block, ax in zip((1, 2, 3), axes, strict=True):
        drawn = lines(ax)
        assert list(drawn) == ["Standard", "Re-init 1", "Re-init 2"]
        assert drawn["Standard"] == pytest.approx(np.array([[10, 20], [10 * block + 1, 20 * block + 1]]))
        assert drawn["Re-init 2"] == pytest.approx(np.array([[10, 20], [5 * block + 1, 10 * block + 1]]))
        edges = ax.collections[0].get_paths()[0].vertices[:, 1]
        assert (edges.min(), edges.max()) == (10 * block, 20 * block + 2)
    assert len({ax.get_ylim() for ax in axes}) == 1
    assert [ax.get_xlabel() for ax in axes] == ["", "Training step", "Training step"]  # the lowest of each column
    assert [ax.get_ylabel() for ax in axes] == ["L2 distance", "", "L2 distance"]
    assert texts(axes[0]) == ""
    render(axes[0])


def test_distance_curves_count_runs_that_diverged_or_have_none() -> None:
    frame = make_runs(layers=(-1, 2))
    frame.at[0, "block_distances"] = None
    frame.at[4, "distance_steps"], frame.at[4, "block_distances"] = [10], [[5.0, 10.0, 15.0]]
    frame.loc[4, "status"] = "diverged"
    axes = plots.block_grid([1, 3])[1]
    plots.distance_curves(frame, axes, blocks=[1, 3], expected_n=3)
    assert texts(axes[0]) == "2–3 of 3 runs, 2 diverged or without distances" and texts(axes[1]) == ""
    assert lines(axes[0])["Re-init 2"][1] == pytest.approx([(5 + 5 + 7) / 3, (10 + 12) / 2])
    render(axes[0])


def test_without_distances_every_panel_says_so() -> None:
    axes = plots.block_grid([1, 2])[1]
    plots.distance_curves(make_runs().drop(columns="block_distances"), axes, blocks=[1, 2])
    assert [texts(ax) for ax in axes] == ["no distances stored"] * 2
    render(axes[0])


@pytest.mark.parametrize("frame", [pd.DataFrame(), make_runs().assign(status="failed")], ids=["empty", "failed"])
def test_nothing_to_draw_is_said(frame: pd.DataFrame) -> None:
    drawn = [plots.layer_boxes(frame, one_axis()), plots.longer_curve(frame, one_axis())]
    drawn += plots.distance_curves(frame, [one_axis()], blocks=[])
    for ax in drawn:
        assert texts(ax) == "not run" and not ax.lines
        render(ax)


# --- colours ------------------------------------------------------------------------------------------------------
def luminance(color: str) -> float:
    channels = np.array(to_rgb(color))
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_each_l_has_its_own_darker_shade_that_is_legible_on_white() -> None:
    shades = [luminance(plots.arm("reinit_layers", n)[1]) for n in (1, 2, 3, 6, 10)]
    assert min(1.05 / (shade + 0.05) for shade in shades) >= 3  # contrast to white, as WCAG asks of graphics
    assert min((a + 0.05) / (b + 0.05) for a, b in zip(shades, shades[1:], strict=False)) > 1.3
    assert plots.arm("reinit_layers", -1) == ("Standard", plots.COLORS["Standard"])
    assert plots.arm("reinit_layers", 30)[1] == plots.arm("reinit_layers", 10)[1]


def test_short_labels_stand_in_one_row() -> None:
    figure, axes = plots.block_grid([1])
    plots.distance_curves(make_runs(layers=(-1, 1, 3, 6, 10)), axes, blocks=[1])
    render(axes[0])
    legend = figure.legends[0]
    assert legend._ncols == 5
    assert legend.get_window_extent().width <= figure.bbox.width
