"""Stored runs trained again: the same bits on a machine of the same kind, within a measured tolerance elsewhere."""

import dataclasses
import math
import random
import tempfile
from collections import Counter
from dataclasses import dataclass
from typing import Any

from fewft.config import CORE_VERSION, RunConfig, UsageError, check_choice, names_in
from fewft.merge import compare
from fewft.results import ResultStore, differences
from fewft.studies import Study
from fewft.sweep import sweep

KIND = ("device", "threads", "torch_version", "transformers_version", "core_version")  # all equal: the same bits
GPUS = ("NVIDIA", "Tesla", "AMD Instinct", "AMD Radeon")  # how their names begin

# Measured on one run (CoLA-1k, MiniLM, debiased Adam at 1e-4, 96 steps, fp32), AVX2 against the same processor held to
# SSE instructions in MKL, oneDNN and torch's own kernels: 44 losses differed, none by more than 1.2e-7, the mean of the
# last tenth by 5e-8, and every score was equal. Two runs under equal conditions had equal bits. Longer runs, higher
# rates, BERTAdam and half precision drift more, hence the wide limits on what comes late: of the demo's 92 runs, at 5e-4
# and 1e-3, AVX2 against AVX-512, 88 are within them; of the other four only late losses and scores are beyond.
FIRST_STEPS = 10
FIRST_LOSS = 1e-4  # each of the first steps' losses
LAST_LOSS = 0.02  # mean loss of the last tenth of the steps
TEST_SCORE = 0.05  # test_best and test_last
Record = dict[str, Any]


@dataclass(frozen=True)
class Check:
    """One run trained again."""

    run_id: str
    task: str
    agrees: bool
    said: str


def verify(
    study: Study, store: ResultStore, *, sample: int = 5, seed: int = 0, tasks: str = "", device: str = "auto",
    workers: int = 0,
) -> tuple[list[Check], Counter[str]]:  # fmt: skip
    """Train some stored runs again and compare; the store is only read.

    Args:
        study: whose runs; its own data files are taken from where it names them.
        store: where they are.
        sample: how many, chosen at random among those that can be compared here.
        seed: of the choice.
        tasks: comma separated; empty: all.
        device, workers: as for `sweep`.

    Returns:
        The comparisons, and how many stored runs cannot be compared here, by reason.

    Raises:
        UsageError: no run can be compared, or a wrong argument.
    """
    if sample < 1:
        raise UsageError(f"sample: {sample}; accepted: 1 or more")
    for task in names_in(tasks):
        check_choice("tasks", task, study.tasks)
    stored, left_out = _comparable(store, study, names_in(tasks), device)
    if not stored:
        why = "; ".join(f"{count} {reason}" for reason, count in left_out.items()) or "none is stored"
        raise UsageError(f"study: {study.name!r} has no run to verify ({why}); accepted: one with comparable runs")
    some = random.Random(seed).sample(sorted(stored), min(sample, len(stored)))
    configs = {run_id: _config(stored[run_id], study) for run_id in some}
    with tempfile.TemporaryDirectory() as folder:
        again = ResultStore(folder, study.name)
        sweep([c for run_id, c in configs.items() if c.run_id == run_id], again, workers=workers, device=device)
        records = again.records()
    return [check(stored[run_id], records.get(run_id)) for run_id in some], left_out


def _comparable(
    store: ResultStore, study: Study, tasks: list[str], device: str
) -> tuple[dict[str, Record], Counter[str]]:  # fmt: skip
    """Stored runs that can be done again here, and how many cannot, by reason."""
    from fewft.environment import environment, pick_device

    where = pick_device(device)
    here = environment(where)["device"]
    found, left_out = {}, Counter()
    for run_id, record in store.records().items():
        if tasks and record["task"] not in tasks:
            continue
        on_gpu = where.type != "cpu" or str(record.get("device")).startswith(GPUS)
        if record["status"] == "failed":
            left_out["failed"] += 1
        elif record.get("data") and record["task"] not in study.data:  # the files that a record names are not opened
            left_out["on files that the study does not name"] += 1
        elif (version := record.get("core_version")) != CORE_VERSION:
            left_out[f"of core version {version} (now {CORE_VERSION})"] += 1
        elif on_gpu and record["device"] != here:  # a GPU draws dropout by its own size, all CPUs draw the same
            left_out[f"made on {record['device']!r}, whose dropout draws are others"] += 1
        else:
            found[run_id] = record
    return found, left_out


def _config(record: Record, study: Study) -> RunConfig:
    fields = [f.name for f in dataclasses.fields(RunConfig)]
    said = {name: record[name] for name in fields if record.get(name) is not None}  # None: written before the field was
    return RunConfig.from_dict({**said, "data": study.data.get(record["task"], "")})


def check(stored: Record, again: Record | None) -> Check:
    """Compare a stored run with the same one done now; None: its settings are those of another run_id."""
    agrees, said = _verdict(stored, again)
    return Check(stored["run_id"], stored["task"], agrees, said)


def _verdict(stored: Record, again: Record | None) -> tuple[bool, str]:
    if again is None:
        return False, "DIFFERS: its settings, or the data files they name, are not those of its run_id"
    if again["status"] == "failed":
        return False, f"DIFFERS: fails now ({again['reason']})"
    if stored["data_digest"] != again["data_digest"]:
        return False, f"DIFFERS: the data differ (data_digest{compare(stored['data_digest'], again['data_digest'])})"
    names = differences(stored, again)
    if not names:
        return True, "equal to the bit"
    shown = "; ".join(name + compare(stored[name], again[name]) for name in names[:3])
    found = gaps(stored, again)
    beyond = [f"{what} {gap:.2g} apart (limit {limit:g})" for what, gap, limit in found if gap > limit]
    near = not beyond and stored["status"] == again["status"]
    if all(stored.get(key) == again[key] for key in KIND):
        return False, f"DIFFERS: {shown}" + (", though within the tolerance of another kind of machine" if near else "")
    if not near:
        return False, f"DIFFERS: {'; '.join([*beyond, shown])}"
    loss = max(map(_gap, stored["train_loss"], again["train_loss"]), default=0.0)
    return True, f"within tolerance: largest loss difference {loss:.2g}"


def gaps(stored: Record, again: Record) -> list[tuple[str, float, float]]:
    """What is compared on another kind of machine: its name, how far apart, and how far is accepted.

    Rounding differs there, and training can amplify that from step to step without end (chaos): each of the first
    losses must agree, later ones only on average, and the scores. A first loss beyond its limit means another
    computation: weights, data, order, dropout, or a bug. A last loss or a score beyond it, alone, can also be a run on
    the edge between learning and failing; only the bits of a machine of the same kind tell the two apart.
    """
    first, second = stored["train_loss"], again["train_loss"]
    if len(first) != len(second):
        return [("number of losses", abs(len(first) - len(second)), 0)]
    last = max(1, len(first) // 10)
    ends = [sum(losses[-last:]) / last for losses in (first, second)]
    early = max(map(_gap, first[:FIRST_STEPS], second[:FIRST_STEPS]), default=0.0)
    scores = [(name, _gap(stored[name], again[name]), TEST_SCORE) for name in ("test_best", "test_last")]
    return [
        (f"a loss of the first {FIRST_STEPS} steps", early, FIRST_LOSS),
        ("the mean loss of the last tenth", _gap(*ends), LAST_LOSS),
        *scores,
    ]


def _gap(first: float, second: float) -> float:
    """Relative where the values are above 1, as squared errors are; infinite where only one is a number."""
    if not differences({"": first}, {"": second}):
        return 0.0
    gap = abs(first - second) / max(1.0, abs(first))
    return gap if math.isfinite(gap) else math.inf
