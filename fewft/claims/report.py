"""Verdicts as lines, tables and a frame to draw."""

from collections import Counter
from collections.abc import Mapping, Sequence

import pandas as pd

from fewft.claims.judge import VERDICTS, Judged
from fewft.claims.kinds import Outcome
from fewft.markup import with_markup
from fewft.tables.words import p_words

NONE = "–"
SHORT = {"points": "pt", "points of share": "pp", "%": "%"}
KEYS = ("hold", "fail", "few", "not_run")  # VERDICTS in names


def counts(judged: Sequence[Judged]) -> dict[str, int]:
    """How many claims have each verdict."""
    found = Counter(j.verdict for j in judged)
    return {verdict: found[verdict] for verdict in VERDICTS}


def findings(judged: Sequence[Judged]) -> dict[str, str]:
    """For text: how many claims have each verdict, and which hold and which do not."""
    found = counts(judged)
    said = {f"claims_{key}": str(found[verdict]) for key, verdict in zip(KEYS, VERDICTS, strict=True)}
    for key, verdict in zip(KEYS[:2], VERDICTS, strict=False):
        texts = [j.claim.text.rstrip(".") for j in judged if j.verdict == verdict]
        said[f"claims_{key}_said"] = "; ".join(texts) or "none"
    return said | {
        "claims_total": str(len(judged)),
        "claims_tested": str(sum(j.adjusted == j.adjusted for j in judged)),
    }


def effect_words(outcome: Outcome | None) -> str:
    """Effect with its interval and unit: pt for points of score, pp for points of a share."""
    if outcome is None or outcome.effect != outcome.effect:
        return NONE
    interval = f" [{outcome.low:+.1f}, {outcome.high:+.1f}]" if outcome.low == outcome.low else ""
    return f"{outcome.effect:+.1f}{interval} {SHORT[outcome.unit]}"


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
    """Claims down, each with a link to where the book shows it, and studies across: their verdicts."""
    first = next(iter(columns.values()))
    table = pd.DataFrame({"Claim": [f"{j.claim.text} `{j.claim.name}` ({{numref}}`{j.claim.figure}`)" for j in first]})
    for name, judged in columns.items():
        table[name] = [f"{{verdict}}`{j.verdict}`" for j in judged]
    return with_markup(table, *table.columns)


def details(judged: Sequence[Judged]) -> pd.DataFrame:
    """Of each claim with an effect: verdict, effect with its 95 % interval, runs and tasks, p after Holm's
    correction, runs an arm that would have told, and the test."""
    rows = [
        {
            "Claim and test": f"`{j.claim.name}` {j.outcome.test}",
            "Verdict": j.verdict.removesuffix(" runs to tell"),
            "Effect": _unbroken(effect_words(j.outcome)),
            "Runs (tasks)": f"{j.outcome.n} ({j.outcome.tasks})",
            "p": _unbroken(p_words(j.adjusted)),
            "Seeds": seeds_words(j),
        }
        for j in judged
        if j.outcome and j.outcome.effect == j.outcome.effect
    ]
    return with_markup(pd.DataFrame(rows or [{"Claim and test": VERDICTS[3]}]), "Claim and test")


def _unbroken(text: str) -> str:
    return text.replace(" ", "\N{NO-BREAK SPACE}")


def effects(judged: Sequence[Judged]) -> pd.DataFrame:
    """A row a claim with an effect: `name`, `verdict`, `effect`, `low`, `high`, `unit`, and the `least` and `most` that the
    claim says."""
    kept = [(j, j.outcome) for j in judged if j.outcome and j.outcome.effect == j.outcome.effect]
    rows = [(j.claim.name, j.verdict, o.effect, o.low, o.high, o.unit, *o.claimed) for j, o in kept]
    return pd.DataFrame(rows, columns=["name", "verdict", "effect", "low", "high", "unit", "least", "most"])
