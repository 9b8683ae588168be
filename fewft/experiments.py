"""Which runs each section needs, and those that are there."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from fewft import studies
from fewft import tasks as glue
from fewft.config import RunConfig, UsageError, check_choice
from fewft.results import ResultStore, replace_file
from fewft.studies import RECIPES, Study


def bias_correction(study: Study, tasks: Sequence[str], seeds: int) -> list[RunConfig]:
    """Both arms, seed by seed. Paper: Section 4, Figures 2 to 4; Appendix E."""
    return [study.run(task, arm, seed) for seed, task, arm in product(range(seeds), tasks, RECIPES)]


def learning_rate_search(study: Study, tasks: Sequence[str], seeds: int) -> list[RunConfig]:
    """Both arms at every rate of the study's search; not in the paper, which takes its rate from Lee et al. (2020)."""
    rates = study.search_learning_rates
    return [
        study.run(task, arm, seed, learning_rate=rate)
        for seed, arm, rate, task in product(range(seeds), RECIPES, rates, tasks)
    ]


EXPERIMENTS: dict[str, Callable[[Study, Sequence[str], int], list[RunConfig]]] = {
    "bias_correction": bias_correction,
    "learning_rate_search": learning_rate_search,
}


@dataclass(frozen=True)
class Experiment:
    """The runs that an experiment asks for, and the stored ones among them."""

    study: Study
    tasks: tuple[str, ...]
    seeds: int  # asked for, per cell of the experiment
    configs: list[RunConfig]
    frame: pd.DataFrame  # one row a stored run; those that failed are left out

    @property
    def count(self) -> str:
        """How many runs there are: "n of N runs"."""
        return f"{len(self.frame)} of {len(self.configs)} runs"


def plan(study: Study, name: str, *, tasks: str = "", seeds: int = 0) -> tuple[tuple[str, ...], int, list[RunConfig]]:
    """The tasks, seeds and runs of an experiment.

    Args:
        study: its sizes hold where the next two do not say otherwise.
        name: a key of EXPERIMENTS.
        tasks: comma separated; empty: the study's.
        seeds: runs per cell; 0: the study's.

    Raises:
        UsageError: unknown experiment or task, negative seeds.
    """
    check_choice("experiment", name, EXPERIMENTS)
    if seeds < 0:
        raise UsageError(f"seeds: {seeds}; accepted: 0 (as the study says) or more")
    chosen = tuple(dict.fromkeys(t.strip() for t in tasks.split(",") if t.strip())) or study.tasks
    for task in chosen:
        check_choice("tasks", task, study.tasks)
    wanted = seeds or (study.search_seeds if name == "learning_rate_search" else study.seeds)
    return chosen, wanted, EXPERIMENTS[name](study, chosen, wanted)


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
    chosen, wanted, configs = plan(about, name, tasks=tasks, seeds=seeds)
    store = ResultStore(studies.root() / Path(results), about.name)
    if train:
        from fewft.sweep import sweep

        sweep(configs, store, workers=workers, device=device)
    return Experiment(about, chosen, wanted, configs, select(store, configs))


def select(store: ResultStore, configs: Sequence[RunConfig]) -> pd.DataFrame:
    """The stored rows of these runs, in their order, failed ones left out; empty with a `task` column if none."""
    records = store.records()
    rows = [records[c.run_id] for c in configs if c.run_id in records and records[c.run_id]["status"] != "failed"]
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


# --- the data sets ------------------------------------------------------------------------------------------------


def record_datasets(names: str = "", *, results: str = "results") -> pd.DataFrame:
    """Store counts and majority baselines of tasks in `<results>/datasets.csv`, in place of those of the same name.

    Args:
        names: comma separated; empty: every GLUE task, its 1k version, and the bundled ones.
        results: as for `load`.

    Raises:
        UsageError: unknown task, or its data cannot be read.

    Paper: Appendix A, Table 3.
    """
    chosen = [n.strip() for n in names.split(",") if n.strip()] or glue.names()
    path = studies.root() / results / "datasets.csv"
    table = pd.DataFrame([glue.describe(name) for name in chosen])
    if path.is_file():
        kept = pd.read_csv(path)
        table = pd.concat([kept[~kept.task.isin(chosen)], table])
    table = table.sort_values("task", key=lambda column: column.map(glue.names().index))
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, table.to_csv(index=False).encode())
    return table


def datasets(results: str = "results") -> pd.DataFrame:
    """The stored counts and baselines, by task; empty when none were stored."""
    path = studies.root() / results / "datasets.csv"
    return pd.read_csv(path).set_index("task") if path.is_file() else pd.DataFrame()
