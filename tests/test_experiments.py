"""fewft.experiments: the runs that a section asks for, and those that are there, in order and without gaps filled in."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from fewft import experiments, studies
from fewft.config import RunConfig, UsageError
from fewft.designs import EXPERIMENTS
from fewft.experiments import choose_learning_rate, plan
from fewft.results import ResultStore
from fewft.studies import Study

ROOT = Path(__file__).parents[1]
NAN = float("nan")


@pytest.fixture
def path(write_study: Callable[..., Path]) -> str:
    return str(write_study())


@pytest.fixture
def study(path: str) -> Study:
    return studies.load(path)


# --- what is asked for --------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "wanted", "runs"),
    [("bias_correction", 3, 2 * 2 * 3), ("stability_map", 2, 2 * 2 * 3 * 2)],  # tasks, arms, (rates,) seeds
)
def test_an_experiment_is_every_task_arm_and_seed_once(study: Study, name: str, wanted: int, runs: int) -> None:
    found = plan(study, name)
    assert (found.tasks, found.seeds) == (("rte-1k", "cola-1k"), wanted)
    assert len(found.configs) == runs == len({c.run_id for c in found.configs}) and not found.choices
    cells = pd.DataFrame([c.to_dict() for c in found.configs]).groupby(["task", "correct_bias", "learning_rate"])
    assert all(sorted(cell.init_seed) == list(range(wanted)) == sorted(cell.data_seed) for _, cell in cells)


def test_bias_correction_goes_seed_by_seed_so_that_a_half_done_sweep_is_balanced(study: Study) -> None:
    configs = plan(study, "bias_correction").configs
    assert [c.init_seed for c in configs] == [0] * 4 + [1] * 4 + [2] * 4
    assert {c.learning_rate for c in configs} == {1e-4}


@pytest.mark.parametrize("name", [n for n in EXPERIMENTS if n not in ("large_task", "other_models")])
def test_fewer_tasks_and_seeds_are_a_part_of_the_whole(study: Study, name: str) -> None:
    whole = {c.run_id for c in plan(study, name).configs}
    task = "rte-1k" if name == "randomness" else "cola-1k"
    found = plan(study, name, tasks=f" {task},,{task}", seeds=1)
    assert (found.tasks, found.seeds) == ((task,), 1)
    assert {c.run_id for c in found.configs} < whole and {c.task for c in found.configs} == {task}
    assert len(found.configs) == len({c.run_id for c in found.configs})


def test_an_experiment_that_the_study_leaves_out_has_no_runs(study: Study) -> None:
    assert plan(study, "other_models").configs == [] == plan(study, "large_task").configs
    assert plan(study, "randomness", tasks="cola-1k").configs != []  # in place of the first task


def test_the_maps_runs_at_the_studys_rate_are_those_of_bias_correction(study: Study) -> None:
    first, second = (
        {c.run_id for c in plan(study, name, seeds=2).configs} for name in ("bias_correction", "stability_map")
    )
    assert first < second


def test_wrong_names_and_values_are_refused(study: Study, path: str) -> None:
    with pytest.raises(UsageError, match="experiment: 'bias'.*bias_correction, distances"):
        plan(study, "bias")
    with pytest.raises(UsageError, match="tasks: 'mrpc-1k'.*cola-1k, rte-1k"):
        plan(study, "bias_correction", tasks="rte-1k,mrpc-1k")
    with pytest.raises(UsageError, match="seeds: -1.*0 .* or more"):
        experiments.load(path, "bias_correction", seeds=-1)


# --- what is there ------------------------------------------------------------------------------------------------
def test_epochs_are_those_of_a_run_without_a_number_of_steps() -> None:
    study = studies.load("demo")
    found = experiments.plan(study, "reinit")
    runs = experiments.Experiment(study, found.tasks, found.seeds, found.configs, pd.DataFrame(), found.ask)
    assert runs.epochs == study.settings["num_train_epochs"] == 8


def test_an_empty_store_gives_an_empty_frame(path: str, tmp_path: Path) -> None:
    found = experiments.load(path, "bias_correction", results=str(tmp_path / "none"))
    assert found.count == "0 of 12 runs" and found.frame.empty and "task" in found.frame
    assert found.frame.groupby(["task", "correct_bias"]).size().empty


def test_stored_runs_come_in_the_order_asked_for_without_the_failed(
    path: str, study: Study, tmp_path: Path, stored_run: Callable[..., dict[str, Any]]
) -> None:
    configs = plan(study, "bias_correction").configs
    store = ResultStore(tmp_path / "results", "small")
    for i, config in reversed(list(enumerate(configs[:6]))):
        store.add(stored_run(config, status="failed" if i == 2 else "diverged" if i == 3 else "ok"))
    store.add(stored_run(RunConfig(task="rte-1k", init_seed=99)))  # of another experiment
    found = experiments.load(path, "bias_correction", results=str(store.parquet.parent))
    assert found.count == "5 of 12 runs" and found.seeds == 3 and found.tasks == ("rte-1k", "cola-1k")
    assert found.frame.run_id.tolist() == [configs[i].run_id for i in (0, 1, 3, 4, 5)]
    part = experiments.load(path, "bias_correction", tasks="cola-1k", seeds=1, results=str(store.parquet.parent))
    assert part.count == "1 of 2 runs" and part.frame.run_id.tolist() == [configs[3].run_id]


def test_a_row_from_before_a_setting_has_its_default(
    path: str, study: Study, tmp_path: Path, stored_run: Callable[..., dict[str, Any]]
) -> None:
    configs = plan(study, "bias_correction").configs[:2]
    store = ResultStore(tmp_path / "results", "small")
    for config in configs:
        store.add({k: v for k, v in stored_run(config).items() if k != "reinit_layers" or config is configs[0]})
    store.collect()
    found = experiments.load(path, "bias_correction", results=str(store.parquet.parent))
    assert found.frame.reinit_layers.tolist() == [-1, -1]


def test_train_does_nothing_when_nothing_is_missing(
    path: str, study: Study, tmp_path: Path, stored_run: Callable[..., dict[str, Any]]
) -> None:
    store = ResultStore(tmp_path / "results", "small")
    for config in plan(study, "bias_correction").configs:
        store.add(stored_run(config))
    found = experiments.load(path, "bias_correction", train=True, results=str(store.parquet.parent))
    assert found.count == "12 of 12 runs"


def test_a_relative_results_folder_is_the_projects(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "studies").mkdir()
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "small.parquet").write_bytes(b"")
    monkeypatch.chdir(tmp_path / "studies")
    with pytest.raises(UsageError, match="results/small.parquet' is damaged"):
        experiments.load(path, "bias_correction")


# --- the learning rate --------------------------------------------------------------------------------------------
def test_the_rate_is_chosen_on_debiased_validation_scores_averaged_over_tasks() -> None:
    rows = [  # task, rate, correct_bias, best_val
        ("a", 1e-5, True, 0.5), ("a", 1e-5, True, 0.7), ("b", 1e-5, True, 0.2),
        ("a", 1e-4, True, 0.8), ("a", 1e-4, True, NAN), ("b", 1e-4, True, 0.6),
        ("a", 1e-3, True, 1.0), ("a", 1e-5, False, 1.0), ("b", 1e-5, False, 1.0),
    ]  # fmt: skip
    frame = pd.DataFrame(rows, columns=["task", "learning_rate", "correct_bias", "best_val"])
    rates = choose_learning_rate(frame.assign(test_best=0.0))
    assert rates[1e-5] == pytest.approx((0.6 + 0.2) / 2) and rates[1e-4] == pytest.approx((0.4 + 0.6) / 2)
    assert pd.isna(rates[1e-3])  # no run of task b
    assert rates.idxmax() == 1e-4
    pd.testing.assert_series_equal(rates, choose_learning_rate(frame.assign(test_best=range(9))))


@pytest.mark.skipif(not (ROOT / "results" / "minilm.parquet").is_file(), reason="results/minilm.parquet is not there")
def test_the_minilm_studys_rate_is_the_best_of_its_stored_map_or_as_good() -> None:
    search = experiments.load("minilm", "stability_map")
    means = choose_learning_rate(search.frame)  # too few runs to tell apart what differs by less than a point
    assert means[search.study.learning_rate] > means.max() - 0.01 and means.idxmin() != search.study.learning_rate
