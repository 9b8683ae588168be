"""Statistics against enumeration, scipy and cases done by hand."""

from itertools import combinations, product

import numpy as np
import pytest
from scipy import stats as scipy_stats

from fewft.config import UsageError
from fewft.stats import (
    Moments,
    brown_forsythe,
    contrast,
    expected_performance,
    holm,
    permutation_p,
    seeds_needed,
    share_interval,
    spread_p,
    t_test,
    value_of,
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


# --- many tasks, many claims --------------------------------------------------------------------------------------
def mean_difference(tasks) -> np.ndarray:
    return np.mean([a.mean(axis=1) - b.mean(axis=1) for a, b in tasks], axis=0)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, np.nan, 0.5]) == pytest.approx([0.04, 0.09, 0.09, np.nan, 0.5], nan_ok=True)
    assert holm([0.6, 0.7]).tolist() == [1.0, 1.0]  # 2 x 0.6 is cut, and the second is no smaller
    assert holm([]).size == 0 and np.isnan(holm([np.nan])).all()


def test_permutation_p_is_the_share_of_all_labellings() -> None:
    tasks = [(np.array([5.0, 3.0, 9.0]), np.array([1.0, 4.0])), (np.array([2.0, 6.0]), np.array([1.0, 3.0]))]
    gains = []
    for a, b in tasks:  # of every way to deal the values out to two arms
        pool = np.concatenate([a, b])
        picks = combinations(range(len(pool)), len(a))
        gains.append([pool[list(p)].mean() - np.delete(pool, list(p)).mean() for p in picks])
    every = np.add.outer(*gains).ravel() / 2
    exact = np.mean(every >= value_of(tasks, mean_difference) - 1e-9)
    assert 0.05 < exact < 0.2
    assert permutation_p(tasks, mean_difference, num_draws=40_000, seed=0) == pytest.approx(exact, abs=0.006)


def test_permutation_p_of_three_against_three_cannot_be_small() -> None:
    apart = [(np.array([7.0, 8.0, 9.0]), np.array([1.0, 2.0, 3.0]))]
    assert permutation_p(apart, mean_difference, seed=0) == pytest.approx(1 / 20, abs=0.01)
    assert permutation_p([apart[0][::-1]], mean_difference, seed=0) == 1.0


def test_a_contrast_of_one_task_is_welchs_test() -> None:
    a, b = [1.0, 2.0, 4.0, 9.0], [0.0, 1.0, 1.5]
    value, error, freedom = contrast([[Moments.of(a), Moments.of(b)]], (1, -1))
    known = scipy_stats.ttest_ind(a, b, equal_var=False)
    assert (value / error, freedom) == pytest.approx((known.statistic, known.df))


def test_a_contrast_averages_over_tasks() -> None:
    first, second = [Moments(5, 1, 4), Moments(3, 1, 4)], [Moments(1, 2, 4), Moments(3, 2, 4)]
    value, error, _ = contrast([first, second], (1, -1))
    assert (value, error) == pytest.approx((0.0, np.sqrt((1 + 1 + 4 + 4) / 4) / 2))
    assert contrast([[Moments(5, 0, 4), Moments(3, 0, 4)]], (1, -1))[0] == 2
    assert np.isnan(contrast([[Moments(5, 0, 4), Moments(3, 0, 4)]], (1, -1))[1:]).all()
    assert np.isnan(contrast([[Moments(5, 1, 1), Moments(3, 1, 4)]], (1, -1))[1:]).all()


def test_spread_p_is_one_sided_and_combines_tasks() -> None:
    wide, narrow = np.array([0.0, 10.0, 20.0, 28.0]), np.array([4.0, 5.0, 6.0, 7.5])
    half = brown_forsythe(wide, narrow) / 2
    assert spread_p([(wide, narrow)]) == pytest.approx(half)
    assert spread_p([(narrow, wide)]) == pytest.approx(1 - half)
    z = scipy_stats.norm.isf(half) * np.sqrt(2)  # Stouffer
    assert spread_p([(wide, narrow)] * 2) == pytest.approx(scipy_stats.norm.sf(z))
    assert spread_p([(wide, narrow), (wide[:2], narrow)]) == pytest.approx(half)  # cannot be tested: does not count
    assert np.isnan(spread_p([(wide[:2], narrow)]))


def test_seeds_needed_are_few_for_large_effects_and_many_for_small_ones() -> None:
    noise = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])  # deviation sqrt(2) when drawn from
    shifted = {size: [(noise + size, noise)] for size in (0.0, 0.1, 1.0, 10.0)}
    found = {size: seeds_needed(tasks, mean_difference, level=0.05, seed=0) for size, tasks in shifted.items()}
    assert found[0.0] is None and found[10.0] == 3 and found[0.1] == 1001
    exact = 2 * 2 * (scipy_stats.norm.isf(0.05) + scipy_stats.norm.isf(0.2)) ** 2  # sigma 2 variances, effect 1
    assert exact / 1.5 < found[1.0] < exact * 1.5
    turned = seeds_needed([shifted[1.0][0][::-1]], mean_difference, level=0.05, seed=0)
    assert exact / 1.5 < turned < exact * 1.5
    assert found[1.0] < seeds_needed(shifted[1.0], mean_difference, level=0.001, seed=0)


def test_seeds_needed_cannot_be_said_from_two_runs_or_without_variation() -> None:
    assert seeds_needed([(np.array([1.0, 2.0]), np.array([5.0, 6.0]))], mean_difference, level=0.05, seed=0) is None
    assert seeds_needed([(np.ones(5), np.zeros(5))], mean_difference, level=0.05, seed=0) is None
