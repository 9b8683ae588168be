"""What the fuzzers share: a case ends in success or in one short line that names the place, in seconds; both are counted."""

import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir

from fewft.config import LONGEST_MESSAGE, UsageError

set_hypothesis_home_dir(Path(tempfile.gettempdir()) / "fewft-hypothesis")  # else it leaves a folder in the project

SECONDS = 5  # that a case may take
BYTES = (  # put into files: what ends, opens or breaks fields, lines, texts and numbers
    b"", b"\0", b'"', b"'", b"\t", b",", b"\n", b"\r", b"\r\n\r\n", b"\\", b"{", b"[" * 3000, b"]", b"}", b"=", b"#", b"\xff\xfe",
    b"\xef\xbb\xbf", b"\xe9", b"\xed\xa0\x80", b"\\ud800", b"\xe2\x80\xa8", b"9" * 5000, b"1e999", b"nan", b"-", b"x" * 140_000,
)  # fmt: skip
VALUES: tuple[Any, ...] = (  # given to functions in place of what they ask for
    None, True, False, 0, 1, -1, 3, 2**31, 2**63 - 1, 2**63, 10**400, 10**5000, -(10**30), 0.0, -0.0, 0.5, 1e-310, 1e308,
    float("nan"), float("inf"), float("-inf"), "", "rte", "bundled:minilm", "x" * 100_000, "a\nb", "\0", "\ud800", "\x1b[2J",
    "<script>", "{}", "[]", '{"files": 3}', "[" * 100_000, '{"a":' * 3000 + "1" + "}" * 3000, "\u00e9", b"bytes", 1j, [], [1], {}, {"a": [1]},
)  # fmt: skip


class Hang(BaseException):
    """A case that took too long; no handler of errors catches it."""


@contextmanager
def deadline(seconds: float = SECONDS) -> Iterator[None]:
    """Raise Hang when what is inside takes longer."""

    def end(*_: object) -> None:
        raise Hang(f"over {seconds} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@dataclass
class Campaign:
    """The cases of one kind, counted by how they end."""

    name: str
    accepted: int = 0
    refused: int = 0

    def case(self, call: Callable[[], object], *places: str) -> None:
        """One case; a refusal must name one of the places."""
        try:
            with deadline():
                call()
        except UsageError as error:
            check_line(str(error), places)
            self.refused += 1
        else:
            self.accepted += 1

    def run(self, cases: int, strategy: st.SearchStrategy, one: Callable[[Any], None], *, long: bool) -> str:
        """So many cases, the same each time in the short version; what came of them."""
        options = settings(
            max_examples=cases, derandomize=not long, database=None, deadline=None,
            suppress_health_check=list(HealthCheck), phases=(Phase.generate, Phase.shrink),
        )  # fmt: skip
        options(given(strategy)(lambda drawn: one(drawn)))()
        total = self.accepted + self.refused
        assert total >= cases and self.accepted and self.refused, self
        return (
            f"bad input, {self.name}: {total} cases, {self.accepted} accepted, {self.refused} refused, 0 anything else"
        )


def check_line(said: str, places: Sequence[str] = ()) -> None:
    """A sentence for a person: one line, of bounded length, that names one of the places."""
    assert said.isprintable() and len(said) <= LONGEST_MESSAGE, said
    assert not places or any(place in said for place in places), (places, said)


def damaged(content: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Files of which now and then some bytes are others."""

    @st.composite
    def draw_one(draw: st.DrawFn) -> bytes:
        whole = draw(content)
        for _ in range(draw(st.sampled_from((0, 0, 1, 2)))):
            start = draw(st.integers(0, len(whole)))
            end = start + draw(st.sampled_from((0, 1, 5, 100)))
            whole = whole[:start] + draw(st.sampled_from(BYTES)) + whole[end:]
        return whole

    return draw_one()
