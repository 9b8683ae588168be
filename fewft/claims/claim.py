"""A claim: a statement of the paper, the runs that it is about, and how it is tested."""

from dataclasses import dataclass

from fewft.claims.arms import Select
from fewft.claims.kinds import Kind, Outcome
from fewft.claims.published import Published
from fewft.claims.runs import Runs


@dataclass(frozen=True)
class Claim:
    """A statement of the paper that runs can contradict."""

    name: str  # s4-variance, b-alike: its section, then a word
    text: str  # in our words
    figure: str  # label of where the book shows it
    needs: tuple[str, ...]  # experiments
    select: Select  # arms in the order in which the first is claimed to be higher, or to spread more
    kind: Kind
    published: Published | None = None  # on the paper's own numbers

    @property
    def section(self) -> str:
        """4 to 7 or B to G."""
        return self.name.split("-")[0].removeprefix("s").upper()

    def outcome(self, runs: Runs) -> Outcome | None:
        """What the stored runs say; None where those that it needs are absent."""
        return self.kind.of(self.select(runs))
