"""The store alone: killed at each of its steps and at random moments, read while it is written, under a wild clock."""

import os
import random
import shutil
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import harness
import pytest
from harness import NAME, Zygote, made, send, state, wait_for

from fewft.config import RunConfig
from fewft.results import ResultStore

SEED = 20260102
Record = dict[str, Any]


@pytest.fixture
def records(stored_run: Callable[..., Record]) -> list[Record]:
    """Runs that nobody trained."""
    return [stored_run(RunConfig(task="rte", init_seed=seed)) for seed in range(400)]


def texts(records: list[Record]) -> dict[str, str]:
    return {r["run_id"]: harness.canonical(r) for r in records}


def acknowledged(said: str, known: dict[str, str]) -> dict[str, str]:
    """Those of the known runs whose `add` returned, by what the killed process said."""
    return {i: known[i] for i in set(said.splitlines()) & set(known)}


@pytest.mark.parametrize("step", ["add", "collect", "merge"])
def test_killed_at_every_call(
    step: str, zygote: Zygote, records: list[Record], tmp_path: Path, long: bool, tally: Callable[[str], None]
) -> None:
    """Before and after each call of a C function that a step makes: all that it can be killed between."""
    made(tmp_path / "whole", records[:3], collected=True)
    made(tmp_path / "whole", records[2:6], collected=False)
    other = made(tmp_path / "other", records[5:8], collected=True).parquet
    expected = texts(records[:6] + {"add": records[8:9], "collect": [], "merge": records[6:8]}[step])
    work = {"steps": [step], "other": str(other)}
    call = zygote.work(shutil.copytree(tmp_path / "whole", tmp_path / "count"), records[8:9], call=10**9, **work)
    assert call.code() == 0, call.said()
    number = int(call.said().split()[-1])
    assert number > 10
    chosen = random.Random(SEED).sample(range(1, number + 1), min(number, 400 if long else 20))
    for at in chosen:
        folder = shutil.copytree(tmp_path / "whole", tmp_path / f"{at}")
        call = zygote.work(folder, records[8:9], call=at, **work)
        assert call.code() == -signal.SIGKILL, call.said()
        after = state(folder, NAME)
        assert not harness.lost(texts(records[:6]) | acknowledged(call.said(), expected), after), f"lost at call {at}"
        assert set(after.texts) <= set(expected)
        again = zygote.work(folder, records[8:9], **work)
        assert again.code() == 0, again.said()
        after = state(folder, NAME)
        assert after.texts == expected and (step == "add" or not after.both), f"not completed after call {at}"
        shutil.rmtree(folder)
    tally(
        f"store only, {step}: {len(chosen)} kills at as many of its {number:,} calls and returns; "
        f"lost 0, doubled 0, torn 0"
    )


def test_killed_at_random_moments(
    zygote: Zygote, records: list[Record], tmp_path: Path, long: bool, tally: Callable[[str], None]
) -> None:
    """Processes that add, collect and merge without end; what `add` has said to be stored stays so."""
    rng, wanted, signals = random.Random(SEED), 600 if long else 40, Counter()
    other = made(tmp_path / "other", records[:3], collected=True).parquet
    folder, safe, finished, known = tmp_path / "0", {}, 0, texts(records)
    while signals.total() < wanted:
        left = [r for r in records if r["run_id"] not in safe]
        if len(left) < 50:
            folder, safe = tmp_path / str(signals.total()), {}
            left = records
        number = rng.choice((signal.SIGKILL, signal.SIGTERM, signal.SIGINT))
        call = zygote.work(folder, left[:50], seed=rng.randrange(2**31), other=str(other))
        wait_for(call.ended, rng.uniform(0, 0.2), pause=0.001)
        if not call.ended() and send(call.pid, number):
            signals[number.name] += 1
        call.code()
        safe |= acknowledged(call.said(), known)
        after = state(folder, NAME)
        finished += len(safe)
        assert not harness.lost(safe, after), f"lost after kill {signals.total()} (seed {SEED})"
        assert after.texts == {i: known[i] for i in after.texts}
        safe = after.texts
    assert zygote.work(folder, records, steps=["add"] * len(records) + ["collect"]).code() == 0
    after = state(folder, NAME)
    assert after.texts == known and not after.both
    tally(
        f"store only, at random: {signals.total()} kills ({harness.listed(signals)}); runs stored before a kill: "
        f"{finished:,}, lost 0, doubled 0, torn 0; temporary files left {after.temporary}; seed {SEED}"
    )


def test_read_while_collected(
    zygote: Zygote, records: list[Record], tmp_path: Path, tally: Callable[[str], None]
) -> None:
    """A reader that began before a collection, and one that began within it, see all runs."""
    made(tmp_path, records[:50], collected=True)
    reads, fewest, known, early = 0, 10**9, texts(records), set(texts(records[:50]))
    call = zygote.work(tmp_path, records[50:200], steps=(["add"] * 3 + ["collect"]) * 50)
    try:
        while not call.ended():
            safe = early | set(acknowledged(call.said(), known))
            fewest = min(fewest, len(safe & set(ResultStore(tmp_path, NAME).records())) - len(safe))
            reads += 1
    finally:
        if not call.ended():  # a read that failed
            send(call.pid, signal.SIGKILL)
    tally(f"store only, read while collecting: {reads} reads, the worst lacked {-fewest} stored runs")
    assert call.code() == 0 and reads > 20
    assert fewest == 0


def test_newer_run_of_the_same_time_outlives_a_collection(
    zygote: Zygote, records: list[Record], tmp_path: Path
) -> None:
    """A run that is stored anew while the old one is collected, with the old file's time on it, as clocks may have it."""
    made(tmp_path, records[:5], collected=False)
    path = tmp_path / NAME / f"{records[0]['run_id']}.json"
    times = path.stat()
    call = zygote.work(tmp_path, [], steps=["collect"], aim=(str(tmp_path), "os.rename", 1))
    wait_for(lambda: call.stopped() or call.ended())
    assert call.stopped(), "the Parquet file is not moved into place"
    newer = {**records[0], "test_best": 0.9}
    add = zygote.work(tmp_path, [newer], steps=["add"])
    wait_for(add.ended, 1)  # or it waits for the collection's lock
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert call.code() == add.code() == 0
    assert state(tmp_path, NAME).texts == texts([newer, *records[1:5]])


@pytest.mark.parametrize("seed", range(3))
def test_wild_clock(zygote: Zygote, records: list[Record], tmp_path: Path, seed: int) -> None:
    """Times of files far in the past and in the future, changed within a collection; a clock that runs back."""
    rng = random.Random(seed)
    work = {"steps": ["add"] * 10 + ["collect"] + ["add"] * 10, "clock": seed + 1}
    assert zygote.work(tmp_path, records[:20], **work).code() == 0
    call = zygote.work(tmp_path, [], steps=["collect"], aim=(str(tmp_path), "collecting", rng.randint(1, 8)))
    wait_for(lambda: call.stopped() or call.ended())
    for path in tmp_path.rglob("*"):
        os.utime(path, (rng.uniform(0, 4e9),) * 2)
    assert call.code() == 0, call.said()
    assert state(tmp_path, NAME).texts == texts(records[:20])
    assert zygote.work(tmp_path, [], steps=["collect"], clock=seed + 1).code() == 0
    after = state(tmp_path, NAME)
    assert after.texts == texts(records[:20]) and not after.both
