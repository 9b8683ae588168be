"""fewft.bench and fewft.peers: who gets which batches, what is counted, and what a second call keeps. No times."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from fewft import bench, peers, sweep, train
from fewft.cli import main
from fewft.config import RunConfig, UsageError

pytest.importorskip("accelerate")
CPU = torch.device("cpu")
CONFIG = RunConfig(task="bundled:acceptability", model="random:bert-tiny")


def _watched(peer: peers.Peer) -> list[dict[str, Any]]:
    """Every input that the peer's model gets."""
    seen: list[dict[str, Any]] = []
    peer.trainer.model.register_forward_pre_hook(lambda _, __, kwargs: seen.append(kwargs), with_kwargs=True)
    return seen


def _chunk(number: int) -> list[np.ndarray]:
    order = train.batches(320, CONFIG)
    return [[next(order) for _ in range(2)] for _ in range(number + 1)][number]


@pytest.mark.parametrize("name", ["padded", "dynamic"])
def test_a_peer_trains_on_exactly_our_batches(name: str, tmp_path: Path) -> None:
    peer = peers.Peer(CONFIG, name, CPU, str(tmp_path), turns=2, steps=2)
    ours, seen = train.prepare(CONFIG, device="cpu").sets["train"], _watched(peer)
    for turn in range(2):
        seen.clear()
        wall, cpu, tokens = peer(_chunk(turn))
        assert wall > 0 and cpu > 0 and len(seen) == 2
        for inputs, batch in zip(seen, _chunk(turn), strict=True):
            rows = [row[mask.bool()] for row, mask in zip(inputs["input_ids"], inputs["attention_mask"], strict=True)]
            assert [r.tolist() for r in rows] == [ours.input_ids[i].tolist() for i in batch]
            assert torch.equal(inputs["labels"], ours.labels[batch])
            longest = int(ours.lengths[batch].max())
            assert inputs["input_ids"].shape == (32, 128 if name == "padded" else longest)
        assert tokens == ours.lengths[np.concatenate(_chunk(turn))].sum()


def test_grouped_has_its_own_batches_short_and_long_in_every_turn(tmp_path: Path) -> None:
    peer = peers.Peer(CONFIG, "grouped", CPU, str(tmp_path), turns=2, steps=2)
    seen = _watched(peer)
    ours = train.prepare(CONFIG, device="cpu").sets["train"].lengths[np.concatenate(_chunk(0))].sum()
    tokens = [peer(_chunk(0))[2] for _ in range(2)]
    mean = [float(inputs["attention_mask"].sum()) for inputs in seen]
    assert mean[0] < mean[1] and mean[2] < mean[3]
    assert sum(mean[:2]) == tokens[0] and tokens != [ours, ours]


def test_bf16_of_one_peer_stays_with_it(tmp_path: Path) -> None:
    found: dict[str, set[tuple[torch.dtype, str]]] = {"dynamic": set(), "dynamic-bf16": set()}
    made = {name: peers.Peer(CONFIG, name, CPU, str(tmp_path), turns=2, steps=1) for name in found}
    for name, peer in made.items():
        layer = peer.trainer.model.bert.encoder.layer[0].intermediate.dense
        state = peer.trainer.accelerator.state  # one for the process, and read when a model is compiled
        layer.register_forward_hook(
            lambda _, __, out, name=name, state=state: found[name].add((out.dtype, state.mixed_precision))
        )
    for _ in range(2):
        for peer in made.values():
            peer(_chunk(0)[:1])
    assert found == {"dynamic": {(torch.float32, "no")}, "dynamic-bf16": {(torch.bfloat16, "bf16")}}


def test_the_matrix_products_are_six_operations_a_weight_and_token() -> None:
    weights = peers.linear_weights(CONFIG)
    count = sum(w.numel() for w in weights)
    assert count == 3 * 12 * 64 * 64  # blocks; four of width x width, two of width x 4 width
    with FlopCounterMode(display=False) as counter:
        assert peers.multiply([w.detach() for w in weights], [10, 7])[2] == 17
    assert counter.get_total_flops() == 6 * count * 17


def _found(ours: float, peer: float) -> dict[str, Any]:
    cost = {"ours": [[2 * ours, ours, 50.0]] * 3, "mm": [[ours, ours / 2, 50.0]] * 3, "padded": [[1.0, peer, 50.0]] * 3}
    env = {"device": "x", "torch_version": "1", "transformers_version": "1", "commit": "c", "started": "2026-01-01T"}
    return {"clock": "cpu", "packed": True, "steps": 2, "block_weights": 1000, "environment": env, "cost": cost}


def test_a_row_by_hand() -> None:
    row = bench._steps_row(CONFIG, [_found(0.2, 0.6), _found(0.2, 0.6)])
    assert row["padded"]["cpu_ratio"] == pytest.approx(3.0) and row["padded"]["wall_ratio"] == pytest.approx(2.5)
    assert row["ours"]["cpu_ms"] == pytest.approx(100) and row["ours"]["wall_ms"] == pytest.approx(200)
    assert row["ours"]["tokens"] == 25 and row["ours"]["cpu_ratio"] == 1
    assert row["mm"]["cpu_ratio"] == pytest.approx(0.5)  # the share of the raw rate
    assert row["mm"]["cpu_gflops"] == pytest.approx(6 * 1000 * 50 / 0.1 / 1e9)
    assert row["workers"] == 2 and row["turns"] == 6 and len(row["raw"]) == 2
    assert {*bench.KEY, "clock", "packed", "steps", "block_weights", "environment", "cores"} <= set(row)


def test_measuring_has_every_turn_but_the_warm_up() -> None:
    found = peers.measure_steps(CONFIG.to_dict(), "cpu", [], repeats=2, steps=1)
    assert json.loads(json.dumps(found)) == found
    assert {name: np.shape(turns) for name, turns in found["cost"].items()} == {"ours": (2, 3), "mm": (2, 3)}
    assert [t[2] for t in found["cost"]["ours"]] == [t[2] for t in found["cost"]["mm"]]


def _row(task: str, padded: float, other: float = 0.0) -> dict[str, Any]:
    config = RunConfig(task=task, model="random:bert-tiny")
    return {**bench._steps_row(config, [_found(0.2, padded)]), "other_cores": other}


def test_a_second_call_replaces_its_rows_and_keeps_the_others(tmp_path: Path) -> None:
    path = tmp_path / "new" / "cpu.json"
    for row in (_row("rte", 0.6), _row("cola", 0.8), _row("rte", 1.0)):
        bench.store(path, "steps", row)
    rows = bench.read(path)["steps"]
    assert [(r["task"], round(r["padded"]["cpu_ratio"], 6)) for r in rows] == [("rte", 5.0), ("cola", 4.0)]
    assert "| 5.00 |" in path.with_suffix(".md").read_text()


def test_a_disturbed_row_is_marked(tmp_path: Path) -> None:
    text = bench.markdown({"steps": [_row("rte", 0.6, 0.02), _row("cola", 0.6, 0.9)], "runs": []})
    assert "| cola (!) |" in text and "| rte |" in text


def test_bench_measures_what_was_asked_and_stores_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, list[dict[str, Any]]]] = []

    def answer(job: Any, calls: list[dict[str, Any]], *, one_thread: bool = False) -> list[dict[str, Any]]:
        asked.append((job.__name__, calls))
        assert one_thread == (job is peers.measure_steps)
        runs = {"runs": 4 if job is peers.run_sweep else 1, "test": [0.5], "environment": _found(1, 1)["environment"]}
        return [_found(0.2, 0.6) if one_thread else runs for _ in calls]

    monkeypatch.setattr(bench, "children", answer)
    call = ["bench", "--tasks", CONFIG.task, "--model", CONFIG.model, "--device", "cpu", "--workers", "2"]
    assert main([*call, "--out", str(tmp_path)]) == 0
    assert [name for name, _ in asked] == ["measure_steps", "run_sweep", "run_trainer"]
    assert [c["config"]["data_seed"] for c in asked[0][1]] == [0, 1] and asked[0][1][0]["peers"] == list(bench.KINDS)
    tables = bench.read(tmp_path / "cpu.json")
    assert len(tables["steps"]) == len(tables["runs"]) == 1
    run = tables["runs"][0]
    assert run["ratio"] == pytest.approx(run["ours"]["per_hour"] / run["padded"]["per_hour"])
    assert {"other_cores", "environment", "cores"} <= set(run) & set(tables["steps"][0])
    assert main([*call, "--out", str(tmp_path), "--no-runs"]) == 0 and len(asked) == 4


def test_a_failing_process_is_an_error(capfd: pytest.CaptureFixture) -> None:
    with pytest.raises(sweep.SweepError, match="run_trainer failed"):
        bench.children(peers.run_trainer, [{"nosuch": 1}])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tasks", "rt"], "task: 'rt' is not known (did you mean 'rte'?)"),
        (["--peers", "pad"], "peer: 'pad' is not known"),
        (["--steps", "-1"], "steps: -1; accepted: 0 or more"),
        (["--repeats", "-1"], "repeats: -1"),
        (["--workers", "-2"], "workers: -2"),
        (["--name", "a/b"], "name: 'a/b'; accepted: a file name"),
        (["--device", "tpu"], "device: 'tpu' is not here"),
        (["--precision", "int8"], "precision: 'int8' is not known"),
        (["--model", "random:nosuch-tiny", "--tasks", "bundled:acceptability"], "model: 'random:nosuch-tiny'"),
    ],
)
def test_a_wrong_call_ends_2(arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["bench", *arguments, "--out", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_without_accelerate_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(UsageError, match=r"pip install 'fewft\[bench\]'"):
        bench.bench(tmp_path / "cpu.json")


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cpu.json").write_text('{"steps": 3}')
    with pytest.raises(UsageError, match="cpu.json' is damaged"):
        bench.bench(tmp_path / "cpu.json")
