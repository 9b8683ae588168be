"""The command line: `fewft plan | run | status | data | build | bench`; 0 on success, 1 on a finding, 2 on a wrong call."""

import argparse
import ast
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fewft import experiments, studies
from fewft.config import RunConfig, UsageError
from fewft.results import ResultStore


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status."""
    from fewft.book import BookError
    from fewft.sweep import SweepError

    options = _parser().parse_args(arguments)
    try:
        return options.command(options)
    except UsageError as error:
        print(f"fewft: {error}", file=sys.stderr)
        return 2
    except (BookError, SweepError, OSError) as error:
        print(f"fewft: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("fewft: interrupted; finished runs are stored, the same call goes on", file=sys.stderr)
        return 1


def _plan(options: argparse.Namespace) -> int:
    study, store = _open(options)
    finished, wanted = store.finished(), _wanted(study, options)
    print(f"{'experiment':24} {'runs':>6} {'stored':>7} {'missing':>8}")
    every: set[str] = set()
    for name, configs in wanted.items():
        ids = {c.run_id for c in configs}
        every |= ids
        print(f"{name:24} {len(ids):6} {len(ids & finished):7} {len(ids - finished):8}")
    print(f"{'distinct':24} {len(every):6} {len(every & finished):7} {len(every - finished):8}")
    return 0


def _run(options: argparse.Namespace) -> int:
    from fewft.sweep import shard, sweep

    study, store = _open(options)
    configs = shard([c for part in _wanted(study, options).values() for c in part], options.shard)
    done = sweep(
        configs, store, workers=options.workers, device=options.device, executor=options.executor,
        address=options.address, gpus=getattr(study, "gpus_per_run", 0.0),
    )  # fmt: skip
    store.collect()
    counts = Counter(d.status for d in done)
    said = ", ".join(f"{n} {status}" for status, n in sorted(counts.items())) or "nothing was missing"
    print(f"{study.name}: {said}; {len({c.run_id for c in configs} & store.finished())} runs are stored")
    return 1 if counts["failed"] else 0


def _status(options: argparse.Namespace) -> int:
    study, store = _open(options)
    records = store.records()
    _plan(options)
    for status, count in sorted(Counter(r["status"] for r in records.values()).items()):
        print(f"{status}: {count}")
    failed = [r for r in records.values() if r["status"] == "failed"]
    for record in failed:
        print(f"  {record['run_id']} {record['task']}: {record['reason']}")
    return 1 if failed else 0


def _data(options: argparse.Namespace) -> int:
    table = experiments.record_datasets(options.tasks, results=options.results)
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


def _bench(options: argparse.Namespace) -> int:
    from fewft import bench

    print(bench.bench(**{name: value for name, value in vars(options).items() if name != "command"}), end="")
    return 0


def _literal(text: str) -> Any:
    """A number, True or False, or else the text as it is."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
    return value if isinstance(value, bool | int | float) else text


def _open(options: argparse.Namespace) -> tuple[studies.Study, ResultStore]:
    study = studies.load(options.study)
    return study, ResultStore(studies.root() / options.results, study.name)


def _wanted(study: studies.Study, options: argparse.Namespace) -> dict[str, list[RunConfig]]:
    names = options.experiment or list(experiments.EXPERIMENTS)
    return {n: experiments.plan(study, n, tasks=options.tasks, seeds=options.seeds)[2] for n in names}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fewft", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, function: object, about: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=about, description=about)
        sub.set_defaults(command=function)
        sub.add_argument("--results", default="results", help="folder of the stored runs (default: results)")
        sub.add_argument("--tasks", default="", help="comma separated (default: all)")
        return sub

    for name, function, about in (
        ("plan", _plan, "Say which runs a study needs and which are stored."),
        ("run", _run, "Do the runs of a study that are missing, and collect them into one Parquet file."),
        ("status", _status, "Say what is stored; 1 when a run failed."),
    ):
        sub = command(name, function, about)
        sub.add_argument("study", help="a name in studies/, or a TOML file")
        sub.add_argument("--experiment", action="append", help="one of the study's experiments (default: all)")
        sub.add_argument("--seeds", type=int, default=0, help="seeds per cell (default: the study's)")
        if name == "run":
            _add_run(sub)
    command("data", _data, "Store the counts and majority baselines of the data sets (Table 3).")
    build = commands.add_parser("build", help="Execute the notebooks and build the book.")
    build.set_defaults(command=_build)
    build.add_argument(
        "-p", dest="parameters", action="append", nargs=2, metavar=("NAME", "VALUE"), default=[],
        help="a parameter for every notebook that has it",
    )  # fmt: skip
    build.add_argument("--jobs", type=int, default=2, help="notebooks at a time (default: 2)")
    build.add_argument("--out", default="", help="folder of the book (default: _book)")
    _add_bench(commands.add_parser("bench", help="Measure our speed beside transformers.Trainer's."))
    return parser


def _add_run(run: argparse.ArgumentParser) -> None:
    for name, default, about in (
        ("--workers", 0, "runs at once, each with one thread (default: one a core; on Ray what the nodes hold)"),
        ("--device", "auto", "auto, cpu, cuda or cuda:N (default: auto)"),
        ("--shard", "", "i/n: the i-th of n parts, each for a machine of its own (default: all)"),
        ("--executor", "local", "local or ray (default: local)"),
        ("--address", "", "of a running Ray (default: one of our own, on this machine)"),
    ):
        run.add_argument(name, default=default, type=type(default), help=about)


def _add_bench(bench: argparse.ArgumentParser) -> None:
    bench.set_defaults(command=_bench)
    for name, default, about in (
        ("--tasks", "rte,mrpc,stsb,cola", "comma separated (default: rte,mrpc,stsb,cola); whole runs are of their -1k"),
        ("--models", "", "comma separated (default: bundled:minilm, on a GPU also random:bert-large)"),
        ("--peers", "", "comma separated (default: padded,dynamic,grouped; on a GPU also -bf16, -bf16-compile)"),
        ("--precision", "", "ours (default: fp32, on a GPU bf16)"),
        ("--device", "auto", "auto, cpu or cuda (default: auto)"),
        ("--out", studies.root() / "benchmarks", "folder of cpu.json or gpu.json, or a .json (default: benchmarks)"),
        ("--repeats", 5, "turns that count (default: 5)"),
        ("--steps", 0, "a turn (default: 2, on a GPU 20)"),
        ("--workers", 0, "processes at once (default: one a core, on a GPU one)"),
    ):
        bench.add_argument(name, default=default, type=type(default), help=about)
    bench.add_argument("--no-runs", dest="runs", action="store_false", help="steps only")


if __name__ == "__main__":
    sys.exit(main())
