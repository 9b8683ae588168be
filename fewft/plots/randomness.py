"""Figures on where the randomness of a run comes from: one seed for the first weights, one for data order and dropout."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize

from fewft.config import UsageError
from fewft.plots.look import GREY, arm, say, usable

SUMMARIES = ("Min", "Mean", "Max")  # beside the runs, as in Figure 9
GAP = 0.3  # cells between the runs and their summaries
FIXED = {"init_seed": "Initialization fixed", "data_seed": "Data order and\ndropout fixed"}  # column -> what it fixes
PALETTE = "YlGnBu"


def seed_matrix(frame: pd.DataFrame, score: str = "best_val", seeds: int = 0) -> pd.DataFrame:
    """One arm's scores in percent, a row an `init_seed`, a column a `data_seed` (`seeds` of each at least); NaN where a
    run is missing or has no score.

    Raises:
        UsageError: several runs of one pair of seeds.

    Paper: Appendix B, Figure 9.
    """
    if frame.duplicated(["init_seed", "data_seed"]).any():
        raise UsageError("frame: several runs of one pair of seeds; accepted: one task and arm")
    table = 100 * frame.pivot(index="init_seed", columns="data_seed", values=score).astype(float)
    rows, columns = (sorted({*found, *range(seeds)}) for found in (table.index, table.columns))
    return table.reindex(index=rows, columns=columns)


def spreads(matrix: pd.DataFrame) -> dict[str, pd.Series]:
    """Standard deviation of a `seed_matrix` for each value of the seed that is fixed, in points; NaN for fewer than two
    runs. Paper: Appendix B, Figure 10."""
    return {"init_seed": matrix.std(axis=1), "data_seed": matrix.std(axis=0)}


def seed_scores(frame: pd.DataFrame, axes: Sequence[Axes], *, layers: Sequence[int], seeds: int = 0) -> Sequence[Axes]:
    """Validation score of every pair of seeds, an axis for each L of `layers` (-1: Standard), one colour scale for all;
    minimum, mean and maximum of each row and column beside them, over the runs that there are.

    White cells are pairs that were not run, crosses runs without a score. Paper: Appendix B, Figure 9."""
    arms = [usable(frame if frame.empty else frame[frame.reinit_layers == n], ax, "best_val", one_task=True)
            for n, ax in zip(layers, axes, strict=True)]  # fmt: skip
    matrices = [seed_matrix(runs, seeds=seeds) if len(runs) else None for runs in arms]
    known = np.concatenate([m.to_numpy().ravel() for m in matrices if m is not None] or [np.array([])])
    if not np.isfinite(known).any():
        return [ax if len(runs) == 0 else say(ax, "no run has a score") for ax, runs in zip(axes, arms, strict=True)]
    colors = ScalarMappable(Normalize(np.nanmin(known), np.nanmax(known)), PALETTE)
    for ax, runs, matrix in zip(axes, arms, matrices, strict=True):
        if matrix is not None:
            _heat_map(ax, matrix, colors)
            _missing(ax, runs, matrix)
    label = f"Validation {next(r for r in arms if len(r)).metric.iloc[0]} (%)"
    axes[0].figure.colorbar(colors, ax=list(axes), label=label, fraction=0.04, pad=0.02)
    return axes


def _heat_map(ax: Axes, matrix: pd.DataFrame, colors: ScalarMappable) -> None:
    """The runs' cells, and a gap away those of their summaries."""
    by_row = np.array([matrix.min(axis=1), matrix.mean(axis=1), matrix.max(axis=1)]).T  # (init seeds, summaries)
    by_column = np.array([matrix.min(axis=0), matrix.mean(axis=0), matrix.max(axis=0)])
    height, width = matrix.shape
    size = "small" if max(matrix.shape) <= 5 else "x-small"
    for block, top, left in ((matrix, 0, 0), (by_row, 0, width + GAP), (by_column, height + GAP, 0)):
        values = np.asarray(block, float)
        x, y = left + np.arange(values.shape[1] + 1), top + np.arange(values.shape[0] + 1)
        drawn = np.ma.masked_invalid(values)
        ax.pcolormesh(x, y, drawn, cmap=colors.cmap, norm=colors.norm, edgecolors="white", linewidth=0.8)
        for (i, j), value in np.ndenumerate(values):
            if np.isfinite(value):
                color = "white" if colors.norm(value) > 0.55 else "black"
                ax.text(left + j + 0.5, top + i + 0.5, f"{value:.1f}", color=color, ha="center", va="center", size=size)
    right, below = (n + GAP + 0.5 + np.arange(len(SUMMARIES)) for n in (width, height))
    ax.set_xticks([*(np.arange(width) + 0.5), *right], [*matrix.columns, *SUMMARIES], size=size)
    ax.set_yticks([*(np.arange(height) + 0.5), *below], [*matrix.index, *SUMMARIES], size=size)
    ax.set(xlim=(0, width + GAP + 3), ylim=(height + GAP + 3, 0), aspect="equal")
    ax.set(xlabel="Seed of data order and dropout", ylabel="Seed of initialization")
    ax.grid(visible=False)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)


def _missing(ax: Axes, runs: pd.DataFrame, matrix: pd.DataFrame) -> None:
    """Mark the runs that have no score; say in the free corner how many pairs were run."""
    lost = runs[runs.best_val.isna()]
    for i, j in zip(lost.init_seed, lost.data_seed, strict=True):
        at = matrix.columns.get_loc(j) + 0.5, matrix.index.get_loc(i) + 0.5
        ax.text(*at, "×", color=GREY, ha="center", va="center")
    notes = [f"{len(runs)} of {matrix.size}\nruns"] * (len(runs) < matrix.size)
    notes += [f"{len(lost)} without\na score"] * bool(len(lost))
    corner = (n + GAP + len(SUMMARIES) / 2 for n in reversed(matrix.shape))
    ax.text(*corner, ",\n".join(notes), ha="center", va="center", fontsize="small", color=GREY)


def seed_spread(frame: pd.DataFrame, ax: Axes, *, layers: Sequence[int], seeds: int = 0) -> Axes:
    """Standard deviation of the validation score while one seed is fixed: a dot for each of its values, their mean as a
    bar with its number; an arm for each L of `layers` (-1: Standard). Paper: Appendix B, Figure 10."""
    if (runs := usable(frame, ax, "best_val", one_task=True)).empty:
        return ax
    width = 0.8 / max(len(layers), 2)
    for place, n in enumerate(layers):
        own = runs[runs.reinit_layers == n]
        word, color = arm("reinit_layers", n)
        for group, values in enumerate(spreads(seed_matrix(own)).values() if len(own) else ()):
            x, found = group + (place - (len(layers) - 1) / 2) * width, values.dropna().to_numpy()
            if len(found):
                places = x + np.linspace(-width, width, len(found) + 2)[1:-1] / 3
                ax.plot(places, found, "o", color=color, alpha=0.6, markersize=5, markeredgewidth=0)
                ax.plot([x - width * 0.3, x + width * 0.3], [found.mean()] * 2, color=color, linewidth=2.2, label=word)
                at = {"textcoords": "offset points", "va": "center", "fontsize": "small"}
                ax.annotate(f"{found.mean():.2f}", (x + width * 0.3, found.mean()), (3, 0), **at)
    if not ax.lines:
        return say(ax, "too few runs")
    ax.set_xticks(range(len(FIXED)), list(FIXED.values()))
    ax.set(xlim=(-0.6, len(FIXED) - 0.4), ylabel=f"Standard deviation of\nvalidation {runs.metric[0]} (points)")
    ax.set_ylim(bottom=-0.04 * ax.get_ylim()[1])  # a dot at 0 is seen whole
    ax.grid(axis="x", visible=False)
    counts = [int((runs.reinit_layers == n).sum()) for n in layers]
    wanted = seeds**2
    words = f"{'–'.join(map(str, sorted({min(counts), max(counts)})))} of {wanted} runs" if min(counts) < wanted else ""
    ax.text(1, 1.02, words, transform=ax.transAxes, ha="right", va="bottom", fontsize="small", color=GREY)
    return ax
