"""Figures of the runs of several arms: scores, losses, and what many trials buy."""

from itertools import zip_longest

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from fewft.config import UsageError
from fewft.plots.look import DASHES, GREY, SCORES, SMALL_N, TASK_LABELS, arm, arms_of, note, plain, usable
from fewft.stats import expected_performance

PAPER_TRIALS = 50  # Section 4 simulates 1 to 50 trials


def performance_box(
    frame: pd.DataFrame, ax: Axes, *, score: str = "test_best", expected_n: int | None = None, by: str = "correct_bias"
) -> Axes:
    """Scores per task and arm (values of `by`) as boxes, see `box`; a dashed line for the majority baseline.

    Paper: Section 4, Figure 2."""
    if (runs := usable(frame, ax, score)).empty:
        return ax
    order = [*(t for t in TASK_LABELS if t in set(runs.task)), *sorted(set(runs.task) - set(TASK_LABELS))]
    arms = arms_of(runs, by)
    width = 0.8 / max(len(arms), 2)
    for (task, value), own in runs.dropna(subset=score).groupby(["task", by]):
        x = order.index(task) + (arms.index(value) - (len(arms) - 1) / 2) * width
        box(ax, x, own[score].to_numpy(), *arm(by, value), width=0.75 * width)
    firsts = runs.groupby("task").first().loc[order]
    for x, baseline in enumerate(firsts.majority):
        ax.plot([x - 0.42, x + 0.42], [baseline] * 2, "--", color=GREY, linewidth=1.2, label="Majority baseline")
    gap, size = ("\n", "small") if len(order) > 5 else (" ", "medium")
    names = [f"{plain(TASK_LABELS.get(t, t))}\n{metric}".replace(" ", gap) for t, metric in firsts.metric.items()]
    ax.set_xticks(range(len(order)), names, fontsize=size)
    ax.grid(axis="x", visible=False)
    ax.set(ylabel=f"{SCORES[score].capitalize()} score", xlim=(-0.6, len(order) - 0.4))
    return note(ax, runs, "task", expected_n, runs[score].isna(), "without a score", by)


def box(ax: Axes, x: float, values: np.ndarray, label: str, color: str, *, width: float) -> None:
    """One box at `x`: quartiles, median, whiskers to 1.5 box lengths, outliers as circles, up to 20 runs also singly."""
    line, face = {"color": color, "linewidth": 1.0}, {"facecolor": color + "40", "edgecolor": color}
    look = {"whiskerprops": line, "capprops": line, "boxprops": face, "patch_artist": True, "showfliers": False}
    look |= {"medianprops": {"color": "black", "linewidth": 1.6}, "widths": width, "manage_ticks": False}
    parts = ax.boxplot([values], positions=[x], label=label, **look)
    low, high = (cap.get_ydata()[0] for cap in parts["caps"])
    outlier = (values < low) | (values > high)
    spread = x + np.linspace(-width, width, len(values)) / 3 * (1 < len(values) <= SMALL_N)
    ax.plot(spread[outlier], values[outlier], "o", color=color, markerfacecolor="none", markersize=5)
    if len(values) <= SMALL_N:
        ax.plot(spread, values, ".", color=color, alpha=0.6, markersize=5, markeredgewidth=0, zorder=3)


def loss_band(
    frame: pd.DataFrame, ax: Axes, *, window: int = 1, expected_n: int | None = None, by: str = "correct_bias"
) -> Axes:
    """Mean and range over one task's runs of the training loss at each step, or of its mean over the last `window`; a
    run counts while its loss is finite, and how many diverged stands above the axis.

    Raises:
        UsageError: several tasks, or a window of more steps than there are.

    Paper: Figures 3, 6 and 11.
    """
    if (runs := usable(frame, ax, one_task=True)).empty:
        return ax
    diverged = runs.status == "diverged"
    for value in reversed(arms_of(runs, by)):  # the usual recipe on top
        own = runs[runs[by] == value]
        table = np.array(list(zip_longest(*own.train_loss, fillvalue=np.nan)), float).T  # (runs, steps)
        table[np.logical_or.accumulate(~np.isfinite(table), axis=1)] = np.nan
        diverged[own.index] |= np.isnan(table[:, -1])
        if not 1 <= window <= table.shape[1]:
            raise UsageError(f"window: {window} steps; accepted: 1 to {table.shape[1]}")
        loss = np.ma.masked_invalid(np.lib.stride_tricks.sliding_window_view(table, window, axis=1).mean(axis=-1))
        low, mean, high = (np.ma.filled(summary(axis=0), np.nan) for summary in (loss.min, loss.mean, loss.max))
        band(ax, np.arange(len(mean)) + window, mean, low, high, *arm(by, value))
    ax.set(xlabel="Training step", ylabel="Training loss")
    return note(ax, runs, "task", expected_n, diverged, "diverged", by)


def expected_curve(
    frame: pd.DataFrame, ax: Axes, *, score: str, max_trials: int = 50, seed: int = 0, expected_n: int | None = None,
    by: str = "correct_bias",
) -> Axes:  # fmt: skip
    """Expected score of one task when the best of n trials on validation is kept: mean and +-1 standard deviation, up
    to an arm's own number of runs (more trials were never seen).

    Raises:
        UsageError: several tasks, an unknown score, or more trials than the paper's.

    Paper: Figures 4 and 12.
    """
    if not 1 <= max_trials <= PAPER_TRIALS:
        raise UsageError(f"max_trials: {max_trials}; accepted: 1 to the paper's {PAPER_TRIALS}")
    if (runs := usable(frame, ax, score, one_task=True)).empty:
        return ax
    for value in reversed(arms_of(runs, by)):  # the usual recipe on top
        own = runs[runs[by] == value]
        n = range(1, min(max_trials, len(own)) + 1)
        curve = expected_performance(own.best_val, own[score], num_trials=n, seed=seed)
        x, mean, std = (curve[name].to_numpy() for name in ("num_trials", "mean", "std"))
        band(ax, x, mean, mean - std, mean + std, *arm(by, value))
    last = min(max_trials, runs.groupby(by).size().max())
    ax.set_xticks([1, *range(10, last + 1, 10)] if last > 10 else range(1, last + 1))
    ax.set(xlabel="Random trials", ylabel=f"Expected {SCORES[score]}\n{runs.metric[0]}")
    return note(ax, runs, "task", expected_n, runs[score].isna(), "without a score", by)


def band(ax: Axes, x: np.ndarray, mean: np.ndarray, low: np.ndarray, high: np.ndarray, label: str, color: str) -> None:
    """A line with a shaded region around it; a single point as a dot."""
    ax.fill_between(x, low, high, color=color, alpha=0.2, linewidth=0)
    marker = "." if len(x) == 1 else ""
    ax.plot(x, mean, color=color, label=label, marker=marker, linestyle=DASHES.get(label, "-"))
