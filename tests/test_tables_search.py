"""Appendix H: grids, scores of their points, and choices that wait for all runs."""

from collections.abc import Callable
from pathlib import Path

from fewft import studies, tables
from fewft.designs import Request, method_grids, search_runs
from fewft.tables.search import point_words

TASK = "rte-1k"
GRIDS = {"mixout_prob": [0.1, 0.5], "weight_decay": [0.1], "prior_weight_decay": [0.1],
         "llrd_learning_rate": [1e-4, 2e-4], "layerwise_lr_decay": [0.9]}  # fmt: skip


def ask(write_study: Callable[..., Path], scores: dict[tuple[str, object], list[float]]) -> Request:
    """Runs of the points of a method's grid have these validation scores; others are not there."""
    study = studies.load(str(write_study(grids=GRIDS, tasks=[TASK], seeds={"methods_search": 2})))
    empty = Request(study, (TASK,), 0, {})
    known = {}
    for (method, point), values in scores.items():
        runs = search_runs(empty, TASK, method_grids(study)[method], "methods_search")[point]
        known |= {run.run_id: value for run, value in zip(runs, values, strict=False)}
    return Request(study, (TASK,), 0, known)


def test_the_grids_stand_beside_the_papers() -> None:
    table = tables.grid_table(studies.load("minilm")).set_index(["Method", "Setting"])
    assert table["Appendix H"]["Mixout", "probability"] == "0.1, 0.3, 0.5, 0.7, 0.9"
    assert table.Here["Mixout", "probability"] == "0.1, 0.5, 0.9"
    assert tuple(table.loc[("all", "runs a point")]) == ("20", "2")
    own = tables.grid_table(studies.load("paper"))
    assert (own["Appendix H"] == own.Here).all()


def test_the_chosen_point_is_bold_once_all_runs_are_there(write_study: Callable[..., Path]) -> None:
    done = ask(write_study, {("mixout_prob", 0.1): [0.6, 0.7], ("mixout_prob", 0.5): [0.6, 0.6]})
    table = tables.search_table(done).set_index(["Method", "Point"])["RTE (1k)"]
    assert table["Mixout", "0.1"] == "**0.650 (2 of 2)**" and table["Mixout", "0.5"] == "0.600 (2 of 2)"
    assert table["LLRD", "rate 0.0002, factor 0.9"] == "not run"
    chosen = tables.choice_table(done).set_index("Method")["RTE (1k)"]
    assert chosen["Mixout"] == "0.1" and chosen["WD"] == "not run"
    assert tables.search_words(done) == {"searches_said": "1 of 4 searches", "search_runs_said": "4 of 12 runs"}


def test_an_unfinished_search_chooses_nothing(write_study: Callable[..., Path]) -> None:
    part = ask(write_study, {("mixout_prob", 0.1): [0.6, 0.7], ("mixout_prob", 0.5): [0.6]})
    table = tables.search_table(part).set_index(["Method", "Point"])["RTE (1k)"]
    assert table["Mixout", "0.1"] == "0.650 (2 of 2)" and table["Mixout", "0.5"] == "0.600 (1 of 2)"
    assert tables.choice_table(part).set_index("Method")["RTE (1k)"]["Mixout"] == "search unfinished: 3 of 4 runs"


def test_a_point_in_words() -> None:
    assert point_words((1e-4, 0.95)) == "rate 0.0001, factor 0.95" and point_words(0.1) == "0.1"
