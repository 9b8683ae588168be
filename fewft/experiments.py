"""The runs that an experiment asks for, and those that are there."""

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from fewft import studies
from fewft.config import RunConfig, UsageError, check_choice, names_in, shown
from fewft.designs import EXPERIMENTS, Choice, Request, tasks_of
from fewft.results import ResultStore
from fewft.studies import MOST_SEEDS, Study

if TYPE_CHECKING:
    from fewft.sweep import Done


@dataclass(frozen=True)
class Plan:
    """The runs of an experiment, each id once, and those that a search must choose first."""

    tasks: tuple[str, ...]
    seeds: int  # asked for, per cell
    configs: list[RunConfig]  # with the intermediate runs that they start from before them
    choices: list[Choice]
    ask: Request  # what they were built from

    def pending(self, known: Container[str] = ()) -> list[list[list[RunConfig]]]:
        """Of each choice, each candidate's runs that are not in the plan or in `known` anyway."""
        here = {c.run_id for c in self.configs}
        return [
            [[c for c in runs if c.run_id not in here and c.run_id not in known] for runs in choice.candidates]
            for choice in self.choices
        ]

    def count_pending(self, known: Container[str] = ()) -> int:
        """Runs that searches must choose first; where candidates differ in number, the most."""
        return sum(max(map(len, candidates)) for candidates in self.pending(known))


class Stored:
    """Runs that were asked for, and the stored ones among them."""

    configs: list[RunConfig]
    frame: pd.DataFrame  # one row a stored run; those that failed are left out
    pending: int  # runs that a search must choose first

    @property
    def count(self) -> str:
        """How many runs there are: "n of N runs"."""
        return f"{len(self.frame)} of {len(self.configs) + self.pending} runs"


@dataclass(frozen=True)
class Experiment(Stored):
    """The runs that an experiment asks for, and the stored ones among them."""

    study: Study
    tasks: tuple[str, ...]
    seeds: int  # asked for, per cell of the experiment
    configs: list[RunConfig]
    frame: pd.DataFrame
    ask: Request  # what the runs follow from, with the validation scores that decide searches
    pending: int = 0

    @property
    def epochs(self) -> float:
        """Passes over the training set of a run that is not given a number of steps: three in the paper."""
        return self.study.run(self.study.tasks[0], "debiased", 0).num_train_epochs


def plan(
    study: Study, name: str, *, tasks: str = "", seeds: int = 0, records: Mapping[str, Mapping[str, Any]] | None = None
) -> Plan:
    """The tasks, seeds and runs of an experiment.

    Args:
        study: its sizes hold where the next two do not say otherwise.
        name: a key of EXPERIMENTS.
        tasks: comma separated; empty: the experiment's.
        seeds: runs per cell; 0: the study's.
        records: stored runs by id, for the choices that searches make; None: none.

    Raises:
        UsageError: unknown experiment or task, negative seeds.
    """
    check_choice("experiment", name, EXPERIMENTS)
    if not 0 <= seeds <= MOST_SEEDS:
        raise UsageError(f"seeds: {shown(seeds)}; accepted: 0 (as the study says) or more, to {MOST_SEEDS:,}")
    named = names_in(tasks)
    for task in named:
        check_choice("tasks", task, (*study.all_tasks, *filter(None, [study.large_task])))
    own = tasks_of(study, name)
    chosen = tuple(t for t in named if t in own) if named else own
    ask = Request(study, chosen, seeds, _scores(records or {}))
    wanted = list(EXPERIMENTS[name](ask)) if chosen else []
    runs = [w for w in wanted if isinstance(w, RunConfig)]
    first = [c for c in (run.intermediate() for run in runs) if c]
    configs = list({c.run_id: c for c in (*first, *runs)}.values())
    return Plan(chosen, ask.count(name), configs, [w for w in wanted if isinstance(w, Choice)], ask)


def _scores(records: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Best validation score by id; a run that diverged before its first evaluation has none, which counts as 0."""
    done = {run_id: r["best_val"] for run_id, r in records.items() if r["status"] != "failed"}
    return {run_id: 0.0 if value is None or np.isnan(value) else value for run_id, value in done.items()}


def run_all(
    study: Study, names: Sequence[str], store: ResultStore, do: Callable[[list[RunConfig]], list["Done"]], *,
    tasks: str = "", seeds: int = 0,
) -> list["Done"]:  # fmt: skip
    """Do the missing runs of experiments, then those that their searches choose, until there is nothing new to do.

    Args:
        study, names, tasks, seeds: as for `plan`.
        store: where finished runs are, and go.
        do: does those of a list of runs that are missing, as `sweep` does, and says what came of them.

    Raises:
        UsageError: as `plan`.
    """
    done: list[Done] = []
    known = -1
    while True:
        plans = [plan(study, name, tasks=tasks, seeds=seeds, records=store.records()) for name in names]
        wanted = list({c.run_id: c for p in plans for c in p.configs}.values())
        if len(wanted) == known:  # no search has chosen since
            return done
        known = len(wanted)
        done += do(wanted)


def load(
    study: str, name: str, *, tasks: str = "", seeds: int = 0, train: bool = False, device: str = "auto",
    workers: int = 0, results: str = "results",
) -> Experiment:  # fmt: skip
    """An experiment's stored runs; with `train`, those that are missing are done first.

    Args:
        study: name or TOML file.
        name: a key of EXPERIMENTS.
        tasks: comma separated; empty: the study's.
        seeds: runs per cell; 0: the study's.
        train: whether to do what is missing.
        device: as for `fine_tune`.
        workers: as for `sweep`.
        results: folder of the stored runs; a relative one is below the project's folder.

    Raises:
        UsageError: a wrong name or value, before any training.
    """
    about = studies.load(study)
    store = ResultStore(studies.root() / Path(results), about.name)
    if train:
        from fewft.sweep import sweep

        plan(about, name, tasks=tasks, seeds=seeds)  # refuses what is wrong before anything is trained
        do = partial(sweep, store=store, workers=workers, device=device)
        run_all(about, [name], store, do, tasks=tasks, seeds=seeds)
    return stored(about, name, store.records(), tasks=tasks, seeds=seeds)


def stored(
    study: Study, name: str, records: Mapping[str, Mapping[str, Any]], *, tasks: str = "", seeds: int = 0
) -> Experiment:
    """An experiment with those of its runs that are among `records`, by id; arguments and errors as for `plan`."""
    found = plan(study, name, tasks=tasks, seeds=seeds, records=records)
    runs = _rows(records, found.configs)
    return Experiment(study, found.tasks, found.seeds, found.configs, runs, found.ask, found.count_pending())


def select(store: ResultStore, configs: Sequence[RunConfig]) -> pd.DataFrame:
    """The stored rows of these runs, in their order, failed ones left out; empty with a `task` column if none.

    Settings that are newer than a row have its run's value, which is their default.
    """
    return _rows(store.records(), configs)


def _rows(records: Mapping[str, Mapping[str, Any]], configs: Sequence[RunConfig]) -> pd.DataFrame:
    found = ((records.get(c.run_id), c) for c in configs)
    rows = [{**record, **c.to_dict()} for record, c in found if record and record["status"] != "failed"]
    empty = pd.DataFrame({"task": [], "correct_bias": np.array([], bool), "learning_rate": [], "status": []})
    return pd.DataFrame(rows) if rows else empty


def choose_learning_rate(frame: pd.DataFrame, *, correct_bias: bool = True) -> pd.Series:
    """Mean validation score of an arm per rate, averaged over tasks; debiased Adam's `idxmax` is the study's rate.

    Each task's validation score is its selection metric at the best checkpoint (a fraction); runs that diverged
    before their first evaluation count as 0; a rate without runs of every task gets NaN. No test score enters.
    """
    arm = frame[frame.correct_bias == correct_bias]
    scores = arm.assign(val=arm.best_val.fillna(0.0)).groupby(["learning_rate", "task"]).val.mean()
    return scores.unstack().mean(axis=1, skipna=False)
