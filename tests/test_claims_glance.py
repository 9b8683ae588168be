"""Verdicts at a glance: every claim is counted once, and a line says what a claim's test found."""

import pytest

from fewft import claims
from fewft.claims.glance import HEADS, numbers
from fewft.markup import KEY

NAN = float("nan")


def outcome(p: float, effect: float = 2.0, unit: str = "points") -> claims.Outcome:
    return claims.Outcome(effect, 1.0, 3.0, p, 1 - p, unit=unit, n=24, tasks=4)


@pytest.fixture
def judged() -> list[claims.Judged]:
    """The first claim of Section 4 holds, its second does not, for its third there are too few runs."""
    return claims.judge([outcome(1e-9), outcome(1.0), outcome(0.5), *[None] * (len(claims.CLAIMS) - 3)])


def test_every_claim_is_counted_in_its_section(judged: list[claims.Judged]) -> None:
    table = claims.by_section(judged).set_index("Claims of")
    assert list(table.columns) == list(HEADS)
    assert table.iloc[0].tolist() == [1, 1, 1, sum(c.section == "4" for c in claims.CLAIMS) - 3]
    assert table.iloc[:-1].sum().tolist() == table.loc["All"].tolist() == list(claims.counts(judged).values())
    assert table.loc["All"].sum() == len(claims.CLAIMS)


def test_chosen_claims_say_effect_runs_and_verdict(judged: list[claims.Judged]) -> None:
    table = claims.chosen(judged, ["s4-degenerate", "s4-variance", "s5-mean"])
    assert table.Verdict.tolist() == ["{verdict}`does not hold`", "{verdict}`holds`", "{verdict}`not run`"]
    assert table.Here.tolist() == ["+2.0\u00a0points [+1.0, +3.0], 24 runs on 4 tasks"] * 2 + ["no run"]
    assert table.Claim[1] == "Bias correction narrows the spread of test scores. ({numref}`fig-2`)"
    assert table.attrs[KEY] == ["Claim", "Verdict"]


def test_numbers_leave_out_what_there_is_not() -> None:
    assert numbers(claims.Outcome(NAN, NAN, NAN, NAN, NAN, n=1)) == "1 run"
    assert numbers(claims.Outcome(-3.0, NAN, NAN, 0.5, 0.5, unit="%", n=4, tasks=1)) == "−3.0%, 4 runs on 1 task"
