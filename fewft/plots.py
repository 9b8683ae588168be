"""The book's figure types: a tidy frame of runs and an axis in, the axis out; nothing saved, no pyplot.

An axis without runs says "not run", one with fewer runs an arm than `expected_n` "n of N runs", and runs that diverged
or have no score are counted above it."""

import io
from collections.abc import Mapping, Sequence
from itertools import zip_longest

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fewft.config import UsageError, check_choice
from fewft.stats import bias_ratio as stats_ratio
from fewft.stats import expected_performance, share_interval

ARMS = {True: "Correction", False: "No correction"}  # correct_bias -> the paper's word
COLORS = {"Correction": "#0072B2", "No correction": "#D55E00"}  # Okabe-Ito blue and vermillion
GREY = "#555555"
_GLUE = {t.lower().replace("-", ""): t for t in ("RTE", "MRPC", "STS-B", "CoLA", "SST-2", "QNLI", "QQP", "MNLI")}
TASK_LABELS = _GLUE | {f"{task}-1k": f"{label} (1k)" for task, label in _GLUE.items()}
TASK_LABELS |= {f"bundled:{t}": t.capitalize() for t in ("entailment", "paraphrase", "similarity", "acceptability")}
METRIC_LABELS = {"accuracy": "accuracy", "f1": "F1", "matthews": "Matthews corr.", "spearman": "Spearman corr."}
SCORES = {"test_best": "test", "test_last": "test", "best_val": "validation"}  # column -> its word on an axis
PAPER_TRIALS = 50  # Section 4 simulates 1 to 50 trials
SMALL_N = 20  # up to here every run is drawn on its box
CONTESTANTS = {  # of `fewft bench`: the word on the page, and the bar; a hollow one has batches of its own
    "padded": ("Trainer, padded to 128", {"color": GREY}),
    "dynamic": ("Trainer, padded to the longest", {"color": "#a6a6a6"}),
    "grouped": ("Trainer, group_by_length *", {"facecolor": "white", "edgecolor": GREY}),
    "ours": ("Ours (fewft)", {"color": COLORS["Correction"]}),
}
STYLE = {
    "figure.constrained_layout.use": True, "figure.facecolor": "white", "savefig.facecolor": "white",  # dark pages
    "savefig.format": "svg", "svg.hashsalt": "fewft", "svg.fonttype": "path", "font.family": "DejaVu Sans",
    "font.size": 10, "axes.titlesize": 10.5, "axes.titlelocation": "left", "axes.titlepad": 13,  # room for the note
    "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.8, "axes.axisbelow": True,
    "axes.grid": True, "grid.color": "#e6e6e6", "grid.linewidth": 0.6, "legend.frameon": False, "lines.linewidth": 1.6,
}  # fmt: skip


class BookFigure(Figure):
    """A figure that notebooks show as SVG, byte-identical when drawn again."""

    def _repr_svg_(self) -> str:
        self.savefig(buffer := io.StringIO(), format="svg", metadata={"Date": None, "Creator": None})
        return buffer.getvalue()


def apply_style() -> None:
    """Make the book's look matplotlib's default; call it once, before the first figure."""
    mpl.rcParams.update(STYLE)


def grid(
    tasks: Sequence[str], *, rows: int = 0, stack: int = 1, width: float = 6.5, height: float = 2.4
) -> tuple[BookFigure, np.ndarray]:
    """A figure with a panel for each task, headed by its name; figure `width` and axis `height` in inches.

    Returns the figure and the axes by task: shape (tasks,), or (tasks, stack) with `stack` axes above each other for
    each. `rows=0` makes two columns; more than two get too narrow for this width and for phones."""
    rows = rows or -(-len(tasks) // 2)
    columns = -(-len(tasks) // rows)
    figure = BookFigure(figsize=(width, height * rows * stack), layout="constrained")
    axes = figure.subplots(rows * stack, columns, squeeze=False).reshape(rows, stack, columns)
    by_task = axes.swapaxes(1, 2).reshape(rows * columns, stack)
    for unused in by_task[len(tasks) :].flat:
        unused.remove()
    for task, panels in zip(tasks, by_task, strict=False):
        panels[0].set_title(TASK_LABELS.get(task, task))
    return figure, by_task[: len(tasks), 0] if stack == 1 else by_task[: len(tasks)]


def legend(fig: Figure) -> None:
    """One legend above all panels: every label once, arms and contestants first."""
    found = {label: handle for ax in fig.axes for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    first = (*COLORS, *(word for word, _ in CONTESTANTS.values()))
    labels = sorted(found, key=lambda label: (*first, label).index(label))
    columns = max(len(labels), 1) if 1.5 * len(labels) < fig.get_figwidth() else 2
    fig.legend([found[k] for k in labels], labels, loc="outside upper center", ncols=columns, columnspacing=1.2)


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
        names = ", ".join(TASK_LABELS.get(task, task) for task, own in steps.items() if own == count)
        top = 0.99 - 0.1 * row  # share of the axis' height
        ax.axvline(count, ymax=top, color=GREY, linewidth=0.9)
        at = {"xycoords": ax.get_xaxis_transform(), "textcoords": "offset points", "va": "top"}
        ax.annotate(f"{names}: {count:,}", (count, top), (3, 0), fontsize="small", **at)
    return ax


def performance_box(frame: pd.DataFrame, ax: Axes, *, score: str = "test_best", expected_n: int | None = None) -> Axes:
    """Scores per task and arm: box (quartiles), median, whiskers to 1.5 box lengths, outliers as circles; up to 20 runs
    also one by one; a dashed tick for the majority baseline. Paper: Section 4, Figure 2."""
    if (runs := _usable(frame, ax, score)).empty:
        return ax
    order = [*(t for t in TASK_LABELS if t in set(runs.task)), *sorted(set(runs.task) - set(TASK_LABELS))]
    for (task, corrected), own in runs.dropna(subset=score).groupby(["task", "correct_bias"]):
        x, color, values = order.index(task) + 0.2 - 0.4 * corrected, COLORS[ARMS[corrected]], own[score].to_numpy()
        line, box = {"color": color, "linewidth": 1.0}, {"facecolor": color + "40", "edgecolor": color}
        look = {"whiskerprops": line, "capprops": line, "boxprops": box, "patch_artist": True, "showfliers": False}
        look |= {"medianprops": {"color": "black", "linewidth": 1.6}, "widths": 0.3, "manage_ticks": False}
        parts = ax.boxplot([values], positions=[x], label=ARMS[corrected], **look)
        low, high = (cap.get_ydata()[0] for cap in parts["caps"])
        outlier = (values < low) | (values > high)
        spread = x + np.linspace(-0.1, 0.1, len(values)) * (1 < len(values) <= SMALL_N)
        ax.plot(spread[outlier], values[outlier], "o", color=color, markerfacecolor="none", markersize=5)
        if len(values) <= SMALL_N:
            ax.plot(spread, values, ".", color=color, alpha=0.6, markersize=5, markeredgewidth=0, zorder=3)
    firsts = runs.groupby("task").first().loc[order]
    for x, baseline in enumerate(firsts.majority):
        ax.plot([x - 0.42, x + 0.42], [baseline] * 2, "--", color=GREY, linewidth=1.2, label="Majority baseline")
    gap, size = ("\n", "small") if len(order) > 5 else (" ", "medium")
    names = [f"{TASK_LABELS.get(t, t)}\n{metric}".replace(" ", gap) for t, metric in firsts.metric.items()]
    ax.set_xticks(range(len(order)), names, fontsize=size)
    ax.grid(axis="x", visible=False)
    ax.set(ylabel=f"{SCORES[score].capitalize()} score", xlim=(-0.6, len(order) - 0.4))
    return _note(ax, runs, "task", expected_n, runs[score].isna(), "without a score")


def loss_band(frame: pd.DataFrame, ax: Axes, *, window: int = 1, expected_n: int | None = None) -> Axes:
    """Mean and range over one task's runs of the training loss at each step, or of its mean over the last `window`; a
    run counts while its loss is finite, and how many diverged stands above the axis. Paper: Figures 3 and 11."""
    if (runs := _usable(frame, ax, one_task=True)).empty:
        return ax
    diverged = runs.status == "diverged"
    for corrected, own in runs.groupby("correct_bias"):
        table = np.array(list(zip_longest(*own.train_loss, fillvalue=np.nan)), float).T  # (runs, steps)
        table[np.logical_or.accumulate(~np.isfinite(table), axis=1)] = np.nan
        diverged[own.index] |= np.isnan(table[:, -1])
        if not 1 <= window <= table.shape[1]:
            raise UsageError(f"window: {window} steps; accepted: 1 to {table.shape[1]}")
        loss = np.ma.masked_invalid(np.lib.stride_tricks.sliding_window_view(table, window, axis=1).mean(axis=-1))
        low, mean, high = (np.ma.filled(summary(axis=0), np.nan) for summary in (loss.min, loss.mean, loss.max))
        x, color = np.arange(len(mean)) + window, COLORS[ARMS[corrected]]
        ax.fill_between(x, low, high, color=color, alpha=0.2, linewidth=0)
        ax.plot(x, mean, color=color, label=ARMS[corrected])
    ax.set(xlabel="Training step", ylabel="Training loss")
    return _note(ax, runs, "task", expected_n, diverged, "diverged")


def expected_curve(
    frame: pd.DataFrame, ax: Axes, *, score: str, max_trials: int = 50, seed: int = 0, expected_n: int | None = None
) -> Axes:
    """Expected score of one task when the best of n trials on validation is kept: mean and +-1 standard deviation, up
    to an arm's own number of runs (more trials were never seen). Paper: Figures 4 and 12."""
    if not 1 <= max_trials <= PAPER_TRIALS:
        raise UsageError(f"max_trials: {max_trials}; accepted: 1 to the paper's {PAPER_TRIALS}")
    if (runs := _usable(frame, ax, score, one_task=True)).empty:
        return ax
    for corrected, own in runs.groupby("correct_bias"):
        n = range(1, min(max_trials, len(own)) + 1)
        curve = expected_performance(own.best_val, own[score], num_trials=n, seed=seed)
        x, mean, std, color = curve["num_trials"], curve["mean"], curve["std"], COLORS[ARMS[corrected]]
        ax.fill_between(x, mean - std, mean + std, color=color, alpha=0.2, linewidth=0)
        ax.plot(x, mean, color=color, label=ARMS[corrected], marker="." if len(x) == 1 else "")
    last = min(max_trials, runs.groupby("correct_bias").size().max())
    ax.set_xticks([1, *range(10, last + 1, 10)] if last > 10 else range(1, last + 1))
    ax.set(xlabel="Random trials", ylabel=f"Expected {SCORES[score]}\n{runs.metric[0]}")
    return _note(ax, runs, "task", expected_n, runs[score].isna(), "without a score")


def stability_map(
    frame: pd.DataFrame, axes: Sequence[Axes], *, score: str = "test_last", chosen: float | None = None,
    expected_n: int | None = None,
) -> Sequence[Axes]:  # fmt: skip
    """One task over learning rates: share of degenerate runs (exact 95% interval) on the upper of two axes, mean score
    (range) on the lower; `chosen` is the rate to mark. Beyond the paper, which uses one rate."""
    upper, lower = axes
    if (runs := [_usable(frame, ax, score, one_task=True) for ax in axes][0]).empty:
        return axes
    for corrected, own in runs.groupby("correct_bias"):
        cells = own.groupby("learning_rate")
        rates = np.array(list(cells.groups)) * (0.96 if corrected else 1.04)  # side by side
        share, mean = cells.degenerate.mean(), cells[score].mean()
        ends = np.array([share_interval(int(flags.sum()), len(flags)) for _, flags in cells.degenerate]).T
        look = {"color": COLORS[ARMS[corrected]], "marker": "o" if corrected else "s", "markersize": 4.5}
        look |= {"elinewidth": 0.9, "capsize": 2, "label": ARMS[corrected]}
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
    _note(upper, runs, "learning_rate", expected_n, runs[score].isna(), "without a score")
    return axes


def step_bars(frame: pd.DataFrame, ax: Axes) -> Axes:
    """Time of one training step by task: transformers.Trainer's with its ratio to ours, ours, and `torch.mm` alone (black
    line), from one panel of `tables.step_frame`. Not in the paper."""
    if frame.empty:
        return _say(ax, "not measured")
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
    ax.set(yticks=range(len(frame)), yticklabels=frame.task, ylim=(len(frame) - 0.5, -0.5))
    ax.set_xlabel(f"{'CPU' if frame.clock.iloc[0] == 'cpu' else 'Wall'} time of one step (ms)")
    ax.xaxis.set_major_formatter("{x:,.0f}")
    ax.grid(axis="y", visible=False)
    ax.margins(x=0.08)
    return ax


def _say(ax: Axes, word: str) -> Axes:
    ax.text(0.5, 0.5, word, transform=ax.transAxes, ha="center", va="center", color=GREY)
    ax.set(xticks=[], yticks=[])
    return ax


def _usable(frame: pd.DataFrame, ax: Axes, score: str = "test_best", *, one_task: bool = False) -> pd.DataFrame:
    """Runs that have a result, with the metric's label and the score's baseline; with none, the axis says so."""
    check_choice("score", score, SCORES)
    runs = frame if frame.empty else frame[frame.status != "failed"].reset_index(drop=True)
    if runs.empty:
        _say(ax, "not run")
        return runs
    if one_task and runs.task.nunique() > 1:
        raise UsageError(f"frame: tasks {', '.join(sorted(set(runs.task)))}; accepted: one task an axis")
    majority = runs["majority_val" if score == "best_val" else "majority_test"]
    metric = runs.metric.replace({"f1": "accuracy"} if score == "best_val" else {})  # what selects is not F1
    return runs.assign(metric=metric.replace(METRIC_LABELS), majority=majority)


def _note(ax: Axes, runs: pd.DataFrame, cell: str, expected_n: int | None, lost: pd.Series, word: str) -> Axes:
    """Above the axis: how many of the expected runs an arm has (fewest to most by cell), how many have no result."""
    counts = pd.crosstab(runs[cell], runs.correct_bias).reindex(columns=list(ARMS), fill_value=0).to_numpy()
    extremes = "–".join(str(n) for n in sorted({counts.min(), counts.max()}))
    notes = [f"{extremes} of {expected_n} runs"] if counts.min() < (expected_n or 0) else []
    notes += [f"{lost.sum()} {word}"] if lost.any() else []
    ax.text(1, 1.02, ", ".join(notes), transform=ax.transAxes, ha="right", va="bottom", fontsize="small", color=GREY)
    return ax
