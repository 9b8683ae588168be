"""Commands killed at every stage of their work: what was finished stays, and the next call goes on.

`-k training`, `-k collecting`, `-k merging`, `-k verifying` and `-k anew` run one part.
"""

import random
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import cycle, product
from pathlib import Path

import harness
import pytest
from harness import NAME, Call, State, Zygote, run_of, send, state, wait_for

from fewft.results import ResultStore

SEED = 20260101  # of the moments and of what is hit; another gives another campaign
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
TARGETS = ("parent", "worker", "group")


@dataclass
class Campaign:
    """Kills, and what was found after each."""

    zygote: Zygote
    study: Path
    whole: State  # of a store that nothing disturbed
    folder: Path
    rng: random.Random = field(default_factory=lambda: random.Random(SEED))
    kills: int = 0
    signals: Counter[str] = field(default_factory=Counter)
    targets: Counter[str] = field(default_factory=Counter)
    moments: Counter[str] = field(default_factory=Counter)
    calls: int = 0
    finished: int = 0  # runs in the store before a kill, added up
    lost: int = 0
    both: int = 0
    temporary: int = 0
    orphans: int = 0

    def start(self, results: Path, *, aim: tuple[str, int] | None = None) -> Call:
        """A run of the study."""
        self.calls += 1
        aimed = aim and (str(results), *aim)
        return self.zygote.start(run_of(self.study, results), results.parent / "cache", aim=aimed)

    def kill(self, call: Call, target: str, number: signal.Signals, moment: str) -> bool:
        """Send the signal, and let go on what an aim had stopped; whether there was something to hit."""
        stopped, workers = call.stopped(), call.workers()
        pids = [call.pid] if target != "worker" else [p for p in stopped if p != call.pid] or workers
        hit = bool(pids) and not call.ended() and send(self.rng.choice(pids), number, group=target == "group")
        for pid in stopped:
            send(pid, signal.SIGCONT)
        if hit:
            self.kills += 1
            self.signals[number.name] += 1
            self.targets[target] += 1
            self.moments[moment] += 1
        return hit

    def settle(self, call: Call, target: str, number: signal.Signals) -> None:
        """Wait for the killed command's end; one that goes on after a worker's end is killed in turn."""
        if target == "worker" and not wait_for(call.ended, self.rng.uniform(0, 2)):
            self.kill(call, "group", signal.SIGKILL, "after a worker's end")
        code = call.code(60)
        expected = (0, 1, -9) if target == "worker" else (0, 1) if number == signal.SIGINT else (0, -number)
        assert code in expected, f"{code} after {number.name} to {target}: {call.said()}"
        self.orphans += len(call.orphans())
        assert number != signal.SIGINT or target == "worker" or "Traceback" not in call.said(), call.said()

    def check(self, results: Path, before: dict[str, str]) -> State:
        """No finished run lost, none torn, none twice."""
        after = state(results, NAME)
        self.finished += len(before)
        self.both += after.both
        missing = harness.lost(before, after)
        self.lost += len(missing)
        assert not missing, f"lost after kill {self.kills} (seed {SEED}): {missing}"
        assert not self.orphans
        return after

    def complete(self, results: Path, before: dict[str, str], call: Call | None = None) -> None:
        """A call that nothing disturbs ends as if there had been no kill."""
        call = call or self.start(results)
        assert call.code() == 0, call.said()
        after = self.check(results, before)
        assert not after.both and not after.failed and after.timeless == self.whole.timeless
        self.temporary += after.temporary

    def __str__(self) -> str:
        return (
            f"kills: {self.kills} ({harness.listed(self.signals)}; {harness.listed(self.targets)}; "
            f"{harness.listed(self.moments)}); {self.calls} calls; runs finished before a kill: {self.finished:,}, "
            f"lost {self.lost}, doubled 0, torn files read 0; in two files until the next call: {self.both}; "
            f"processes left {self.orphans}; temporary files left {self.temporary}; seed {SEED}"
        )


@pytest.fixture(scope="module")
def totals(tally: Callable[[str], None]) -> Iterator[Counter[str]]:
    """Of all parts."""
    totals: Counter[str] = Counter()
    yield totals
    tally(f"commands killed, all parts: {', '.join(f'{name} {number:,}' for name, number in totals.items())}")


@pytest.fixture
def campaign(
    zygote: Zygote, study: Path, reference: Path, tmp_path: Path, totals: Counter[str], tally: Callable[[str], None]
) -> Iterator[Campaign]:
    whole = state(reference, NAME)
    campaign = Campaign(zygote, study, whole, tmp_path)
    yield campaign
    if campaign.kills:
        tally(str(campaign))
        names = ("kills", "calls", "finished", "lost", "orphans", "temporary")
        totals.update({name: getattr(campaign, name) for name in names})


def deck(rng: random.Random, *choices: tuple) -> Iterator[tuple]:
    """Every combination equally often, in random order."""
    cards = list(product(*choices))
    rng.shuffle(cards)
    return cycle(cards)


def test_killed_while_training_and_writing(campaign: Campaign, long: bool) -> None:
    rng, wanted, chain = campaign.rng, 130 if long else 6, 0
    scenes = deck(rng, TARGETS, SIGNALS, ("training", "writing"))
    while campaign.kills < wanted:
        chain += 1
        results, before = campaign.folder / str(chain) / "results", {}
        while campaign.kills < wanted and set(before) != set(campaign.whole.texts):
            target, number, moment = next(scenes)
            call = campaign.start(results, aim=("writing", rng.randint(1, 12)) if moment == "writing" else None)
            if moment == "writing":
                wait_for(lambda call=call: call.stopped() or call.ended())
            else:
                wait_for(lambda call=call: call.workers() or call.ended())
                wait_for(call.ended, rng.uniform(0, 2))
            before = harness.finished(results, NAME)
            campaign.kill(call, target, number, moment)
            campaign.settle(call, target, number)
            before = campaign.check(results, before).texts
            assert call.code() or set(before) == set(campaign.whole.texts), "a call ended well, with runs missing"
        campaign.complete(results, before)


def mixed_store(campaign: Campaign, reference: Path, results: Path, part: float) -> dict[str, str]:
    """Some of the whole store's runs: part of them in a JSON file each, some in the Parquet file, a few in both."""
    store = ResultStore(results, NAME)
    records = list(ResultStore(reference, NAME).records().values())
    chosen = campaign.rng.sample(records, max(4, int(part * len(records))))
    half = len(chosen) // 2
    for record in chosen[:half]:
        store.add(record)
    store.collect()
    for record in chosen[half - 2 :]:
        store.add(record)
    return harness.finished(results, NAME)


@pytest.mark.parametrize("moment", ["collecting", "merging"])
def test_killed_while(campaign: Campaign, reference: Path, moment: str, long: bool) -> None:
    """Stopped at a random step of the rewriting, and killed there."""
    rng, count, wanted = campaign.rng, 0, 40 if long else 4
    shutil.copytree(reference.parent / "cache", campaign.folder / "cache")
    scenes = deck(rng, ("parent", "group"), SIGNALS)
    while campaign.kills < wanted:
        count += 1
        results = campaign.folder / str(count)
        before = mixed_store(campaign, reference, results, 1.0 if moment == "collecting" else 0.5)
        files = len(list((results / NAME).glob("*.json")))

        def start(aim: tuple[str, int] | None, results: Path = results) -> Call:
            if moment == "collecting":
                return campaign.start(results, aim=aim)
            campaign.calls += 1
            argv = ["merge", str(results / f"{NAME}.parquet"), str(reference / f"{NAME}.parquet")]
            return campaign.zygote.start(argv, campaign.folder / "cache", aim=aim and (str(results), *aim))

        target, number = next(scenes)
        call = start(("collecting", rng.randint(1, 6 + files)))
        wait_for(lambda call=call: call.stopped() or call.ended())
        campaign.kill(call, target, number, moment)
        campaign.settle(call, target, number)
        before = campaign.check(results, before).texts
        campaign.complete(results, before, start(None))


def test_killed_while_verifying(campaign: Campaign, reference: Path, long: bool) -> None:
    """The store stays as it was to the byte."""
    rng, wanted = campaign.rng, 30 if long else 2
    before, files = harness.finished(reference, NAME), harness.contents(reference)
    argv = ["verify", str(campaign.study), "--results", str(reference), "--device", "cpu", "--workers", "2"]
    scenes = deck(rng, TARGETS, SIGNALS)
    while campaign.kills < wanted:
        campaign.calls += 1
        target, number = next(scenes)
        call = campaign.zygote.start([*argv, "--sample", "6"], reference.parent / "cache")
        wait_for(lambda call=call: call.workers() or call.ended())
        wait_for(call.ended, rng.uniform(0, 1.5))
        campaign.kill(call, target, number, "verifying")
        campaign.settle(call, target, number)
        campaign.check(reference, before)
        assert harness.contents(reference) == files
    call = campaign.zygote.start([*argv, "--sample", "2"], reference.parent / "cache")
    assert call.code() == 0 and "2 of 2 runs agree" in call.said(), call.said()
    assert harness.contents(reference) == files


def test_killed_commands_that_were_started_anew(campaign: Campaign, long: bool) -> None:
    """As a user starts them: no forks, no aims, only random moments."""
    if not long:
        pytest.skip("a new Python for every process: only at full length")
    rng, results, before = campaign.rng, campaign.folder / "results", {}
    scenes = deck(rng, TARGETS, SIGNALS)
    while campaign.kills < 12 and set(before) != set(campaign.whole.texts):
        campaign.calls += 1
        target, number = next(scenes)
        cache = str(campaign.folder / "cache")
        call = harness.start_anew(run_of(campaign.study, results), campaign.folder, FEWFT_CACHE=cache)
        wait_for(lambda call=call: call.workers() or call.ended())
        more = len(before) + rng.randint(0, 4)  # runs, before the kill; with none of them: while the workers start
        wait_for(lambda call=call, more=more: len(list(results.rglob("*.json"))) >= more or call.ended())
        wait_for(call.ended, rng.uniform(0, 3))
        before = harness.finished(results, NAME)
        campaign.kill(call, target, number, "started anew")
        campaign.settle(call, target, number)
        before = campaign.check(results, before).texts
    assert campaign.kills and campaign.finished, "no kill, or none with something to lose"
    campaign.complete(results, before)
