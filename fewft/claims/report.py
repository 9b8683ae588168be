"""Verdicts as lines, tables and a frame to draw."""

from collections import Counter
from collections.abc import Mapping, Sequence

import pandas as pd

from fewft.claims.judge import VERDICTS, Judged
from fewft.claims.kinds import Outcome

NONE = "–"


def counts(judged: Sequence[Judged]) -> dict[str, int]:
    """How many claims have each verdict."""
    found = Counter(j.verdict for j in judged)
    return {verdict: found[verdict] for verdict in VERDICTS}


def effect_words(outcome: Outcome | None) -> str:
    """Effect with its interval and unit."""
    if outcome is None or outcome.effect != outcome.effect:
        return NONE
    interval = f" [{outcome.low:+.1f}, {outcome.high:+.1f}]" if outcome.low == outcome.low else ""
    return f"{outcome.effect:+.1f}{interval} {outcome.unit}"


def p_words(p: float) -> str:
    """A p-value, or a dash."""
    return NONE if p != p else "< 0.001" if p < 0.001 else f"{p:.3f}"


def seeds_words(judged: Judged) -> str:
    """Runs an arm that would have told."""
    n = judged.seeds_needed()
    return NONE if judged.outcome is None else "cannot say" if n is None else "> 1,000" if n > 1000 else f"{n}"


def lines(judged: Sequence[Judged]) -> list[str]:
    """A line a claim, and one that counts the verdicts."""
    said = [
        f"{j.claim.name:20} {j.verdict:21} {effect_words(j.outcome)}, n = {j.outcome.n}, p = {p_words(j.adjusted)}"
        if j.outcome
        else f"{j.claim.name:20} {j.verdict}"
        for j in judged
    ]
    return [*said, ", ".join(f"{count} {verdict}" for verdict, count in counts(judged).items())]


def overview(columns: Mapping[str, Sequence[Judged]]) -> pd.DataFrame:
    """Claims down, studies across: each verdict with a link to where the book shows it."""
    first = next(iter(columns.values()))
    table = pd.DataFrame({"Claim": [j.claim.text for j in first]}, index=[f"`{j.claim.name}`" for j in first])
    for name, judged in columns.items():
        table[name] = [f"{_marked(j.verdict)} ({{numref}}`{j.claim.figure}`)" for j in judged]
    return table.rename_axis("Name")


def _marked(verdict: str) -> str:
    return f"**{verdict}**" if verdict in VERDICTS[:2] else verdict


def details(judged: Sequence[Judged]) -> pd.DataFrame:
    """Of each claim that has runs: effect with its 95 % interval, runs, tasks, p, seeds that would have told, and the test."""
    rows = [
        {
            "Name": f"`{j.claim.name}`",
            "Verdict": j.verdict,
            "Effect": effect_words(j.outcome),
            "Runs": f"{j.outcome.n}",
            "Tasks": f"{j.outcome.tasks}",
            "p": p_words(j.outcome.p),
            "p (Holm)": p_words(j.adjusted),
            "Seeds": seeds_words(j),
            "Test": j.outcome.test,
        }
        for j in judged
        if j.outcome
    ]
    return pd.DataFrame(rows or [{"Name": VERDICTS[3]}])


def effects(judged: Sequence[Judged]) -> pd.DataFrame:
    """A row a claim with an effect: `name`, `verdict`, `effect`, `low`, `high`, `unit`, `margin`."""
    kept = [(j, j.outcome) for j in judged if j.outcome and j.outcome.effect == j.outcome.effect]
    names = ("effect", "low", "high", "unit", "margin")
    rows = [{"name": j.claim.name, "verdict": j.verdict} | {n: getattr(o, n) for n in names} for j, o in kept]
    return pd.DataFrame(rows, columns=["name", "verdict", *names])
