"""The kinds of test that claims have: the runs of each task's arms in, effect, interval and two p-values out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from scipy import stats as scipy_stats

from fewft import stats
from fewft.stats import Arms, Moments, Statistic

EQUAL = 1.0  # points: arms whose means differ by less count as equal
MATTERS = {"points": 0.5, "points of share": 5.0, "%": 5.0}  # smallest effect that matters, by unit
SMALLEST = 3  # runs an arm and task below which the task does not count
Strata = Mapping[str, tuple[np.ndarray, ...]]  # of each task: the values of each arm's runs
Side = Literal["above", "at most", "within"]
NAN = float("nan")


@dataclass(frozen=True)
class Outcome:
    """What a test found; the effect counts as the claim says it."""

    effect: float  # in `unit`, averaged over tasks
    low: float  # of its 95 % interval
    high: float
    p: float  # that the claim is wrong; NaN: cannot be tested
    p_opposite: float  # that an effect as claimed and large enough to matter is there
    unit: str = "points"
    test: str = ""
    claimed: tuple[float, float] = (0.0, np.inf)  # where the claim puts the effect
    n: int = 0  # runs
    tasks: int = 0
    arms: Sequence[Arms] = field(default=(), repr=False, compare=False)
    statistic: Statistic | None = field(default=None, repr=False, compare=False)  # above 0 as claimed

    def seeds_needed(self, level: float, *, seed: int = 0) -> int | None:
        """Runs an arm that would tell at `level`, see `stats.seeds_needed`; None where it cannot be said."""
        return stats.seeds_needed(self.arms, self.statistic, level=level, seed=seed) if self.statistic else None


@dataclass(frozen=True)
class Kind:
    """A way to test: its name, and what makes an Outcome of the tasks whose every arm has `smallest` runs."""

    test: str
    run: Callable[[Sequence[Arms]], Outcome]
    statistic: Statistic | None = None
    smallest: int = SMALLEST

    def of(self, strata: Strata) -> Outcome | None:
        """The outcome; one of NaN where every task has too few runs, None where no task has a run in each arm."""
        begun = [arms for arms in strata.values() if all(len(arm) for arm in arms)]
        if not begun:
            return None
        kept = [arms for arms in begun if all(len(arm) >= self.smallest for arm in arms)]
        found = self.run(kept) if kept else Outcome(NAN, NAN, NAN, NAN, NAN)
        n = sum(len(arm) for arms in kept or begun for arm in arms)
        statistic = self.statistic if kept else None
        return replace(found, test=self.test, n=n, tasks=len(kept), arms=kept, statistic=statistic)


def linear(
    value: float, error: float, freedom: float, *, side: Side = "above", margin: float = EQUAL, unit: str = "points"
) -> Outcome:
    """A t-test of a contrast: above 0; at most `margin`, from below; or within `margin`, two one-sided tests.

    An effect that is claimed to be above 0 is found wanting when it is below what matters (MATTERS); one that is claimed
    to be small when it is above the margin.
    """
    claimed = {"above": (0.0, np.inf), "at most": (-np.inf, margin), "within": (-margin, margin)}[side]
    if not error > 0:
        return Outcome(value, NAN, NAN, NAN, NAN, unit, claimed=claimed)
    t = scipy_stats.t(freedom, loc=value, scale=error)
    low, high = t.ppf([0.025, 0.975])
    if side == "above":
        p, opposite = t.cdf(0), t.sf(MATTERS[unit])
    elif side == "at most":
        p, opposite = t.sf(margin), t.cdf(margin)
    else:
        p, opposite = max(t.sf(margin), t.cdf(-margin)), min(1.0, 2 * min(t.cdf(margin), t.sf(-margin)))
    return Outcome(value, float(low), float(high), float(p), float(opposite), unit, claimed=claimed)


def averaged(of_task: Callable[..., np.ndarray]) -> Statistic:
    """A statistic of one task's arms, averaged over tasks."""
    return lambda tasks: np.mean([of_task(*arms) for arms in tasks], axis=0)


def _contrast(tasks: Sequence[Arms], weights: Sequence[float]) -> tuple[float, float, float]:
    return stats.contrast([[Moments.of(arm) for arm in arms] for arms in tasks], weights)


def _weighted(weights: Sequence[float]) -> Statistic:
    return averaged(lambda *arms: sum(w * arm.mean(axis=1) for w, arm in zip(weights, arms, strict=True)))


def higher(unit: str = "points") -> Kind:
    """The first of two arms has the higher mean: permutation of each task's runs over its arms."""
    statistic = _weighted((1, -1))

    def run(tasks: Sequence[Arms]) -> Outcome:
        return replace(linear(*_contrast(tasks, (1, -1)), unit=unit), p=stats.permutation_p(tasks, statistic, seed=0))

    return Kind("permutation of means", run, statistic)


def combined(*weights: float) -> Kind:
    """A weighted sum of arms' means is above 0: Welch's t-test."""
    return Kind("Welch's t", lambda tasks: linear(*_contrast(tasks, weights)), _weighted(weights))


def at_most(margin: float = EQUAL) -> Kind:
    """The first of two arms is better by less than `margin`, if at all: Welch's t-test against the margin."""
    gain = _weighted((1, -1))
    return Kind(
        f"non-superiority, {margin:g} point",
        lambda tasks: linear(*_contrast(tasks, (1, -1)), side="at most", margin=margin),
        lambda tasks: margin - gain(tasks),
    )


def equal(margin: float = EQUAL) -> Kind:
    """Two arms' means differ by less than `margin` on average: two one-sided tests (TOST)."""
    gain = _weighted((1, -1))
    return Kind(
        f"equivalence, {margin:g} point",
        lambda tasks: linear(*_contrast(tasks, (1, -1)), side="within", margin=margin),
        lambda tasks: margin - abs(gain(tasks)),
    )


def steadier() -> Kind:
    """The second of two arms spreads less: Brown-Forsythe, one-sided; the effect is in mean distance from the median."""

    def run(tasks: Sequence[Arms]) -> Outcome:
        distances = [[stats.deviations(arm) for arm in arms] for arms in tasks]
        return replace(linear(*_contrast(distances, (1, -1))), p=stats.spread_p(tasks))

    apart = averaged(lambda a, b: stats.deviations(a).mean(axis=1) - stats.deviations(b).mean(axis=1))
    return Kind("Brown-Forsythe", run, apart)
