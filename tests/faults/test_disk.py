"""A full disk and a read-only one: small file systems in memory, mounted for the commands under test only."""

import shutil
from collections.abc import Callable
from pathlib import Path

import harness
import pytest
from harness import NAME, Call, Zygote, made, run_of, state, wait_for

from fewft.results import ResultStore


@pytest.fixture
def mount(zygote: Zygote, tmp_path: Path) -> Callable[[str], Path]:
    """Mounts a file system on `tmp_path / "disk"`; its folder as the test sees it."""
    if not zygote.private:
        pytest.skip("file systems can be mounted by root only")
    (tmp_path / "disk").mkdir()
    return lambda options: zygote.mount(options, tmp_path / "disk")


@pytest.fixture
def call(zygote: Zygote, study: Path, reference: Path, tmp_path: Path) -> Callable[[], Call]:
    """A run of the study with the store on that disk, its cache elsewhere."""
    shutil.copytree(reference.parent / "cache", tmp_path / "cache")
    return lambda: zygote.start(run_of(study, tmp_path / "disk" / "results"), tmp_path / "cache")


def errors(call: Call) -> list[str]:
    """What a command said apart from its progress."""
    return [line for line in call.said().splitlines() if not line.startswith("[")]


def fill(folder: Path, spare: int) -> None:
    """Leave room for this many bytes."""
    with (folder / "filler").open("wb", buffering=0) as file:
        while shutil.disk_usage(folder).free > spare:
            file.write(bytes(min(4096, shutil.disk_usage(folder).free - spare)))


FULL = {  # what the disk has no room for: spare bytes, files, whether the runs are stored, but one by one
    "the first record": (0, 0, False),
    "a later record": (40_000, 0, False),
    "half a record": (4096, 0, False),
    "the Parquet file": (4096, 0, True),
    "half the Parquet file": (16_384, 0, True),
    "another file": (1_000_000, 4, False),
    "the lock file": (1_000_000, -1, True),
}


@pytest.mark.parametrize("what", FULL)
def test_full_disk(
    what: str, mount: Callable[[str], Path], call: Callable[[], Call], reference: Path, long: bool,
    tally: Callable[[str], None],
) -> None:  # fmt: skip
    """No room for what is written next: a sentence; nothing is lost; with room the next call completes."""
    if not long and what not in ("a later record", "the Parquet file"):
        pytest.skip("only at full length")
    spare, files, stored = FULL[what]
    whole, disk = ResultStore(reference, NAME).records(), mount("size=4m")
    (disk / "results" / NAME).mkdir(parents=True)
    made(disk / "results", whole.values() if stored else [], collected=False)
    lock = disk / "results" / f"{NAME}.lock"
    lock.unlink(missing_ok=True)
    if not files:
        lock.touch()
        fill(disk, spare)
    used = 2 + len(list(disk.rglob("*")))  # with the root, and one that the kernel counts
    mount(f"remount,size=4m,nr_inodes={used + files}" if files else "remount,size=4m")
    before = harness.finished(disk / "results", NAME)
    full = call()
    assert full.code() == 1, full.said()
    said, orphans, after = errors(full), full.orphans(), state(disk / "results", NAME)
    assert not harness.lost(before, after) and not orphans and "Traceback" not in full.said()
    (disk / "filler").unlink(missing_ok=True)
    mount("remount,size=40m,nr_inodes=0")
    again = call()
    assert again.code() == 0, again.said()
    last = state(disk / "results", NAME)
    assert not harness.lost(after.texts, last)
    assert last.timeless == state(reference, NAME).timeless and not last.both and not last.temporary
    tally(f"full disk, no room for {what}: {len(after.texts)} runs kept, lost 0; said {said}")
    assert len(said) == 1 and said[0].startswith("fewft: ")
    assert str(disk).partition("/root")[2] in said[0]


@pytest.mark.parametrize("what", ["half of the runs", "all runs, not collected"])
def test_read_only_disk(
    what: str, zygote: Zygote, mount: Callable[[str], Path], call: Callable[[], Call], reference: Path, study: Path
) -> None:
    """Reading commands work as before; a run is refused before any training."""
    whole, disk = list(ResultStore(reference, NAME).records().values()), mount("size=4m")
    made(disk / "results", whole[::2], collected=True)
    made(disk / "results", whole if "all" in what else whole[:1], collected=False)
    files = harness.contents(disk)
    said = []
    for options in ("remount,rw", "remount,ro"):
        mount(options)
        for command in ("status", "claims", "plan"):
            argv = [command, str(study), "--results", str(disk).partition("/root")[2] + "/results"]
            reading = zygote.start([*argv, *(["--rate", "1e9"] if command == "plan" else [])], reference.parent)
            assert reading.code() == 0, reading.said()
            said.append(reading.said())
    assert said[:3] == said[3:] and harness.contents(disk) == files
    refused = call()
    trained = wait_for(lambda: refused.workers() or refused.ended()) is not True
    assert refused.code() in (1, 2)
    assert harness.contents(disk) == files and not refused.orphans()
    assert len(errors(refused)) == 1 and "Traceback" not in refused.said(), refused.said()
    assert not trained, "workers were started before the store was found read-only"
