"""`fewft bench`: our steps and whole runs beside transformers.Trainer's, on one machine in the same minutes."""

import json
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from importlib.metadata import version
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from fewft import costs, sweep
from fewft import peers as measuring
from fewft.config import RunConfig, UsageError, check_choice
from fewft.environment import environment, pick_device
from fewft.results import replace_file
from fewft.schedule import SweepError
from fewft.tasks import GLUE
from fewft.worker import WORKER_ENVIRONMENT, cores

Row = dict[str, Any]
KEY = ("task", "model", "precision", "workers")  # of a row
PEERS = [kind + more for more in ("", "-bf16", "-bf16-compile") for kind in ("padded", "dynamic", "grouped")]
COSTS = ("wall_ms", "cpu_ms", "tokens", "wall_ratio", "cpu_ratio")  # a step; ratios are over ours, turn by turn
NOTE = """First a step, medians over workers and turns; right of the share a Trainer's CPU time (GPU: wall time) over
ours, `grouped` on other batches. Then whole runs an hour: ours on all workers, one Trainer after another."""
WHERE = """- {device}, {cores} cores, torch {torch_version}, transformers {transformers_version}, \
accelerate {accelerate_version}, commit {commit}, {started:.10}"""


def bench(
    out: Path, tasks: str = "rte,mrpc,stsb,cola", models: str = "", peers: str = "", repeats: int = 5, steps: int = 0,
    workers: int = 0, device: str = "auto", precision: str = "", runs: bool = True,
) -> str:  # fmt: skip
    """Measure as `fewft bench --help` says, each row stored when it is there; the Markdown of all rows.

    Raises:
        UsageError: a wrong argument, no accelerate, a damaged file, before all else; SweepError: a process failed.
    """
    cuda = pick_device(device).type == "cuda"
    path = out if out.suffix == ".json" else out / ("gpu.json" if cuda else "cpu.json")
    read(path)
    if find_spec("accelerate") is None:
        raise UsageError("bench: transformers.Trainer needs accelerate; accepted: pip install 'fewft[bench]'")
    if cuda and torch.cuda.device_count() > 1:
        raise UsageError("device: Trainer takes every GPU it sees; accepted: CUDA_VISIBLE_DEVICES with one of them")
    if min(repeats - 1, steps, workers) < 0:
        raise UsageError(f"repeats, steps, workers: {repeats}, {steps}, {workers}; accepted: 1, 0, 0 or more")
    for peer in filter(None, peers.split(",")):
        check_choice("peer", peer, PEERS)
    chosen = [p for p in PEERS if p in peers.split(",")] or PEERS[: None if cuda else 3]  # compile last: it stays on
    models = models or ("bundled:minilm,random:bert-large" if cuda else "bundled:minilm")
    precision, workers = precision or ("bf16" if cuda else "fp32"), workers or (1 if cuda else cores())
    configs = [RunConfig(task=t, model=m, precision=precision) for m in models.split(",") for t in tasks.split(",")]
    whole = [replace(c, task=f"{c.task}-1k" if c.task in GLUE else c.task) for c in configs if runs]
    sweep.preflight([*configs, *whole], device)
    where = {"workers": workers, "accelerate_version": version("accelerate"), "cores": cores()}
    turns = {"device": device, "peers": chosen, "repeats": repeats, "steps": steps or (20 if cuda else 2)}
    for config in configs:
        calls = [{"config": replace(config, data_seed=i), **turns} for i in range(workers)]
        found = children(measuring.measure_steps, calls, one_thread=not cuda)
        store(path, "steps", {**config.to_dict(), **where, **_steps(found)})
    for config in whole:
        store(path, "runs", {**config.to_dict(), **where, **_runs(config, device, workers)})
    return markdown(read(path))


def children(job: Callable[..., Row], calls: list[Row], *, one_thread: bool = False) -> list[Row]:
    """What a function gives in fresh processes, one a call, all at the same time."""
    for name, value in WORKER_ENVIRONMENT.items():  # read when a process starts
        os.environ.pop(name, None)
        os.environ.update({name: value} if one_thread else {})
    try:
        with ProcessPoolExecutor(len(calls), get_context("spawn")) as pool:
            return [done.result() for done in [pool.submit(job, **call) for call in calls]]
    except Exception as error:  # of any kind: it cannot go on
        raise SweepError(f"bench: {job.__name__} failed ({error}); rows before it are stored") from error


def _steps(found: list[Row]) -> Row:
    """Medians over workers and turns, of what each worker found."""
    cost = {name: np.concatenate([one["raw"][name] for one in found]) for name in found[0]["raw"]}  # (turns, 3)
    row = {**found[0], "turns": len(cost["ours"]), "raw": [one["raw"] for one in found]}
    for name, spent in cost.items():
        rows = np.hstack([spent / row["steps"] * [1e3, 1e3, 1], spent[:, :2] / cost["ours"][:, :2]])
        row[name] = dict(zip(COSTS, np.median(rows, axis=0), strict=True))
    work = costs.TRAINING * costs.linear_flops(row["block_weights"], cost["mm"][:, 2:])
    rates = np.median(work / 1e9 / cost["mm"][:, :2], axis=0)
    row["mm"] |= {"wall_gflops": rates[0], "cpu_gflops": rates[1]}
    return row


def _runs(config: RunConfig, device: str, workers: int) -> Row:
    """Whole runs per hour, ours and a Trainer's; start of the processes, loading and evaluation included."""
    row: Row = {"environment": environment(pick_device(device))}
    for name, job, more in (("ours", measuring.run_sweep, {"workers": workers}), ("padded", measuring.run_trainer, {})):
        begun = time.perf_counter()
        (found,) = children(job, [{"config": config, "device": device, **more}])
        row[name] = {**found, "seconds": (took := time.perf_counter() - begun), "per_hour": found["runs"] / took * 3600}
    return {**row, "ratio": row["ours"]["per_hour"] / row["padded"]["per_hour"]}


def read(path: Path) -> dict[str, list[Row]]:
    """The rows of a benchmark file, of `steps` and of `runs`, none where there is none; UsageError: it is damaged."""
    try:
        tables = json.loads(path.read_text()) if path.is_file() else {"steps": [], "runs": []}
        markdown(tables)
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"out: {str(path)!r} is damaged ({error!r}); accepted: a file of fewft bench") from error
    return tables


def store(path: Path, table: str, row: Row) -> None:
    """Put a row into the file, in the place of an earlier one with the same KEY, and draw the Markdown anew."""
    tables = read(path)
    tables[table] = [*{tuple(r[k] for k in KEY): r for r in [*tables[table], row]}.values()]
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, (json.dumps(tables, indent=1) + "\n").encode())
    replace_file(path.with_suffix(".md"), markdown(tables).encode())


def markdown(file: dict[str, list[Row]]) -> str:
    """Both tables, and on what they were measured."""
    ran = [{k: r[k] for k in (*KEY, "ratio")} | {n: r[n]["per_hour"] for n in ("ours", "padded")} for r in file["runs"]]
    steps, text = [], [NOTE, ""]
    for row in file["steps"]:
        clock, ours, mm = row["clock"], row["ours"], row["mm"]
        cells = {**{k: row[k] for k in KEY}, "packed": row["packed"], "captured": row.get("captured", "")}
        cells |= {"tokens": round(ours["tokens"]), "CPU ms": ours["cpu_ms"], "wall ms": ours["wall_ms"]}
        cells |= {"torch.mm GFLOP/s": mm[f"{clock}_gflops"], "share of it": f"{mm[f'{clock}_ratio']:.0%}"}
        steps.append(cells | {peer: row[peer][f"{clock}_ratio"] for peer in PEERS if peer in row})
    for rows in (steps, ran):
        head, *body = pd.DataFrame(rows).to_csv(sep="|", index=False, float_format="%.2f").splitlines()
        text += [head, "|".join(["---"] * len(head.split("|"))), *body, ""]
    where = {WHERE.format(**row, **row["environment"]): None for row in [*file["steps"], *file["runs"]]}
    return "\n".join([*text, *where, ""])
