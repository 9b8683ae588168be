"""Each arm at the rate that its own validation scores favour."""

from dataclasses import replace

import numpy as np
import pandas as pd

from fewft import experiments, studies, tables
from fewft.experiments import Experiment
from fewft.tables.own_rates import own_rates

TASK = "rte-1k"
# (correction, rate) -> validation and test score: without correction the lower rate is the better one
SCORES = {
    (True, 1e-4): (0.70, 0.72),
    (True, 2e-4): (0.65, 0.73),
    (False, 1e-4): (0.50, 0.52),
    (False, 2e-4): (0.4, 0.5),
}
SCORES |= {(True, 5e-5): (0.60, 0.62), (False, 5e-5): (0.68, 0.74)}


def made(seeds: int = 2, scores: dict = SCORES) -> Experiment:
    """The map of one task at three rates; scores rise by a point from seed to seed."""
    grids = {"learning_rate": (5e-5, 1e-4, 2e-4)}
    study = replace(studies.load("minilm"), tasks=(TASK,), more_tasks=(), grids=grids, seeds={"stability_map": seeds})
    plan = experiments.plan(study, "stability_map")
    rows = []
    for config in plan.configs:
        if (config.correct_bias, config.learning_rate) in scores:
            val, test = scores[config.correct_bias, config.learning_rate]
            rise = 0.01 * config.init_seed
            degenerate = test + rise < 0.53
            rows.append(
                {**config.to_dict(), "best_val": val + rise, "test_best": test + rise, "degenerate": degenerate}
            )
    empty = pd.DataFrame({"task": [], "correct_bias": np.array([], bool), "learning_rate": []})
    return Experiment(study, plan.tasks, seeds, plan.configs, pd.DataFrame(rows) if rows else empty, plan.ask)


def test_each_arm_takes_its_own_best_rate() -> None:
    assert own_rates(made()) == {(TASK, True): 1e-4, (TASK, False): 5e-5}
    table = tables.own_rate_table(made()).set_index("Arm")
    assert table["Best rate"].to_dict() == {"Correction": "0.0001", "No correction": "5e-05"}
    assert table["At 0.0001"]["No correction"] == "52.5 ± 0.7 (2)"
    assert table["There"].to_dict() == {"Correction": "72.5 ± 0.7 (2)", "No correction": "74.5 ± 0.7 (2)"}
    assert set(table["Degenerate there"]) == {"0 of 2"} and table.p["Correction"] == "too few runs"


def test_the_words_contrast_one_rate_with_two() -> None:
    said = tables.own_rate_words(made())
    assert said["shared_said"] == "1 of 1 tasks" and said["own_said"] == "0 of 1 tasks"
    assert said["own_degenerate"] == "0 of 2 runs without correction and 0 of 2 runs with correction"
    assert said["lower_said"] == "1 of 1 tasks" and said["own_tested"] == "too few runs"
    assert tables.own_rate_words(made(seeds=5))["own_tested"].startswith("p = 0.0")


def test_a_rate_without_runs_leaves_the_search_open() -> None:
    part = {cell: scores for cell, scores in SCORES.items() if cell != (False, 2e-4)}
    assert own_rates(made(scores=part))[TASK, False] is None
    table = tables.own_rate_table(made(scores=part)).set_index("Arm")
    assert table["Best rate"]["No correction"] == "search unfinished: 4 of 6 runs"
    assert table["There"]["No correction"] == "–" and table.p["Correction"] == "–"
    said = tables.own_rate_words(made(scores=part))
    assert said["shared_said"] == "1 of 1 tasks" and said["own_said"] == "not run"


def test_a_run_that_diverged_at_once_counts_as_0() -> None:
    lost = SCORES | {(True, 1e-4): (np.nan, np.nan)}
    assert own_rates(made(scores=lost))[TASK, True] == 2e-4


def test_without_runs_nothing_is_said() -> None:
    assert set(tables.own_rate_words(made(scores={})).values()) == {"not run"}
    assert set(tables.own_rate_table(made(scores={}))["Best rate"]) == {"not run"}
