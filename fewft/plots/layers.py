"""Scores over the number of re-initialised blocks."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes

from fewft.plots.look import COLORS, GREY, SCORES, note, usable
from fewft.plots.runs import box


def layer_boxes(
    frame: pd.DataFrame, ax: Axes, *, layers: Sequence[int] = (), score: str = "best_val", expected_n: int | None = None
) -> Axes:
    """One task's scores by number of re-initialised blocks: a box for Standard, for the pooler alone (0) and for each
    L; a diamond is the mean, which decides.

    Args:
        layers: values of `reinit_layers` that were asked for; one without runs says so in its place.

    Paper: Section 5, Figures 5 and 13.
    """
    if (runs := usable(frame, ax, score, one_task=True)).empty:
        return ax
    order = sorted({*layers, *runs.reinit_layers})
    for x, value in enumerate(order):
        own = runs[runs.reinit_layers == value]
        scores = own[score].dropna().to_numpy(float)
        if len(scores):
            word = "Standard" if value < 0 else "Re-init"
            box(ax, x, scores, word, COLORS[word], width=0.6)
            ax.plot(x, scores.mean(), "D", color="black", markerfacecolor=COLORS[word], markersize=4.5)
        else:
            word = "no score" if len(own) else "not run"
            at = {"transform": ax.get_xaxis_transform(), "rotation": 90, "fontsize": "small", "color": GREY}
            ax.text(x, 0.5, word, ha="center", va="center", **at)
    ax.set_xticks(range(len(order)), ["Std." if value < 0 else str(value) for value in order])
    ax.grid(axis="x", visible=False)
    ax.set(xlabel="Blocks re-initialised, $L$", ylabel=f"{SCORES[score].capitalize()}\n{runs.metric[0]}")
    ax.set_xlim(-0.6, len(order) - 0.4)
    return note(ax, runs, "task", expected_n, runs[score].isna(), "without a score", "reinit_layers")
