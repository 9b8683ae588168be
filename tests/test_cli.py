"""fewft.cli: 0 on success, 1 on a finding, 2 on a wrong call, which is refused before anything runs."""

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fewft import experiments, studies, sweep
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
    for config in experiments.plan(studies.load(study), "bias_correction")[2]:
        store.add(stored_run(config))
    return store


def test_plan_counts_what_is_stored(study: str, store: ResultStore, capsys: pytest.CaptureFixture) -> None:
    assert main(["plan", study, "--results", str(store.parquet.parent)]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[1:] == [  # distinct, stored, missing: 8 runs are in both
        ["bias_correction", "12", "12", "0"], ["learning_rate_search", "24", "8", "16"], ["distinct", "28", "12", "16"],
    ]  # fmt: skip


def test_plan_of_a_part(study: str, capsys: pytest.CaptureFixture) -> None:
    wanted = ["--experiment", "bias_correction", "--tasks", "rte-1k", "--seeds", "1", "--results", "none"]
    assert main(["plan", study, *wanted]) == 0
    assert capsys.readouterr().out.splitlines()[-1].split() == ["distinct", "2", "0", "2"]


@pytest.mark.parametrize("command", ["plan", "status", "run"])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["minilmm"], "study: 'minilmm' is not known (did you mean 'minilm'?); accepted: demo, minilm"),
        (["minilm", "--experiment", "nosuch"], "accepted: bias_correction, learning_rate_search"),
        (["minilm", "--tasks", "qqp"], "accepted: cola-1k, mrpc-1k, rte-1k, stsb-1k"),
        (["minilm", "--seeds", "-1"], "seeds: -1"),
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
    config = experiments.plan(studies.load(study), "bias_correction")[2][0]
    store.add(stored_run(config, status="failed", reason="OSError: no space"))
    assert main(command) == 1
    said = capsys.readouterr().out
    assert "failed: 1" in said and f"{config.run_id} rte-1k: OSError: no space" in said and "ok: 11" in said


def test_run_with_nothing_missing_only_collects(study: str, store: ResultStore, capsys: pytest.CaptureFixture) -> None:
    wanted = ["--experiment", "bias_correction", "--results", str(store.parquet.parent)]
    assert main(["run", study, *wanted]) == 0
    assert "nothing was missing; 12 runs are stored" in capsys.readouterr().out
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
            assert main(["run", study, "--shard", part, "--results", str(folder)]) == 0
    assert asked[:2] == asked[2:] and [len(part) for part in asked[:2]] == [14, 14]
    assert len({*asked[0], *asked[1]}) == 28


def test_a_damaged_store_is_refused(study: str, store: ResultStore, capsys: pytest.CaptureFixture) -> None:
    (store.folder / "abc.json").write_text("{")
    assert main(["status", study, "--results", str(store.parquet.parent)]) == 2
    assert "abc.json' is damaged" in capsys.readouterr().err


def test_data_stores_and_prints_a_row_a_task(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["data", "--tasks", "bundled:entailment", "--results", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:4] == ["bundled:entailment", "320", "120", "120"]
    assert experiments.datasets(str(tmp_path)).index.tolist() == ["bundled:entailment"]
    assert main(["data", "--tasks", "bundled:entailmnt", "--results", str(tmp_path)]) == 2


# --- build: every wrong parameter is refused before a notebook runs -----------------------------------------------
@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"sedes": "3"}, "'sedes' is not known (did you mean 'seeds'?); accepted: "),
        ({"study": "nosuch"}, "study: 'nosuch' is not known; accepted: demo, minilm"),
        ({"seeds": "three"}, "parameter seeds: 'three' is str; accepted: int"),
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
    modules = ["cli", "book", "sweep"]  # and what these import, all the way down
    for module in modules:
        for node in ast.parse((root / "fewft" / f"{module}.py").read_text("utf8")).body:
            before = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
            names = [before + a.name for a in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            for package, name in (f"{name}.".split(".")[:2] for name in names):
                assert package not in heavy, (module, package)
                if package == "fewft" and name not in modules:
                    modules.append(name)
    assert {"config", "tasks", "metrics", "results", "studies", "experiments"} < set(modules)
