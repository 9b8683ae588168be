"""The figure of the first page: every run of four recipes."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from fewft.plots.look import COLORS, GREY, usable

SUMMARY = {"BERTAdam": "X", "Standard": "o", "Re-init": "s", "Longer": "^"}  # recipe -> the mark of a run, from the top


def recipe_strips(frame: pd.DataFrame, ax: Axes, *, expected: Mapping[str, int]) -> Axes:
    """One task's test scores, a row a recipe: a mark a run, a bar at their mean, how many of the expected runs there are.

    A dashed line is the majority baseline.

    Args:
        frame: with `recipe`.
        expected: runs asked for by recipe, from the top row down.

    Paper: what Figures 2 and 5 and Table 1 compare.
    """
    runs = usable(frame, ax, one_task=True)
    if runs.empty:
        return ax
    for row, (recipe, asked) in enumerate(expected.items()):
        own = runs[runs.recipe == recipe].test_best
        scores, color = own.dropna().to_numpy(float), COLORS[recipe]
        if len(scores):
            heights = row + np.linspace(-0.2, 0.2, len(scores)) * (len(scores) > 1)
            ax.plot(scores, heights, SUMMARY[recipe], color=color, alpha=0.75, markersize=5.5, markeredgewidth=0)
            ax.plot([scores.mean()] * 2, [row - 0.38, row + 0.38], color=color, linewidth=2.4)
        lost = f", {own.isna().sum()} lost" if own.isna().any() else ""
        said = f"{len(own)} of {asked}{lost}" if len(own) else "not run"
        at = {"transform": ax.get_yaxis_transform(), "fontsize": "small", "color": GREY}
        ax.text(1.02, row, said, ha="left", va="center", **at)
    ax.axvline(runs.majority.iloc[0], color=GREY, linestyle="--", linewidth=1.2, zorder=0, label="Majority baseline")
    ax.set(yticks=range(len(expected)), yticklabels=list(expected), ylim=(len(expected) - 0.4, -0.6))
    ax.set_xlabel(f"Test {runs.metric.iloc[0]}")
    ax.grid(axis="y", visible=False)
    ax.margins(x=0.08)
    return ax
