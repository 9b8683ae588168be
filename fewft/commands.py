"""What each command of `fewft` does: its options in, its lines printed, its exit status out."""

import argparse
import math
import os
from collections import Counter
from pathlib import Path
from typing import Any

from fewft import experiments, inventory, studies
from fewft.config import RunConfig, UsageError
from fewft.designs import EXPERIMENTS
from fewft.results import ResultStore
from fewft.tally import COUNTS, lines_of
from fewft.yours import command as yours


def _plan(options: argparse.Namespace) -> int:
    from fewft import costs, pace

    if not 0 <= options.rate < math.inf:  # or not a number
        raise UsageError(f"rate: {options.rate:g}; accepted: FLOP/s above 0, or 0 to measure them")
    study, store = _open(options)
    records, finished = store.records(), store.finished()
    lines = lines_of(_wanted(study, options, records), finished)
    runs = lines[-1].new
    each = {run_id: costs.cost(config) for run_id, config in runs.items()}
    given = pace.Rate(options.rate, "as --rate says")
    rate = given if options.rate or not runs else pace.rate([*runs.values()], records.values())
    print(f"{COUNTS} {'steps':>9} {'Mtokens':>8} {'FLOPs':>8} {'hours':>7} {'left':>7}")
    for line in lines:
        chosen = sum((costs.expected(candidates) for candidates in line.choices), costs.Cost())
        spent = sum((each[i] for i in line.new), chosen)
        left = sum((each[i].flops for i in line.new if i not in finished), chosen.flops)
        hours = " ".join(f"{_hours(flops / rate.flops if flops else 0.0):>7}" for flops in (spent.flops, left))
        print(f"{line} {spent.steps:9,} {spent.tokens / 1e6:8,.1f} {spent.flops:8.1e} {hours}")
    print("later: runs that a search must choose first, counted as the mean of its candidates")
    print("steps to hours: of the distinct runs, which no experiment above has; left: hours of the missing ones")
    print(f"hours: at {rate.flops:.2g} FLOP/s, {rate.source}", *costs.assumptions(runs.values()), sep="\n")
    return 0


def _hours(seconds: float) -> str:
    hours = seconds / 3600
    return f"{hours:,.0f}" if hours >= 10 else f"{hours:.1f}" if hours >= 1 else f"{hours:.2f}"


def _run(options: argparse.Namespace) -> int:
    from fewft.sweep import Done, shard, sweep

    study, store = _open(options)
    names = options.experiment or list(EXPERIMENTS)

    def do(configs: list[RunConfig]) -> list[Done]:
        return sweep(
            shard(configs, options.shard), store, workers=options.workers, device=options.device,
            executor=options.executor, address=options.address, gpus=study.gpus_per_run,
        )  # fmt: skip

    if options.runs:
        from fewft.provenance import read_runs

        done = do(read_runs(options.runs, study.data))
    else:
        done = experiments.run_all(study, names, store, do, tasks=options.tasks, seeds=options.seeds)
    store.collect()
    all_ = lines_of(_wanted(study, options, store.records()), store.finished())[-1]
    counts = Counter(d.status for d in done)
    said = ", ".join(f"{n} {status}" for status, n in sorted(counts.items())) or "nothing was missing"
    waiting = f"; {all_.later} wait for runs that a search still lacks" if all_.later else ""
    print(f"{study.name}: {said}; {all_.stored} of {all_.runs} runs are stored{waiting}")
    return 1 if counts["failed"] else 0


def _status(options: argparse.Namespace) -> int:
    study, store = _open(options)
    if options.repair:
        _repair(study, store, options)
    records, damaged = store.read()
    finished = {run_id for run_id, record in records.items() if record["status"] != "failed"}
    print(COUNTS, *lines_of(_wanted(study, options, records), finished), sep="\n")
    for status, count in sorted(Counter(r["status"] for r in records.values()).items()):
        print(f"{status}: {count}")
    failed = [r for r in records.values() if r["status"] == "failed"]
    for record in failed:
        print(f"  {record['run_id']} {record['task']}: {record['reason']}")
    for path, reason in damaged.items():
        print(f"damaged: {path} ({reason}); `fewft status {options.study} --repair` sets it aside")
    return 1 if failed or damaged else 0


def _repair(study: studies.Study, store: ResultStore, options: argparse.Namespace) -> None:
    """Set damaged files aside, and do their runs again as far as the study has them."""
    from fewft.sweep import Done, sweep

    found = store.repair()
    for path, aside in found.aside.items():
        print(f"damaged: {path} ({found.why[path]}), now {aside}")
    if not found.aside:
        return
    kept = f"; {found.kept} runs of the Parquet file are whole and stay" if store.parquet in found.aside else ""
    print(f"lost: {len(found.lost)} runs{kept}")

    def do(configs: list[RunConfig]) -> list[Done]:
        lost = [c for c in configs if c.run_id in found.lost]
        return sweep(lost, store, workers=options.workers, device=options.device)

    names = options.experiment or list(EXPERIMENTS)
    experiments.run_all(study, names, store, do, tasks=options.tasks, seeds=options.seeds)
    store.collect()
    if others := sorted(found.lost - store.records().keys()):
        print(f"in none of these experiments, so not done again: {', '.join(others)}")
    if store.parquet in found.aside and not found.kept:
        print(f"the Parquet file did not tell what it held: `fewft run {options.study}` does what is missing")


def _claims(options: argparse.Namespace) -> int:
    from fewft import claims

    if os.path.isdir(options.write):
        raise UsageError(f"write: {options.write!r} is a folder; accepted: a file, there or not")
    judged = claims.of_study(options.study, results=options.results)
    print(*claims.lines(judged), sep="\n")
    changed = claims.changes(judged, Path(options.expect)) if options.expect else []
    if options.write:
        claims.write(judged, Path(options.write))
    print("".join(f"changed: {line}\n" for line in changed), end="")
    return 1 if changed else 0


def _verify(options: argparse.Namespace) -> int:
    from fewft.verify import verify

    study, store = _open(options)
    checks, left_out = verify(
        study, store, sample=options.sample, seed=options.seed, tasks=options.tasks, device=options.device,
        workers=options.workers,
    )  # fmt: skip
    for check in checks:
        print(f"{check.run_id} {check.task}: {check.said}")
    agreeing = sum(check.agrees for check in checks)
    print(f"{study.name}: {agreeing} of {len(checks)} runs agree (chosen with seed {options.seed})")
    for reason, count in left_out.items():
        print(f"not comparable: {count} {reason}")
    return 0 if agreeing == len(checks) else 1


def _merge(options: argparse.Namespace) -> int:
    from fewft.merge import merge

    done = merge(options.first, options.others)
    print(
        f"{options.first}: {done.added} added, {done.replaced} in place of failed ones, {done.known} already there; "
        f"{done.total} runs are stored"
    )
    return 0


def _data(options: argparse.Namespace) -> int:
    table = inventory.record(options.tasks, results=options.results)
    print(table.drop(columns="digest").to_string(index=False))
    return 0


def _build(options: argparse.Namespace) -> int:
    from fewft import book

    parameters = {name: _literal(value) for name, value in options.parameters}
    notebooks = sorted((studies.root() / "notebooks").glob("*.ipynb"))
    known = set().union(*map(book.notebook_parameters, notebooks))
    if "study" in parameters and "study" in known:  # refused here, not in the first cell of a kernel
        studies.load(str(parameters["study"]))
    out = Path(options.out) if options.out else None
    print(book.build(root=studies.root(), parameters=parameters, jobs=options.jobs, out=out))
    return 0


def _pdf(options: argparse.Namespace) -> int:
    from fewft import pdf

    print(pdf.make(root=studies.root(), out=Path(options.out) if options.out else None))
    return 0


def _bench(options: argparse.Namespace) -> int:
    from fewft import bench

    said = {name: value for name, value in vars(options).items() if name != "command"}
    print(bench.bench(**{**said, "out": Path(options.out or studies.root() / "benchmarks")}), end="")
    return 0


def _literal(text: str) -> Any:
    """A finite number, True or False, or else the text as it is."""
    if text in ("True", "False"):
        return text == "True"
    for kind in (int, float):
        try:
            value = kind(text)
        except ValueError:
            continue
        return text if isinstance(value, float) and not math.isfinite(value) else value
    return text


def _open(options: argparse.Namespace) -> tuple[studies.Study, ResultStore]:
    study = studies.load(options.study)
    return study, ResultStore(_results(options), study.name)


def _results(options: argparse.Namespace) -> Path:
    """The folder of the stored runs, there or not."""
    folder = studies.root() / options.results
    if os.path.exists(folder) and not os.path.isdir(folder):
        raise UsageError(f"results: {options.results!r} is a file; accepted: a folder")
    return folder


def _wanted(
    study: studies.Study, options: argparse.Namespace, records: dict[str, dict[str, Any]]
) -> dict[str, experiments.Plan]:
    return {
        name: experiments.plan(study, name, tasks=options.tasks, seeds=options.seeds, records=records)
        for name in options.experiment or EXPERIMENTS
    }


COMMANDS = {
    "plan": _plan, "run": _run, "status": _status, "claims": _claims, "verify": _verify, "merge": _merge,
    "data": _data, "yours": yours.run, "build": _build, "pdf": _pdf, "bench": _bench,
}  # fmt: skip
