"""The kinds of test on orders, extremes, expected scores and shares: by permutation, bootstrap or binomially."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from scipy import stats as scipy_stats

from fewft import stats
from fewft.claims.kinds import MATTERS, NAN, Kind, Outcome, averaged, linear
from fewft.stats import Arms, Statistic

EXTREMES = 5  # runs an arm and task without which a maximum or a range says nothing


def _normal(tasks: Sequence[Arms], statistic: Statistic, unit: str) -> Outcome:
    """Effect, and a t-interval from the bootstrap's deviation, which few runs make too small by sqrt((n - 1) / n)."""
    sizes = np.array([len(arm) for arms in tasks for arm in arms])
    error = stats.resampled(tasks, statistic, seed=0).std() * np.sqrt(sizes.min() / (sizes.min() - 1))
    return linear(stats.value_of(tasks, statistic), float(error), float((sizes - 1).sum()), unit=unit)


def _permuted(statistic: Statistic, test: str, unit: str, *, centred: bool = False, smallest: int = EXTREMES) -> Kind:
    def run(tasks: Sequence[Arms]) -> Outcome:
        dealt = [[arm - np.median(arm) for arm in arms] for arms in tasks] if centred else tasks
        return replace(_normal(tasks, statistic, unit), p=stats.permutation_p(dealt, statistic, seed=0))

    return Kind(test, run, statistic, smallest)


def narrower(unit: str = "points") -> Kind:
    """The second of two arms has the smaller range, so that its worst run gains more than its best: permutation of runs,
    each less its arm's median."""
    return _permuted(
        averaged(lambda a, b: np.ptp(a, axis=1) - np.ptp(b, axis=1)), "permutation of ranges", unit, centred=True
    )


def higher_peak(unit: str) -> Kind:
    """The first of two arms has the higher maximum: permutation."""
    return _permuted(averaged(lambda a, b: a.max(axis=1) - b.max(axis=1)), "permutation of maxima", unit)


def expected_best(arm: np.ndarray, trials: int, column: int = 1) -> np.ndarray:
    """Expected score of the best of `trials` runs drawn with replacement, exactly; (draws, runs, columns) -> (draws,).

    Column 0 is the validation score that selects. Paper: Section 4, Figure 4."""
    ranked = np.take_along_axis(arm, arm[..., :1].argsort(axis=1), axis=1)[..., column]
    beaten = np.arange(arm.shape[1] + 1) / arm.shape[1]
    return ranked @ np.diff(beaten**trials)


def better_of_trials(trials: int) -> Kind:
    """The first of two arms has the higher expected test score of the best of `trials` runs: permutation."""
    gain = averaged(lambda a, b: expected_best(a, trials) - expected_best(b, trials))
    return _permuted(gain, f"permutation, best of {trials}", "points", smallest=trials)


def _bootstrapped(of_arm: Callable[[np.ndarray], np.ndarray], smallest: int) -> Kind:
    statistic = averaged(lambda *arms: np.mean([of_arm(arm) for arm in arms], axis=0))
    return Kind("bootstrap", lambda tasks: _normal(tasks, statistic, "points"), statistic, smallest)


def falls_with_trials(few: int, many: int, smallest: int) -> Kind:
    """The expected test score is lower after many trials than after few: bootstrap over runs, whatever the arm."""
    return _bootstrapped(lambda arm: expected_best(arm, few) - expected_best(arm, many), smallest)


def outruns_test(few: int, many: int, smallest: int) -> Kind:
    """From few trials to many the validation score (column 2) rises more than the test score: bootstrap over runs."""
    return _bootstrapped(
        lambda arm: sum(s * (expected_best(arm, many, c) - expected_best(arm, few, c)) for s, c in ((1, 2), (-1, 1))),
        smallest,
    )


def more_often() -> Kind:
    """The first of two arms of zeros and ones has the larger share of ones: Fisher's exact test of all tasks' runs; the
    interval joins the arms' exact binomial ones (Newcombe's way)."""

    def run(tasks: Sequence[Arms]) -> Outcome:
        hits, n = ([int(f(np.concatenate([arms[i] for arms in tasks]))) for i in (0, 1)] for f in (np.sum, np.size))
        (p1, p2), ((l1, u1), (l2, u2)) = (
            np.divide(hits, n),
            [stats.share_interval(*c) for c in zip(hits, n, strict=True)],
        )
        low, high = p1 - p2 - np.hypot(p1 - l1, u2 - p2), p1 - p2 + np.hypot(u1 - p1, p2 - l2)
        table = [hits, [n[0] - hits[0], n[1] - hits[1]]]
        found = linear(100 * (p1 - p2), 100 * (high - low) / 3.92, np.inf, unit="points of share")
        p = float(scipy_stats.fisher_exact(table, alternative="greater").pvalue)
        return replace(found, low=100 * float(low), high=100 * float(high), p=p)

    return Kind("Fisher's exact, binomial", run, averaged(lambda a, b: a.mean(axis=1) - b.mean(axis=1)))


def near_share(percent: float, margin: float) -> Kind:
    """The share of ones lies within `margin` points of `percent`: two one-sided binomial tests, exact interval."""
    bounds = [(percent - margin) / 100, (percent + margin) / 100]

    def run(tasks: Sequence[Arms]) -> Outcome:
        values = np.concatenate([arms[0] for arms in tasks])
        hits, n = int(values.sum()), values.size
        above = [scipy_stats.binomtest(hits, n, bound, "greater").pvalue for bound in bounds]
        below = [scipy_stats.binomtest(hits, n, bound, "less").pvalue for bound in bounds]
        low, high = (100 * end - percent for end in stats.share_interval(hits, n))
        p, opposite = max(above[0], below[1]), min(1.0, 2 * min(below[0], above[1]))
        return Outcome(100 * hits / n - percent, low, high, p, opposite, "points of share", claimed=(-margin, margin))

    apart = averaged(lambda a: margin - abs(100 * a.mean(axis=1) - percent))
    return Kind(f"binomial equivalence, {margin:g} points", run, apart)


def most_tasks() -> Kind:
    """More tasks say yes (1) than no (-1), those with 0 left out: binomial test and interval over tasks, not over runs."""

    def run(tasks: Sequence[Arms]) -> Outcome:
        votes = np.concatenate([arms[0] for arms in tasks])
        yes, n = int((votes > 0).sum()), int((votes != 0).sum())
        if not n:
            return Outcome(0.0, NAN, NAN, NAN, NAN, "points of share")
        p, opposite = (scipy_stats.binomtest(yes, n, 0.5, side).pvalue for side in ("greater", "less"))
        low, high = (100 * end - 50 for end in stats.share_interval(yes, n))
        return Outcome(100 * yes / n - 50, low, high, p, opposite, "points of share")

    return Kind("binomial over tasks", run, smallest=1)


def no_one_size() -> Kind:
    """One choice for all tasks (an arm each) costs more than each task's own: permutation of what an additive model of
    tasks and choices leaves. The effect is the mean score lost by the best single choice; that it does not matter is told
    by the bootstrap."""

    def means(tasks: Sequence[Arms]) -> np.ndarray:  # (draws, tasks, choices)
        return np.stack([np.stack([arm.mean(axis=1) for arm in arms], axis=1) for arms in tasks], axis=1)

    def lost(cells: np.ndarray) -> np.ndarray:
        return cells.max(axis=2).mean(axis=1) - cells.mean(axis=1).max(axis=1)

    def statistic(tasks: Sequence[Arms]) -> np.ndarray:
        return lost(means(tasks))

    def run(tasks: Sequence[Arms]) -> Outcome:
        if len(tasks) < 2:
            return Outcome(NAN, NAN, NAN, NAN, NAN)
        cells = means([[arm[None] for arm in arms] for arms in tasks])[0]
        fit = cells.mean(axis=1, keepdims=True) + cells.mean(axis=0, keepdims=True) - cells.mean()
        left = [[arm - f for arm, f in zip(arms, row, strict=True)] for arms, row in zip(tasks, fit, strict=True)]
        p = stats.permutation_p(left, lambda drawn: lost(means(drawn) + fit), seed=0)
        found, drawn = _normal(tasks, statistic, "points"), stats.resampled(tasks, statistic, num_draws=9_999, seed=0)
        return replace(found, p=p, p_opposite=float((1 + (drawn >= MATTERS["points"]).sum()) / 10_000))

    return Kind("permutation of residuals", run)  # what is lost is never below 0: no seeds needed can be told from it
