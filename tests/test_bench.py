"""fewft.bench and fewft.peers: who gets which batches, what is counted, and what a second call keeps. No times."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from fewft import bench, peers, sweep, tasks, train, worker
from fewft.cli import main
from fewft.config import RunConfig, UsageError
from fewft.schedule import SweepError

pytest.importorskip("accelerate")
CONFIG = RunConfig(task="bundled:acceptability", model="random:bert-tiny")


def _watched(peer: peers.Peer) -> list[dict[str, Any]]:
    """Every input that the peer's model gets."""
    seen: list[dict[str, Any]] = []
    peer.model.register_forward_pre_hook(lambda _, __, kwargs: seen.append(kwargs), with_kwargs=True)
    return seen


def _chunk(number: int) -> np.ndarray:
    return np.random.default_rng(5).permutation(320).reshape(-1, 2, 32)[number]  # (steps, examples)


@pytest.mark.parametrize("name", ["padded", "dynamic"])
def test_a_peer_trains_on_exactly_our_batches(name: str, tmp_path: Path) -> None:
    peer = peers.Peer(CONFIG, name, False, {"max_steps": 2, "output_dir": str(tmp_path)})
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
        assert tokens == ours.lengths[_chunk(turn)].sum()
    assert not list(tmp_path.iterdir())


def test_grouped_has_its_own_batches_each_once(tmp_path: Path) -> None:
    peer = peers.Peer(CONFIG, "grouped", False, {"max_steps": 2, "output_dir": str(tmp_path)})
    ours, seen = train.prepare(CONFIG, device="cpu").sets["train"], _watched(peer)
    number = {tuple(ids.tolist()): i for i, ids in enumerate(ours.input_ids)}
    tokens = [peer(_chunk(0))[2] for _ in range(5)]  # 5 turns of 2 are an epoch
    lengths = [inputs["attention_mask"].sum(1).numpy() for inputs in seen]
    assert tokens == [a.sum() + b.sum() for a, b in zip(lengths[::2], lengths[1::2], strict=True)]
    rows = [row[mask.bool()] for i in seen for row, mask in zip(i["input_ids"], i["attention_mask"], strict=True)]
    assert sorted(number[tuple(r.tolist())] for r in rows) == sorted(number[tuple(r.tolist())] for r in ours.input_ids)
    padding = sum(inputs["attention_mask"].numel() for inputs in seen) / sum(tokens)
    random = [ours.lengths[batch] for turn in range(5) for batch in _chunk(turn)]
    assert padding < 0.9 * sum(32 * lengths.max() for lengths in random) / sum(tokens)
    pairs = zip(lengths[::2], lengths[1::2], strict=True)
    assert any(a.sum() < b.sum() for a, b in pairs)  # shuffled: its sampler has the longer first


def test_bf16_of_one_peer_stays_with_it(tmp_path: Path) -> None:
    found: dict[str, set[tuple[torch.dtype, str]]] = {"dynamic": set(), "dynamic-bf16": set()}
    made = {name: peers.Peer(CONFIG, name, False, {"max_steps": 1, "output_dir": str(tmp_path)}) for name in found}
    for name, peer in made.items():
        layer = peer.model.bert.encoder.layer[0].intermediate.dense
        state = peer.accelerator.state  # one for the process, and read when a model is compiled
        layer.register_forward_hook(
            lambda _, __, out, name=name, state=state: found[name].add((out.dtype, state.mixed_precision))
        )
    for _ in range(2):
        for peer in made.values():
            peer(_chunk(0)[:1])
    assert found == {"dynamic": {(torch.float32, "no")}, "dynamic-bf16": {(torch.bfloat16, "bf16")}}


def test_the_matrix_products_are_six_operations_a_weight_and_token() -> None:
    weights = [torch.randn(3, 5), torch.randn(5, 3), torch.randn(5, 5)]
    with FlopCounterMode(display=False) as counter:
        peers.multiply(weights, {n: torch.randn(40, n) for n in (3, 5)}, torch.empty(200), tokens=17)
    assert counter.get_total_flops() == 6 * sum(w.numel() for w in weights) * 17


def _found(ours: float, peer: float) -> dict[str, Any]:
    cost = {"ours": [[2 * ours, ours, 50.0]] * 3, "mm": [[ours, ours / 2, 50.0]] * 3, "padded": [[1.0, peer, 50.0]] * 3}
    env = {"device": "x", "torch_version": "1", "transformers_version": "1", "commit": "c", "started": "2026-01-01T"}
    more = {"clock": "cpu", "packed": True, "captured": False, "block_weights": 1000, "environment": env}
    return {**more, "steps": 2, "raw": cost}


def _row(task: str, padded: float, **more: Any) -> dict[str, Any]:
    where = {"workers": 2, "accelerate_version": "1", "cores": 2}
    return {**RunConfig(task=task).to_dict(), **where, **bench._steps([_found(0.2, padded)] * 2), **more}


def test_a_row_by_hand() -> None:
    row = bench._steps([_found(0.2, 0.6), _found(0.2, 0.6)])
    assert row["padded"]["cpu_ratio"] == pytest.approx(3.0) and row["padded"]["wall_ratio"] == pytest.approx(2.5)
    assert row["ours"]["cpu_ms"] == pytest.approx(100) and row["ours"]["wall_ms"] == pytest.approx(200)
    assert row["ours"]["tokens"] == 25 and row["ours"]["cpu_ratio"] == 1
    assert row["mm"]["cpu_ratio"] == pytest.approx(0.5)  # the share of the raw rate
    assert row["mm"]["cpu_gflops"] == pytest.approx(6 * 1000 * 50 / 0.1 / 1e9)
    assert row["mm"]["wall_gflops"] == pytest.approx(6 * 1000 * 50 / 0.2 / 1e9)
    assert row["turns"] == 6 and len(row["raw"]) == 2
    assert row.items() >= {"clock": "cpu", "packed": True, "captured": False, "steps": 2, "block_weights": 1000}.items()


def test_a_median_is_over_turns_and_workers() -> None:
    found = [_found(1.0, 1.0) for _ in range(2)]
    found[0]["raw"]["ours"] = [[1.0, 0.1, 50.0], [1.0, 0.2, 50.0], [1.0, 9.0, 50.0]]
    found[1]["raw"]["ours"] = [[1.0, 0.4, 50.0], [1.0, 0.5, 50.0], [1.0, 9.0, 50.0]]
    row = bench._steps(found)
    assert row["ours"]["cpu_ms"] == pytest.approx(225)  # 0.45 s, two steps
    assert row["padded"]["cpu_ratio"] == pytest.approx((1 / 0.4 + 1 / 0.5) / 2)


def test_measuring_has_every_turn_but_the_warm_up_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    monkeypatch.setattr(peers, "now", lambda: np.array([len(done) ** 2, 0.0]))
    multiply, step = peers.multiply, train.Trainer.step
    monkeypatch.setattr(peers, "multiply", lambda *a: (done.append("mm"), multiply(*a)))
    monkeypatch.setattr(train.Trainer, "step", lambda self, batch: (done.append("ours"), step(self, batch)))
    found = peers.measure_steps(CONFIG, "cpu", ["dynamic"], repeats=2, steps=2)
    assert json.loads(json.dumps(found)) == found
    assert {name: np.shape(turns) for name, turns in found["raw"].items()} == dict.fromkeys(
        ("ours", "mm", "dynamic"), (2, 3)
    )
    assert done == ["ours", "ours", "mm", "mm"] + ["mm", "mm", "ours", "ours"] + ["ours", "ours", "mm", "mm"]
    assert [wall for wall, _, _ in found["raw"]["ours"]] == [8**2 - 6**2, 10**2 - 8**2]
    tokens = {name: [t[2] for t in turns] for name, turns in found["raw"].items()}
    assert tokens["ours"] == tokens["mm"] == tokens["dynamic"] and tokens["ours"][0] > 0
    assert found["block_weights"] == 3 * 12 * 64 * 64  # blocks; four of width x width, two of width x 4 width


def test_a_second_call_replaces_its_rows_and_keeps_the_others(tmp_path: Path) -> None:
    path = tmp_path / "new" / "cpu.json"
    rows = _row("rte", 0.6), _row("cola", 0.8), _row("rte", 0.7, workers=1), _row("rte", 1.0), _row("rte", 2.0)
    rows[-1]["precision"] = "bf16"
    for row in rows:
        bench.store(path, "steps", row)
    stored = [(r["task"], r["workers"], round(r["padded"]["cpu_ratio"], 6)) for r in bench.read(path)["steps"]]
    assert stored == [("rte", 2, 5.0), ("cola", 2, 4.0), ("rte", 1, 3.5), ("rte", 2, 10.0)]
    lines = path.with_suffix(".md").read_text().splitlines()
    assert "50%|5.00" in next(line for line in lines if line.startswith("rte|") and "|2|" in line)


def test_a_table_has_a_cell_for_every_column() -> None:
    rows = [_row("rte", 0.6), _row("cola", 0.6, captured=True, packed=False)]
    del rows[0]["captured"], rows[1]["padded"]  # as an earlier fewft wrote it, and another choice of peers
    speeds = {"ours": {"per_hour": 36.0}, "padded": {"per_hour": 12.0}, "ratio": 3.0}
    keys = {k: v for k, v in rows[0].items() if k not in ("ours", "mm", "padded")}
    text = bench.markdown({"steps": rows, "runs": [{**keys, **speeds}]})
    table = [line.split("|") for line in text.splitlines() if "|" in line]
    assert [len(line) for line in table] == [12] * 4 + [7] * 3
    assert [dict(zip(table[0], line, strict=True))["captured"] for line in table[2:4]] == ["", "True"]
    assert [dict(zip(table[0], line, strict=True))["padded"] for line in table[2:4]] == ["3.00", ""]
    assert table[6][-3:] == ["3.00", "36.00", "12.00"] and text.count("torch 1, transformers 1, accelerate 1") == 1


def test_bench_measures_what_was_asked_and_stores_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, list[dict[str, Any]]]] = []

    def answer(job: Any, calls: list[dict[str, Any]], *, one_thread: bool = False) -> list[dict[str, Any]]:
        asked.append((job.__name__, calls))
        assert one_thread == (job is peers.measure_steps)
        return [_found(0.2, 0.6) if one_thread else {"runs": len(job.__name__), "test": [0.5]} for _ in calls]

    monkeypatch.setattr(bench, "children", answer)
    call = ["bench", "--tasks", CONFIG.task, "--models", CONFIG.model, "--device", "cpu", "--workers", "2"]
    assert main([*call, "--out", str(tmp_path)]) == 0
    assert [name for name, _ in asked] == ["measure_steps", "run_sweep", "run_trainer"]
    assert [c["config"].data_seed for c in asked[0][1]] == [0, 1] and asked[0][1][0]["repeats"] == 5
    assert asked[0][1][0]["peers"] == ["padded", "dynamic", "grouped"]
    tables = bench.read(tmp_path / "cpu.json")
    assert len(tables["steps"]) == len(tables["runs"]) == 1
    run = tables["runs"][0]
    assert run["ratio"] == pytest.approx(run["ours"]["per_hour"] / run["padded"]["per_hour"])
    assert run["ours"]["per_hour"] == pytest.approx(len("run_sweep") / run["ours"]["seconds"] * 3600)
    assert {*bench.KEY, "accelerate_version", "environment", "cores"} <= set(run) & set(tables["steps"][0])
    assert main([*call, "--out", str(tmp_path / "a.json"), "--no-runs", "--peers", "dynamic,padded"]) == 0
    assert len(asked) == 4 and asked[3][1][0]["peers"] == ["padded", "dynamic"] and (tmp_path / "a.md").is_file()


def test_whole_runs_are_of_1000_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(sweep, "preflight", lambda configs, device: asked.extend(c.task for c in configs))
    monkeypatch.setattr(bench, "children", lambda job, calls, **_: [_found(1, 1) | {"runs": 1} for _ in calls])
    bench.bench(tmp_path, tasks="rte,cola-1k,bundled:acceptability", device="cpu")
    assert asked == ["rte", "cola-1k", "bundled:acceptability", "rte-1k", "cola-1k", "bundled:acceptability"]


def test_a_whole_run_of_a_trainer(monkeypatch: pytest.MonkeyPatch) -> None:
    scored: list[int] = []
    score = peers.score
    monkeypatch.setattr(peers, "score", lambda m, out, y: (scored.append(len(y)), score(m, out, y))[1])
    found = peers.run_trainer(replace(CONFIG, num_train_epochs=1, num_evals=2), "cpu")
    data = tasks.load(CONFIG.task)
    assert scored == [len(data.validation)] * 2 + [len(data.test)] * 2  # at two evaluations; Trainer's own, and ours
    assert found["runs"] == 1 and -1 <= found["test"][0] <= 1


def test_failed_runs_do_not_count(monkeypatch: pytest.MonkeyPatch, stored_run: Any) -> None:
    def some_fail(configs: list[RunConfig], store: Any, **_: Any) -> None:
        for config in configs:
            store.add(stored_run(config, status="failed" if config.data_seed == 1 else "ok"))

    monkeypatch.setattr(sweep, "sweep", some_fail)
    assert peers.run_sweep(CONFIG, "cpu", workers=2) == {"runs": 9, "test": [0.55] * 9}


def test_children_are_processes_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    call = {"cmd": "sleep 1; echo $PPID ${OMP_NUM_THREADS:-all} ${GLIBC_TUNABLES:-none}"}
    one, two = (said.split() for said in bench.children(subprocess.getoutput, [call] * 2, one_thread=True))
    assert one[0] != two[0] and one[1:] == two[1:] == list(worker.WORKER_ENVIRONMENT.values())
    assert bench.children(subprocess.getoutput, [call])[0].split()[1:] == ["all", "none"]


def test_a_failing_process_is_an_error() -> None:
    with pytest.raises(SweepError, match="getoutput failed .*; rows before it are stored"):
        bench.children(subprocess.getoutput, [{"nosuch": 1}])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tasks", "rt"], "task: 'rt' is not known (did you mean 'rte'?)"),
        (["--peers", "dynamic,pad"], "peer: 'pad' is not known"),
        (["--steps", "-1"], "steps, workers: 5, -1, 0; accepted: 1, 0, 0 or more"),
        (["--repeats", "0"], "repeats, steps, workers: 0, 0, 0"),
        (["--workers", "-2"], "workers: 5, 0, -2"),
        (["--device", "tpu"], "device: 'tpu' is not here"),
        (["--precision", "int8"], "precision: 'int8' is not known"),
        (["--models", "random:nosuch-tiny", "--tasks", "bundled:acceptability"], "model: 'random:nosuch-tiny'"),
    ],
)
def test_a_wrong_call_ends_2(arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["bench", *arguments, "--out", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_without_accelerate_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(UsageError, match=r"pip install 'fewft\[bench\]'"):
        bench.bench(tmp_path / "cpu.json")


@pytest.mark.parametrize("content", ['{"steps": 3}', '{"steps": [{"task": "rte"}], "runs": []}', "[", "[]"])
def test_a_damaged_file_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "cpu.json").write_text(content)
    with pytest.raises(UsageError, match="cpu.json' is damaged"):
        bench.bench(tmp_path, device="cpu")
