"""The kinds of test: against scipy, enumeration and cases done by hand."""

from itertools import product

import numpy as np
import pytest
from scipy import stats as scipy_stats

from fewft.claims import kinds, orders
from fewft.claims.kinds import Kind, Outcome

A, B = np.array([4.0, 6.0, 8.0, 10.0]), np.array([1.0, 2.0, 6.0, 3.5])


def of(kind: Kind, *arms: np.ndarray, tasks: int = 1) -> Outcome:
    outcome = kind.of({f"task {i}": arms for i in range(tasks)})
    assert outcome is not None
    return outcome


def test_higher_has_welchs_interval_and_a_permutations_p() -> None:
    found, known = of(kinds.higher(), A, B), scipy_stats.ttest_ind(A, B, equal_var=False)
    interval = known.confidence_interval()
    assert (found.effect, found.low, found.high) == pytest.approx((A.mean() - B.mean(), interval.low, interval.high))
    exact = scipy_stats.permutation_test((A, B), lambda a, b: a.mean() - b.mean(), alternative="greater").pvalue
    assert found.p == pytest.approx(exact, abs=0.01)
    opposite = scipy_stats.ttest_ind(A - kinds.MATTERS["points"], B, equal_var=False, alternative="less").pvalue
    assert found.p_opposite == pytest.approx(opposite)
    assert (found.n, found.tasks, found.test) == (8, 1, "permutation of means")


def test_equal_is_two_one_sided_tests() -> None:
    near = A + 0.3
    found = of(kinds.equal(2.0), near, A)
    sides = [
        scipy_stats.ttest_ind(near + shift, A, equal_var=False, alternative=side).pvalue
        for shift, side in ((2.0, "greater"), (-2.0, "less"))
    ]
    assert found.p == pytest.approx(max(sides)) and found.claimed == (-2.0, 2.0)
    assert of(kinds.equal(2.0), A, near).p == pytest.approx(found.p)
    for far in (A + 50, A - 50):
        apart = of(kinds.equal(2.0), far, A)
        assert apart.p > 0.999 and apart.p_opposite < 0.001
    assert found.p_opposite > 0.5


def test_at_most_forgives_a_loss_and_not_a_gain() -> None:
    assert of(kinds.at_most(1.0), A, B).claimed == (-np.inf, 1.0) and of(kinds.higher(), A, B).claimed == (0.0, np.inf)
    assert of(kinds.at_most(1.0), A - 50, A).p < 0.001 and of(kinds.at_most(1.0), A + 50, A).p_opposite < 0.001
    expected = scipy_stats.ttest_ind(B - 1, A, equal_var=False, alternative="less").pvalue
    assert of(kinds.at_most(1.0), B, A).p == pytest.approx(expected)


def test_combined_weighs_arms() -> None:
    found = of(kinds.combined(1, -1, -1, 1), A, B, B, A)
    assert found.effect == pytest.approx(2 * (A.mean() - B.mean())) and found.p < 0.05
    assert of(kinds.combined(1, -1, -1, 1), A, B, A, B).effect == 0


def test_steadier_says_by_how_much_the_distance_to_the_median_falls() -> None:
    found = of(kinds.steadier(), np.array([0.0, 10, 20, 30, 40]), np.array([19.0, 20, 21, 22, 20]), tasks=4)
    assert found.effect == pytest.approx(12 - 0.8) and found.p < 0.01
    assert of(kinds.steadier(), np.array([19.0, 20, 21, 22, 20]), np.array([0.0, 10, 20, 30, 40]), tasks=4).p > 0.99


def test_narrower_does_not_mind_where_an_arm_lies() -> None:
    wide, narrow = np.array([0.0, 10, 20, 30, 40]), np.array([19.0, 20, 21, 22, 20])
    here, there = of(orders.narrower(), wide, narrow, tasks=3), of(orders.narrower(), wide + 500, narrow, tasks=3)
    assert here.effect == there.effect == 37 and here.p == there.p < 0.01


def test_higher_peak_compares_maxima() -> None:
    found = of(orders.higher_peak("%"), np.array([1.0, 2, 3, 4, 90]), np.array([1.0, 2, 3, 4, 5]))
    assert (
        found.effect == 85 and found.unit == "%" and found.p == pytest.approx(0.5, abs=0.02)
    )  # either arm may have it


@pytest.mark.parametrize("trials", [1, 2, 3])
def test_expected_best_is_exact(trials: int) -> None:
    val, test = [0.5, 0.9, 0.7], [3.0, 1.0, 2.0]
    draws = list(product(range(3), repeat=trials))
    expected = np.mean([test[max(draw, key=lambda i: val[i])] for draw in draws])
    arm = np.column_stack([val, test])[None]
    assert orders.expected_best(arm, trials) == pytest.approx([expected])


def test_trials_that_were_never_seen_are_not_judged() -> None:
    arm = np.column_stack([np.arange(19.0), np.arange(19.0)])
    assert np.isnan(of(orders.falls_with_trials(10, 50, 20), arm).p)
    more = np.column_stack([np.arange(40.0), -np.arange(40.0)])  # the best on validation is the worst on test
    assert of(orders.falls_with_trials(10, 50, 20), more).p < 0.01
    rising = np.column_stack([np.arange(40.0), np.arange(40.0)])
    assert of(orders.falls_with_trials(10, 50, 20), rising).p_opposite < 0.01


def test_outruns_test_compares_two_rises() -> None:
    val = np.arange(40.0)
    assert of(orders.outruns_test(10, 50, 20), np.column_stack([val, 0 * val, val])).p < 0.01
    assert of(orders.outruns_test(10, 50, 20), np.column_stack([val, val, 0 * val])).p_opposite < 0.01


def test_shares_are_tested_exactly() -> None:
    some, none = np.array([1.0] * 8 + [0.0] * 2), np.zeros(10)
    found = of(orders.more_often(), some, none)
    assert found.effect == 80 and found.p == pytest.approx(
        scipy_stats.fisher_exact([[8, 0], [2, 10]], "greater").pvalue
    )
    assert 0 < found.low < 80 < found.high <= 100
    assert of(orders.more_often(), none, some).p > 0.99


def test_near_share_is_binomial_on_both_sides() -> None:
    runs = np.array([1.0] * 24 + [0.0] * 26)
    found = of(orders.near_share(48, 20), runs)
    sides = scipy_stats.binomtest(24, 50, 0.28, "greater").pvalue, scipy_stats.binomtest(24, 50, 0.68, "less").pvalue
    assert found.p == pytest.approx(max(sides)) and found.effect == pytest.approx(0)
    assert (
        of(orders.near_share(48, 20), np.zeros(50)).p_opposite
        < 0.001
        > of(orders.near_share(48, 20), np.ones(50)).p_opposite
    )


def test_most_tasks_leaves_ties_out() -> None:
    found = orders.most_tasks().of(
        {str(i): (np.array([vote]),) for i, vote in enumerate([1.0] * 9 + [-1.0] + [0.0] * 3)}
    )
    assert found is not None and found.effect == 40
    assert found.p == pytest.approx(scipy_stats.binomtest(9, 10, 0.5, "greater").pvalue)


def test_one_size_is_lost_by_tasks_that_differ() -> None:
    rng = np.random.default_rng(0)

    def cells(shift: np.ndarray) -> dict[str, tuple[np.ndarray, ...]]:
        return {str(t): tuple(m + rng.normal(0, 0.1, 6) for m in row) for t, row in enumerate(shift)}

    opposed = orders.no_one_size().of(cells(np.array([[0.0, 4.0], [4.0, 0.0]] * 3)))
    alike = orders.no_one_size().of(cells(np.array([[0.0, 4.0]] * 3 + [[9.0, 13.0]] * 3)))
    assert opposed is not None and alike is not None
    assert opposed.effect == pytest.approx(2, abs=0.2) and opposed.p < 0.001
    assert alike.effect == pytest.approx(0, abs=0.1) and alike.p_opposite < 0.001 and alike.p > 0.05
    assert np.isnan(orders.no_one_size().of(cells(np.array([[0.0, 4.0]]))).p)  # one task cannot differ from itself


def test_tasks_with_too_few_runs_do_not_count() -> None:
    kind = kinds.higher()
    found = kind.of({"a": (A, B), "b": (A[:2], B)})
    assert found is not None and found.tasks == 1 and found.effect == of(kind, A, B).effect
    few = kind.of({"a": (A[:2], B)})
    assert few is not None and np.isnan([few.effect, few.p, few.p_opposite]).all() and few.n == 6
    assert few.seeds_needed(0.05) is None
    assert kind.of({"a": (A[:0], B)}) is None and kind.of({}) is None


def test_runs_that_never_vary_leave_the_interval_open() -> None:
    found = of(kinds.combined(1, -1), np.ones(4), np.zeros(4))
    assert found.effect == 1 and np.isnan([found.low, found.p, found.p_opposite]).all()
