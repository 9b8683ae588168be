"""What the crash campaign's tests share: a study of short runs, commands in processes of their own, and a store's state."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from fewft.results import ResultStore

NAME = "tiny"  # of the study, and so of its files
HERE = Path(__file__).parent
ROOT = HERE.parents[1]
STUDY = """description = "runs of a fraction of a second"
model = "random:bert-tiny"
tasks = {tasks}
learning_rate = 1e-3
intermediate_task = "bundled:entailment"
[seeds]
bias_correction = {seeds}
longer_search = 1
longer = {seeds}
reinit = 1
methods = {seeds}
methods_search = 1
[grids]
max_steps = [6, 15]
reinit_layers = [1]
mixout_prob = [0.5]
prior_weight_decay = [0.1]
weight_decay = [0.1]
llrd_learning_rate = [5e-4]
layerwise_lr_decay = [0.9]
[settings]
max_steps = 3
num_evals = 1
num_train_epochs = 1
"""
TIMES = ("seconds", "train_seconds", "started")
SEALS = ("checksum", "sha256")  # of a whole record, times and all
DEADLINE = 300  # seconds, for a machine that is busy with other work


def run_of(study: Path, folder: Path, *more: str) -> list[str]:
    """The arguments of a run of the study."""
    names = ("bias_correction", "longer", "methods")
    return ["run", str(study), *[x for n in names for x in ("--experiment", n)], "--results", str(folder),
            "--device", "cpu", "--workers", "2", *more]  # fmt: skip


def wait_for(condition: Callable[[], Any], seconds: float = DEADLINE, pause: float = 0.01) -> Any:
    """What the condition gives, as soon as that is true; or what it gives at the end of the time."""
    end = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < end:
        time.sleep(pause)
    return found


def study_text(*, long: bool) -> str:
    """The campaign's study: 79 runs, or 13 in the short version, of a fraction of a second to two."""
    tasks = ["bundled:acceptability", "bundled:similarity"]
    return STUDY.format(seeds=4 if long else 1, tasks=json.dumps(tasks[: 1 + long]))


# --- processes ----------------------------------------------------------------------------------------------------


def stats() -> Iterator[tuple[int, str, int, int]]:
    """All living processes: id, state, parent, session."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # ended since the listing
            state, parent, _, session = path.read_text().rpartition(")")[2].split()[:4]
            if state not in "ZX":
                yield int(path.parent.name), state, int(parent), int(session)


@dataclass
class Call:
    """A command in a session of its own."""

    pid: int
    log: Path
    poll: Callable[[int], dict[str, Any]]
    end: dict[str, Any] = field(default_factory=dict)

    def members(self) -> list[int]:
        """Its living processes."""
        return [pid for pid, _, _, session in stats() if session == self.pid]

    def workers(self) -> list[int]:
        """Its workers: children that are neither git nor multiprocessing's resource tracker."""
        found = [pid for pid, _, parent, session in stats() if session == self.pid == parent]
        return [pid for pid in found if b"python" in command_of(pid) and b"resource_tracker" not in command_of(pid)]

    def stopped(self) -> list[int]:
        """Its processes that an aim has stopped."""
        return [pid for pid, state, _, session in stats() if session == self.pid and state == "T"]

    def ended(self) -> bool:
        """Whether the command itself has ended."""
        self.end = self.end or self.poll(self.pid)
        return bool(self.end)

    def let_go(self) -> None:
        """Let go on what an aim has stopped, each worker when it comes there."""
        for pid in self.stopped():
            send(pid, signal.SIGCONT)

    def code(self, seconds: float = DEADLINE) -> int:
        """Its exit status, negative for a signal, while all its processes are let go on."""
        assert wait_for(lambda: self.let_go() or self.ended(), seconds), f"hangs: {self.said()}"
        return self.end["code"]

    def orphans(self, seconds: float = 30) -> list[int]:
        """Processes that stay behind after the command's end; they are ended here."""
        wait_for(lambda: self.let_go() or not self.members(), seconds)
        left = self.members()
        for pid in left:
            send(pid, signal.SIGKILL)
        return left

    def said(self) -> str:
        """Its output, with the errors."""
        return self.log.read_text() if self.log.exists() else ""


def command_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def send(pid: int, number: int, *, group: bool = False) -> bool:
    """Send a signal; whether there was a process to send it to."""
    try:
        (os.killpg if group else os.kill)(pid, number)
    except ProcessLookupError:
        return False
    return True


class Zygote:
    """Forks commands: see zygote.py."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.count = folder, 0
        self.calls: list[Call] = []
        before = ["unshare", "--mount", "--propagation", "private"]
        self.private = bool(shutil.which("unshare")) and not subprocess.run([*before, "true"], check=False).returncode
        before = before if self.private else []  # what is mounted there is nowhere else, and gone at the end
        self.process = subprocess.Popen(
            [*before, sys.executable, str(HERE / "zygote.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True, env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        self.process.stdout.readline()  # it is ready

    def ask(self, order: dict[str, Any]) -> dict[str, Any]:
        """Hand over an order."""
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def start(self, argv: list[str] | None, cache: Path | str, *, aim: Any = None, clock: int = 0, **more: Any) -> Call:
        """Start a command; `argv` None: work on the store alone, as `more` says."""
        self.count += 1
        log = self.folder / f"log-{self.count}"
        env = {"FEWFT_CACHE": str(cache), "TMPDIR": str(self.folder)}
        order = {"argv": argv, "log": str(log), "env": env, "cwd": str(ROOT), "aim": aim, "clock": clock, **more}
        self.calls.append(Call(self.ask(order)["pid"], log, lambda pid: self.ask({"ended": pid})))
        return self.calls[-1]

    def work(
        self, folder: Path, records: list[dict[str, Any]], *, aim: Any = None, clock: int = 0, **more: Any
    ) -> Call:
        """Start work on the store of study `tiny` in a folder: see zygote.store_work."""
        order = {
            "steps": [],
            "seed": 0,
            "call": 0,
            "other": "",
            "study": NAME,
            "folder": str(folder),
            "records": records,
        }
        return self.start(None, folder / "cache", aim=aim, clock=clock, **{**order, **more})

    def mount(self, options: str, folder: Path) -> Path:
        """Mount a tmpfs on a folder, for its commands only, or change one that is there; the folder for us."""
        command = ["nsenter", "-t", str(self.process.pid), "-m", "mount", "-t", "tmpfs", "-o", options, "none"]
        subprocess.run([*command, str(folder)], check=True)
        return Path(f"/proc/{self.process.pid}/root{folder}")

    def close(self) -> None:
        """End it, and what a failed test has left running."""
        for call in self.calls:
            if not call.ended():
                send(call.pid, signal.SIGKILL, group=True)
        self.process.stdin.close()
        self.process.wait(60)
        self.process.stdout.close()


def start_anew(argv: list[str], folder: Path, **env: str) -> Call:
    """A command as a user starts it, in a new Python, its workers too."""
    log = folder / f"log-anew-{time.monotonic_ns()}"
    with log.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "fewft.cli", *argv], stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(folder), **env}, start_new_session=True,
        )  # fmt: skip
    return Call(process.pid, log, lambda _: {} if process.poll() is None else {"code": process.returncode})


def made(folder: Path, records: Iterable[dict[str, Any]], *, collected: bool) -> ResultStore:
    """A store of study `tiny` with these runs."""
    store = ResultStore(folder, NAME)
    for record in records:
        store.add(record)
    if collected:
        store.collect()
    return store


# --- a store ------------------------------------------------------------------------------------------------------


def canonical(record: dict[str, Any], *, times: bool = True) -> str:
    """A record as text; columns that it lacks and those that are empty are the same."""
    left_out = SEALS if times else (*SEALS, *TIMES)
    return json.dumps({k: v for k, v in record.items() if v is not None and k not in left_out}, sort_keys=True)


@dataclass
class State:
    """What is in a store."""

    texts: dict[str, str]  # finished runs by id
    failed: set[str]
    timeless: dict[str, str]
    both: int  # runs in a JSON file and in the Parquet file
    temporary: int  # files that a killed process left


def finished(folder: Path, study: str) -> dict[str, str]:
    """The finished runs of a store that may be at work, by id, as text."""
    records = ResultStore(folder, study).records()
    return {i: canonical(r) for i, r in records.items() if r["status"] != "failed"}


def state(folder: Path, study: str) -> State:
    """Read a store at rest in whole, file by file; every JSON file is a record by the name of its id, every row an own id."""
    store = ResultStore(folder, study)
    records = store.records()
    rows = pq.read_table(store.parquet).column("run_id").to_pylist() if store.parquet.exists() else []
    assert len(rows) == len(set(rows)), "a run is twice in the Parquet file"
    names = [path.stem for path in store.folder.glob("*.json")]
    for name in names:
        assert name in records and records[name]["run_id"] == name
    assert set(records) == {*rows, *names}
    good = {i: r for i, r in records.items() if r["status"] != "failed"}
    temporary = sum(path.suffix == ".tmp" for path in folder.rglob(".*"))
    return State(
        {i: canonical(r) for i, r in good.items()}, set(records) - set(good),
        {i: canonical(r, times=False) for i, r in good.items()}, len(set(rows) & set(names)), temporary,
    )  # fmt: skip


def lost(before: dict[str, str], after: State) -> list[str]:
    """Finished runs that are gone or not as they were."""
    return [i for i, text in before.items() if after.texts.get(i) != text]


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def listed(counts: Counter[str]) -> str:
    """Counts in words, the largest first."""
    return ", ".join(f"{number:,} {name}" for name, number in counts.most_common())
