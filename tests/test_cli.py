"""fewft.cli: 0 on success, 1 on a finding, 2 on a wrong call, which is refused before anything runs."""

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from fewft import costs, environment, experiments, inventory, pace, studies, sweep, worker
from fewft.cli import main
from fewft.results import ResultStore

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def study(write_study: Callable[..., Path]) -> str:
    return str(write_study())


@pytest.fixture
def store(study: str, tmp_path: Path, stored_run: Run) -> ResultStore:
    """Every run of bias_correction, done."""
    store = ResultStore(tmp_path / "results", "small")
    for config in experiments.plan(studies.load(study), "bias_correction").configs:
        store.add(stored_run(config))
    return store


def test_plan_counts_what_is_stored_and_what_it_costs(
    study: str, store: ResultStore, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(costs, "cost", lambda _: costs.Cost(10, 250_000, 3.6e15))
    monkeypatch.setattr(pace, "measure", lambda _: (1e12, "a trial"))
    monkeypatch.setattr(worker, "cores", lambda: 2)
    monkeypatch.setattr(environment, "pick_device", lambda _: torch.device("cpu"))
    two = ["--experiment", "bias_correction", "--experiment", "stability_map"]
    assert main(["plan", study, *two, "--results", str(store.parquet.parent)]) == 0
    said = capsys.readouterr().out.splitlines()
    head = [
        "experiment",
        "runs",
        "distinct",
        "later",
        "stored",
        "missing",
        "steps",
        "Mtokens",
        "FLOPs",
        "hours",
        "left",
    ]
    assert [line.split() for line in said[:3]] == [  # 8 runs are in both experiments
        head,
        ["bias_correction", "12", "12", "0", "12", "0", "120", "3.0", "4.3e+16", "6.0", "0.00"],
        ["stability_map", "24", "16", "0", "8", "16", "160", "4.0", "5.8e+16", "8.0", "8.0"],
    ]
    assert said[3].replace("all, each once", "all").split() == [
        "all", "28", "28", "0", "12", "16", "280", "7.0", "1.0e+17", "14", "8.0",
    ]  # fmt: skip
    assert said[6].startswith("hours: at 2e+12 FLOP/s") and said[6].endswith("2 worker processes; measured in a trial")


def test_plan_counts_what_a_search_will_choose(
    study: str, store: ResultStore, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of each task: standard has three cells of one run, and its best one more; for L there are two times two runs,
    then its two new cells and one more run."""
    monkeypatch.setattr(costs, "cost", lambda _: costs.Cost(10, 250_000, 3.6e15))
    wanted = ["--experiment", "longer", "--results", str(store.parquet.parent), "--rate", "2e12"]
    assert main(["plan", study, *wanted]) == 0
    line = capsys.readouterr().out.splitlines()[1].split()
    assert line == ["longer", "22", "22", "8", "2", "20", "220", "5.5", "7.9e+16", "11", "10"]


def test_plan_of_a_part_at_a_given_rate(
    study: str, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "measure", lambda _: pytest.fail("nothing is to be measured"))
    wanted = ["--experiment", "bias_correction", "--tasks", "rte-1k", "--seeds", "1", "--results", "none"]
    assert main(["plan", study, *wanted, "--rate", "1e12"]) == 0
    said = capsys.readouterr().out.splitlines()
    total = said[2].removeprefix("all, each once").split()
    assert total[:6] == ["2", "2", "0", "0", "2", "192"] and total[-1] == "0.01"  # 2 of 16 TFLOP
    assert "hours: at 1e+12 FLOP/s, as --rate says" in said


@pytest.mark.parametrize("rate", ["-1", "nan", "inf"])
def test_plan_refuses_a_rate_below_0(rate: str, study: str, capsys: pytest.CaptureFixture) -> None:
    assert main(["plan", study, "--rate", rate]) == 2
    assert f"rate: {rate}; accepted" in capsys.readouterr().err


def test_status_counts_without_costs(
    study: str, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(costs, "cost", lambda _: pytest.fail("status is to stay cheap"))
    assert main(["status", study, "--experiment", "bias_correction", "--results", "none"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].split()[-5:] == ["12", "12", "0", "0", "12"]


@pytest.mark.parametrize("command", ["plan", "status", "run"])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["minilmm"], "study: 'minilmm' is not known (did you mean 'minilm'?); accepted: demo, minilm, mpnet, paper"),
        (["minilm", "--experiment", "nosuch"], "accepted: bias_correction, distances"),
        (["minilm", "--tasks", "qqp"], "tasks: 'qqp' is not known (did you mean 'qqp-1k'?); accepted: cola, cola-1k"),
        (["minilm", "--seeds", "-1"], "seeds: -1"),
        (["minilm", "--seeds", str(10**30)], "seeds: 1000"),
        (["minilm", "--results", "README.md"], "results: 'README.md' is a file; accepted: a folder"),
        (["minilm", "--results", "x" * 300], "File name too long"),
        (["minilm", "--tasks", "a\0b"], r"argument: 'a\x00b'; accepted: up to 4,000 characters of UTF-8"),
        (["x" * 10**6], "argument: 'xxx"),
    ],
)
def test_a_wrong_call_ends_2_in_one_line(
    command: str, arguments: list[str], message: str, capsys: pytest.CaptureFixture
) -> None:
    assert main([command, *arguments]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("fewft: ") and message in said.err and said.err.count("\n") == 1
    assert said.out == ""


@pytest.mark.parametrize("arguments", [[], ["nosuch"], ["plan"], ["plan", "minilm", "--seeds", "three"]])
def test_argparse_ends_2_as_well(arguments: list[str], capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2 and "usage: fewft" in capsys.readouterr().err


def test_status_is_1_when_a_run_failed(
    study: str, store: ResultStore, stored_run: Run, capsys: pytest.CaptureFixture
) -> None:
    command = ["status", study, "--results", str(store.parquet.parent)]
    assert main(command) == 0
    assert "ok: 12" in capsys.readouterr().out
    config = experiments.plan(studies.load(study), "bias_correction").configs[0]
    store.add(stored_run(config, status="failed", reason="OSError: no space"))
    assert main(command) == 1
    said = capsys.readouterr().out
    assert "failed: 1" in said and f"{config.run_id} rte-1k: OSError: no space" in said and "ok: 11" in said


def test_run_with_nothing_missing_only_collects(study: str, store: ResultStore, capsys: pytest.CaptureFixture) -> None:
    wanted = ["--experiment", "bias_correction", "--results", str(store.parquet.parent)]
    assert main(["run", study, *wanted]) == 0
    assert "nothing was missing; 12 of 12 runs are stored" in capsys.readouterr().out
    assert store.parquet.is_file() and not list(store.folder.glob("*.json"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--shard", "3/2"], "shard: '3/2'; accepted: i/n"),
        (["--shard", "half"], "shard: 'half'; accepted: i/n"),
        (["--executor", "slurm"], "executor: 'slurm' is not known; accepted: local, ray"),
        (["--address", "auto"], "address: 'auto' with executor 'local'; accepted: only with 'ray'"),
    ],
)
def test_run_refuses_a_wrong_place(
    study: str, store: ResultStore, arguments: list[str], message: str, capsys: pytest.CaptureFixture
) -> None:
    assert main(["run", study, "--results", str(store.parquet.parent), *arguments]) == 2
    said = capsys.readouterr()
    assert message in said.err and said.err.count("\n") == 1 and said.out == ""


def test_shards_of_a_study_do_not_depend_on_what_is_stored(
    study: str, store: ResultStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []
    monkeypatch.setattr(sweep, "sweep", lambda configs, *_, **__: asked.append([c.run_id for c in configs]) or [])
    for folder in (store.parquet.parent, tmp_path / "empty"):
        for part in ("1/2", "2/2"):
            two = ["--experiment", "bias_correction", "--experiment", "stability_map"]
            assert main(["run", study, *two, "--shard", part, "--results", str(folder)]) == 0
    assert asked[:2] == asked[2:] and [len(part) for part in asked[:2]] == [14, 14]
    assert len({*asked[0], *asked[1]}) == 28


def test_a_damaged_store_is_refused(study: str, store: ResultStore, capsys: pytest.CaptureFixture) -> None:
    (store.folder / "abc.json").write_text("{")
    assert main(["plan", study, "--results", str(store.parquet.parent)]) == 2
    assert "abc.json' is damaged" in capsys.readouterr().err
    assert main(["status", study, "--results", str(store.parquet.parent)]) == 1
    assert "abc.json (" in capsys.readouterr().out


def test_merge_ends_0_or_with_a_finding_1(
    study: str, store: ResultStore, stored_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    store.collect()
    config = experiments.plan(studies.load(study), "bias_correction").configs[0]
    other = ResultStore(tmp_path, "other")
    other.add(stored_run(config, test_best=0.1))
    other.collect()
    new = str(tmp_path / "new.parquet")
    assert main(["merge", new, str(store.parquet)]) == 0
    assert capsys.readouterr().out == (
        f"{new}: 12 added, 0 in place of failed ones, 0 already there; 12 runs are stored\n"
    )
    assert main(["merge", new, str(other.parquet)]) == 1
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("fewft: 1 conflict, nothing was written\n")
    assert f"{config.run_id} rte-1k: test_best 0.55 | 0.1\n" in said.err and new in said.err
    other.parquet.write_bytes(b"PAR1")
    assert main(["merge", new, str(other.parquet)]) == 2
    assert "other.parquet' is damaged" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nosuch"], "study: 'nosuch' is not known"),
        (["minilm", "--results", "none"], "study: 'minilm' has no run to verify (none is stored); accepted: "),
        (["minilm", "--sample", "0"], "sample: 0; accepted: 1 or more"),
        (["minilm", "--tasks", "qqp"], "accepted: cola-1k, mrpc-1k, rte-1k, stsb-1k"),
        (["minilm", "--device", "tpu"], "device: 'tpu' is not here"),
    ],
)
def test_a_wrong_verify_ends_2(arguments: list[str], message: str, capsys: pytest.CaptureFixture) -> None:
    assert main(["verify", *arguments]) == 2
    said = capsys.readouterr()
    assert message in said.err and said.err.count("\n") == 1 and said.out == ""


def test_data_stores_and_prints_a_row_a_task(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["data", "--tasks", "bundled:entailment", "--results", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:4] == ["bundled:entailment", "320", "120", "120"]
    assert inventory.stored(str(tmp_path)).index.tolist() == ["bundled:entailment"]
    assert main(["data", "--tasks", "bundled:entailmnt", "--results", str(tmp_path)]) == 2


# --- build: every wrong parameter is refused before a notebook runs -----------------------------------------------
@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"sedes": "3"}, "'sedes' is not known (did you mean 'seeds'?); accepted: "),
        ({"study": "nosuch"}, "study: 'nosuch' is not known; accepted: demo, minilm, mpnet, paper"),
        ({"seeds": "three"}, "parameter seeds: 'three' is str; accepted: int"),
        ({"seeds": str(10**30)}, "parameter seeds: 1000000000000000000000000000000 has 100 bits"),
        ({"learning_rate": "1e999"}, "parameter learning_rate: '1e999' is str; accepted: float"),
        ({"seeds": "{[]: 1}"}, "parameter seeds: '{[]: 1}' is str; accepted: int"),
        ({"train": "1"}, "parameter train: 1 is int; accepted: bool"),
        ({"study": "demo", "sedes": "3"}, "'sedes' is not known"),
    ],
)
def test_build_refuses_a_wrong_parameter(
    parameters: dict[str, str], message: str, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.chdir(root)
    monkeypatch.setenv("PYTHONPATH", "")  # build sets these two for its kernels
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")
    given = [part for pair in parameters.items() for part in ("-p", *pair)]
    assert main(["build", *given, "--out", str(tmp_path / "book")]) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1
    if "sedes" in parameters:
        names = said.partition("accepted: ")[2].strip().split(", ")
        assert {"study", "tasks", "seeds", "train", "device", "workers", "results"} <= set(names)
    assert not list(tmp_path.rglob("*.ipynb"))


def test_the_command_line_starts_without_the_heavy_libraries(root: Path) -> None:
    heavy = {"torch", "transformers", "matplotlib", "seaborn", "datasets", "papermill", "nbformat", "myst_nb"}
    modules = ["cli", "book", "verify"]  # and what these import, all the way down
    for module in modules:
        files = [*(root / "fewft" / module).glob("*.py"), *(root / "fewft").glob(f"{module}.py")]  # one is a package
        assert files, module
        for node in (node for file in files for node in ast.parse(file.read_text("utf8")).body):
            before = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
            names = [before + a.name for a in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            for package, name in (f"{name}.".split(".")[:2] for name in names):
                assert package not in heavy, (module, package)
                if package == "fewft" and name not in modules:
                    modules.append(name)
    assert {"config", "tasks", "metrics", "results", "studies", "experiments", "yours"} < set(modules)
