"""Appendix B in numbers and sentences: runs whose two seeds vary apart."""

from collections.abc import Sequence

import pandas as pd

from fewft.plots import arm, seed_matrix, spreads
from fewft.tables.words import NOT_RUN

STANDARD = -1  # reinit_layers


def randomness_table(frame: pd.DataFrame, layers: Sequence[int], seeds: int) -> pd.DataFrame:
    """Each arm's validation scores in percent: runs, lowest, mean and highest, and the standard deviation of all of them,
    and on average while one seed is fixed. Paper: Appendix B, Figures 9 and 10."""
    rows = []
    for n in layers:
        row = {"Arm": arm("reinit_layers", n)[0]}
        matrix = _matrix(frame, n)
        scores = matrix.stack().dropna()
        fixed = {column: values.mean() for column, values in spreads(matrix).items()}
        values = {"Lowest": scores.min(), "Mean": scores.mean(), "Highest": scores.max(), "SD, all": scores.std()}
        values |= {"SD, initialization fixed": fixed["init_seed"], "SD, data fixed": fixed["data_seed"]}
        row |= {name: _said(value, len(scores)) for name, value in values.items()}
        rows.append(row | {"n": f"{len(scores)} of {seeds**2}"})
    return pd.DataFrame(rows)


def _matrix(frame: pd.DataFrame, layers: int) -> pd.DataFrame:
    own = frame if frame.empty else frame[frame.reinit_layers == layers]
    return seed_matrix(own.reindex(columns=["init_seed", "data_seed", "best_val"]))


def randomness_words(frame: pd.DataFrame, layers: Sequence[int]) -> dict[str, str]:
    """Whether the last arm beats Standard pair by pair, and spreads less while one seed is fixed."""
    word = arm("reinit_layers", layers[-1])[0]
    standard, other = (_matrix(frame, n) for n in (STANDARD, layers[-1]))
    gains = (other - standard).stack().dropna()
    said = {
        "reinit_said": word,
        "pairs_said": f"{int((gains > 0).sum())} of {len(gains)} pairs" if len(gains) else NOT_RUN,
    }
    for column, key in (("init_seed", "init_fixed"), ("data_seed", "data_fixed")):
        means = [spreads(matrix)[column].mean() for matrix in (standard, other)]
        known = all(mean == mean for mean in means)
        words = f"{means[0]:.2f} points for Standard and {means[1]:.2f} for {word}"
        said[key] = words if known else _said(float("nan"), len(gains))
    return said


def _said(value: float, runs: int) -> str:
    """A number, or why there is none."""
    return f"{value:.2f}" if value == value else "too few runs" if runs else NOT_RUN
