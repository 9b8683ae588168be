"""The paper's claims as statistical tests, each with one of four verdicts.

- A claim is about several tasks: its effect is the mean over the tasks of what a difference of arms is on each, so that all
  count alike. A task counts with at least 3 runs in every arm (trials and shares say where they need more).
- **holds**: its one-sided p, after Holm's correction over all claims of the page, is below 0.05.
- **does not hold**: the opposite is told in the same way: that the effect is below 0.5 points (5 % of a loss or distance, 5
  points of a share of runs), whatever its sign; where the claim is that a difference is small, that it is beyond the margin.
- **too few runs to tell**: neither. **not run**: no task has a run in every arm.

"No difference" and "no more than" are tested against a margin of 1 point; a large p alone never makes a claim hold. Means and
orders are tested by permuting runs within tasks, spreads by Brown and Forsythe's test (Stouffer over tasks), shares by exact
binomial tests. Claims in the paper that name methods with BERTAdam (Section 7) have no runs here and are not listed.

Paper: Sections 4 to 7, Appendices B to G.
"""

from fewft.claims.claim import Claim
from fewft.claims.glance import by_section, chosen
from fewft.claims.judge import CLAIMS, PAPER, VERDICTS, Judged, changes, judge, of_paper, of_study, side_by_side, write
from fewft.claims.kinds import Kind, Outcome
from fewft.claims.report import counts, details, effects, findings, lines, overview
from fewft.claims.runs import Runs

__all__ = [
    "CLAIMS", "PAPER", "VERDICTS", "Claim", "Judged", "Kind", "Outcome", "Runs", "by_section", "changes", "chosen", "counts", "details", "effects", "findings",
    "judge", "lines", "of_paper", "of_study", "overview", "side_by_side", "write",
]  # fmt: skip
