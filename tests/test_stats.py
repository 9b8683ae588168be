"""Statistics against enumeration, scipy and cases done by hand."""

from itertools import product

import numpy as np
import pytest
from scipy import stats as scipy_stats

from fewft.config import UsageError
from fewft.stats import (
    Moments,
    bootstrap_interval,
    brown_forsythe,
    expected_performance,
    share_interval,
    t_test,
    welch,
)

VAL = [0.5, 0.7, 0.7, 0.9]
SCORE = [0.40, 0.80, 0.60, 0.50]  # the best on validation is not the best on test


def enumerate_exactly(val: list[float], score: list[float], n: int) -> tuple[float, float]:
    """Mean and std of the selected score over all equally likely ordered draws."""
    won = [score[max(draw, key=lambda i: val[i])] for draw in product(range(len(val)), repeat=n)]  # max: first on ties
    return float(np.mean(won)), float(np.std(won))


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_expected_performance_converges_to_exact_enumeration(n: int) -> None:
    got = expected_performance(VAL, SCORE, num_trials=[n], num_draws=200_000, seed=1).iloc[0]
    mean, std = enumerate_exactly(VAL, SCORE, n)
    assert got["mean"] == pytest.approx(mean, abs=1e-3)
    assert got["std"] == pytest.approx(std, abs=1e-3)


def test_first_drawn_wins_a_tie() -> None:
    got = expected_performance([0.5, 0.5], [0.0, 1.0], num_trials=[1, 7], seed=3)
    assert got["mean"].iloc[0] == got["mean"].iloc[1]  # the first draw decides whatever follows
    assert 0.4 < got["mean"].iloc[0] < 0.6


def test_expected_validation_never_falls_and_rows_do_not_depend_on_the_others() -> None:
    val = np.random.default_rng(0).normal(size=50)
    curve = expected_performance(val, val, num_trials=range(1, 51), seed=0)
    assert list(curve.columns) == ["num_trials", "mean", "std"]
    assert list(curve["num_trials"]) == list(range(1, 51))
    assert (np.diff(curve["mean"]) >= 0).all()
    alone = expected_performance(val, val, num_trials=[10], seed=0)
    assert alone.iloc[0].tolist() == curve.iloc[9].tolist()
    assert not curve.equals(expected_performance(val, val, num_trials=range(1, 51), seed=1))


def test_nan_validation_never_wins_and_missing_scores_are_left_out() -> None:
    got = expected_performance([np.nan, 0.2], [9.0, 1.0], num_trials=[1, 30], seed=0)
    assert 4 < got["mean"].iloc[0] < 6  # alone, the run without a validation score is all there is
    assert got["mean"].iloc[1] == 1.0
    left_out = expected_performance([np.nan, 0.2], [np.nan, 1.0], num_trials=[1], seed=0).iloc[0]
    assert (left_out["mean"], left_out["std"]) == (1.0, 0.0)
    assert expected_performance([np.nan], [np.nan], num_trials=[1], seed=0)["mean"].isna().all()


@pytest.mark.parametrize(
    ("val", "score", "trials"),
    [([], [], [1]), ([1.0], [1.0, 2.0], [1]), ([1.0], [1.0], [0]), ([1.0], [1.0], []), ([[1.0]], [[1.0]], [1])],
)
def test_expected_performance_refuses_what_makes_no_sense(val: list, score: list, trials: list) -> None:
    with pytest.raises(UsageError, match="accepted"):
        expected_performance(val, score, num_trials=trials, seed=0)


def test_share_interval_matches_the_closed_forms_at_the_ends() -> None:
    low, high = share_interval(0, 10)
    assert low == 0.0
    assert high == pytest.approx(1 - 0.025**0.1)
    assert share_interval(10, 10) == pytest.approx((0.025**0.1, 1.0))
    low, high = share_interval(3, 10, level=0.9)
    assert scipy_stats.binom.sf(2, 10, low) == pytest.approx(0.05)
    assert scipy_stats.binom.cdf(3, 10, high) == pytest.approx(0.05)
    assert np.isnan(share_interval(0, 0)).all()
    with pytest.raises(UsageError, match="hits: 4"):
        share_interval(4, 3)


def test_bootstrap_interval() -> None:
    values = np.random.default_rng(0).normal(5, 2, size=400)
    low, high = bootstrap_interval(values, seed=0)
    half = 1.96 * values.std() / 20  # the normal approximation, good at n = 400
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.02)
    assert (low, high) == bootstrap_interval(values, seed=0)
    assert (low, high) != bootstrap_interval(values, seed=1)
    assert bootstrap_interval([0.0, 1.0], seed=0, statistic=np.max) == (0.0, 1.0)
    assert bootstrap_interval([2.0, 2.0], seed=0) == (2.0, 2.0)
    assert np.isnan(bootstrap_interval([1.0], seed=0)).all()
    assert np.isnan(bootstrap_interval([1.0, np.nan, 2.0], seed=0)).all()


def test_brown_forsythe() -> None:
    a, b = [1.0, 2.0, 3.0, 4.5], [1.0, 5.0, 9.0, 20.0, 2.0]
    distances = [np.abs(np.array(x) - np.median(x)) for x in (a, b)]
    assert brown_forsythe(a, b) == pytest.approx(scipy_stats.f_oneway(*distances).pvalue)  # its definition
    assert brown_forsythe([0.5] * 4, [0.1, 0.5, 0.9, 0.3]) < 0.2  # a collapsed arm does not vary: still an answer
    for pair in [
        ([1.0, 2.0], b),
        ([1.0] * 3, [2.0] * 3),
        ([0.1, 0.1, 0.4, 0.4], [0.0, 0.0, 0.3, 0.3]),
        ([*a, np.nan], b),
    ]:
        assert np.isnan(brown_forsythe(*pair))


def test_welch() -> None:
    a, b = [1.0, 2.0, 4.0], [1.5, 0.5, 0.0, 0.7]
    expected = scipy_stats.ttest_ind(a, b, equal_var=False)
    difference, p = welch(a, b)
    assert difference == pytest.approx(np.mean(a) - np.mean(b))
    assert p == pytest.approx(expected.pvalue)
    assert welch(a, b, alternative="greater")[1] == pytest.approx(expected.pvalue / 2)
    assert 0 < welch([0.5] * 5, [0.6, 0.7, 0.65])[1] < 0.1  # one arm without variation, no warning
    assert welch([3.0], [1.0]) == pytest.approx((2.0, np.nan), nan_ok=True)
    assert welch([1.0, 1.0], [2.0, 2.0]) == pytest.approx((-1.0, np.nan), nan_ok=True)
    assert np.isnan(welch([], [1.0, 2.0])).all()


def test_t_test_needs_only_moments() -> None:
    a, b = [1.0, 2.0, 4.0, 3.0], [1.5, 0.5, 0.0, 0.7, 1.0]
    first, second = Moments.of(a), Moments.of(b)
    assert (first.mean, first.std, first.n) == (2.5, pytest.approx(np.std(a, ddof=1)), 4)
    for alternative in ("two-sided", "greater", "less"):
        for equal in (True, False):
            expected = scipy_stats.ttest_ind(a, b, equal_var=equal, alternative=alternative).pvalue
            assert t_test(first, second, alternative=alternative, equal_var=equal) == pytest.approx(expected)
    assert Moments.of([0.1, 0.1, 0.1]).std == 0 and np.isnan(t_test(Moments.of([0.1] * 3), Moments.of([0.2] * 3)))
    assert np.isnan(t_test(first, Moments.of([1.0]))) and np.isnan(t_test(first, Moments.of([1.0, np.nan])))
