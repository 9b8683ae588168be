"""One config, the same bits: whatever ran before or beside it, and wherever. How far other kinds of machine go.

The numbers of `book/execution.md`, "Same bits, and where not".
"""

import json
import locale
import os
import random
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fewft.config import RunConfig
from fewft.results import ResultStore
from fewft.schedule import label
from fewft.sweep import shard, sweep
from fewft.train import fine_tune
from fewft.verify import gaps

ROOT = Path(__file__).parents[2]
TIMES = ("seconds", "train_seconds", "started", "commit")  # and the commit, which can change while this runs
Records = dict[str, dict[str, Any]]

BASE = {
    "task": "bundled:acceptability", "model": "random:bert-tiny", "max_steps": 4, "num_evals": 2, "learning_rate": 1e-3
}  # fmt: skip
CHANGES: dict[str, dict[str, Any]] = {
    "standard": {},
    "bertadam": {"correct_bias": False, "init_seed": 1, "data_seed": 2},
    "reinit": {"reinit_layers": 2, "task": "bundled:entailment"},
    "mixout": {"mixout_prob": 0.3, "task": "bundled:paraphrase"},
    "decays": {"layerwise_lr_decay": 0.9, "weight_decay": 0.1, "prior_weight_decay": 10.0},
    "intermediate": {"intermediate_task": "bundled:entailment", "num_train_epochs": 1},
    "regression": {"task": "bundled:similarity", "train_batch_size": 7},
    "left-padded": {"model": "random:xlnet-tiny", "task": "bundled:entailment"},
    "shared blocks": {"model": "random:albert-tiny"},
    "encoder-decoder": {"model": "random:bart-tiny"},
    "bf16": {"precision": "bf16"},
    "fp16": {"precision": "fp16", "task": "bundled:similarity"},
}
MATRIX = {name: RunConfig(**{**BASE, **changes}) for name, changes in CHANGES.items()}
MATRIX["before another"] = MATRIX["intermediate"].intermediate()
SHORT = ("standard", "mixout", "regression", "left-padded")
OTHERS = [
    RunConfig(**{**BASE, "task": "bundled:similarity", "model": "random:xlnet-tiny", "max_steps": 1}),
    RunConfig(**{**BASE, "task": "bundled:entailment", "precision": "bf16", "mixout_prob": 0.5, "max_steps": 1}),
]

CHILD = """
import json, os, random, signal, sys
import numpy, torch
from fewft import train
from fewft.config import RunConfig
from fewft.results import ResultStore

configs, folder, killed = sys.argv[1:]
configs = [RunConfig(**c) for c in json.loads(configs)]
random.seed(7), numpy.random.seed(7), torch.manual_seed(7)
torch.set_num_threads(1)
step = train.Trainer.step

def dies(self, batch):  # in the second step of the last run
    step(self, batch)
    if self.config == configs[-1] and self.done == 2:
        os.kill(os.getpid(), signal.SIGKILL)

if int(killed):
    train.Trainer.step = dies
for config in configs:
    ResultStore(folder, "s").add(train.fine_tune(config, device="cpu").record())
"""


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


def child(
    configs: Sequence[RunConfig], folder: Path, *, killed: bool = False, python: str = sys.executable,
    environment: Mapping[str, str] | None = None,
) -> Records:  # fmt: skip
    """The runs as another process does them, one after the other, in another folder."""
    folder.mkdir(parents=True, exist_ok=True)
    said = json.dumps([c.to_dict() for c in configs])
    done = subprocess.run(
        [python, "-c", CHILD, said, str(folder), str(int(killed))], cwd=folder, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == (-9 if killed else 0), done.stderr
    return ResultStore(folder, "s").records()


# --- conditions ---------------------------------------------------------------------------------------------------


def here(configs: Sequence[RunConfig], folder: Path) -> Records:
    return {c.run_id: fine_tune(c, device="cpu").record() for c in configs}


def two_threads(configs: Sequence[RunConfig], folder: Path) -> Records:
    torch.set_num_threads(2)
    try:
        return here(configs, folder)
    finally:
        torch.set_num_threads(1)


def here_reversed(configs: Sequence[RunConfig], folder: Path) -> Records:
    return here(configs[::-1], folder)


def after_others(configs: Sequence[RunConfig], folder: Path) -> Records:
    """Each after runs with another task, model and precision, and other seeds of what is global."""
    found = {}
    for number, config in enumerate(configs):
        here(OTHERS, folder)
        random.seed(number), np.random.seed(number), torch.manual_seed(number)
        found |= here([config], folder)
    return found


def each_alone(configs: Sequence[RunConfig], folder: Path) -> Records:
    """Each in a process of its own."""
    found = {}
    for config in configs:
        found |= child([config], folder / config.run_id)
    return found


SURROUNDINGS = {  # another hash seed, time zone and locale, in which text is ASCII
    "PYTHONHASHSEED": "3", "TZ": "XXX-13", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"
}  # fmt: skip


def other_surroundings(configs: Sequence[RunConfig], folder: Path) -> Records:
    """These, another folder, and other global seeds."""
    return child(configs, folder, environment=SURROUNDINGS)


def one_worker(configs: Sequence[RunConfig], folder: Path) -> Records:
    return swept(configs, ResultStore(folder, "s"), workers=1)


def two_workers_reversed(configs: Sequence[RunConfig], folder: Path) -> Records:
    return swept(configs[::-1], ResultStore(folder, "s"), workers=2)


def resumed(configs: Sequence[RunConfig], folder: Path) -> Records:
    """By two workers, after a process in other surroundings that was killed in the second last run."""
    before = child(configs[:-1], folder, killed=True, environment=SURROUNDINGS)
    assert set(before) == {c.run_id for c in configs[:-2]}
    return swept(configs[::-1], ResultStore(folder, "s"), workers=2)


def sharded(configs: Sequence[RunConfig], folder: Path) -> Records:
    parts = [f"{i}/3" for i in (1, 2, 3)]
    stores = [swept(shard(configs, part), ResultStore(folder / part[0], "s"), workers=1) for part in parts]
    return {run_id: record for records in stores for run_id, record in records.items()}


def swept(configs: Sequence[RunConfig], store: ResultStore, workers: int) -> Records:
    """With two threads in this process, and in the environment: a worker has one all the same."""
    torch.set_num_threads(2)
    try:
        sweep(configs, store, workers=workers, device="cpu")
    finally:
        torch.set_num_threads(1)
    return store.records()


CONDITIONS = (
    here_reversed, after_others, each_alone, other_surroundings, one_worker, two_workers_reversed, resumed, sharded,
)  # fmt: skip
QUICK = (here_reversed, resumed)


def outcome(record: Mapping[str, Any], like: Mapping[str, Any]) -> str:
    """All of a record but TIMES; as text, for NaN is not itself."""
    return json.dumps({name: record.get(name) for name in like if name not in TIMES}, sort_keys=True)


def test_same_config_same_bits(
    long: bool, tally: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "2")
    configs = list(MATRIX.values()) if long else [MATRIX[name] for name in SHORT]
    conditions = CONDITIONS if long else QUICK
    compared, differ, expected = 0, [], {}
    for condition in (here, *conditions):
        monkeypatch.setenv("FEWFT_CACHE", str(tmp_path / condition.__name__ / "cache"))  # no encoder kept from others
        found = condition(configs, tmp_path / condition.__name__)
        expected = expected or found
        for c in configs if condition is not here else ():
            like = expected[c.run_id]
            compared += 1
            if outcome(found[c.run_id], like) != outcome(like, like):
                differ.append((condition.__name__, label(c)))
    tally(f"determinism: {compared} records compared in {len(conditions)} conditions, {len(differ)} differ")
    assert not differ
    assert all(record["status"] == "ok" and record["threads"] == 1 for record in expected.values())
    assert len({str(record["train_loss"]) for record in expected.values()}) == len(configs)


def surroundings() -> list[Any]:
    """What is global, and a run could leave behind."""
    return [
        torch.get_rng_state().tolist(), str(np.random.get_state()), random.getstate(), torch.get_num_threads(),
        torch.get_default_dtype(), torch.is_grad_enabled(), torch.is_autocast_enabled("cpu"), locale.setlocale(locale.LC_ALL),
        os.getcwd(), torch.are_deterministic_algorithms_enabled(), torch.get_float32_matmul_precision(),
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["standard", "bf16"])
def test_a_run_leaves_what_is_global_as_it_was(name: str) -> None:
    before = surroundings()
    assert fine_tune(MATRIX[name], device="cpu").status == "ok"
    assert surroundings() == before


# --- other kinds of machine ---------------------------------------------------------------------------------------

MINILM = {"model": "bundled:minilm", "learning_rate": 1e-4, "num_evals": 1}
MEASURED = [
    RunConfig(**MINILM, task="cola-1k", max_steps=96),
    RunConfig(**MINILM, task="cola-1k", max_steps=96, correct_bias=False),
    RunConfig(**MINILM, task="rte-1k", max_steps=48, correct_bias=False),
]
NARROW = {"ATEN_CPU_CAPABILITY": "default", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2", "ONEDNN_MAX_CPU_ISA": "SSE41"}


def test_another_kind_of_machine_stays_within_the_tolerance(
    long: bool, tally: Callable[[str], None], tmp_path: Path
) -> None:
    """Two threads, narrower instructions, and the Python that FEWFT_OTHER_PYTHON names (with another torch, say)."""
    configs = MEASURED if long else [RunConfig(**{**BASE, "max_steps": 6})]
    kinds: dict[str, Callable[[Sequence[RunConfig], Path], Records]] = {"2 threads": two_threads}
    if long:
        kinds["no AVX"] = partial(child, environment=NARROW)
        if other := os.environ.get("FEWFT_OTHER_PYTHON"):
            kinds["other Python"] = partial(child, python=other)
    base, beyond = here(configs, tmp_path), []
    for kind, done in kinds.items():
        found = done(configs, tmp_path / kind)
        for c in configs:
            stored, again = base[c.run_id], found[c.run_id]
            beyond += [(kind, label(c), *gap) for gap in gaps(stored, again) if gap[1] > gap[2]]
            tally(f"{kind} (torch {again['torch_version']}), {label(c)}: {apart(stored, again)}")
    assert not beyond


def apart(stored: Mapping[str, Any], again: Mapping[str, Any]) -> str:
    """How far: the first ten losses, all losses, their number that differs, and the scores."""
    losses = np.abs(np.subtract(stored["train_loss"], again["train_loss"]))
    scores = [f"{name} {abs(stored[name] - again[name]):.2g}" for name in ("best_val", "test_best", "test_last")]
    said = f"first ten losses {losses[:10].max():.2g}, all {losses.max():.2g} ({(losses > 0).sum()} of {len(losses)})"
    return f"{said}, {', '.join(scores)}"
