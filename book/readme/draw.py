"""Draws the README's picture from the stored runs, for light and for dark pages: `make picture`.

It is Figure 3 of the book, with all tasks: the finding on bias correction for which the runs already are enough.
"""

import re
import sys
from pathlib import Path

import matplotlib as mpl

from fewft import experiments, plots

WINDOW = 10  # steps that a point is the mean of
INK = {"light": ("#1f2328", "#59636e", "#d8dee4"), "dark": ("#f0f6fc", "#9198a1", "#3d444d")}  # text, note, rules
LONG = re.compile(r"(\d\d\.\d)\d+")  # places that no eye sees


def style(ink: str, rule: str) -> dict[str, str]:
    """Settings of matplotlib for a page on which text and rules have these colours; its own colour shows through."""
    texts = dict.fromkeys(("text.color", "axes.labelcolor", "xtick.labelcolor", "ytick.labelcolor"), ink)
    rules = dict.fromkeys(("axes.edgecolor", "xtick.color", "ytick.color", "grid.color"), rule)
    clear = dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), "none")
    return texts | rules | clear


def draw(mode: str) -> str:
    """An SVG of the training loss of Section 4's runs of the study `minilm`, task by task, in both arms.

    Args:
        mode: light or dark, as the page on which it will stand.

    Paper: Section 4, Figure 3.
    """
    ink, grey, rule = INK[mode]
    runs = experiments.load("minilm", "bias_correction")
    plots.apply_style()
    with mpl.rc_context(style(ink, rule)):
        figure, axes = plots.grid(runs.tasks, rows=1, width=9.0, height=2.5)
        for task, ax in zip(runs.tasks, axes, strict=True):
            plots.loss_band(runs.frame[runs.frame.task == task], ax, window=WINDOW, expected_n=runs.seeds)
        for ax in axes[1:]:
            ax.set_ylabel("")
        plots.legend(figure)
        note = f"{runs.count} of MiniLM: mean and range of {runs.seeds} seeds, a point the mean of {WINDOW} steps"
        figure.text(0.5, 0, note, ha="center", va="bottom", color=grey, fontsize="small")
        figure.get_layout_engine().set(rect=(0, 0.07, 1, 0.93))
        return LONG.sub(r"\1", figure._repr_svg_())


def main(folder: Path) -> None:
    """Write `light.svg` and `dark.svg` into a folder."""
    for mode in INK:
        (folder / f"{mode}.svg").write_text(draw(mode), "utf8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
