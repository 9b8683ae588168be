"""The verdicts in a few words: how many of each by section, and some claims in a line each."""

from collections.abc import Sequence

import pandas as pd

from fewft.claims.judge import VERDICTS, Judged
from fewft.claims.kinds import Outcome
from fewft.markup import with_markup

SECTIONS = {  # of the paper: the pages where the book shows its claims
    "4": "{doc}`Section 4 </notebooks/sec4_bias_correction>`, bias correction",
    "5": "{doc}`Section 5 </notebooks/sec5_reinit>`, Re-init",
    "6": "{doc}`Section 6 </notebooks/sec6_longer>`, training longer",
    "7": "{doc}`Section 7 </notebooks/sec7_existing_methods>`, other methods",
}
APPENDICES = "Appendices {doc}`B </notebooks/appB_randomness>` to {doc}`G </notebooks/appG_longer>`"
HEADS = ("Holds", "Does not", "Too few runs", "Not run")  # of VERDICTS, short


def by_section(judged: Sequence[Judged]) -> pd.DataFrame:
    """How many claims of each section have which verdict, and of all of them together."""
    rows = [*SECTIONS.items(), ("", APPENDICES)]
    table = []
    for section, words in rows:
        own = [j for j in judged if (j.claim.section if j.claim.section in SECTIONS else "") == section]
        table.append({"Claims of": words} | _counted(own))
    return with_markup(pd.DataFrame([*table, {"Claims of": "All"} | _counted(judged)]), "Claims of")


def _counted(judged: Sequence[Judged]) -> dict[str, int]:
    return {head: sum(j.verdict == verdict for j in judged) for head, verdict in zip(HEADS, VERDICTS, strict=True)}


def chosen(judged: Sequence[Judged], names: Sequence[str]) -> pd.DataFrame:
    """The claims of these names, in this order: what is claimed, effect and runs here, verdict."""
    by_name = {j.claim.name: j for j in judged}
    own = [by_name[name] for name in names]
    table = pd.DataFrame({"Claim": [f"{j.claim.text} ({{numref}}`{j.claim.figure}`)" for j in own]})
    table["Here"] = [numbers(j.outcome) for j in own]
    table["Verdict"] = [f"{{verdict}}`{j.verdict}`" for j in own]
    return with_markup(table, "Claim", "Verdict")


def numbers(outcome: Outcome | None) -> str:
    """Effect, its 95 % interval, runs and tasks: "+2.9 points [+1.2, +4.7], 24 runs on 4 tasks"."""
    if outcome is None:
        return "no run"
    runs = f"{outcome.n} run{'s' * (outcome.n != 1)}"
    if outcome.effect != outcome.effect:
        return runs
    unit = outcome.unit if outcome.unit == "%" else f"\N{NO-BREAK SPACE}{outcome.unit}"
    ends = f" [{outcome.low:+.1f}, {outcome.high:+.1f}]" if outcome.low == outcome.low else ""
    tasks = f"{outcome.tasks} task{'s' * (outcome.tasks != 1)}"
    return f"{outcome.effect:+.1f}{unit}{ends}, {runs} on {tasks}".replace("-", "−")
