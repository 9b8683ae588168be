"""fewft.designs: which runs each section of the paper needs, counted by hand, and what its searches choose."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fewft import experiments, studies
from fewft.config import RunConfig
from fewft.designs import EXPERIMENTS, best, method_grids, tasks_of
from fewft.studies import Study

PAPER = studies.load("paper")
NEVER = float("nan")


@pytest.fixture
def study(write_study: Callable[..., Path]) -> Study:
    return studies.load(str(write_study()))


def configs(study: Study, name: str, **options: Any) -> list[RunConfig]:
    return experiments.plan(study, name, **options).configs


def stored(runs: list[RunConfig], score: Callable[[RunConfig], float]) -> dict[str, dict[str, Any]]:
    """Records with nothing but a validation score."""
    return {c.run_id: {"status": "ok", "best_val": score(c)} for c in runs}


# --- the paper's grid ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "runs", "pending"),
    [
        ("bias_correction", 4 * 2 * 50, 0),  # Section 4
        ("stability_map", 4 * 2 * 4 * 3, 0),
        ("reinit", 12 * (1 + 1 + 6) * 20, 0),  # Section 5: standard, the pooler, L = 1 to 6
        ("distances", 4 * (1 + 4) * 20, 0),  # Figure 7: standard, L = 1, 3, 6, 10
        # Section 6, steps: five for each 1k task, RTE and MRPC four, STS-B three, CoLA two; and three epochs.
        # Both arms are searched with 8 seeds, and the best gets 12 more; Re-init's L is that of Section 5's sweep.
        (
            "longer",
            12 * 8 + (8 * 5 + 4 + 4 + 3 + 2) * 8 + 12 * 6 * 20,
            12 * 12 + (8 * 5 + 4 + 4 + 3 + 2) * 8 + 12 * 12,
        ),
        ("methods", 4 * (1 + 6 + 5 + 4 + 4 + 1) * 20 + 1, 0),  # Appendix H, and the run on MNLI
        ("randomness", 10 * 10 * 2, 0),  # Appendix B
        ("precision", 4 * 2 * 20, 0),  # Appendix C
        ("large_task", 2 * 3, 0),  # Appendix D
        ("other_models", 4 * 4 * (1 + 6) * 20, 0),  # Appendix F
    ],
)
def test_the_papers_grid_has_its_size(name: str, runs: int, pending: int) -> None:
    plan = experiments.plan(PAPER, name)
    assert len(plan.configs) == runs == len({c.run_id for c in plan.configs})
    assert plan.count_pending() == pending


def test_every_experiment_of_the_paper_is_there_and_shares_its_runs() -> None:
    ids = {name: {c.run_id for c in configs(PAPER, name)} for name in EXPERIMENTS}
    standard = {PAPER.run(task, "debiased", seed).run_id for task in PAPER.tasks for seed in range(20)}
    for name in ("bias_correction", "reinit", "distances", "methods", "precision"):
        assert standard <= ids[name], name
    assert len(ids["distances"] - ids["reinit"]) == 4 * 20  # L = 10
    assert len(ids["randomness"] & ids["reinit"]) == 2 * 10  # equal seeds
    assert len(ids["large_task"] & ids["methods"]) == 1  # the intermediate run is MNLI's first seed


def test_only_longer_and_reinit_have_all_twelve_data_sets() -> None:
    assert {name for name in EXPERIMENTS if len(tasks_of(PAPER, name)) == 12} == {"reinit", "longer"}
    assert tasks_of(PAPER, "large_task") == ("mnli",)
    assert tasks_of(studies.load("mpnet"), "large_task") == ()


def test_runs_of_table_7_have_the_settings_of_table_6() -> None:
    runs = [c for c in configs(PAPER, "other_models") if c.init_seed == 0 and c.reinit_layers == -1]
    cells = {(c.model, c.task): c for c in runs}
    assert len(runs) == len(cells) == 16
    assert cells["xlnet-large-cased", "cola"] == RunConfig(
        task="cola", model="xlnet-large-cased", learning_rate=3e-5, max_steps=1200, train_batch_size=128,
        warmup_steps=120, precision="bf16",
    )  # fmt: skip
    assert cells["google/electra-large-discriminator", "rte"] == RunConfig(
        task="rte", model="google/electra-large-discriminator", learning_rate=5e-5, num_train_epochs=10,
        layerwise_lr_decay=0.9, precision="bf16",
    )  # fmt: skip


def test_another_model_has_the_studys_settings_on_a_task_that_table_6_lacks() -> None:
    demo = studies.load("demo")
    runs = configs(demo, "other_models")
    assert {(c.model, c.learning_rate, c.num_train_epochs) for c in runs} == {("random:electra-tiny", 5e-4, 8)}
    assert {c.task for c in runs} == set(demo.tasks) and {c.reinit_layers for c in runs} == {-1, 1, 2}


def test_the_grids_of_appendix_h() -> None:
    assert {name: len(points) for name, points in method_grids(PAPER).items()} == {
        "layerwise_lr_decay": 6, "mixout_prob": 5, "prior_weight_decay": 4, "weight_decay": 4,
    }  # fmt: skip


def test_the_intermediate_run_comes_before_the_runs_that_need_it(study: Study) -> None:
    runs = configs(replace(study, intermediate_task="mnli"), "methods")
    first = runs[0]
    assert (first.task, first.intermediate_task, first.init_seed) == ("mnli", "", 0)
    needing = [c for c in runs if c.intermediate_task]
    assert Counter(c.task for c in needing) == {"rte-1k": 2, "cola-1k": 2}
    assert {c.intermediate().run_id for c in needing} == {first.run_id}
    itself = configs(replace(study, intermediate_task="rte-1k"), "methods")
    assert {c.task for c in itself if c.intermediate_task} == {"cola-1k"}  # a task is not its own intermediate task


def test_randomness_crosses_the_seeds_on_the_first_task(study: Study) -> None:
    runs = configs(replace(study, grids={**study.grids, "randomness_layers": (2,)}), "randomness", seeds=3)
    assert {c.task for c in runs} == {"rte-1k"}
    assert Counter((c.init_seed, c.data_seed) for c in runs) == {(i, j): 2 for i in range(3) for j in range(3)}
    assert {c.reinit_layers for c in runs} == {-1, 2}


@pytest.mark.parametrize(("usual", "kinds"), [("fp32", {"fp32", "bf16"}), ("fp16", {"fp32", "fp16"})])
def test_precision_sets_full_beside_mixed(study: Study, usual: str, kinds: set[str]) -> None:
    runs = configs(replace(study, settings={"precision": usual}), "precision", seeds=1)
    assert {c.precision for c in runs} == kinds and len(runs) == 4


# --- searches -----------------------------------------------------------------------------------------------------
def test_the_best_has_the_highest_mean_once_every_run_is_there() -> None:
    a, b, c = ([RunConfig(task="rte", init_seed=10 * i + j) for j in range(2)] for i in range(3))
    scores = {r.run_id: s for r, s in zip(a + b, (0.5, 0.7, 0.6, 0.6), strict=True)}
    assert best({"a": a, "b": b}, scores) == "a"  # the first of equals
    assert best({"a": a, "b": b}, scores | {b[0].run_id: 0.61}) == "b"
    assert best({"a": a, "c": c}, scores) is None and best({}, scores) is None


def test_longer_follows_the_scores_stage_by_stage(study: Study) -> None:
    """Two tasks, L in 1 and 2 with two seeds; 200 and 400 steps with one seed, then two; RTE's three epochs: 96."""
    first = experiments.plan(study, "longer")
    steps = Counter((c.reinit_layers, c.max_steps) for c in first.configs)
    assert steps == {
        (-1, 0): 2, (-1, 200): 2, (-1, 400): 2,  # two tasks, one seed; 50 steps are fewer than three epochs
        (1, 0): 4, (2, 0): 4,  # the search for L, two seeds
    }  # fmt: skip
    # for each task: one more seed of standard's best, and Re-init's two new cells, of which one gets one more
    assert first.count_pending() == 2 * (1 + 2 + 1)

    records = stored(first.configs, lambda c: {200: 0.7, 400: 0.5}.get(c.max_steps, 0.9))
    records |= stored(configs(study, "reinit"), lambda c: {1: 0.4, 2: 0.6}.get(c.reinit_layers, 0.9))
    second = experiments.plan(study, "longer", records=records)
    new = [c for c in second.configs if c.run_id not in {x.run_id for x in first.configs}]
    assert Counter((c.reinit_layers, c.max_steps, c.init_seed) for c in new) == {
        (-1, 200, 1): 2, (2, 200, 0): 2, (2, 400, 0): 2,
    }  # fmt: skip
    assert second.count_pending() == 2

    records |= stored(new, lambda c: {200: 0.1, 400: NEVER}.get(c.max_steps, 0.9))  # diverged: counts as 0
    third = experiments.plan(study, "longer", records=records)
    last = {c.run_id for c in third.configs} - {c.run_id for c in second.configs}
    assert [(c.reinit_layers, c.max_steps, c.init_seed) for c in third.configs if c.run_id in last] == [(2, 200, 1)] * 2
    assert third.pending() == []


def test_a_failed_run_keeps_a_choice_open(study: Study) -> None:
    runs = configs(study, "reinit")
    records = stored(runs, lambda c: 0.5)
    assert any(c.reinit_layers > 0 and c.max_steps for c in experiments.plan(study, "longer", records=records).configs)
    broken = next(c for c in runs if c.reinit_layers == 1 and c.task == "rte-1k")
    records[broken.run_id]["status"] = "failed"
    plan = experiments.plan(study, "longer", records=records)
    assert {c.task for c in plan.configs if c.reinit_layers > 0 and c.max_steps} == {"cola-1k"}


def test_a_shorter_search_is_followed_by_more_seeds_of_its_best(study: Study) -> None:
    cut = replace(study, seeds={**study.seeds, "methods_search": 1, "methods": 3})
    plan = experiments.plan(cut, "methods", tasks="rte-1k")
    assert len(plan.configs) == 3 + 6 + 5 + 4 + 4 and plan.count_pending() == 4 * 2
    done = experiments.plan(cut, "methods", tasks="rte-1k", records=stored(plan.configs, lambda c: c.mixout_prob))
    assert Counter(c.mixout_prob for c in done.configs if c.mixout_prob)[0.9] == 3 and not done.choices
