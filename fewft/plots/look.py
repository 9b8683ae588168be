"""What all figures share: size, colours, words, and what an axis says where runs are missing."""

import io
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from fewft.config import UsageError, check_choice

ARMS = {True: "Correction", False: "No correction"}  # correct_bias -> the paper's word
COLORS = {  # a recipe has one colour in the whole book: Okabe and Ito's, told apart by all
    "Correction": "#0072B2", "No correction": "#D55E00",
    "Standard": "#0072B2", "BERTAdam": "#D55E00",  # standard fine-tuning is Adam with correction
    "Re-init": "#009E73", "Longer": "#CC79A7", "Re-init, longer": "#7A3B69", "Int. Task": "#A67F00", "LLRD": "#2E94D1",
    "Mixout": "#6B4F12", "Pre-trained WD": "#404040", "WD": "#8C8C8C",
}  # fmt: skip
TOGETHER = (tuple(ARMS.values()), ("BERTAdam", "Standard", "Re-init", "Longer", "Re-init, longer"))  # in one figure
DASHES = {
    "No correction": "--",
    "BERTAdam": "--",
    "Re-init": "-.",
    "Longer": ":",
    "Re-init, longer": (0, (4, 1, 1, 1, 1, 1)),
}
GREY = "#555555"
REFERENCES = ("Majority baseline", "Chosen rate", "torch.mm alone", "As claimed")  # last in a legend
_GLUE = {t.lower().replace("-", ""): t for t in ("RTE", "MRPC", "STS-B", "CoLA", "SST-2", "QNLI", "QQP", "MNLI")}
TASK_LABELS = _GLUE | {f"{task}-1k": f"{label} (1k)" for task, label in _GLUE.items()}
TASK_LABELS |= {f"bundled:{t}": t.capitalize() for t in ("entailment", "paraphrase", "similarity", "acceptability")}
METRIC_LABELS = {"accuracy": "accuracy", "f1": "F1", "matthews": "Matthews corr.", "spearman": "Spearman corr."}
SCORES = {"test_best": "test", "test_last": "test", "best_val": "validation"}  # column -> its word on an axis
SMALL_N = 20  # up to here every run is drawn on its box
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


def plain(text: object) -> str:
    """A stranger's text for a figure: matplotlib takes what stands between dollars for a formula."""
    return str(text).replace("$", r"\$")


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
        panels[0].set_title(plain(TASK_LABELS.get(task, task)))
    return figure, by_task[: len(tasks), 0] if stack == 1 else by_task[: len(tasks)]


def legend(fig: Figure) -> None:
    """One legend above all panels: every label once, arms first, references last."""
    found = {label: handle for ax in fig.axes for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    labels = sorted(found, key=lambda label: (label in REFERENCES, (*COLORS, label).index(label)))
    width = sum(0.45 + 0.07 * len(label) for label in labels)  # inches in one row, about
    columns = max(len(labels), 1) if width < fig.get_figwidth() else 2
    fig.legend([found[k] for k in labels], labels, loc="outside upper center", ncols=columns, columnspacing=1.2)


def arm(by: str, value: object) -> tuple[str, str]:
    """Word and colour of an arm: `value` of the column `by` (correct_bias, reinit_layers, max_steps or recipe)."""
    if by == "reinit_layers":
        layers = int(str(value))
        word = "Standard" if layers < 0 else f"Re-init {layers}"
        shade = 0.66 - 0.6 * min(np.log10(max(layers, 0.8)), 1)  # orange to black: also told apart without colours
        return word, COLORS.get(word) or to_hex(colormaps["inferno"](shade))
    if by == "max_steps":
        return f"{value} steps" if value else "three epochs", COLORS["Longer" if value else "Standard"]
    word = ARMS[bool(value)] if by == "correct_bias" else str(value)
    return word, COLORS.get(word, GREY)


def arms_of(runs: pd.DataFrame, by: str) -> list[Any]:
    """The values of `by` among the runs, in the order in which they are drawn and named."""
    found = set(runs[by])
    if by == "correct_bias":
        return [value for value in ARMS if value in found]
    return sorted(found, key=lambda value: (*COLORS, value).index(value)) if by == "recipe" else sorted(found)


def say(ax: Axes, word: str) -> Axes:
    """Write a word in place of a figure."""
    ax.text(0.5, 0.5, word, transform=ax.transAxes, ha="center", va="center", color=GREY)
    ax.set(xticks=[], yticks=[])
    return ax


def usable(frame: pd.DataFrame, ax: Axes, score: str = "test_best", *, one_task: bool = False) -> pd.DataFrame:
    """Runs that have a result, with the metric's label and the score's baseline; with none, the axis says so."""
    check_choice("score", score, SCORES)
    runs = frame if frame.empty else frame[frame.status != "failed"].reset_index(drop=True)
    if runs.empty:
        say(ax, "not run")
        return runs
    if one_task and runs.task.nunique() > 1:
        raise UsageError(f"frame: tasks {', '.join(sorted(set(runs.task)))}; accepted: one task an axis")
    majority = runs["majority_val" if score == "best_val" else "majority_test"]
    metric = runs.metric.replace({"f1": "accuracy"} if score == "best_val" else {})  # what selects is not F1
    return runs.assign(metric=metric.replace(METRIC_LABELS).map(plain), majority=majority)


def note(
    ax: Axes, runs: pd.DataFrame, cell: str, expected_n: int | None, lost: pd.Series, word: str,
    by: str = "correct_bias",
) -> Axes:  # fmt: skip
    """Above the axis: how many of the expected runs an arm has (fewest to most by `cell`), how many have no result."""
    counts = pd.crosstab(runs[cell], runs[by])
    if by == "correct_bias":  # an arm without any run counts too
        counts = counts.reindex(columns=list(ARMS), fill_value=0)
    fewest, most = counts.to_numpy().min(), counts.to_numpy().max()
    extremes = "–".join(str(n) for n in sorted({fewest, most}))
    notes = [f"{extremes} of {expected_n} runs"] if fewest < (expected_n or 0) else []
    notes += [f"{lost.sum()} {word}"] if lost.any() else []
    ax.text(1, 1.02, ", ".join(notes), transform=ax.transAxes, ha="right", va="bottom", fontsize="small", color=GREY)
    return ax
