"""What is drawn is what was given; what is missing is said."""

import io

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_hex

from fewft import plots
from fewft.config import UsageError
from fewft.stats import expected_performance, share_interval


@pytest.fixture(autouse=True)
def book_style():
    with mpl.rc_context():
        plots.apply_style()
        yield


def make_runs(task: str = "rte-1k", n: int = 4, rates: tuple[float, ...] = (1e-4,)) -> pd.DataFrame:
    """n runs for each arm and rate, with scores that differ between all of them."""
    rows = []
    for rate in rates:
        for corrected in (True, False):
            for run in range(n):
                test = 0.5 + 0.05 * corrected + 0.01 * run + 100 * rate
                row = {"task": task, "learning_rate": rate, "correct_bias": corrected, "metric": "accuracy"}
                row |= {"status": "ok", "best_val": 0.6 + 0.02 * (run % 3), "test_best": test, "test_last": test - 0.01}
                row |= {"train_loss": [0.7 - 0.1 * corrected + 0.01 * run - 0.1 * step for step in range(5)]}
                rows.append(
                    row | {"majority_val": 0.52, "majority_test": 0.53, "degenerate": run == 0 or not corrected}
                )
    return pd.DataFrame(rows)


def one_axis(rows: int = 1) -> Axes | np.ndarray:
    axes = plots.grid(["rte-1k"], stack=rows)[1][0]
    return axes


def texts(ax: Axes) -> str:
    return "|".join(text.get_text() for text in ax.texts)


def arm_lines(ax: Axes) -> dict[str, np.ndarray]:
    """label -> (x, y) of each arm's line, after checking that it has the arm's colour."""
    lines = [line for line in ax.lines if line.get_label() in plots.COLORS]
    assert all(to_hex(line.get_color()).upper() == plots.COLORS[line.get_label()] for line in lines)
    return {line.get_label(): line.get_xydata().T for line in lines}


def bands(ax: Axes) -> list[np.ndarray]:
    return [item.get_paths()[0].vertices for item in ax.collections if isinstance(item, PolyCollection)]


ARM_COLORS = {word: plots.COLORS[word] for word in plots.ARMS.values()}


def render(ax: Axes) -> None:
    """Lay out and draw for real: warnings of the layout are errors here."""
    plots.legend(ax.figure)
    ax.figure.savefig(io.BytesIO(), format="png", dpi=72)


def test_bias_ratio_is_the_ratio_of_the_two_updates() -> None:
    ax = one_axis()
    plots.bias_ratio(ax, steps={"rte": 234, "mrpc": 345, "cola-1k": 96, "rte-1k": 96})
    t, ratio = ax.lines[0].get_data()
    m, v, biased_over_unbiased = 0.0, 0.0, {}
    for step in range(1, 1001):  # constant gradient 1, Algorithm 1 as it stands
        m, v = 0.9 * m + 0.1, 0.999 * v + 0.001
        unbiased = (m / (1 - 0.9**step)) / np.sqrt(v / (1 - 0.999**step))
        biased_over_unbiased[step] = (m / np.sqrt(v)) / unbiased
    early = t <= 1000
    assert ratio[early] == pytest.approx([biased_over_unbiased[int(step)] for step in t[early]])
    assert ratio[0] == pytest.approx(np.sqrt(10))
    assert ratio[-1] == pytest.approx(1)
    assert [line.get_xdata()[0] for line in ax.lines[1:]] == [96, 234, 345]
    assert texts(ax) == "CoLA (1k), RTE (1k): 96|RTE: 234|MRPC: 345"
    render(ax)
    boxes = [text.get_window_extent() for text in ax.texts]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[i + 1 :])


def test_performance_box_draws_every_run_the_median_and_the_baseline() -> None:
    frame = pd.concat([make_runs("stsb-1k").assign(metric="spearman"), make_runs("own-task")], ignore_index=True)
    ax = plots.performance_box(frame, one_axis(), expected_n=4)
    dots = np.concatenate([line.get_ydata() for line in ax.lines if line.get_marker() == "."])
    assert sorted(dots) == sorted(frame.test_best)
    medians = [line.get_ydata()[0] for line in ax.lines if line.get_color() == "black"]
    assert sorted(medians) == pytest.approx(sorted(frame.groupby(["task", "correct_bias"]).test_best.median()))
    ticks = [list(line.get_ydata()) for line in ax.lines if line.get_label() == "Majority baseline"]
    assert ticks == [[0.53, 0.53]] * 2
    assert [label.get_text() for label in ax.get_xticklabels()] == ["STS-B (1k)\nSpearman corr.", "own-task\naccuracy"]
    assert {p.get_label(): to_hex(p.get_edgecolor()).upper() for p in ax.patches} == ARM_COLORS
    assert texts(ax) == ""
    render(ax)
    assert [text.get_text() for text in ax.figure.legends[0].texts] == [*ARM_COLORS, "Majority baseline"]


def test_performance_box_circles_outliers_and_uses_the_validation_baseline() -> None:
    frame = make_runs(n=30)
    frame.loc[0, "best_val"] = 0.1
    ax = plots.performance_box(frame, one_axis(), score="best_val")
    circles = np.concatenate([line.get_ydata() for line in ax.lines if line.get_marker() == "o"])
    assert circles.tolist() == [0.1]
    assert not [line for line in ax.lines if line.get_marker() == "."]  # too many runs to draw each
    assert [line.get_ydata()[0] for line in ax.lines if line.get_label() == "Majority baseline"] == [0.52]


@pytest.mark.parametrize("tasks", [8, 1])
def test_performance_box_labels_do_not_overlap(tasks: int) -> None:
    frame = pd.concat([make_runs(task).assign(metric="matthews") for task in list(plots.TASK_LABELS)[8 : 8 + tasks]])
    ax = plots.performance_box(frame, one_axis())
    render(ax)
    boxes = [label.get_window_extent() for label in ax.get_xticklabels()]
    assert not any(a.overlaps(b) for a, b in zip(boxes, boxes[1:], strict=False))


def test_loss_band_is_mean_and_range() -> None:
    frame = make_runs()
    ax = plots.loss_band(frame, one_axis(), expected_n=4)
    for corrected, arm in plots.ARMS.items():
        table = np.array(frame[frame.correct_bias == corrected].train_loss.tolist())
        assert arm_lines(ax)[arm] == pytest.approx(np.array([range(1, 6), table.mean(axis=0)]))
    everything = np.concatenate(frame.train_loss)
    edges = np.concatenate(bands(ax))[:, 1]
    assert (edges.min(), edges.max()) == pytest.approx((everything.min(), everything.max()))
    assert texts(ax) == ""


def test_loss_band_follows_a_run_until_it_diverges_and_counts_it() -> None:
    frame = make_runs(n=2)
    frame.at[0, "train_loss"] = [1.0, 2.0, np.inf, 0.1, 0.1]  # what follows a non-finite loss means nothing
    frame.at[2, "train_loss"] = [1.0]
    ax = plots.loss_band(frame, one_axis())
    survivor = np.array(frame.train_loss[1])
    expected = [(1 + survivor[0]) / 2, (2 + survivor[1]) / 2, *survivor[2:]]
    assert arm_lines(ax)["Correction"][1] == pytest.approx(expected)
    assert texts(ax) == "2 diverged"
    render(ax)


def test_loss_band_window_is_a_trailing_mean() -> None:
    frame = make_runs(n=1)
    x, y = arm_lines(plots.loss_band(frame, one_axis(), window=2))["Correction"]
    loss = np.array(frame.train_loss[0])
    assert x.tolist() == [2, 3, 4, 5]
    assert y == pytest.approx((loss[1:] + loss[:-1]) / 2)
    with pytest.raises(UsageError, match="window: 6"):
        plots.loss_band(frame, one_axis(), window=6)


def test_expected_curve_is_the_simulation_up_to_the_runs_there_are() -> None:
    frame = make_runs()
    frame = frame.drop(index=7)  # one run less without correction
    ax = plots.expected_curve(frame, one_axis(), score="test_best", expected_n=50)
    for corrected, arm in plots.ARMS.items():
        own = frame[frame.correct_bias == corrected]
        curve = expected_performance(own.best_val, own.test_best, num_trials=range(1, len(own) + 1), seed=0)
        assert arm_lines(ax)[arm] == pytest.approx(curve[["num_trials", "mean"]].to_numpy().T)
    edges = bands(ax)[1][:, 1]  # correction, drawn last, to which `curve` no longer refers
    own = frame[frame.correct_bias]
    curve = expected_performance(own.best_val, own.test_best, num_trials=range(1, 5), seed=0)
    assert edges.max() == pytest.approx((curve["mean"] + curve["std"]).max())
    assert texts(ax) == "3–4 of 50 runs"
    with pytest.raises(UsageError, match="max_trials: 51"):
        plots.expected_curve(frame, one_axis(), score="test_best", max_trials=51)


def test_stability_map_shows_shares_means_and_intervals() -> None:
    frame = make_runs(rates=(2e-5, 3e-4))
    upper, lower = plots.stability_map(frame, one_axis(2), chosen=3e-4, expected_n=6)
    for ax, column in ((upper, "degenerate"), (lower, "test_last")):
        drawn = {box.get_label(): box.lines[0].get_ydata() for box in ax.containers}
        for corrected, arm in plots.ARMS.items():
            means = frame[frame.correct_bias == corrected].groupby("learning_rate")[column].mean()
            assert drawn[arm] == pytest.approx(means.to_numpy())
        marks = [line for line in ax.lines if line.get_label() == "Chosen rate"]
        assert [list(mark.get_xdata()) for mark in marks] == [[3e-4, 3e-4]]
    bar = {box.get_label(): box.lines[2][0] for box in upper.containers}["Correction"].get_segments()[0]
    assert bar[:, 1] == pytest.approx(share_interval(1, 4))
    own = frame[frame.correct_bias & (frame.learning_rate == 2e-5)].test_last
    bar = {box.get_label(): box.lines[2][0] for box in lower.containers}["Correction"].get_segments()[0]
    assert bar[:, 1] == pytest.approx([own.min(), own.max()])
    assert texts(upper) == "4 of 6 runs"
    render(lower)
    assert [label.get_text() for label in lower.get_xticklabels()] == ["2", "30"]


def make_steps() -> pd.DataFrame:
    """Two tasks; nothing was grouped by length, and one task has no dynamic padding."""
    frame = pd.DataFrame({"task": ["RTE", "CoLA"], "clock": "cpu", "grouped_ms": np.nan, "grouped_ratio": np.nan})
    frame = frame.assign(ours_ms=[1200.0, 20.0], ours_ratio=1.0, mm_ms=[900.0, 10.0])
    frame = frame.assign(padded_ms=[3600.0, 300.0], padded_ratio=[3.01, 14.96])
    return frame.assign(dynamic_ms=[2400.0, np.nan], dynamic_ratio=[2.0, np.nan])


def test_step_bars_are_the_times_with_their_ratios() -> None:
    frame, ax = make_steps(), one_axis()
    plots.step_bars(frame, ax)
    drawn = {bars.get_label(): [bar.get_width() for bar in bars] for bars in ax.containers}
    labels = {kind: plots.CONTESTANTS[kind][0] for kind in ("padded", "dynamic", "ours")}
    assert list(drawn) == list(labels.values())
    for kind, label in labels.items():
        assert drawn[label] == pytest.approx(frame[f"{kind}_ms"].tolist(), nan_ok=True)
    assert texts(ax) == "3.0 ×|15.0 ×|2.0 ×||1,200 ms|20.0 ms"
    (floor,) = ax.lines
    ours = [bar.get_y() + bar.get_height() / 2 for bar in ax.containers[-1]]
    assert floor.get_xydata() == pytest.approx(np.array([[900.0, ours[0]], [10.0, ours[1]]]))
    assert [label.get_text() for label in ax.get_yticklabels()] == ["RTE", "CoLA"]
    assert ax.yaxis_inverted() and ax.get_xlabel() == "CPU time of one step (ms)"
    assert plots.step_bars(frame.assign(clock="wall"), one_axis()).get_xlabel() == "Wall time of one step (ms)"
    render(ax)
    assert [text.get_text() for text in ax.figure.legends[0].texts] == [*labels.values(), "torch.mm alone"]


def test_steps_that_were_not_measured_are_said() -> None:
    ax = plots.step_bars(pd.DataFrame(), one_axis())
    assert texts(ax) == "not measured" and not ax.patches
    render(ax)


@pytest.mark.parametrize("name", ["performance_box", "loss_band", "expected_curve", "stability_map"])
@pytest.mark.parametrize("frame", [pd.DataFrame(), make_runs().assign(status="failed")], ids=["empty", "failed"])
def test_nothing_to_draw_is_said(name: str, frame: pd.DataFrame) -> None:
    axes = one_axis(2) if name == "stability_map" else one_axis()
    score = {} if name == "loss_band" else {"score": "test_best"}
    getattr(plots, name)(frame, axes, **score)
    for ax in np.atleast_1d(axes):
        assert texts(ax) == "not run"
        assert not ax.lines
        render(ax)


@pytest.mark.parametrize("draw", [plots.performance_box, plots.expected_curve, plots.stability_map])
def test_missing_runs_and_scores_are_counted(draw) -> None:
    frame = make_runs(n=3)
    frame.loc[0, ["test_best", "status"]] = [np.nan, "diverged"]
    frame.loc[1, "status"] = "failed"
    axes = one_axis(2) if draw is plots.stability_map else [one_axis()]
    draw(frame, axes if len(axes) == 2 else axes[0], score="test_best", expected_n=5)
    assert texts(axes[0]) == "2–3 of 5 runs, 1 without a score"
    render(axes[0])


def test_an_arm_without_any_run_counts_as_zero() -> None:
    frame = make_runs()
    ax = plots.loss_band(frame[frame.correct_bias], one_axis(), expected_n=4)
    assert texts(ax) == "0–4 of 4 runs"
    assert list(arm_lines(ax)) == ["Correction"]


def test_wrong_calls_name_what_is_accepted() -> None:
    two_tasks = pd.concat([make_runs("rte-1k"), make_runs("cola")])
    with pytest.raises(UsageError, match="cola, rte-1k"):
        plots.loss_band(two_tasks, one_axis())
    with pytest.raises(UsageError, match="best_val"):
        plots.performance_box(make_runs(), one_axis(), score="accuracy")


def test_grid_places_tasks_row_by_row_and_names_them() -> None:
    figure, axes = plots.grid(["rte-1k", "mrpc", "bundled:entailment"])
    assert [ax.get_title(loc="left") for ax in axes] == ["RTE (1k)", "MRPC", "Entailment"]
    assert len(figure.axes) == 3
    spec = [ax.get_subplotspec() for ax in plots.grid(["rte", "cola", "qqp", "mnli"], rows=2, stack=2)[1][:, 0]]
    assert [(s.rowspan.start, s.colspan.start) for s in spec] == [(0, 0), (0, 1), (2, 0), (2, 1)]


def test_svg_is_the_same_when_drawn_again() -> None:
    def draw() -> str:
        return plots.performance_box(make_runs(), one_axis()).figure._repr_svg_()

    assert draw().startswith("<?xml")
    assert draw() == draw()


@pytest.mark.parametrize(("score", "metric"), [("test_best", "F1"), ("best_val", "accuracy")])
def test_mrpc_is_selected_on_accuracy_and_reported_in_f1(score: str, metric: str) -> None:
    ax = one_axis()
    plots.expected_curve(make_runs("mrpc-1k").assign(metric="f1"), ax, score=score, seed=0)
    assert ax.get_ylabel().endswith(metric)


def make_effects() -> pd.DataFrame:
    """Three claims in points and one in percent; the second says that a difference is small, and the third has no interval."""
    rows = [
        ("a", "holds", 2.0, 1.0, 3.0, "points", 0.0, np.inf),
        ("b", "does not hold", -4.0, -5.0, -3.0, "points", -1.0, 1.0),
        ("c", "too few runs to tell", 0.5, np.nan, np.nan, "points", -np.inf, 1.0),
        ("d", "holds", 20.0, 10.0, 30.0, "%", 0.0, np.inf),
    ]
    return pd.DataFrame(rows, columns=["name", "verdict", "effect", "low", "high", "unit", "least", "most"])


def test_claims_are_drawn_by_unit_and_verdict() -> None:
    effects = make_effects()
    figure, axes = plots.claim_grid(effects)
    assert list(axes) == ["points", "%"]
    for unit, ax in axes.items():
        plots.claim_forest(effects[effects.unit == unit], ax)
    points = axes["points"]
    drawn = {
        bar.get_label(): bar.lines[0].get_xydata().tolist()
        for bar in points.containers
        if "laim" not in bar.get_label()
    }
    assert drawn == {"holds": [[2, 0]], "does not hold": [[-4, 1]], "too few runs to tell": [[0.5, 2]]}
    intervals = [bar.lines[2][0].get_segments()[0][:, 0].tolist() for bar in points.containers[:3]]
    assert intervals == [[1, 3], [-5, -3], [0.5, 0.5]]
    edge = points.get_xlim()[1]
    claimed = [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in points.patches]
    assert np.allclose(claimed, [(0, edge), (-1, 1), (-edge, 1)]) and edge > 5
    assert [label.get_text() for label in points.get_yticklabels()] == ["a", "b", "c"] and points.yaxis_inverted()
    render(points)
    said = [text.get_text() for text in figure.legends[0].texts]
    assert said == ["holds", "does not hold", "too few runs to tell", "As claimed"]


def test_without_effects_the_figure_says_so() -> None:
    figure, axes = plots.claim_grid(make_effects().iloc[:0])
    (ax,) = axes.values()
    assert texts(plots.claim_forest(make_effects().iloc[:0], ax)) == "not run"
    render(ax)
