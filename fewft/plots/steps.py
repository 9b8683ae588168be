"""Scores over the number of training steps."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from fewft.plots.look import SCORES, arm, arms_of, note, usable
from fewft.plots.runs import band


def longer_curve(
    frame: pd.DataFrame, ax: Axes, *, score: str = "best_val", expected_n: int | None = None, by: str = "recipe"
) -> Axes:
    """One task's score over the number of training steps, on a logarithmic axis: mean and range of each arm's runs.

    To the panel's title it adds how many blocks Re-init draws anew. Paper: Section 6, Figures 8 and 14."""
    if (runs := usable(frame, ax, score, one_task=True)).empty:
        return ax
    for value in reversed(arms_of(runs, by)):  # the usual recipe on top
        cells = runs[runs[by] == value].dropna(subset=score).groupby("num_steps")[score]
        mean = cells.mean()
        steps = mean.index.to_numpy(float)
        word, color = arm(by, value)
        low, high = cells.min().to_numpy(), cells.max().to_numpy()
        band(ax, steps, mean.to_numpy(), low, high, word, color)
        if len(steps) == 1:  # a band has no width there
            ax.vlines(steps, low, high, color=color, alpha=0.4, linewidth=3)
        ax.plot(steps, mean, ".", color=color, markersize=7)
    if by == "recipe":
        layers = sorted({int(n) for n in runs.reinit_layers if n >= 0})
        said = f"Re-init {', '.join(map(str, layers))}" if layers else "Re-init not run"
        ax.set_title(f"{ax.get_title(loc='left')}, {said}", loc="left")
    ax.set(xscale="log", xlabel="Training steps", ylabel=f"{SCORES[score].capitalize()}\n{runs.metric[0]}")
    ticks = np.unique(runs.num_steps.to_numpy(int))
    ax.set_xticks(ticks, [str(step) for step in ticks], fontsize="small")
    ax.xaxis.set_minor_locator(NullLocator())
    return note(ax, runs, "num_steps", expected_n, runs[score].isna(), "without a score", by)
