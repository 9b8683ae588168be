"""Several sweeps on one store, stores in odd places, and one of 5,000 runs."""

import json
import re
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import harness
import pytest
from harness import NAME, Zygote, run_of, send, state, wait_for

from fewft import studies
from fewft.results import ResultStore


@pytest.mark.parametrize(
    ("count", "shards", "killed"),
    [(2, False, False), (4, False, False), (2, True, False), (4, True, False), (4, False, True)],
)
def test_sweeps_at_once(
    count: int, shards: bool, killed: bool, zygote: Zygote, study: Path, reference: Path, tmp_path: Path, long: bool,
    tally: Callable[[str], None],
) -> None:  # fmt: skip
    """All end well, whatever the others do; together they leave what one leaves."""
    if not long and (count, shards, killed) != (2, False, False):
        pytest.skip("only at full length")
    results, whole = tmp_path / "results", state(reference, NAME)
    argv = run_of(study, results, "--workers", "1")
    parts = [["--shard", f"{i}/{count}"] if shards else [] for i in range(1, count + 1)]
    calls = [zygote.start([*argv, *part], tmp_path / "cache") for part in parts]
    if killed:
        wait_for(lambda: len(list(results.rglob("*.json"))) >= 4)
        assert send(calls[2].pid, signal.SIGKILL, group=True)
    codes, damaged, seen = [], 0, 0
    for call in calls:
        while not call.ended():
            try:
                seen = max(seen, len(harness.finished(results, NAME)))
            except ValueError:  # UsageError: a file that cannot be read
                damaged += 1
        codes.append(call.code())
    reports = "\n".join(call.said() for call in calls)
    assert codes == [-9 if killed and i == 2 else 0 for i in range(count)], reports
    assert not any(call.orphans() for call in calls)
    before = state(results, NAME)
    if shards or killed:  # a search's last runs, which need those of all parts
        last = zygote.start(argv, tmp_path / "cache")
        assert last.code() == 0
        reports += last.said()
    after = state(results, NAME)
    assert not harness.lost(before.texts, after)
    assert after.timeless == whole.timeless and not after.both and not after.temporary
    done = len(re.findall(r"^\[\d+/\d+\] .*: ok, ", reports, re.MULTILINE))
    tally(
        f"{count} sweeps at once{', by shards' if shards else ''}{', one killed' if killed else ''}: "
        f"{len(after.texts)} runs, lost 0; {done - len(after.texts)} done twice; reads that failed: {damaged}"
    )
    assert seen and not damaged


PLACES = {
    "spaces and letters": ("with spaces/größe 数据", "étude à nous"),
    "quotes": ('it\'s "quoted" $HOME `x` ; & *?[a] {b}', 'o\'study "two"'),
    "long": ("/".join(["x" * 250] * 3), "s" * 200),
    "dots": ("..a/b..c", "v1.2.study"),
}


@pytest.mark.parametrize("place", PLACES)
def test_store_in_an_odd_place(place: str, zygote: Zygote, study: Path, tmp_path: Path, long: bool) -> None:
    """Every command on a study and a store of odd names."""
    if not long and place != "quotes":
        pytest.skip("only at full length")
    folder, name = tmp_path / PLACES[place][0], PLACES[place][1]
    folder.mkdir(parents=True)
    odd = folder / f"{name}.toml"
    text = study.read_text().replace("bias_correction = 4", "bias_correction = 1")
    odd.write_text(text)
    which = ["--experiment", "bias_correction"]
    results, machine = ["--results", str(folder / "results")], ["--device", "cpu", "--workers", "1"]
    parquet, other = folder / "results" / f"{name}.parquet", folder / f"other {name[:150]}.parquet"
    for argv in (
        ["plan", str(odd), *which, *results, "--rate", "1e9"],
        ["run", str(odd), *which, *results, *machine],
        ["status", str(odd), *which, *results],
        ["claims", str(odd), *results],
        ["verify", str(odd), *results, *machine, "--sample", "1"],
        ["merge", str(other), str(parquet)],
    ):
        call = zygote.start(argv, folder / "cache")
        assert call.code() == 0, f"{argv[0]}: {call.said()}"
    assert len(state(folder / "results", name).texts) == 2 * text.count("bundled:acceptability") + 2 * text.count(
        "bundled:similarity"
    )
    assert other.read_bytes() and ResultStore(other.parent, other.stem).records().keys() == set(
        state(folder / "results", name).texts
    )


def test_thousands_of_runs(
    zygote: Zygote, study: Path, reference: Path, tmp_path: Path, long: bool, tally: Callable[[str], None]
) -> None:
    """5,000 stored runs: nothing lost, no step of the store that takes minutes."""
    seeds, tasks = 834 if long else 34, ["bundled:acceptability", "bundled:paraphrase", "bundled:similarity"]
    odd = tmp_path / f"{NAME}.toml"
    text = re.sub(r"bias_correction = \d+", f"bias_correction = {seeds}", study.read_text())
    odd.write_text(re.sub("(?m)^tasks = .*", f"tasks = {json.dumps(tasks)}", text))
    about, record = studies.load(str(odd)), next(iter(ResultStore(reference, NAME).records().values()))
    arms = [about.run(task, arm, 0) for task in tasks for arm in studies.RECIPES]
    configs = [replace(arm, init_seed=seed, data_seed=seed) for seed in range(seeds) for arm in arms]
    records = [{**record, **c.to_dict(), "run_id": c.run_id} for c in configs]
    store, took = ResultStore(tmp_path / "results", NAME), Counter()

    def timed(name: str, act: Callable[[], object]) -> object:
        begun = time.monotonic()
        found = act()
        took[name] = time.monotonic() - begun
        return found

    def command(name: str, *more: str) -> int:
        argv = [name, str(odd), "--tasks", ",".join(tasks), "--experiment", "bias_correction"]
        call = zygote.start([*argv, "--results", str(tmp_path / "results"), *more], tmp_path / "cache")
        assert call.code() == 0, call.said()
        return call.end["peak"]

    timed("add", lambda: [store.add(r) for r in records])
    timed("records of JSON", store.records)
    timed("status of JSON", lambda: command("status"))
    assert timed("collect", store.collect) == len(records)
    timed("records of Parquet", store.records)
    timed("status", lambda: command("status"))
    peak = timed("run with nothing to do", lambda: command("run", "--device", "cpu"))
    after = state(tmp_path / "results", NAME)
    assert after.texts == {r["run_id"]: harness.canonical(r) for r in records} and not after.both
    tally(
        f"{len(records):,} stored runs, lost 0: "
        + ", ".join(f"{name} {seconds:.2f} s" for name, seconds in took.items())
        + f"; peak memory of the run {peak / 1e9:.2f} GB"
    )
    assert peak < 2e9
