"""How far the weights of each block move from their start."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from fewft.plots.look import BookFigure, arm, grid, note, say, usable
from fewft.plots.runs import band


def tracked(frame: pd.DataFrame) -> pd.DataFrame:
    """The runs whose distances were stored; older ones have none."""
    if "block_distances" not in frame:
        return frame.iloc[:0]
    return frame[[isinstance(table, list | np.ndarray) and len(table) > 0 for table in frame.block_distances]]


def distance_frame(frame: pd.DataFrame) -> pd.DataFrame:
    """L2 distances from the start, one row a run, step and block: run_id, task, reinit_layers, step, block, distance.

    Blocks are numbered from 1 at the bottom; an encoder-decoder's decoder blocks come last. A run that diverged has no
    distances that are not finite. Paper: Section 5, Figure 7."""
    columns = ["run_id", "task", "reinit_layers", "step", "block", "distance"]
    runs = tracked(frame)
    if runs.empty:
        return pd.DataFrame(columns=columns)
    long = runs.explode(["distance_steps", "block_distances"], ignore_index=True)
    long = long.assign(block=[range(1, len(row) + 1) for row in long.block_distances])
    long = long.explode(["block_distances", "block"], ignore_index=True)
    long = long.rename(columns={"distance_steps": "step", "block_distances": "distance"})[columns]
    long = long.astype({"reinit_layers": int, "step": int, "block": int, "distance": float})
    return long[np.isfinite(long.distance)].reset_index(drop=True)


def blocks_of(frame: pd.DataFrame, *, most: int = 0) -> list[int]:
    """The numbers of the blocks that were followed, or `most` of them at equal distances up to the top one: of 24, 6,
    12, 18 and 24."""
    count = max((len(table[0]) for table in tracked(frame).get("block_distances", [])), default=0)
    share = count / most if 0 < most < count else 1
    return [int(np.ceil(share * number)) for number in range(1, round(count / share) + 1)]


def block_grid(blocks: Sequence[int], *, height: float = 0.0) -> tuple[BookFigure, np.ndarray]:
    """A figure with a panel a block, at least one; `height` of each in inches, 0 for one that suits their number."""
    columns = 2 if len(blocks) <= 8 else 3 if len(blocks) <= 15 else 4
    rows = max(1, -(-len(blocks) // columns))
    names = [f"Block {number}" for number in blocks] or [""]
    return grid(names, rows=rows, height=height or {2: 2.0, 3: 1.7, 4: 1.45}[columns])


def distance_curves(
    frame: pd.DataFrame, axes: Sequence[Axes], *, blocks: Sequence[int], expected_n: int | None = None
) -> Sequence[Axes]:
    """One task's L2 distance of blocks from their start over steps, a panel a block on one scale: mean and range over
    the runs of Standard and each L. Above the first panel: how many runs diverged or have no distances.

    Paper: Section 5, Figure 7; Appendix F, Figures 15 to 18."""
    runs = [usable(frame, ax, one_task=True) for ax in axes][0]
    if runs.empty:
        return axes
    long, followed = distance_frame(runs), tracked(runs)
    if long.empty:
        return [say(ax, "no distances stored") for ax in axes]
    for place, (block, ax) in enumerate(zip(blocks, axes, strict=True)):
        for layers, own in long[long.block == block].groupby("reinit_layers"):
            cells = own.groupby("step").distance
            low, mean, high = (cells.agg(name).to_numpy() for name in ("min", "mean", "max"))
            band(ax, np.array(list(cells.groups)), mean, low, high, *arm("reinit_layers", layers))
        columns = ax.get_subplotspec().get_gridspec().ncols  # only outer panels are labelled
        left, bottom = place % columns == 0, place + columns >= len(axes)
        ax.tick_params(labelleft=left, labelbottom=bottom)
        ax.set(xlabel="Training step" if bottom else "", ylabel="L2 distance" if left else "")
        ax.set_ylim(0, 1.05 * long.distance.max())
    lost = (runs.status == "diverged") | ~runs.index.isin(followed.index)
    note(axes[0], followed, "task", expected_n, lost, "diverged or without distances", "reinit_layers")
    return axes
