"""`fewft bench`: our steps and whole runs beside transformers.Trainer's, on one machine in the same minutes.

Workers of one thread measure a row at the same time. In each, ours, `torch.mm` at the sizes of the model's own linear
layers, and the peers take turns on the same batches; the first turn is a warm-up, and the order rotates.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fewft import peers as measuring
from fewft import sweep
from fewft.config import RunConfig, UsageError, check_choice
from fewft.environment import pick_device
from fewft.results import replace_file

KINDS = ("padded", "dynamic", "grouped")  # run_glue's way; to a batch's longest; group_by_length: batches of its own
PEERS = [kind + options for options in ("", "-bf16", "-bf16-compile") for kind in KINDS]  # created in this order
KEY = ("task", "model", "precision", "workers")  # of a row
STEPS_NOTE = """One optimizer step: medians over workers and turns. Right of the share: time of transformers.Trainer over ours,
turn by turn, in CPU time (on a GPU in wall time). *: has batches of its own making."""
QUIET = 0.1  # cores taken by other processes, above which a row is marked: one such process can make Trainer's threads,
# which wait for each other at every operation, 40 times slower (measured on 2 cores), and ours on one thread hardly
RUNS_NOTE = "Whole runs, start and evaluation included: ours on all workers, Trainer one after another."
NOISY_NOTE = "(!): other processes took more than a tenth of a core meanwhile; not to be quoted, measure again."
WHERE = (
    "- {device}, {cores} cores, torch {torch_version}, transformers {transformers_version}, "
    "accelerate {accelerate_version}, commit {commit}, {started:.10}"
)


def bench(
    path: Path, *, task_names: Sequence[str] = ("rte", "mrpc", "stsb", "cola"), model_names: Sequence[str] = (),
    peers: Sequence[str] = (), runs: Sequence[str] = (), repeats: int = 5, steps: int = 0, workers: int = 0,
    device: str = "auto", precision: str = "",
) -> str:  # fmt: skip
    """Measure; each row goes into `path` (JSON) and the Markdown table beside it as soon as it is there.

    Args:
        path: rows of the same task, model, precision and workers are replaced, others stay.
        task_names: tasks of the steps.
        model_names: none: MiniLM, on a GPU BERT-large as well.
        peers: some of PEERS; none: KINDS, on a GPU all.
        runs: tasks of which to do whole runs.
        repeats: turns that count; 0: no steps, whole runs only.
        steps: a turn; 0: 2, on a GPU 20.
        workers: 0: one per core, on a GPU one.
        device: as for `fine_tune`.
        precision: ours; empty: fp32, on a GPU bf16.

    Raises:
        UsageError: a wrong value, or accelerate is not installed, before anything is measured.
        SweepError: a measuring process failed; rows before it are stored.
    """
    if find_spec("accelerate") is None:
        raise UsageError("bench: transformers.Trainer needs accelerate; accepted: pip install 'fewft[bench]'")
    for peer in peers:
        check_choice("peer", peer, PEERS)
    for argument, value in (("repeats", repeats), ("steps", steps), ("workers", workers)):
        if value < 0:
            raise UsageError(f"{argument}: {value}; accepted: 0 or more")
    read(path)
    cuda = pick_device(device).type == "cuda"
    if cuda and torch.cuda.device_count() > 1:
        raise UsageError("device: Trainer takes every GPU it sees; accepted: CUDA_VISIBLE_DEVICES with one of them")
    count, precision = workers or (1 if cuda else sweep.cores()), precision or ("bf16" if cuda else "fp32")
    chosen = model_names or (("bundled:minilm", "random:bert-large") if cuda else ("bundled:minilm",))
    configs, whole = (
        [RunConfig(task=t, model=m, precision=precision) for m in chosen for t in part] for part in (task_names, runs)
    )
    sweep.preflight([*configs, *whole], device)
    for config in configs if repeats else []:
        common = {"device": device, "repeats": repeats, "steps": steps or (20 if cuda else 2)}
        common["peers"] = [p for p in PEERS if p in (peers or (PEERS if cuda else KINDS))]
        calls = [{"config": replace(config, data_seed=i).to_dict(), **common} for i in range(count)]
        other, begun = _other_seconds(), time.perf_counter()
        row = _steps_row(config, children(measuring.measure_steps, calls, one_thread=not cuda))
        store(path, "steps", {**row, "other_cores": (_other_seconds() - other) / (time.perf_counter() - begun)})
    for config in whole:
        store(path, "runs", _runs_row(config, count, device))
    return markdown(read(path))


# --- rows -------------------------------------------------------------------------------------------------------------


def file(folder: Path, name: str, device: str) -> Path:
    """The benchmark file of that name; without one, `cpu` or `gpu`.

    Raises:
        UsageError: not a plain name, or an unknown device.
    """
    if name != Path(name).name:
        raise UsageError(f"name: {name!r}; accepted: a file name without a folder")
    return folder / f"{name or {'cuda': 'gpu'}.get(pick_device(device).type, 'cpu')}.json"


def children(
    job: Callable[..., dict[str, Any]], calls: Sequence[dict[str, Any]], *, one_thread: bool = False
) -> list[dict[str, Any]]:
    """What a function gives in fresh processes, one a call, all at the same time.

    Raises:
        SweepError: one of them failed.
    """
    env = {name: value for name, value in os.environ.items() if name not in sweep.WORKER_ENVIRONMENT}
    env |= sweep.WORKER_ENVIRONMENT if one_thread else {}
    load = f"import json, sys; from {job.__module__} import {job.__name__} as job; "
    command = [sys.executable, "-c", load + "print(json.dumps(job(**json.loads(sys.argv[1]))))"]
    pipe = {"stdout": subprocess.PIPE, "text": True, "env": env}
    processes = [subprocess.Popen([*command, json.dumps(call)], **pipe) for call in calls]
    try:
        said = [process.communicate()[0].splitlines() for process in processes]
    finally:
        for process in processes:
            process.kill()  # nothing where it has ended
            process.wait()
    if any(process.returncode for process in processes):
        raise sweep.SweepError(f"bench: a process doing {job.__name__} failed; the rows before it are stored")
    return [json.loads(lines[-1]) for lines in said]


def _steps_row(config: RunConfig, found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Medians over workers and turns; ratios are over ours, turn by turn."""
    cost = {name: np.concatenate([one["cost"][name] for one in found]) for name in found[0]["cost"]}  # (turns, 3)
    steps, weights = found[0]["steps"], found[0]["block_weights"]
    row = {**_key(config, len(found)), **{k: v for k, v in found[0].items() if k != "cost"}, "turns": len(cost["ours"])}
    for name, turns in cost.items():
        wall, cpu, tokens = np.median(turns, axis=0) / steps
        wall_ratio, cpu_ratio = np.median(turns[:, :2] / cost["ours"][:, :2], axis=0)
        row[name] = {"wall_ms": wall * 1e3, "cpu_ms": cpu * 1e3, "tokens": tokens}
        row[name] |= {"wall_ratio": wall_ratio, "cpu_ratio": cpu_ratio}
    rates = 6e-9 * weights * cost["mm"][:, 2:] / cost["mm"][:, :2]
    row["mm"] |= dict(zip(("wall_gflops", "cpu_gflops"), np.median(rates, axis=0), strict=True))
    return {**row, "raw": [one["cost"] for one in found]}


def _runs_row(config: RunConfig, workers: int, device: str) -> dict[str, Any]:
    """Whole runs per hour, ours and a Trainer's; start of the processes, loading and evaluation included."""
    where = {"config": config.to_dict(), "device": device}
    row = _key(config, workers)
    ours, padded = (measuring.run_sweep, {**where, "workers": workers}), (measuring.run_trainer, where)
    for name, (job, call) in (("ours", ours), ("padded", padded)):
        other, begun = _other_seconds(), time.perf_counter()
        (found,) = children(job, [call])
        row["environment"] = found.pop("environment", row.get("environment"))
        seconds = time.perf_counter() - begun
        row["other_cores"] = max(row.get("other_cores", 0.0), (_other_seconds() - other) / seconds)
        row[name] = {**found, "seconds": seconds, "per_hour": found["runs"] / seconds * 3600}
    return {**row, "ratio": row["ours"]["per_hour"] / row["padded"]["per_hour"]}


def _other_seconds() -> float:
    """CPU seconds since the machine started that neither this process nor an ended child of it took."""
    import psutil  # accelerate needs it as well

    machine = psutil.cpu_times()
    return machine.user + getattr(machine, "nice", 0.0) + machine.system - sum(os.times()[:4])


def _key(config: RunConfig, workers: int) -> dict[str, Any]:
    name = {"task": config.task, "model": config.model, "precision": config.precision, "workers": workers}
    return {**name, "accelerate_version": version("accelerate"), "cores": sweep.cores()}


def read(path: Path) -> dict[str, list[dict[str, Any]]]:
    """The rows of a benchmark file, of `steps` and of `runs`; none where there is no file.

    Raises:
        UsageError: it is not one.
    """
    try:
        tables = json.loads(path.read_text()) if path.is_file() else {"steps": [], "runs": []}
        return {table: [row for row in tables[table] if all(row[k] for k in KEY)] for table in ("steps", "runs")}
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"name: {str(path)!r} is damaged ({error!r}); accepted: a file of fewft bench") from error


def store(path: Path, table: str, row: dict[str, Any]) -> None:
    """Put a row into the file, in the place of an earlier one with the same KEY, and draw the Markdown anew."""
    tables = read(path)
    rows = {tuple(r[k] for k in KEY): r for r in [*tables[table], row]}
    tables[table] = list(rows.values())
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, (json.dumps(tables, indent=1) + "\n").encode())
    replace_file(path.with_suffix(".md"), markdown(tables).encode())


def markdown(tables: dict[str, list[dict[str, Any]]]) -> str:
    """Both tables, and on what they were measured."""
    used = [p for p in PEERS if any(p in row for row in tables["steps"])]
    head = ["real tokens", "packed", "CPU ms", "wall ms", "torch.mm GFLOP/s", "share of it"]
    rows = [[*KEY, *head, *(f"{p}*" if p.startswith("grouped") else p for p in used)]]
    for row in tables["steps"]:
        clock, ours, mm = row["clock"], row["ours"], row["mm"]
        cells = [f"{ours['tokens']:.0f}", row["packed"], f"{ours['cpu_ms']:.4g}", f"{ours['wall_ms']:.4g}"]
        cells += [f"{mm[f'{clock}_gflops']:.4g}", f"{mm[f'{clock}_ratio']:.0%}"]
        cells += [f"{row[p][f'{clock}_ratio']:.2f}" if p in row else "" for p in used]
        rows.append([*_names(row), *cells])
    runs = [[*KEY, "runs per hour", "Trainer, padded", "ratio"]]
    for row in tables["runs"]:
        speeds = (row[name]["per_hour"] for name in ("ours", "padded"))
        runs.append([*_names(row), *(f"{speed:.3g}" for speed in speeds), f"{row['ratio']:.2f}"])
    where = {WHERE.format(**row, **row["environment"]): None for row in [*tables["steps"], *tables["runs"]]}
    return "\n".join([STEPS_NOTE, "", *_table(rows), "", RUNS_NOTE, "", *_table(runs), "", NOISY_NOTE, "", *where, ""])


def _names(row: dict[str, Any]) -> list[object]:
    return [row["task"] + (" (!)" if row["other_cores"] > QUIET else ""), *(row[k] for k in KEY[1:])]


def _table(rows: Sequence[Sequence[object]]) -> list[str]:
    lines = ["| " + " | ".join(map(str, row)) + " |" for row in rows]
    return [lines[0], "|---" * len(rows[0]) + "|", *lines[1:]]
