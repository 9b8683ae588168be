"""Figures on the learning rate: the size of Adam's bias, and what each arm does at each rate."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from fewft.plots.look import ARMS, COLORS, DASHES, GREY, SCORES, TASK_LABELS, note, plain, usable
from fewft.stats import bias_ratio as stats_ratio
from fewft.stats import share_interval


def bias_ratio(ax: Axes, *, steps: Mapping[str, int], beta1: float = 0.9, beta2: float = 0.999) -> Axes:
    """BERTAdam's update over debiased Adam's, (1 - beta1^t) / sqrt(1 - beta2^t), at t = 1 to 1e6 steps; a flag marks
    the last of each task's `steps`. Paper: Section 4, Figure 1."""
    t = np.unique(np.geomspace(1, 1e6, 600).round())
    ax.plot(t, stats_ratio(t, beta1, beta2), color="black")
    ax.set(xscale="log", yscale="log", xlim=(1, 1e6), ylim=(0.9, 12), yticks=[1, 2, 3, 4, 6, 10])
    ax.set(xlabel="Training step", ylabel="Update size,\nbiased / unbiased")
    ax.minorticks_off()
    ax.yaxis.set_major_formatter("{x:g}")
    for row, count in enumerate(sorted(set(steps.values()))):  # the earlier the line, the higher its flag: none overlap
        names = ", ".join(plain(TASK_LABELS.get(task, task)) for task, own in steps.items() if own == count)
        top = 0.99 - 0.1 * row  # share of the axis' height
        ax.axvline(count, ymax=top, color=GREY, linewidth=0.9)
        at = {"xycoords": ax.get_xaxis_transform(), "textcoords": "offset points", "va": "top"}
        ax.annotate(f"{names}: {count:,}", (count, top), (3, 0), fontsize="small", **at)
    return ax


def stability_map(
    frame: pd.DataFrame, axes: Sequence[Axes], *, score: str = "test_last", chosen: float | None = None,
    expected_n: int | None = None,
) -> Sequence[Axes]:  # fmt: skip
    """One task over learning rates: share of degenerate runs (exact 95% interval) on the upper of two axes, mean score
    (range) on the lower; `chosen` is the rate to mark. Beyond the paper, which uses one rate."""
    upper, lower = axes
    if (runs := [usable(frame, ax, score, one_task=True) for ax in axes][0]).empty:
        return axes
    for corrected, own in runs.groupby("correct_bias"):
        cells = own.groupby("learning_rate")
        rates = np.array(list(cells.groups)) * (0.96 if corrected else 1.04)  # side by side
        share, mean = cells.degenerate.mean(), cells[score].mean()
        ends = np.array([share_interval(int(flags.sum()), len(flags)) for _, flags in cells.degenerate]).T
        look = {"color": COLORS[ARMS[corrected]], "marker": "o" if corrected else "s", "markersize": 4.5}
        look |= {
            "elinewidth": 0.9,
            "capsize": 2,
            "label": ARMS[corrected],
            "linestyle": DASHES.get(ARMS[corrected], "-"),
        }
        upper.errorbar(rates, share, abs(ends - share.to_numpy()), **look)
        lower.errorbar(rates, mean, [mean - cells[score].min(), cells[score].max() - mean], **look)
    lower.axhline(runs.majority[0], color=GREY, linestyle="--", label="Majority baseline")
    for ax in axes:
        if chosen is not None:
            ax.axvline(chosen, color="#dddddd", linewidth=8, zorder=0, label="Chosen rate")
        ax.set(xscale="log", xticks=sorted(set(runs.learning_rate)))
        ax.minorticks_off()
        ax.xaxis.set_major_formatter(lambda rate, _: f"{rate * 1e5:g}")
    upper.set(ylim=(-0.04, 1.04), ylabel="Degenerate\nruns", xticklabels=[])
    upper.yaxis.set_major_formatter("{x:.0%}")
    lower.set(xlabel="Learning rate ($10^{-5}$)", ylabel=f"{SCORES[score].capitalize()}\n{runs.metric[0]}")
    note(upper, runs, "learning_rate", expected_n, runs[score].isna(), "without a score")
    return axes
