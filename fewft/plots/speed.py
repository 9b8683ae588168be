"""The figure of the benchmarks."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from fewft.plots.look import GREY, plain, say

OURS = "#6A51A3"  # no recipe has it
CONTESTANTS = {  # of `fewft bench`: the word on the page, and the bar; a hollow one has batches of its own
    "padded": ("Trainer, padded to 128", {"color": GREY}),
    "dynamic": ("Trainer, padded to the longest", {"color": "#a6a6a6"}),
    "grouped": ("Trainer, group_by_length *", {"facecolor": "white", "edgecolor": GREY}),
    "ours": ("Ours (fewft)", {"color": OURS}),
}


def step_bars(frame: pd.DataFrame, ax: Axes) -> Axes:
    """Time of one training step by task: transformers.Trainer's with its ratio to ours, ours, and `torch.mm` alone (black
    line), from one panel of `tables.step_frame`. Not in the paper."""
    if frame.empty:
        return say(ax, "not measured")
    kinds = [kind for kind in CONTESTANTS if frame[f"{kind}_ms"].notna().any()]
    for place, kind in enumerate(kinds):
        (label, look), times = CONTESTANTS[kind], frame[f"{kind}_ms"]
        y = np.arange(len(frame)) + 0.2 * (place - (len(kinds) - 1) / 2)
        said = [f"{ratio:.1f} ×" for ratio in frame[f"{kind}_ratio"]]
        if kind == "ours":
            said = [f"{ms:,.{0 if ms >= 100 else 1}f} ms" for ms in times]
            ax.plot(frame.mm_ms, y, "|", color="black", markersize=15, markeredgewidth=2, label="torch.mm alone")
        bars = ax.barh(y, times, 0.17, label=label, linewidth=0.9, **look)
        ax.bar_label(bars, said, padding=3, fontsize="small")
    ax.set(yticks=range(len(frame)), yticklabels=frame.task.map(plain), ylim=(len(frame) - 0.5, -0.5))
    ax.set_xlabel(f"{'CPU' if frame.clock.iloc[0] == 'cpu' else 'Wall'} time of one step (ms)")
    ax.xaxis.set_major_formatter("{x:,.0f}")
    ax.grid(axis="y", visible=False)
    ax.margins(x=0.08)
    return ax
