"""fewft.choices: what a search chose follows from validation scores alone, and only once all its runs are there."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fewft import choices, experiments, studies
from fewft.designs import Request
from fewft.experiments import Experiment
from fewft.results import ResultStore

TASK = "rte-1k"


@pytest.fixture
def path(write_study: Callable[..., Path]) -> str:
    """L in 1, 2; steps in 200, 400 (50 is below three epochs); two seeds, searches of Longer with one."""
    grids = {"reinit_layers": [1, 2], "max_steps": [50, 200, 400], "mixout_prob": [0.1, 0.5]}
    return str(write_study(grids=grids, tasks=[TASK]))


def ask(path: str, scores: Callable[[Any], float]) -> Request:
    """A request in which every run of a plan has been done; its validation score follows from its config."""
    study, known = studies.load(path), {}
    for _ in range(4):  # what searches choose comes one round later
        plans = [experiments.plan(study, n, records=_records(known)) for n in ("reinit", "longer", "methods")]
        known = {c.run_id: scores(c) for p in plans for c in p.configs}
    return Request(study, (TASK,), 0, known)


def _records(scores: dict[str, float]) -> dict[str, dict[str, Any]]:
    return {run_id: {"status": "ok", "best_val": score} for run_id, score in scores.items()}


def test_the_best_layers_steps_and_points_are_found(path: str) -> None:
    found = ask(path, lambda c: 0.5 + 0.1 * (c.reinit_layers == 2) + 0.01 * (c.max_steps == 400) + c.mixout_prob)
    assert choices.chosen_layers(found, TASK) == 2
    assert choices.chosen_steps(found, TASK, -1) == choices.chosen_steps(found, TASK, 2) == 400
    assert choices.chosen_point(found, TASK, "mixout_prob") == 0.5
    assert choices.chosen_point(found, TASK, "layerwise_lr_decay") == (2e-5, 0.9)  # the first of equals


def test_a_search_that_lacks_a_run_has_chosen_nothing(path: str) -> None:
    whole = ask(path, lambda c: 0.5)
    missing = choices.reinit_cells(whole, TASK)[1][0].run_id
    part = Request(whole.study, whole.tasks, 0, {k: v for k, v in whole.scores.items() if k != missing})
    assert choices.chosen_layers(part, TASK) is None
    assert list(choices.table_1(part, TASK)) == [choices.STANDARD, choices.LONGER]
    assert list(choices.table_2(Request(whole.study, (TASK,), 0, {}), TASK)) == [choices.STANDARD]


def test_the_recipes_of_the_tables_have_the_chosen_settings(path: str) -> None:
    found = ask(path, lambda c: 0.5 + 0.1 * (c.reinit_layers == 2) + 0.01 * (c.max_steps == 400) + c.mixout_prob)
    cells = choices.table_1(found, TASK)
    assert {name: {(c.reinit_layers, c.max_steps) for c in runs} for name, runs in cells.items()} == {
        "Standard": {(-1, 0)}, "Re-init": {(2, 0)}, "Longer": {(-1, 400)}, "Re-init, longer": {(2, 400)},
    }  # fmt: skip
    assert {len(runs) for runs in cells.values()} == {2}
    methods = choices.table_2(found, TASK)
    assert set(methods) == set(choices.TABLE_2) - {choices.INTERMEDIATE}  # the study has none
    assert {c.mixout_prob for c in methods["Mixout"]} == {0.5}


def test_the_frame_has_the_stored_runs_of_each_recipe(
    path: str, tmp_path: Path, stored_run: Callable[..., dict[str, Any]]
) -> None:
    found = ask(path, lambda c: 0.5 + 0.1 * (c.reinit_layers == 2))
    store = ResultStore(tmp_path / "results", "small")
    for name in ("reinit", "longer"):
        for config in experiments.plan(found.study, name, records=_records(found.scores)).configs:
            store.add(stored_run(config, best_val=found.scores[config.run_id]))
    runs: list[Experiment] = [
        experiments.load(path, name, results=str(tmp_path / "results")) for name in ("reinit", "longer")
    ]
    frame = choices.recipe_frame(runs, choices.table_1)
    assert frame.groupby("recipe").size().to_dict() == dict.fromkeys(choices.table_1(found, TASK), 2)
    assert set(frame.expected_n) == {2} and (frame[frame.recipe == "Re-init"].reinit_layers == 2).all()
    nothing = choices.recipe_frame([experiments.load(path, "reinit", results=str(tmp_path / "none"))], choices.table_1)
    assert nothing.empty and {"recipe", "task", "expected_n"} <= set(nothing)


def test_the_step_search_has_three_epochs_and_every_number_tried(path: str) -> None:
    found = ask(path, lambda c: 0.5 + 0.1 * (c.reinit_layers == 2))
    cells = choices.step_search(found, TASK)
    for name, layers in (("Standard", -1), ("Re-init", 2)):
        assert [(c.reinit_layers, c.max_steps) for c in cells[name]] == [(layers, n) for n in (0, 200, 400)]
    assert list(choices.step_search(Request(found.study, (TASK,), 0, {}), TASK)) == ["Standard"]


def test_another_models_reinit_is_chosen_among_its_own_runs(write_study: Callable[..., Path]) -> None:
    grids = {"reinit_layers": [1, 2]}
    more = '[other_models]\nXLNet = "random:xlnet"\n'
    study = studies.load(str(write_study(tasks=["rte"], grids=grids, seeds={"other_models": 2}, more=more)))
    configs = experiments.plan(study, "other_models").configs
    whole = Request(study, ("rte",), 0, {c.run_id: 0.1 * c.reinit_layers for c in configs})
    cells = choices.other_model(whole, "rte", "XLNet")
    assert [(n, c.reinit_layers, c.max_steps) for n, runs in cells.items() for c in runs] == [
        ("Standard", -1, 800), ("Standard", -1, 800), ("Re-init", 2, 800), ("Re-init", 2, 800),
    ]  # fmt: skip
    assert {c.run_id for runs in cells.values() for c in runs} <= {c.run_id for c in configs}
    assert list(choices.other_model(Request(study, ("rte",), 0, {}), "rte", "XLNet")) == ["Standard"]
    assert choices.other_model(whole, "rte", "BART") == {}
