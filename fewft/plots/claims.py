"""The effects of the paper's claims with their intervals, coloured by verdict."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from fewft.plots.look import GREY, BookFigure, say

LOOKS = {  # verdict -> colour, marker; no recipe has these colours
    "holds": ("#6B8E00", "o"),
    "does not hold": ("#A50026", "s"),
    "too few runs to tell": (GREY, "^"),
}
UNITS = {"points": "Score (points)", "%": "Loss or distance (%)", "points of share": "Share of runs or tasks (points)"}


def claim_grid(frame: pd.DataFrame, *, width: float = 5.2) -> tuple[BookFigure, dict[str, Axes]]:
    """A figure with an axis for each unit of the effects, as high as it has claims; one axis when there are none."""
    counts = {unit: int((frame.unit == unit).sum()) for unit in UNITS if (frame.unit == unit).any()} or {"": 4}
    heights = [0.22 * count + 0.75 for count in counts.values()]
    figure = BookFigure(figsize=(width, sum(heights) + 0.5), layout="constrained")
    axes = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    return figure, dict(zip(counts, axes, strict=True))


def claim_forest(frame: pd.DataFrame, ax: Axes) -> Axes:
    """A row a claim of one unit: effect and 95 % interval, on a grey bar from the least to the most that the claim says. The
    axis is linear near 0 and logarithmic further out. Beyond the paper.

    Args:
        frame: `name`, `verdict`, `effect`, `low`, `high`, `unit`, `least`, `most`, see `claims.effects`.
    """
    if frame.empty:
        return say(ax, "not run")
    rows = np.arange(len(frame))
    for verdict, (color, marker) in LOOKS.items():
        own = (frame.verdict == verdict).to_numpy()
        if own.any():
            effect = frame.effect[own]
            reach = np.nan_to_num([effect - frame.low[own], frame.high[own] - effect])
            look = {"color": color, "marker": marker, "markersize": 5, "elinewidth": 1.4, "linestyle": "none"}
            ax.errorbar(effect, rows[own], xerr=reach, label=verdict, **look)
    ax.axvline(0, color="black", linewidth=0.9)
    unit = frame.unit.iloc[0]
    near = 1 if unit == "points" else 5
    ax.set_xscale("symlog", linthresh=near, linscale=0.8)
    reach = max(3 * near, 1.15 * np.nanmax(np.abs(frame[["effect", "low", "high"]].to_numpy(float))))
    least, most = frame.least.clip(-reach, reach), frame.most.clip(-reach, reach)
    ax.barh(rows, most - least, 0.85, left=least, color="#e4e4e4", zorder=0, label="As claimed")
    ticks = [t for t in (near, 3 * near, 10 * near, 30 * near) if t <= reach]
    ax.set(xlim=(-reach, reach), xticks=[-t for t in reversed(ticks)] + [0, *ticks], xlabel=UNITS[unit])
    ax.minorticks_off()
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:+g}".replace("-", "−") if value else "0")
    ax.set(yticks=rows, yticklabels=frame.name, ylim=(len(frame) - 0.4, -0.6))
    ax.grid(axis="y", visible=False)
    return ax
