"""The book's tables and sentences on hand-made runs."""

import dataclasses
from typing import Any

import pandas as pd
import pytest

from fewft import experiments, inventory, plots, studies, tables
from fewft.experiments import Experiment
from fewft.stats import Moments

SPREADS = {True: (0.60, 0.61, 0.62, 0.63, 0.64), False: (0.50, 0.55, 0.60, 0.65, 0.70)}


def made(runs_an_arm: int) -> Experiment:
    """One task of demo; with correction no run is degenerate, without it the first two are."""
    study = studies.load("demo")
    task = study.tasks[0]
    plan = experiments.plan(study, "bias_correction", tasks=task, seeds=5)
    rows = []
    for config in plan.configs:
        if config.init_seed < runs_an_arm:
            score = SPREADS[config.correct_bias][config.init_seed]
            losses = [1.0] * 5 + [0.2 if config.correct_bias else 0.4] * 10
            rows.append({**config.to_dict(), "status": "ok", "test_best": score, "degenerate": score < 0.56})
            rows[-1] |= {"best_val": score, "train_loss": losses, "metric": "accuracy"}
    empty = pd.DataFrame({"task": [], "correct_bias": pd.Series([], dtype=bool)})
    return Experiment(study, (task,), 5, plan.configs, pd.DataFrame(rows) if rows else empty, plan.ask)


def test_arms_in_numbers() -> None:
    table = tables.arm_table(made(5).frame).set_index("Arm")
    assert table.Degenerate.to_dict() == {"Correction": "0 of 5 (0% to 52%)", "No correction": "2 of 5 (5% to 85%)"}
    assert table["Test score"].to_dict() == {"Correction": "0.620 ± 0.016", "No correction": "0.600 ± 0.079"}
    assert 0 < float(table["p (equal spread)"]["Correction"]) < 0.1


def test_findings_in_words() -> None:
    said = tables.arm_words(made(5))
    assert said["runs_said"] == "10 of 10 runs" and said["runs_an_arm"] == "5 of 5 runs"
    assert said["degenerate_said"] == "2 of 5 runs without correction and 0 of 5 runs with correction"
    assert said["mean_said"] == said["spread_said"] == "1 of 1 tasks"
    assert "1 tasks it was done on" in said["spread_tested"]


@pytest.mark.parametrize("runs_an_arm", [1, 4])
def test_too_few_runs_give_no_verdict(runs_an_arm: int) -> None:
    runs = made(runs_an_arm)
    assert set(tables.arm_table(runs.frame)["p (equal spread)"]) == {"too few runs", ""}
    assert tables.arm_words(runs)["spread_tested"].startswith("too few runs")


def test_nothing_is_filled_in_where_nothing_ran() -> None:
    runs = made(0)
    said = tables.arm_words(runs)
    assert said.pop("runs_said") == "0 of 10 runs" and said.pop("runs_an_arm") == "0 of 5 runs"
    assert set(said.values()) == {tables.NOT_RUN} == set(tables.loss_words(runs.frame).values())
    assert tables.mean_loss(runs.frame) == tables.best_rate(runs) == tables.NOT_RUN
    for table in (tables.arm_table(runs.frame), tables.loss_table(runs.frame), tables.rate_table(runs)):
        assert table.to_numpy().tolist() == [[tables.NOT_RUN]]


def test_losses_are_those_of_the_last_ten_steps() -> None:
    table = tables.loss_table(made(5).frame).set_index("Arm")
    assert table["Mean loss"].to_dict() == pytest.approx({"Correction": 0.2, "No correction": 0.4})
    assert tables.loss_words(made(5).frame) == {"higher_mean": "1 of 1", "higher_max": "1 of 1"}


def test_the_search_decides_by_the_mean_over_tasks_once_every_rate_ran() -> None:
    study = dataclasses.replace(studies.load("demo"), grids={"learning_rate": (2e-4, 5e-4, 1e-3)})
    found = experiments.plan(study, "stability_map")
    chosen, seeds, configs, ask = found.tasks, found.seeds, found.configs, found.ask
    best = dict(zip(study.grid("learning_rate"), (0.3, 0.5, 0.4), strict=True))
    rows = [c.to_dict() | {"best_val": best[c.learning_rate], "status": "ok"} for c in configs]
    whole = Experiment(study, chosen, seeds, configs, pd.DataFrame(rows), ask)
    assert tables.best_rate(whole) == "0.0005"
    low = [r | {"best_val": 1 - r["learning_rate"]} if not r["correct_bias"] else r for r in rows]
    lower = Experiment(study, chosen, seeds, configs, pd.DataFrame(low), ask)
    assert tables.best_rate(lower) == "0.0005" and tables.best_rate(lower, correct_bias=False) == "0.0002"
    table = tables.rate_table(whole)
    assert table.Mean.tolist() == pytest.approx([0.3, 0.5, 0.4]) and set(table["Runs a cell"]) == {str(seeds)}
    part = Experiment(study, chosen, seeds, configs, pd.DataFrame(r for r in rows if r["learning_rate"] < 1e-3), ask)
    assert tables.best_rate(part) == "no rate yet (too few runs)"


def test_the_comparison_sets_ours_beside_the_papers() -> None:
    near, low = [0.68, 0.69, 0.70, 0.71, 0.72], [0.50, 0.51, 0.52, 0.53, 0.54]
    rows = [("rte", "Standard", v, 5) for v in low] + [("rte", "Re-init", v, 5) for v in near]
    rows += [("mrpc", "Standard", v, 5) for v in near[:2]]
    frame = pd.DataFrame(rows, columns=["task", "recipe", "test_best", "expected_n"])
    recipes = ("Standard", "Re-init", "Longer")

    def published(task: str, recipe: str) -> Moments | None:
        column = "Longer" if recipe == "Longer" else "3 Epochs"
        return tables.printed(1, 20, task=task, row="Re-init" if recipe == "Re-init" else "Standard", column=column)

    options = {"marking": tables.best_of_group, "expected_n": 7}
    table = tables.comparison(frame, ["rte", "mrpc", "bundled:x"], recipes, published, **options)
    assert table.Task.tolist() == ["RTE"] * 3 + ["MRPC"] * 3 + ["bundled:x"] * 3
    assert table.Paper.tolist()[:3] == ["69.5 ± 2.5", "**72.6 ± 1.6**", "**72.3 ± 1.9**"]  # as Table 1 underlines
    assert table.Ours.tolist()[:5] == ["52.0 ± 1.6", "**70.0 ± 1.6**", "not run", "68.5 ± 0.7", "not run"]
    assert table.Difference.tolist()[:3] == ["-17.5", "-2.6", "–"] and table.Paper[8] == "–"
    assert table.n.tolist()[:4] == ["5 of 5", "5 of 5", "0 of 7", "2 of 5"]
    assert table.Agreement[0] == "differ (p < 0.001)" and table.Agreement[3] == "too few runs"
    assert table.Agreement[1].startswith("differ (p = 0.0") and table.Agreement[2] == "–"
    nothing = tables.comparison(frame.iloc[:0], ["rte"], recipes, published, **options)
    assert set(nothing.Ours) == {"not run"} and set(nothing.n) == {"0 of 7"}


def test_markings_are_the_papers_tests_on_enough_runs() -> None:
    cells = {"Standard": Moments(69.5, 2.5, 20), "a": Moments(70.0, 2.5, 20), "b": Moments(71.5, 2.5, 20)}
    assert tables.better_than_standard(cells) == {"b"} and tables.best_of_group(cells) == {"b"}
    assert tables.best_of_group(cells | {"c": Moments(72.0, 2.5, 20)}) == {"b", "c"}
    few = {name: Moments(cell.mean, cell.std, 4) for name, cell in cells.items()}
    assert tables.better_than_standard(few) == tables.best_of_group(few) == set()


def test_table_3_sets_the_papers_number_first() -> None:
    table = tables.data_table(inventory.stored()).set_index("Task")
    assert table["Majority (val.)"]["RTE"] == "52.9 / 52.9" and table.Train["RTE"] == "2.5k / 2,490"
    assert {task for task in table.index if task.endswith("*")} == {"QNLI*", "QQP*", "MNLI*"}
    assert tables.data_table(pd.DataFrame()).Test.str.endswith(tables.NOT_RUN).all()


def test_every_baseline_that_can_be_checked_is_the_papers() -> None:
    assert tables.baseline_agreement(inventory.stored()) == (12, 12)
    wrong = inventory.stored().assign(majority_test=0.6)
    assert tables.baseline_agreement(wrong) == (6, 12)


def test_the_settings_say_where_the_study_differs() -> None:
    table = tables.settings_table(studies.load("demo")).set_index("Setting")
    assert table.loc["`intermediate_task`", "Default"] == "none"
    assert table.Here["`learning_rate`"] == "`0.0005`" and table.Default["`learning_rate`"] == "`2e-05`"
    assert table.Here["`max_grad_norm`"] == "same"


def test_where_runs_ran_is_said_with_counts() -> None:
    place = {"device": "a CPU", "threads": 1, "torch_version": "2.13", "transformers_version": "5.23"}
    frame = made(5).frame.assign(**place)
    said = "on a CPU, 1 thread(s) a run, fp32, torch 2.13, transformers 5.23"
    assert tables.where_words(frame) == f"10 {said}"
    assert tables.where_words(frame.assign(device=["a CPU"] * 4 + ["a GPU"] * 6)).startswith(f"4 {said}; 6 on a GPU")
    assert tables.where_words(made(0).frame) == tables.NOT_RUN


def cost(ms: float, ratio: float) -> dict[str, float]:
    """A contestant on the CPU clock; on the other all is ten times as much."""
    return {"cpu_ms": ms, "cpu_ratio": ratio, "wall_ms": 10 * ms, "wall_ratio": 10 * ratio, "tokens": 50.0}


def step_row(**changes: Any) -> dict[str, Any]:
    row = {"task": "rte", "model": "m", "precision": "fp32", "clock": "cpu", "turns": 10, "steps": 2}
    row |= {"environment": {"device": "a CPU"}, "ours": cost(5, 1), "padded": cost(20, 4), "padded-bf16": cost(15, 3)}
    return row | {"mm": cost(4, 0.8) | {"cpu_gflops": 70.0, "wall_gflops": 60.0}} | changes


def test_steps_have_the_fastest_of_each_kind_by_the_rows_clock() -> None:
    frame = tables.step_frame([step_row(), step_row(task="own", clock="wall")])
    assert frame.task.tolist() == ["RTE", "own"] and set(frame.panel) == {"m, fp32, a CPU"}
    assert frame.padded_name.tolist() == ["padded-bf16"] * 2 and frame.dynamic_ms.isna().all()
    assert frame.padded_ms.tolist() == [15, 150] and frame.padded_ratio.tolist() == [3, 30]
    assert frame.mm_ratio.tolist() == [0.8, 8] and frame.gflops.tolist() == [70, 60]
    assert tables.step_frame([]).padded_ms.empty


def test_whole_runs_are_counted() -> None:
    speeds = {
        "ours": {"runs": 4, "per_hour": 90.0},
        "padded": {"runs": 1, "per_hour": 30.0},
        "ratio": 3.0,
    }
    frame = tables.rate_frame([step_row(task="rte-1k") | speeds])
    assert frame.iloc[0].to_dict() == {
        "panel": "m, fp32, a CPU", "task": "RTE (1k)", "count": "4 / 1", "ours": 90.0, "padded": 30.0, "ratio": 3.0,
    }  # fmt: skip
    assert tables.rate_frame([]).ratio.empty


def test_every_contestant_has_a_look() -> None:
    assert {*plots.CONTESTANTS, "mm"} == set(tables.KINDS)


def test_a_span_is_both_ends_once() -> None:
    assert tables.span([2.0, float("nan"), 3.04]) == "2.0 to 3.0" and tables.span([3.01, 2.99]) == "3.0"
    assert tables.span([]) == tables.span([float("nan")]) == tables.NOT_MEASURED
    assert tables.span([1200, 5], ",.0f") == "5 to 1,200"
