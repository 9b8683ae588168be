"""fewft.figures: which tasks stand in which figure, for studies of whole tasks, of 1k tasks and of other tasks."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from fewft import experiments, figures
from fewft.experiments import Experiment
from fewft.figures import NO_TASK

EVERY_1K = ["rte-1k", "mrpc-1k", "stsb-1k", "cola-1k", "sst2-1k", "qnli-1k", "qqp-1k", "mnli-1k"]
WHOLE = ["rte", "mrpc", "stsb", "cola"]
OWN = ["bundled:entailment", "bundled:paraphrase", "bundled:similarity", "bundled:acceptability"]


@pytest.fixture
def loaded(write_study: Callable[..., Path], tmp_path: Path) -> Callable[..., Experiment]:
    """An experiment of a study with these tasks, without any run."""

    def load(tasks: list[str], more: list[str] | None = None, name: str = "longer", asked: str = "") -> Experiment:
        study = write_study(tasks=tasks, more_tasks=more)
        return experiments.load(str(study), name, tasks=asked, results=str(tmp_path / "none"))

    return load


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (5, WHOLE[:2]), (6, WHOLE[:2]), (7, WHOLE[:1]), (8, EVERY_1K[:4]), (13, WHOLE[2:] + EVERY_1K),
        (14, EVERY_1K[4:]), (15, ["rte"]), (16, ["mrpc"]), (17, ["stsb"]), (18, ["cola"]),
    ],
)  # fmt: skip
def test_the_papers_study_has_the_papers_tasks(
    loaded: Callable[..., Experiment], number: int, expected: list[str]
) -> None:
    assert figures.figure_tasks(loaded(WHOLE, EVERY_1K), number) == tuple(expected)


def test_a_study_of_1k_tasks_has_them_in_place_of_the_whole(loaded: Callable[..., Experiment]) -> None:
    runs = loaded(EVERY_1K[:4], [*WHOLE, *EVERY_1K[4:]])
    assert figures.figure_tasks(runs, 5) == ("rte-1k", "mrpc-1k")
    assert figures.figure_tasks(runs, 8) == tuple(EVERY_1K[:4])
    assert figures.figure_tasks(runs, 13) == ("stsb-1k", "cola-1k", *WHOLE, *EVERY_1K[4:])
    assert figures.figure_tasks(runs, 18) == ("cola-1k",)


def test_other_tasks_take_the_places_in_their_order(loaded: Callable[..., Experiment]) -> None:
    runs = loaded(OWN)
    assert (figures.figure_tasks(runs, 8), figures.figure_tasks(runs, 14)) == (tuple(OWN[:2]), tuple(OWN[2:]))
    assert (
        figures.figure_tasks(loaded(OWN[:1]), 8) == (OWN[0],) and figures.figure_tasks(loaded(OWN[:1]), 14) == NO_TASK
    )
    assert [figures.figure_tasks(runs, n) for n in (15, 16, 17, 18)] == [(task,) for task in OWN]
    assert figures.figure_tasks(loaded(OWN[:1]), 16) == figures.figure_tasks(loaded(OWN[:1]), 13) == NO_TASK


def test_only_tasks_that_were_asked_for_are_shown(loaded: Callable[..., Experiment]) -> None:
    runs = loaded(WHOLE, EVERY_1K, asked="mrpc,qqp-1k")
    assert [figures.figure_tasks(runs, n) for n in (5, 7, 8, 14)] == [("mrpc",), NO_TASK, NO_TASK, ("qqp-1k",)]
    nothing = loaded(WHOLE, EVERY_1K, name="distances", asked="qqp-1k")  # not among those that it follows
    assert nothing.tasks == () and figures.figure_tasks(nothing, 7) == NO_TASK


def test_panels_are_for_tasks_with_runs() -> None:
    frame = pd.DataFrame({"task": ["cola", "rte", "cola"], "n": [1, 2, 3]})
    assert figures.with_runs(frame, WHOLE) == ("rte", "cola")
    assert figures.with_runs(frame, OWN) == NO_TASK
    assert figures.with_runs(frame, OWN, otherwise=OWN) == tuple(OWN)
    assert figures.of_tasks(frame, ["cola", "mrpc"]).n.tolist() == [1, 3]
    assert figures.of_tasks(frame, NO_TASK).empty
