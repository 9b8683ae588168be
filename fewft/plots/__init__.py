"""The book's figure types: a tidy frame of runs and an axis in, the axis out; nothing saved, no pyplot.

An axis without runs says "not run", one with fewer runs an arm than `expected_n` "n of N runs", and runs that diverged
or have no score are counted above it.
"""

from fewft.plots.claims import claim_forest, claim_grid
from fewft.plots.layers import layer_boxes
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
from fewft.plots.randomness import seed_matrix, seed_scores, seed_spread, spreads
from fewft.plots.rates import bias_ratio, stability_map
from fewft.plots.runs import expected_curve, loss_band, performance_box
from fewft.plots.speed import CONTESTANTS, step_bars
from fewft.plots.steps import longer_curve
from fewft.plots.summary import SUMMARY, recipe_strips
from fewft.plots.weights import block_grid, blocks_of, distance_curves, distance_frame, tracked

__all__ = [
    "ARMS", "COLORS", "CONTESTANTS", "METRIC_LABELS", "SCORES", "SUMMARY", "TASK_LABELS", "BookFigure", "apply_style", "arm",
    "bias_ratio", "block_grid", "blocks_of", "claim_forest", "claim_grid", "distance_curves", "distance_frame",
    "expected_curve", "grid", "layer_boxes", "legend", "longer_curve", "loss_band", "performance_box", "recipe_strips",
    "seed_matrix", "seed_scores", "seed_spread", "spreads", "stability_map", "step_bars", "tracked",
]  # fmt: skip
