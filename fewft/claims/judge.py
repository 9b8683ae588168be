"""From outcomes to verdicts: Holm's correction over all claims, and what changed since a file was written."""

import csv
import os.path
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fewft import stats, studies
from fewft.claims.appendices import APPENDICES
from fewft.claims.claim import Claim
from fewft.claims.kinds import Outcome
from fewft.claims.runs import Runs
from fewft.claims.sections import SECTION_4, SECTION_5, SECTION_6, SECTION_7
from fewft.config import UsageError, names_in, shown
from fewft.files import read_text
from fewft.results import ResultStore, replace_file
from fewft.stats import ALPHA
from fewft.tables.words import NOT_RUN

CLAIMS: tuple[Claim, ...] = (*SECTION_4, *SECTION_5, *SECTION_6, *SECTION_7, *APPENDICES)
HOLDS, FAILS, FEW = "holds", "does not hold", "too few runs to tell"
VERDICTS = (HOLDS, FAILS, FEW, NOT_RUN)
PAPER = "The paper's tables"
NOT_PRINTED = "not printed"  # the paper's tables cannot say


@dataclass(frozen=True)
class Judged:
    """A claim with its verdict."""

    claim: Claim
    outcome: Outcome | None
    verdict: str
    adjusted: float  # p of the claim after Holm's correction; NaN: not tested
    level: float  # at which Holm's correction tests the smallest p

    def seeds_needed(self) -> int | None:
        """Runs an arm that would have told, see `stats.seeds_needed`."""
        return self.outcome.seeds_needed(self.level) if self.outcome else None


def judge(
    outcomes: Sequence[Outcome | None], *, absent: str = NOT_RUN, claims: Sequence[Claim] = CLAIMS
) -> list[Judged]:
    """A verdict for each claim from the outcome in its place; `absent` where there is none."""
    nan = float("nan")
    adjusted = stats.holm([o.p if o else nan for o in outcomes])
    opposite = stats.holm([o.p_opposite if o else nan for o in outcomes])
    level = ALPHA / max(1, sum(p == p for p in adjusted))
    found = []
    for claim, outcome, p, against in zip(claims, outcomes, adjusted, opposite, strict=True):
        told = HOLDS if p < ALPHA else FAILS if against < ALPHA else FEW
        found.append(Judged(claim, outcome, told if outcome else absent, float(p), level))
    return found


def of_study(study: str, *, results: str = "results") -> list[Judged]:
    """Every claim on a study's stored runs.

    Raises:
        UsageError: unknown study, or damaged results.
    """
    about = studies.load(study)
    runs = Runs(about, ResultStore(studies.root() / Path(results), about.name).records())
    return judge([claim.outcome(runs) for claim in CLAIMS])


def of_paper() -> list[Judged]:
    """Every claim that the paper's own tables can say something about."""
    return judge([claim.published() if claim.published else None for claim in CLAIMS], absent=NOT_PRINTED)


def side_by_side(study: str, more: str = "", *, results: str = "results") -> dict[str, list[Judged]]:
    """The claims on several studies by name, and last on the paper's tables.

    Args:
        study: comes first.
        more: other studies, comma separated; empty: those of the project that have stored runs.
        results: as for `of_study`.

    Raises:
        UsageError: as `of_study`.
    """
    stored = [name for name in studies.available() if (studies.root() / results / f"{name}.parquet").is_file()]
    columns = {studies.load(name).name: name for name in (study, *(names_in(more) or stored))}
    return {title: of_study(name, results=results) for title, name in columns.items()} | {PAPER: of_paper()}


def write(judged: Sequence[Judged], path: Path) -> None:
    """Keep the verdicts, for `changes`: a CSV of `claim` and `verdict`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, "".join(["claim,verdict\n", *(f"{j.claim.name},{j.verdict}\n" for j in judged)]).encode())


def changes(judged: Sequence[Judged], path: Path) -> list[str]:
    """A line for each claim whose verdict is not that of the file, or that only one of both has.

    Raises:
        UsageError: no such file, or not one that `write` made.
    """
    if not os.path.isfile(path):  # unlike Path's, no error for a name that no file can have
        raise UsageError(f"expect: no file {shown(str(path))}; accepted: one that --write made")
    try:
        rows = list(csv.reader(read_text(path).splitlines()))
    except (OSError, ValueError, csv.Error) as error:
        raise UsageError(f"expect: {str(path)!r} cannot be read ({error}); accepted: one that --write made") from error
    if rows[:1] != [["claim", "verdict"]] or any(len(row) != 2 for row in rows):
        raise UsageError(f"expect: {str(path)!r} is not a list of claims and verdicts; accepted: one that --write made")
    before, now = dict(rows[1:]), {j.claim.name: j.verdict for j in judged}
    names = dict.fromkeys([*now, *before])
    told = {name: (before.get(name, "not in the file"), now.get(name, "no such claim")) for name in names}
    return [f"{name}: {was} -> {is_}" for name, (was, is_) in told.items() if was != is_]
