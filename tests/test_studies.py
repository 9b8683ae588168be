"""fewft.studies: a study says what it means, or is refused with the key, the value and what is accepted."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fewft import studies, tasks
from fewft.config import RunConfig, UsageError
from fewft.studies import RECIPES, available, load

Write = Callable[..., Path]


@pytest.mark.parametrize("name", ["paper", "mpnet", "minilm", "demo"])
def test_a_shipped_study_loads_and_names_its_tasks(name: str) -> None:
    study = load(name)
    assert study.name == name and study.learning_rate in study.grid("learning_rate")
    assert set(study.all_tasks) <= set(tasks.names()) and len(study.tasks) == 4
    assert len(study.all_tasks) == (4 if name == "demo" else 12)


def test_every_shipped_study_loads() -> None:
    assert {load(name).name for name in available()} == set(available()) == {"paper", "mpnet", "minilm", "demo"}


def test_the_papers_study_has_the_papers_sizes() -> None:
    """Sections 3 to 7 and Appendices B to H."""
    study = load("paper")
    counts = {"bias_correction": 50, "reinit": 20, "longer_search": 8, "longer": 20, "methods": 20, "randomness": 10}
    assert {name: study.count(name) for name in counts} == counts and study.count("large_task") == 3
    assert study.grid("max_steps") == (200, 400, 800, 1600, 3200) and study.grid("reinit_layers") == (1, 2, 3, 4, 5, 6)
    assert study.grid("llrd_learning_rate") == (2e-5, 5e-5, 1e-4) and study.grid("layerwise_lr_decay") == (0.9, 0.95)
    assert study.grid("mixout_prob") == (0.1, 0.3, 0.5, 0.7, 0.9)
    assert study.grid("prior_weight_decay") == (1e-3, 1e-2, 1e-1, 1.0)
    assert study.grid("weight_decay") == (1e-4, 1e-3, 1e-2, 1e-1)
    assert study.run("rte", "debiased", 0) == RunConfig(task="rte", precision="bf16")
    assert list(study.other_models) == ["XLNet", "RoBERTa", "ELECTRA", "BART"]


def test_a_run_has_the_studys_values_and_then_the_changes(write_study: Write) -> None:
    study = load(str(write_study(more="[settings]\nnum_train_epochs = 6\nnum_evals = 5\n")))
    run = study.run("cola-1k", "bertadam", 2, num_evals=2)
    assert run == RunConfig(
        task="cola-1k", model="bundled:minilm", learning_rate=1e-4, init_seed=2, data_seed=2, correct_bias=False,
        num_train_epochs=6, num_evals=2,
    )  # fmt: skip


def test_the_recipes_are_the_papers_two_arms(write_study: Write) -> None:
    study = load(str(write_study()))
    runs = {name: study.run("rte-1k", name, 0) for name in RECIPES}
    assert {name: run.correct_bias for name, run in runs.items()} == {"debiased": True, "bertadam": False}
    with pytest.raises(UsageError, match="recipe: 'adam'.*bertadam, debiased"):
        study.run("rte-1k", "adam", 0)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"sedes": 3}, r"small.toml: key: 'sedes'.*'seeds'.*accepted: .*tasks"),
        ({"more": 'name = "other"\n'}, "small.toml: key: 'name'"),
        ({"model": None}, "small.toml: model: missing.*accepted: .*description"),
        ({"tasks": None}, "tasks: missing"),
        ({"tasks": "rte"}, "tasks: 'rte'.*accepted: a list"),
        ({"tasks": []}, "tasks.*empty list"),
        ({"tasks": [["rte"]]}, r"small.toml: task: .'rte'. is not known; accepted: "),
        ({"tasks": ["rte", "colla"]}, "task: 'colla'.*'cola'.*bundled:similarity"),
        ({"seeds": 3}, "seeds: 3.*accepted: a dict"),
        ({"seeds": {"reinit": "3"}}, "seeds.reinit: '3'.*accepted: a whole number, 1 or more"),
        ({"seeds": {"reinit": True}}, "seeds.reinit: True.*accepted: a whole number"),
        ({"seeds": {"reinit": 0}}, "seeds.reinit: 0.*1 or more"),
        ({"seeds": {"reinint": 3}}, "seeds: 'reinint' is not known .did you mean 'reinit'"),
        ({"grids": {"max_step": [200]}}, "grids: 'max_step' is not known .did you mean 'max_steps'"),
        ({"grids": {"max_steps": []}}, "grids.max_steps: .*accepted: a list with one entry"),
        ({"grids": {"max_steps": 200}}, "grids.max_steps: 200; accepted: a list"),
        ({"grids": {"max_steps": [200.0]}}, "grids.max_steps: 200.0; accepted: whole numbers"),
        ({"grids": {"reinit_layers": [-2]}}, "reinit_layers: -2.*at least -1"),
        ({"grids": {"distance_layers": [-2]}}, "reinit_layers: -2.*at least -1"),
        ({"grids": {"mixout_prob": [1.0]}}, "mixout_prob: 1.0.*below 1"),
        ({"grids": {"llrd_learning_rate": [0.0]}}, "learning_rate: 0.0.*above 0"),
        ({"more_tasks": ["colla"]}, "task: 'colla'.*'cola'"),
        ({"intermediate_task": "mnly"}, "task: 'mnly'.*'mnli'"),
        ({"large_task": "mnly"}, "task: 'mnly'.*'mnli'"),
        ({"gpus_per_run": "one"}, "gpus_per_run: 'one'.*accepted: a float"),
        ({"more": "gpus_per_run = nan\n"}, "small.toml: gpus_per_run: nan; accepted: a finite number"),
        ({"seeds": {"reinit": 10**9}}, "small.toml: seeds.reinit: 1000000000; accepted: .*to 1,000"),
        ({"tasks": None, "more": f"tasks = 0x{'f' * 6000}\n"}, "small.toml: tasks: a int too large to be shown"),
        ({"more": f"x = {'[' * 2000}{']' * 2000}\n"}, "small.toml' is not TOML .maximum recursion"),
        ({"gpus_per_run": -1}, "gpus_per_run: -1; accepted: 0 or more"),
        ({"other_models": {"T5": "t5-large"}}, "other_models: 'T5' is not known; accepted: BART, ELECTRA"),
        ({"other_models": {"BART": 3}}, "model: 3 is a int"),
        ({"learning_rate": "high"}, "learning_rate: 'high'.*accepted: a float"),
        ({"learning_rate": -1e-5}, "learning_rate: -1e-05.*above 0"),
        ({"grids": {"learning_rate": [1e-4, -1.0]}}, "learning_rate: -1.0.*above 0"),
        ({"more": "[settings]\nnum_epochs = 3\n"}, "settings: 'num_epochs'.*'num_train_epochs'"),
        ({"more": "[settings]\ncorrect_bias = false\n"}, "settings: 'correct_bias' is not known"),
        ({"more": "[settings]\nreinit_layers = 2\n"}, "settings: 'reinit_layers' is not known"),
        ({"more": "[settings]\nwarmup_ratio = 1.5\n"}, "warmup_ratio: 1.5.*below 1"),
        ({"more": "settings = 3\n"}, "settings: 3.*accepted: a dict"),
        ({"more": "[settings\n"}, "study: '.*small.toml' is not TOML"),
    ],
)
def test_a_wrong_study_is_refused(write_study: Write, changes: dict[str, Any], match: str) -> None:
    with pytest.raises(UsageError, match=match):
        load(str(write_study(**changes)))


def test_an_unknown_study_is_named_with_the_accepted_ones(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="study: 'minilmm'.*'minilm'.*accepted: demo, minilm, mpnet, paper"):
        load("minilmm")
    with pytest.raises(UsageError, match="no file '.*none.toml'.*demo, minilm, mpnet, paper"):
        load(str(tmp_path / "none.toml"))


def test_the_projects_folder_is_the_nearest_with_studies(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert studies.root() == root
    (tmp_path / "studies").mkdir()
    (tmp_path / "deeper").mkdir()
    monkeypatch.chdir(tmp_path / "deeper")
    assert studies.root() == tmp_path and available() == {}
    (tmp_path / "studies").rmdir()
    assert studies.root() == root


# --- own data -----------------------------------------------------------------------------------------------------
OWN = {"train": '"t.csv"', "validation": '"t.csv"', "text": '["a", "b"]', "label": '"y"', "metric": '"accuracy"'}


@pytest.fixture
def own(write_study: Write, tmp_path: Path) -> Write:
    """A study of the task `mine`, from files that lie beside it."""
    (tmp_path / "t.csv").write_text("a,b,y\n" + "p,q,no\nr,s,yes\n" * 2)

    def write(**changes: str | None) -> Path:
        table = {key: value for key, value in (OWN | changes).items() if value is not None}
        return write_study(tasks=["mine"], more="[data.mine]\n" + "".join(f"{k} = {v}\n" for k, v in table.items()))

    return write


@pytest.mark.parametrize(("text", "second"), [('["a", "b"]', ("q", "s") * 2), ('"a"', None)])
def test_own_files_lie_beside_the_study(own: Write, text: str, second: tuple | None) -> None:
    study = load(str(own(text=text, test='"t.csv"')))
    run = study.run("mine", "debiased", 0)
    data = tasks.load(run.task, run.data)
    assert data.train.text_a == ("p", "r") * 2 and data.train.text_b == second
    assert data.train.labels.tolist() == [0, 1, 0, 1] and data.name == "mine"


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"lable": '"y"'}, "key of data.mine: 'lable'.*'label'.*validation"),
        ({"label": None}, "data.mine: 'label' is missing.*accepted: train"),
        ({"train": '"none.csv"'}, "train: no file '.*none.csv'"),
        ({"metric": '"auc"'}, "metric: 'auc'.*accuracy, f1"),
        ({"text": "[]"}, "one or two text columns"),
        ({"text": '["a", "y"]'}, "small.toml: data: .*label 'y'; accepted: .* beside the label's"),
        ({"text": "3"}, "data.mine.text: 3; accepted: a str, or a list"),
        ({"text": '["a", 3]'}, "data.mine.text: .'a', 3"),
        ({"train": "3"}, "data.mine.train: 3; accepted: a str"),
        ({"label": '["y"]'}, "data.mine.label: .'y'.; accepted: a str"),
    ],
)
def test_a_wrong_data_section_is_refused(own: Write, changes: dict[str, str | None], match: str) -> None:
    with pytest.raises(UsageError, match=match):
        load(str(own(**changes)))


def test_a_data_section_must_be_a_section(write_study: Write) -> None:
    with pytest.raises(UsageError, match="data.mine: 3; accepted: a section"):
        load(str(write_study(more="[data]\nmine = 3\n")))
