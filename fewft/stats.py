"""Statistics of many runs as pure functions: numbers in, numbers out; randomness only through `seed`.

Where the data cannot say (too few values, a NaN among them, no variation) the answer is NaN; where the call is
wrong, UsageError. No function warns.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from fewft.config import UsageError

_NAN_INTERVAL = (float("nan"), float("nan"))


def expected_performance(
    val: ArrayLike, score: ArrayLike, *, num_trials: Sequence[int], num_draws: int = 1000, seed: int
) -> pd.DataFrame:
    """Simulate n trials and keeping the one that is best on validation: what score does one get?

    Runs are drawn with replacement; the first drawn wins a tie; a NaN validation score loses to any other. Draws whose
    winner has no score (NaN) are left out, so count those runs beside the result. The draws for n trials are the first
    n of the draws for more trials: the curve over n is smooth and does not depend on which n are asked for.

    Args:
        val, score: float (runs,), validation score to select on and score to report.
        num_trials: the n's, each at least 1.
    Returns: one row per n with columns num_trials, mean, std (over draws).
    Raises: UsageError for lengths that differ, no runs, or a number below 1.
    Paper: Section 4, Figures 4 and 12.
    """
    val, score = np.asarray(val, float), np.asarray(score, float)
    if val.ndim != 1 or val.shape != score.shape or not val.size:
        raise UsageError(f"val, score: shapes {val.shape}, {score.shape}; accepted: two equally long lists")
    trials = np.asarray(num_trials, int)
    if not trials.size or trials.min() < 1 or num_draws < 1:
        raise UsageError(f"num_trials: {list(num_trials)}, num_draws: {num_draws}; accepted: numbers of at least 1")
    drawn = np.random.default_rng(seed).integers(val.size, size=(trials.max(), num_draws))
    rank = np.where(np.isnan(val), -np.inf, val)[drawn]  # (trials, draws)
    is_new_best = np.vstack([np.ones((1, num_draws), bool), rank[1:] > np.maximum.accumulate(rank)[:-1]])
    position = np.maximum.accumulate(np.where(is_new_best, np.arange(trials.max())[:, None], 0))
    won = np.ma.masked_invalid(score[np.take_along_axis(drawn, position, axis=0)][trials - 1])
    mean, std = (np.ma.filled(moment(axis=1), np.nan) for moment in (won.mean, won.std))
    return pd.DataFrame({"num_trials": trials, "mean": mean, "std": std})


def bias_ratio(step: ArrayLike, beta1: float = 0.9, beta2: float = 0.999) -> Any:
    """BERTAdam's update over debiased Adam's at `step` (from 1): (1 - beta1^t) / sqrt(1 - beta2^t).

    Paper: Section 4, Figure 1.
    """
    return (1 - beta1**step) / np.sqrt(1 - beta2**step)


def share_interval(hits: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Exact (Clopper-Pearson) interval of a share; NaN for n = 0, UsageError unless 0 <= hits <= n."""
    if not 0 <= hits <= n:
        raise UsageError(f"hits: {hits} of n = {n}; accepted: 0 to n")
    if n == 0:
        return _NAN_INTERVAL
    interval = stats.binomtest(int(hits), int(n)).proportion_ci(level, method="exact")
    return float(interval.low), float(interval.high)


def bootstrap_interval(
    values: ArrayLike, *, seed: int, statistic: Callable = np.mean, level: float = 0.95, num_draws: int = 10_000
) -> tuple[float, float]:
    """Percentile bootstrap interval of `statistic(draws, axis=1)`; NaN for fewer than 2 values."""
    values = np.asarray(values, float)
    if values.size < 2 or np.isnan(values).any():
        return _NAN_INTERVAL
    draws = np.random.default_rng(seed).choice(values, size=(num_draws, values.size))
    low, high = np.quantile(statistic(draws, axis=1), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def brown_forsythe(a: ArrayLike, b: ArrayLike) -> float:
    """p of the test that two samples spread equally (Levene's test around the median).

    NaN for fewer than 3 values in a sample (2 are always equally far from their median), or when in neither sample
    the distances to the median vary: the test divides by that variation.
    """
    a, b = np.asarray(a, float), np.asarray(b, float)
    too_few = min(a.size, b.size) < 3 or np.isnan([*a, *b]).any()
    if too_few or max(np.ptp(abs(x - np.median(x))) for x in (a, b)) < 1e-12:
        return float("nan")
    return float(stats.levene(a, b, center="median").pvalue)


@dataclass(frozen=True)
class Moments:
    """Mean, standard deviation (n - 1 in the denominator) and number of some values."""

    mean: float
    std: float
    n: int

    @classmethod
    def of(cls, values: ArrayLike) -> "Moments":
        """Those of some values; NaN where there are too few of them, or one is NaN."""
        values = np.asarray(values, float)
        mean = float(values.mean()) if values.size else float("nan")
        std = float(values.std(ddof=1)) if values.size > 1 else float("nan")
        return cls(mean, 0.0 if values.size > 1 and np.ptp(values) == 0 else std, values.size)


def t_test(
    a: Moments, b: Moments, *, alternative: Literal["two-sided", "greater", "less"] = "two-sided",
    equal_var: bool = True,
) -> float:  # fmt: skip
    """p of Student's t-test (`greater`: one-tailed, a above b), of Welch's without `equal_var`; NaN for fewer than 2
    values in a sample, for a NaN, or when neither sample varies.

    Paper: Table 1 (one-tailed), Appendix C (two-tailed)."""
    if min(a.n, b.n) < 2 or np.isnan([a.mean, b.mean, a.std, b.std]).any() or a.std == b.std == 0:
        return float("nan")
    moments = (a.mean, a.std, a.n, b.mean, b.std, b.n)
    return float(stats.ttest_ind_from_stats(*moments, equal_var=equal_var, alternative=alternative).pvalue)


def welch(
    a: ArrayLike, b: ArrayLike, *, alternative: Literal["two-sided", "greater", "less"] = "two-sided"
) -> tuple[float, float]:
    """mean(a) - mean(b), and its p by Welch's t-test (`greater`: one-tailed, a above b); p is NaN for fewer than 2
    values in a sample or when neither sample varies, the difference only for an empty one."""
    first, second = Moments.of(a), Moments.of(b)
    return first.mean - second.mean, t_test(first, second, alternative=alternative, equal_var=False)
