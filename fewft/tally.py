"""How many runs a study's experiments have: all, distinct, still to be chosen, stored, missing."""

from dataclasses import dataclass

from fewft.config import RunConfig
from fewft.experiments import Plan

COUNTS = f"{'experiment':24} {'runs':>6} {'distinct':>8} {'later':>6} {'stored':>7} {'missing':>8}"


@dataclass(frozen=True)
class Line:
    """An experiment's line under COUNTS, or that of all together."""

    name: str
    runs: int
    later: int  # of them
    stored: int
    new: dict[str, RunConfig]  # by id, those that no line above has
    choices: list[list[list[RunConfig]]]  # of each, each candidate's runs that no line above has

    def __str__(self) -> str:
        distinct = len(self.new) + sum(max(map(len, c)) for c in self.choices)
        missing = self.runs - self.stored
        return f"{self.name:24} {self.runs:6} {distinct:8} {self.later:6} {self.stored:7} {missing:8}"


def lines_of(plans: dict[str, Plan], finished: set[str]) -> list[Line]:
    """A line an experiment, and the last one for the distinct runs of all."""
    known = {c.run_id: c for plan in plans.values() for c in plan.configs}
    lines, seen = [], dict[str, RunConfig]()
    for name, plan in plans.items():
        ids = {c.run_id: c for c in plan.configs}
        new, later = {i: c for i, c in ids.items() if i not in seen}, plan.count_pending()
        lines.append(Line(name, len(ids) + later, later, len(ids.keys() & finished), new, plan.pending(known)))
        seen |= ids
    choices = [choice for line in lines for choice in line.choices]
    later = sum(plan.count_pending(known) for plan in plans.values())
    return [*lines, Line("all, each once", len(seen) + later, later, len(seen.keys() & finished), seen, choices)]
