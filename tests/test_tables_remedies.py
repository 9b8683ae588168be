"""Tables and sentences of Re-init and Longer on stored runs that nobody trained."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fewft import experiments, paper, studies, tables
from fewft.config import RunConfig
from fewft.experiments import Experiment
from fewft.results import ResultStore
from fewft.stats import Moments
from fewft.tables.remedies import higher
from fewft.tables.remedy_words import blocks_said, tasks_said

TASKS = ("rte-1k", "cola-1k")


def score(config: RunConfig) -> float:
    """L = 2 is best, by 0.1 over Standard; 400 steps add 0.05 to Standard alone; seeds differ by 0.01."""
    steps = 0.05 * (config.max_steps == 400) * (config.reinit_layers < 0)
    return 0.5 + 0.1 * (config.reinit_layers == 2) + steps + 0.01 * config.init_seed


@pytest.fixture
def loaded(
    write_study: Callable[..., Path], tmp_path: Path, stored_run: Callable[..., dict[str, Any]]
) -> Callable[..., Experiment]:
    """An experiment of a study of two tasks, whose runs `keep` accepts are stored."""
    rows = "\n".join(f'{name} = "random:bert"' for name in ("XLNet", "ELECTRA"))
    seeds = {"reinit": 5, "longer_search": 1, "longer": 5, "other_models": 5}
    path = str(write_study(seeds=seeds, grids={"reinit_layers": [1, 2], "max_steps": [50, 200, 400]}))
    more = str(write_study("others", more=f"[other_models]\n{rows}\n", tasks=["rte"], seeds=seeds))

    def study_of(name: str) -> str:
        return more if name == "other_models" else path

    def load(name: str, keep: Callable[[RunConfig], bool] = lambda config: True) -> Experiment:
        study = studies.load(study_of(name))
        store = ResultStore(tmp_path / "results", study.name)
        for _ in range(3):  # what searches choose comes one round later
            for config in experiments.plan(study, name, records=store.records()).configs:
                if keep(config) and config.run_id not in store.records():
                    value = score(config)
                    steps = {"num_steps": config.max_steps or 96, "best_val": value, "test_best": value}
                    store.add(stored_run(config, **steps, majority_val=0.5))
        return experiments.load(study_of(name), name, results=str(tmp_path / "results"))

    return load


# --- tables -------------------------------------------------------------------------------------------------------
def test_table_1_has_the_four_recipes_of_each_task(loaded: Callable[..., Experiment]) -> None:
    reinit = loaded("reinit")
    table = tables.table_1([loaded("longer"), reinit], TASKS)
    assert table.Task.tolist() == ["RTE (1k)"] * 4 + ["CoLA (1k)"] * 4
    assert table.Recipe.tolist()[:4] == list(tables.TABLE_1) == ["Standard", "Re-init", "Longer", "Re-init, longer"]
    assert table.Paper.tolist()[:4] == ["62.5 ± 2.8", "**65.6 ± 2.0**", "**65.2 ± 2.1**", "**65.8 ± 1.7**"]
    assert table.Ours.tolist()[:4] == ["52.0 ± 1.6", "**62.0 ± 1.6**", "57.0 ± 1.6", "**62.0 ± 1.6**"]
    assert set(table.n) == {"5 of 5"}


def test_table_1_can_be_cut_to_recipes_and_says_what_is_missing(loaded: Callable[..., Experiment]) -> None:
    runs = loaded("reinit", lambda c: c.reinit_layers < 0 and c.task == "rte-1k" and c.init_seed < 3)
    table = tables.table_1([runs], TASKS, ["Standard", "Re-init"])
    assert table.Ours.tolist() == ["51.0 ± 1.0", "not run", "not run", "not run"]
    assert table.n.tolist() == ["3 of 5", "0 of 5", "0 of 5", "0 of 5"]
    assert tables.table_1([runs], ()).to_dict("list") == {"Task": ["not run"]}


def test_table_7_marks_the_better_and_stars_what_a_test_finds(loaded: Callable[..., Experiment]) -> None:
    table = tables.table_7(loaded("other_models")).set_index(["Model", "Recipe"])
    assert list(dict.fromkeys(table.index.get_level_values("Model"))) == list(paper.OTHER_MODELS)
    assert set(table.Task) == {"RTE"}
    own = table.loc["XLNet"]
    assert own.Paper.tolist() == ["71.7 ± 12.6", "**80.1 ± 1.6** \\*"]  # one-tailed, 20 runs each
    assert own.Ours.tolist() == ["52.0 ± 1.6", "**62.0 ± 1.6** \\*"] and own.n.tolist() == ["5 of 5"] * 2
    assert table.loc["ELECTRA"].Paper.tolist() == ["**87.1 ± 1.2**", "86.1 ± 1.9"]
    assert table.loc["BART"].Ours.tolist() == ["not run"] * 2 and set(table.loc["BART"].n) == {"–"}


def test_a_study_without_other_models_shows_the_papers(loaded: Callable[..., Experiment]) -> None:
    runs = loaded("reinit", lambda c: False)
    table = tables.table_7(runs)
    assert len(table) == 4 * 4 * 2 and set(table.Ours) == {"not run"} and set(table.n) == {"–"}
    assert table.Task.unique().tolist() == ["RTE", "MRPC", "STS-B", "CoLA"] and not (table.Paper == "–").any()


def test_the_higher_mean_needs_two() -> None:
    cells = {"Standard": Moments(0.5, 0.1, 3), "Re-init": Moments(0.6, 0.1, 1)}
    assert higher(cells) == {"Re-init"}
    assert higher({"Standard": cells["Standard"], "Re-init": Moments.of([])}) == higher({}) == set()


def test_the_table_of_layers_has_means_and_the_choice(loaded: Callable[..., Experiment]) -> None:
    table = tables.layer_table(loaded("reinit"), TASKS)
    assert table.columns.tolist() == [
        "Task", "Standard", "Pooler alone", "Re-init 1", "Re-init 2", "Chosen L", "Runs a cell",
    ]  # fmt: skip
    assert table.iloc[0].tolist() == ["RTE (1k)", "0.520", "0.520", "0.520", "0.620", "2", "5"]


def test_the_table_of_layers_says_what_is_missing(loaded: Callable[..., Experiment]) -> None:
    runs = loaded("reinit", lambda c: c.task == "rte-1k" and c.reinit_layers != 2 and c.init_seed < 4 - c.reinit_layers)
    table = tables.layer_table(runs, TASKS)
    assert table.iloc[0].tolist() == ["RTE (1k)", "0.520", "0.515", "0.510", "not run", "too few runs", "0 to 5"]
    assert set(table.iloc[1][1:6]) == {"not run"}
    assert tables.layers_words(runs, TASKS) == "undecided (too few runs) on RTE (1k)"


def test_the_table_of_steps_has_what_the_search_chose(loaded: Callable[..., Experiment]) -> None:
    whole = tables.step_table(loaded("longer"), TASKS).set_index("Task")
    assert whole.loc["RTE (1k)"].tolist() == ["200, 400", "400", "2", "200"]  # 200: the first of equals


def test_the_table_of_steps_tells_what_was_not_run(loaded: Callable[..., Experiment]) -> None:
    part = loaded("longer", lambda c: c.task == "rte-1k" and c.max_steps in (0, 200) and c.reinit_layers != 2)
    table = tables.step_table(part, TASKS).set_index("Task")
    assert table.loc["RTE (1k)"].tolist() == ["200, 400", "too few runs", "too few runs", "not run"]
    assert table.loc["CoLA (1k)"].tolist() == ["200, 400", "not run", "not run", "not run"]
    study = dataclasses.replace(part.study, grids={"max_steps": (50,), "reinit_layers": (1, 2)})
    ask = dataclasses.replace(part.ask, study=study)
    short = Experiment(study, TASKS, 1, experiments.plan(study, "longer").configs, part.frame, ask)
    said = ["RTE (1k)", "–", "none above 3 epochs", "too few runs", "not run"]
    assert tables.step_table(short, TASKS).iloc[0].tolist() == said
    assert tables.step_table(part, ()).to_dict("list") == {"Task": ["not run"]}


def followed(layers: int, ends: list[float], status: str = "ok") -> dict[str, Any]:
    """A run with distances at steps 1 and 2; at the latter, `ends` for each block."""
    row = {"run_id": f"{layers}-{ends}", "task": "rte", "reinit_layers": layers, "status": status}
    return row | {"distance_steps": [1, 2], "block_distances": [[0.1] * len(ends), ends]}


def test_the_table_of_distances_is_the_end_of_training() -> None:
    frame = pd.DataFrame([followed(-1, [1.0, 3.0]), followed(-1, [2.0, 4.0]), followed(3, [1.7, 2.0])])
    table = tables.distance_table(frame)
    assert table.to_dict("list") == {"Block": [1, 2], "Standard": [1.5, 3.5], "Re-init 3": [1.7, 2.0]}
    lost = pd.concat([frame, pd.DataFrame([followed(3, [9.0, 9.0], "diverged")])])
    assert tables.distance_table(lost).equals(table)
    assert tables.distance_table(frame.iloc[:0]).Block.tolist() == ["not run"]
    assert tables.distance_table(frame.assign(block_distances=None)).Block.tolist() == ["not recorded"]


# --- sentences ----------------------------------------------------------------------------------------------------
def test_distances_are_told_block_by_block() -> None:
    frame = pd.DataFrame(
        [followed(-1, [1.0] * 5), followed(1, [2, 2, 2, 2, 0.5]), followed(3, [0.5, 2, 0.5, 0.5, 0.5])]
    )
    said = tables.distance_words(frame)
    assert said["nearer_said"] == "block 5 with Re-init 1; blocks 1, 3 to 5 with Re-init 3"
    assert (said["top_said"], said["bottom_said"]) == ("2 of 2 L", "1 of 2 L")
    assert set(tables.distance_words(frame[frame.reinit_layers > 0]).values()) == {"not recorded"}
    assert set(tables.distance_words(frame.iloc[:0]).values()) == {"not run"}
    assert blocks_said([]) == "no block"


def test_runs_are_counted_from_fewest_to_most() -> None:
    frame = pd.DataFrame({"task": ["a", "a", "b"], "reinit_layers": [1, 1, 1]})
    assert tables.count_words(frame, ["task", "reinit_layers"], 3) == "1 to 2 of 3 runs"
    assert tables.count_words(frame, ["task"], 3, cells=2) == "1 to 2 of 3 runs"
    assert tables.count_words(frame, ["task"], 3, cells=3) == "0 to 2 of 3 runs"
    assert tables.count_words(frame.iloc[:0], ["task"], 3) == "0 of 3 runs"
    assert tables.missing_words(frame, ["a", "", "cola", "rte-1k"]) == " Not run: CoLA, RTE (1k)."
    assert tables.missing_words(frame, ["a", ""]) == ""
    assert tasks_said({"a": 0.0, "b": 1.0, "c": np.nan}) == "1 of 2 tasks" and tasks_said({"a": 1.0}) == "1 of 1 task"


def boxes(task: str, layers: int, scores: list[float]) -> list[dict[str, Any]]:
    return [{"task": task, "reinit_layers": layers, "best_val": value} for value in scores]


def test_boxes_are_told_by_mean_and_by_worst_run() -> None:
    rows = boxes("a", -1, [0.5, 0.7]) + boxes("a", 0, [0.6, 0.5])  # the pooler alone: below Standard
    rows += boxes("a", 1, [0.65, 0.65]) + boxes("a", 2, [0.68, 0.71])  # L = 2: worst +0.18, best +0.01
    rows += boxes("b", -1, [0.5, 0.6]) + boxes("b", 0, [0.7, 0.7]) + boxes("b", 1, [0.4, 0.5])  # all lower by 0.1
    rows += boxes("c", 1, [0.9])  # nothing to compare with
    frame = pd.DataFrame(rows)
    assert tables.box_words(frame) == {
        "pooler_said": "1 of 2 tasks", "best_said": "1 of 2 tasks", "worst_said": "1 of 2 tasks",
    }  # fmt: skip
    single = frame.drop_duplicates(["task", "reinit_layers"])
    assert tables.box_words(single)["worst_said"] == "too few runs"
    assert set(tables.box_words(frame.iloc[:0]).values()) == {"not run"}


def recipes(task: str, **scores: list[float]) -> list[dict[str, Any]]:
    names = {"standard": "Standard", "reinit": "Re-init", "longer": "Longer", "both": "Re-init, longer"}
    return [{"task": task, "recipe": names[k], "test_best": v} for k, values in scores.items() for v in values]


def test_recipes_are_compared_by_mean_deviation_and_worst_run() -> None:
    rows = recipes("a", standard=[0.5, 0.7], reinit=[0.6, 0.7]) + recipes("b", standard=[0.5, 0.6], reinit=[0.4, 0.8])
    frame = pd.DataFrame(rows + recipes("c", standard=[0.5]))
    said = tables.recipe_words(frame, "Re-init", "Standard")
    assert said == {"mean": "2 of 2 tasks", "deviation": "1 of 2 tasks", "worst": "1 of 2 tasks"}
    single = frame.drop_duplicates(["task", "recipe"])
    few = {"mean": "1 of 2 tasks", "deviation": "too few runs", "worst": "too few runs"}
    assert tables.recipe_words(single, "Re-init", "Standard") == few
    assert set(tables.recipe_words(frame, "Longer", "Standard").values()) == {"not run"}


def test_the_gap_is_compared_where_all_four_recipes_ran() -> None:
    closer = recipes("a", standard=[0.5], reinit=[0.7], longer=[0.7], both=[0.6])
    wider = recipes("b", standard=[0.5], reinit=[0.6], longer=[0.5], both=[0.7])
    frame = pd.DataFrame(closer + wider + recipes("c", standard=[0.5], reinit=[0.9], longer=[0.5]))
    assert tables.gap_words(frame) == "1 of 2 tasks"
    assert tables.gap_words(frame[frame.recipe != "Longer"]) == tables.gap_words(frame.iloc[:0]) == "not run"


def test_the_search_is_told_by_its_highest_means() -> None:
    means = {"a": [[0.5, 0.6, 0.7], [0.6, 0.8, 0.7]], "b": [[0.7, 0.6, 0.5], [0.8, 0.7, 0.7]]}
    cells = [(t, r, n, v) for t, both in means.items() for r, values in zip(("Standard", "Re-init"), both, strict=True)
             for n, v in zip((96, 200, 400), values, strict=True)]  # fmt: skip
    frame = pd.DataFrame(cells, columns=["task", "recipe", "num_steps", "best_val"])
    assert tables.step_words(frame) == {"longer_said": "1 of 2 tasks", "sooner_said": "1 of 2 tasks"}
    part = frame[(frame.recipe == "Standard") | (frame.num_steps == 96)]  # Re-init's search is not done
    assert tables.step_words(part) == {"longer_said": "1 of 2 tasks", "sooner_said": "not run"}
    assert set(tables.step_words(frame.iloc[:0]).values()) == {"not run"}


def test_losses_are_compared_over_all_steps_at_the_end_and_by_range() -> None:
    def run(recipe: str, early: float, late: float) -> dict[str, Any]:
        return {"task": "a", "recipe": recipe, "train_loss": [early] * 30 + [late] * 10}

    frame = pd.DataFrame(
        [run("Standard", 1, 0.2), run("Standard", 1, 0.4), run("Re-init", 0.5, 0.4), run("Re-init", 0.5, 0.5)]
    )
    said = {"loss_said": "1 of 1 task", "last_said": "0 of 1 task", "range_said": "1 of 1 task"}
    assert tables.fall_words(frame) == said
    assert tables.fall_words(frame.iloc[[0, 2]]) == said | {"range_said": "too few runs"}
    assert set(tables.fall_words(frame.iloc[:2]).values()) == {"not run"}
