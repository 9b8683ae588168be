"""A study's stored runs with the columns that claims are about.

A run that diverged without a score has the majority baseline's, and is degenerate. For losses and distances it is left out.
"""

from collections.abc import Mapping, Sequence
from functools import cache, cached_property
from typing import Any

import numpy as np
import pandas as pd

from fewft import choices, experiments
from fewft.studies import Study
from fewft.tables.arms import final_losses

RTE_THRESHOLD = 0.55  # accuracy; Section 4
TOP, BOTTOM = 0.3, 0.25  # shares of the blocks: the paper's 18 to 24 of 24, and 1 to 6


class Runs:
    """The stored runs of one study, by experiment, with the columns that claims are about."""

    def __init__(self, study: Study, records: Mapping[str, Mapping[str, Any]]) -> None:
        self.study, self.records = study, records
        self.experiment = cache(lambda name: experiments.stored(study, name, records))
        self.frame = cache(lambda name: measured(self.experiment(name).frame))
        self.layers = cache(lambda task: choices.chosen_layers(self.experiment("reinit").ask, task))  # None: not yet

    @cached_property
    def table_1(self) -> pd.DataFrame:
        """The runs behind Table 1, by `recipe`."""
        chosen = [self.experiment(name) for name in ("reinit", "longer")]
        return measured(choices.recipe_frame(chosen, choices.table_1))

    @cached_property
    def table_2(self) -> pd.DataFrame:
        """The runs behind Table 2, by `recipe`."""
        chosen = [self.experiment(name) for name in ("methods", "reinit", "longer")]
        return measured(choices.recipe_frame(chosen, choices.table_2))


def measured(frame: pd.DataFrame) -> pd.DataFrame:
    """Stored rows with what claims are about: `test`, `val` and `reported` (validation, the test score's metric) in points,
    `below`, `loss`, `end_loss`, and the last distances `top` and `bottom`."""
    if "run_id" not in frame or frame.empty:
        return pd.DataFrame({"task": []})
    score = {name: 100 * frame[column].astype(float) for name, column in SCORES.items()}
    base = {name: 100 * frame[column].astype(float).fillna(0.0) for name, column in BASELINES.items()}
    distances = [_ends(rows) for rows in frame.get("block_distances", [None] * len(frame))]
    arms = frame[[name for name in ARMS if name in frame]]
    return arms.assign(
        test=score["test"].fillna(base["test"]),
        val=score["val"].fillna(base["val"]),
        reported=score["reported"].fillna(base["val"]),
        degenerate=frame.degenerate.astype(float).where(frame.test_best.notna(), 1.0),
        below=(score["test"].fillna(0.0) < 100 * RTE_THRESHOLD).astype(float),
        loss=[float(np.mean(np.asarray(losses, float))) for losses in frame.train_loss],
        end_loss=final_losses(frame),
        top=[ends[0] for ends in distances],
        bottom=[ends[1] for ends in distances],
    ).replace({"loss": {np.inf: np.nan}, "end_loss": {np.inf: np.nan}})


ARMS = ("task", "recipe", "model", "correct_bias", "reinit_layers", "max_steps", "precision", "init_seed", "data_seed")
SCORES = {"test": "test_best", "val": "best_val", "reported": "val_reported"}
BASELINES = {"test": "majority_test", "val": "majority_val"}


def _ends(rows: Sequence[Sequence[float]] | None) -> tuple[float, float]:
    """Mean distance from the start, after the last step, of the top blocks and of the bottom ones."""
    if not isinstance(rows, Sequence | np.ndarray) or not len(rows):
        return float("nan"), float("nan")
    last = np.asarray(rows[-1], float)  # bottom block first
    counts = [max(1, round(share * last.size)) for share in (TOP, BOTTOM)]
    return float(last[-counts[0] :].mean()), float(last[: counts[1]].mean())
