"""The book's figure types: a tidy frame of runs and an axis in, the axis out; nothing saved, no pyplot.

An axis without runs says "not run", one with fewer runs an arm than `expected_n` "n of N runs", and runs that diverged
or have no score are counted above it.
"""

from fewft.plots.claims import claim_forest, claim_grid
from fewft.plots.look import (
    ARMS,
    COLORS,
    METRIC_LABELS,
    SCORES,
    TASK_LABELS,
    BookFigure,
    apply_style,
    arm,
    grid,
    legend,
)
from fewft.plots.rates import bias_ratio, stability_map
from fewft.plots.runs import expected_curve, loss_band, performance_box
from fewft.plots.speed import CONTESTANTS, step_bars

__all__ = [
    "ARMS", "COLORS", "CONTESTANTS", "METRIC_LABELS", "SCORES", "TASK_LABELS", "BookFigure", "apply_style", "arm", "bias_ratio", "claim_forest", "claim_grid",
    "expected_curve", "grid", "legend", "loss_band", "performance_box", "stability_map", "step_bars",
]  # fmt: skip
