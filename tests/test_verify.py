"""fewft.verify: the same bits on a machine of the same kind, near ones elsewhere, and whatever else was stored is found."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from fewft import studies, verify
from fewft.cli import main
from fewft.config import CORE_VERSION, RunConfig, UsageError
from fewft.results import ResultStore
from fewft.train import fine_tune

Record = dict[str, Any]
STUDY = """
description = "tiny"
model = "random:bert-tiny"
tasks = ["bundled:entailment"]
learning_rate = 1e-3
[settings]
max_steps = 5
num_evals = 2
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study, and its results: an honest run and one with each thing that can be wrong with a stored one."""
    folder = tmp_path_factory.mktemp("verify")
    (folder / "tiny.toml").write_text(STUDY)
    store = ResultStore(folder, "tiny")
    for seed, change in enumerate(CHANGES.values()):
        store.add(change(trained(seed)))
    store.collect()
    return folder


def trained(seed: int) -> Record:
    torch.set_num_threads(1)
    config = RunConfig(
        task="bundled:entailment", model="random:bert-tiny", learning_rate=1e-3, max_steps=5, num_evals=2,
        init_seed=seed, data_seed=seed,
    )  # fmt: skip
    return fine_tune(config, device="cpu").record()


def with_loss(record: Record, change: float, step: int = 0) -> Record:
    losses = [loss + change * (i == step) for i, loss in enumerate(record["train_loss"])]
    return {**record, "train_loss": losses}


ELSEWHERE = {"device": "another CPU"}
CHANGES: dict[str, Callable[[Record], Record]] = {  # what is said of it: what was done to it
    "equal to the bit": lambda r: {**r, "seconds": 0.1, "commit": "abc"},
    "DIFFERS: train_loss[3] ": lambda r: with_loss(r, 2e-7, step=3),
    "DIFFERS: test_best ": lambda r: {**r, "test_best": r["test_best"] + 0.2},
    "DIFFERS: status 'diverged' | 'ok'": lambda r: {**r, "status": "diverged"},
    "DIFFERS: the data differ (data_digest '0' | '": lambda r: {**r, "data_digest": "0"},
    "DIFFERS: its settings, or the data files they name": lambda r: {**r, "learning_rate": 2e-3},
    "within tolerance: largest loss difference 2e-05": lambda r: with_loss({**r, **ELSEWHERE}, 2e-5),
    "DIFFERS: a loss of the first 10 steps 0.02 apart (limit": lambda r: with_loss({**r, **ELSEWHERE}, 2e-2),
}


def test_each_stored_run_gets_its_verdict(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    arguments = [str(folder / "tiny.toml"), "--results", str(folder), "--sample", "99", "--workers", "1"]
    assert main(["verify", *arguments, "--device", "cpu"]) == 1
    lines = [line for line in capfd.readouterr().out.splitlines() if not line.startswith("[")]
    said = {line.partition(" bundled:entailment: ")[0]: line.partition(" bundled:entailment: ")[2] for line in lines}
    ids = [record["run_id"] for record in map(trained, range(len(CHANGES)))]
    for run_id, wanted in zip(ids, CHANGES, strict=True):
        assert said[run_id].startswith(wanted), (wanted, said[run_id])
        near = wanted.startswith("DIFFERS: train_loss")
        assert said[run_id].endswith("though within the tolerance of another kind of machine") == near
    assert lines[-1] == "tiny: 2 of 8 runs agree (chosen with seed 0)"
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_the_choice_follows_from_the_seed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study, store = studies.load(str(folder / "tiny.toml")), ResultStore(folder, "tiny")

    def copied(configs: list[RunConfig], again: ResultStore, *, workers: int, device: str) -> None:
        for config in configs:
            again.add(store.records()[config.run_id])

    monkeypatch.setattr(verify, "sweep", copied)
    chosen = {}
    for seed in (0, 0, 1, 2, 3):
        checks, _ = verify.verify(study, store, sample=3, seed=seed, device="cpu")
        ids = [check.run_id for check in checks]
        assert len(set(ids)) == 3 and chosen.setdefault(seed, ids) == ids
    assert len({tuple(ids) for ids in chosen.values()}) > 1


def test_what_cannot_be_compared_is_counted(
    folder: Path, tmp_path: Path, stored_run: Callable[..., Record], capfd: pytest.CaptureFixture[str]
) -> None:
    study, store = str(folder / "tiny.toml"), ResultStore(tmp_path, "tiny")
    base = {"task": "bundled:entailment", "model": "random:bert-tiny"}
    others = ({"core_version": 1}, {"core_version": 1}, {"status": "failed"}, {"device": "NVIDIA H100"})
    for seed, changes in enumerate(others):
        config = RunConfig(**base, init_seed=seed)
        store.add(stored_run(config, **{"core_version": CORE_VERSION, "device": "a CPU", **changes}))
    reasons = (
        f"2 of core version 1 (now {CORE_VERSION})", "1 failed", "1 made on 'NVIDIA H100', whose dropout draws are others",
    )  # fmt: skip
    call = ["verify", study, "--results", str(tmp_path), "--device", "cpu", "--workers", "1"]
    assert main(call) == 2
    said = capfd.readouterr()
    assert all(reason in said.err for reason in reasons) and said.out == ""
    store.add(trained(0))
    assert main(call) == 0
    lines = capfd.readouterr().out.splitlines()
    assert "tiny: 1 of 1 runs agree (chosen with seed 0)" in lines
    assert {f"not comparable: {reason}" for reason in reasons} <= set(lines)


def test_older_columns_and_moved_data_files_do_not_stand_in_the_way(tmp_path: Path) -> None:
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "own.csv").write_text("text,label\na good one,1\na bad one,0\n" * 20)
    table = (
        '[data.own]\ntrain = "own.csv"\nvalidation = "own.csv"\ntext = "text"\nlabel = "label"\nmetric = "accuracy"\n'
    )
    for name in ("here", "there"):
        (tmp_path / name / "s.toml").write_text(STUDY.replace("bundled:entailment", "own") + table)
    here, there = (studies.load(str(tmp_path / name / "s.toml")) for name in ("here", "there"))
    record = there.run("own", "debiased", 0).to_dict()
    for later in ("num_distances", "mixout_prob"):
        record[later] = None
    (tmp_path / "there" / "own.csv").unlink()
    assert verify._config(record, here) == here.run("own", "debiased", 0)


NAN = math.nan
STORED = {
    "run_id": "a", "task": "rte-1k", "status": "ok", "data_digest": "d", "train_loss": [0.7] * 40, "test_best": 0.6,
    "test_last": 0.6, "device": "a CPU", "threads": 1, "core_version": 2,
}  # fmt: skip


@pytest.mark.parametrize(
    ("stored", "again", "agrees"),
    [
        ({}, {}, True),
        ({"test_last": NAN}, {"test_last": NAN}, True),
        ({}, {"test_last": NAN}, False),
        ({"status": "diverged", "train_loss": [0.7] * 39 + [NAN]}, {"status": "diverged"}, False),
        ({}, {"status": "diverged"}, False),
        ({}, {"train_loss": [0.7] * 20 + [1.5] * 5 + [0.7] * 15}, True),  # chaos on the way to the same end
        ({}, {"train_loss": [0.7] * 9 + [0.8] + [0.7] * 30}, False),
        ({}, {"train_loss": [0.7] * 10 + [0.8] + [0.7] * 29}, True),
        ({}, {"train_loss": [0.7] * 36 + [1.5] * 4}, False),
        ({}, {"train_loss": [0.7] * 39}, False),
        ({"train_loss": [900.0] * 40}, {"train_loss": [900.0 * (1 + verify.FIRST_LOSS / 2)] * 40}, True),
        ({}, {"test_best": 0.6 + 0.9 * verify.TEST_SCORE}, True),
        ({}, {"test_best": 0.6 - 1.1 * verify.TEST_SCORE}, False),
        ({}, {"status": "failed", "reason": "OSError: full", "train_loss": []}, False),
    ],
)
def test_tolerance_of_another_kind_of_machine(stored: Record, again: Record, agrees: bool) -> None:
    found = verify.check({**STORED, **stored}, {**STORED, "device": "another CPU", **again})
    assert found.agrees == agrees, found.said
    assert found.said.startswith("DIFFERS: ") != agrees


@pytest.mark.parametrize("kind", verify.KIND)
def test_bits_are_asked_for_only_where_all_is_the_same(kind: str) -> None:
    stored, again = {**STORED, **dict.fromkeys(verify.KIND, 1)}, {**STORED, **dict.fromkeys(verify.KIND, 1)}
    again["test_best"] += 1e-9
    assert not verify.check(stored, again).agrees
    assert verify.check({**stored, kind: 2}, again).agrees


def test_a_sample_below_one_is_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match="sample: 0; accepted: 1 or more"):
        verify.verify(studies.load(str(folder / "tiny.toml")), ResultStore(folder, "tiny"), sample=0)
