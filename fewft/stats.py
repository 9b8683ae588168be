"""Statistics of many runs as pure functions: numbers in, numbers out; randomness only through `seed`.

Where the data cannot say (too few values, a NaN among them, no variation) the answer is NaN; where the call is
wrong, UsageError. No function warns.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from fewft.config import UsageError

ALPHA = 0.05  # level of every test, Table 1
TEST_RUNS = 5  # runs an arm below which a test's verdict is "too few runs"
SEED_COUNTS = tuple(round(10 ** (k / 10)) for k in range(5, 31))  # 3, 4, 5, 6, 8, 10, ... 1000: those that are tried
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
    """Exact (Clopper-Pearson) interval of a share; NaN for n = 0.

    Raises:
        UsageError: unless 0 <= hits <= n.
    """
    if not 0 <= hits <= n:
        raise UsageError(f"hits: {hits} of n = {n}; accepted: 0 to n")
    if n == 0:
        return _NAN_INTERVAL
    interval = stats.binomtest(int(hits), int(n)).proportion_ci(level, method="exact")
    return float(interval.low), float(interval.high)


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


# --- many tasks, many claims --------------------------------------------------------------------------------------
Arms = Sequence[np.ndarray]  # of one task: each arm's values, (runs,) or (runs, columns)
Statistic = Callable[[Sequence[Arms]], np.ndarray]  # of all tasks, arms (draws, runs, ...) -> (draws,)


def holm(p: ArrayLike) -> np.ndarray:
    """Holm's adjusted p-values: below 0.05 are those that may be believed together; NaN stays and does not count.

    The i-th smallest of m becomes (m - i + 1) times itself, at least its predecessor and at most 1.
    """
    p = np.asarray(p, float)
    order = np.argsort(p)[: np.isfinite(p).sum()]  # NaN sorts last
    adjusted = np.full(p.shape, np.nan)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(order.size, 0, -1)), 1)
    return adjusted


def contrast(tasks: Sequence[Sequence[Moments]], weights: Sequence[float]) -> tuple[float, float, float]:
    """A weighted sum of arms' means, averaged over tasks: its value, standard error and Welch's degrees of freedom.

    Weights (1, -1) give a difference of means, (1, -1, -1, 1) a difference of differences; NaN where an arm has fewer
    than 2 values or none varies.
    """
    scale = np.asarray(weights, float) / len(tasks)
    mean, std, n = (
        np.array([[getattr(a, name) for a in arms] for arms in tasks], float) for name in ("mean", "std", "n")
    )
    if (n < 2).any() or np.isnan([mean, std]).any() or not std.any():
        return float((mean * scale).sum()), float("nan"), float("nan")
    parts = scale**2 * std**2 / n
    freedom = parts.sum() ** 2 / (parts**2 / (n - 1)).sum()
    return float((mean * scale).sum()), float(np.sqrt(parts.sum())), float(freedom)


def deviations(values: np.ndarray) -> np.ndarray:
    """How far each value is from its arm's median, along axis 1 of (draws, runs) or along (runs,)."""
    axis = min(values.ndim - 1, 1)
    return abs(values - np.median(values, axis=axis, keepdims=True))


def spread_p(tasks: Sequence[Arms]) -> float:
    """p that the first of two arms spreads more: Brown and Forsythe's test, one-sided, tasks combined by Stouffer.

    Tasks where it cannot be done (see `brown_forsythe`) do not count; NaN if none is left.
    """
    both = [brown_forsythe(a, b) for a, b in tasks]
    more = [deviations(a).mean() > deviations(b).mean() for a, b in tasks]
    sided = [p / 2 if first else 1 - p / 2 for p, first in zip(both, more, strict=True) if p == p]
    return float(stats.combine_pvalues(sided, method="stouffer").pvalue) if sided else float("nan")


def permutation_p(tasks: Sequence[Arms], statistic: Statistic, *, num_draws: int = 9_999, seed: int) -> float:
    """p that `statistic` is this large when every task's runs are dealt out to its arms at random, (1 + hits) / (1 + draws)."""
    rng = np.random.default_rng(seed)
    dealt = []
    for arms in tasks:
        pool, ends = np.concatenate(arms), np.cumsum([len(a) for a in arms])[:-1]
        order = rng.permuted(np.tile(np.arange(len(pool)), (num_draws, 1)), axis=1)
        dealt.append(np.split(pool[order], ends, axis=1))
    hits = statistic(dealt) >= value_of(tasks, statistic) - 1e-9  # equal but for rounding
    return float((1 + hits.sum()) / (1 + num_draws))


def value_of(tasks: Sequence[Arms], statistic: Statistic) -> float:
    """The statistic of the runs as they are."""
    return float(statistic([[arm[None] for arm in arms] for arms in tasks])[0])


def resampled(
    tasks: Sequence[Arms], statistic: Statistic, *, n: int = 0, num_draws: int = 2_000, seed: int
) -> np.ndarray:
    """The statistic of `n` runs an arm drawn with replacement (0: as many as there are), again and again: (draws,)."""
    rng = np.random.default_rng(seed)
    return statistic([[arm[rng.integers(len(arm), size=(num_draws, n or len(arm)))] for arm in arms] for arms in tasks])


def seeds_needed(
    tasks: Sequence[Arms], statistic: Statistic, *, level: float, power: float = 0.8, seed: int
) -> int | None:
    """Runs an arm with which a share `power` of resampled studies tells the statistic from 0; 1001: more than 1,000.

    A study tells when the statistic is further from 0, on the stored runs' side, than the normal quantile of `level`
    times its own deviation. The stored runs stand for all that there could be: a rough guide, to a third or so. None: fewer
    than 3 runs in an arm, or a statistic of 0 or without variation.
    """
    side = np.sign(np.round(value_of(tasks, statistic), 9))
    if side == 0 or min(len(arm) for arms in tasks for arm in arms) < 3:
        return None
    if not resampled(tasks, statistic, num_draws=200, seed=seed).std() > 0:
        return None

    def tells(n: int) -> bool:
        drawn = side * resampled(tasks, statistic, n=n, num_draws=500, seed=seed)
        return bool(np.mean(drawn > stats.norm.isf(level) * drawn.std()) >= power)

    place = bisect_left(SEED_COUNTS, True, key=tells)  # power grows with n
    return (*SEED_COUNTS, 1001)[place]
