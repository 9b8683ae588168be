"""Which runs compare the paper's recipes on one's own data, and which of them are stored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fewft import studies
from fewft.config import RunConfig, UsageError
from fewft.experiments import Stored, plan, run_all, select
from fewft.results import ResultStore
from fewft.studies import Study
from fewft.yours.files import OwnData

PARTS = ("bias_correction", "reinit", "longer")  # the experiments that have the paper's recipes
MODEL, RATE = "bundled:minilm", 1e-4  # needs no hub; its rate is the one that the study `minilm` found
SEEDS = 5  # runs a setting
LAYERS, STEPS = (1, 2, 3), (200, 400)  # those of the study `minilm`; the paper: L to 6, steps to 3,200
STANDARD = "Standard"
RECIPES = (STANDARD, "BERTAdam", "Re-init", "Longer", "Re-init, longer")  # in the order of the tables
BY_PARTS = {  # whether blocks are drawn anew, whether there are more steps
    (False, False): STANDARD, (True, False): "Re-init", (False, True): "Longer", (True, True): "Re-init, longer",
}  # fmt: skip


@dataclass(frozen=True)
class Comparison(Stored):
    """The runs that compare the recipes, and the stored ones among them."""

    study: Study
    configs: list[RunConfig]
    frame: pd.DataFrame  # one row a stored run that did not fail, with columns `recipe` and `setting`
    pending: int

    @property
    def complete(self) -> bool:
        """Whether all runs are there."""
        return not self.pending and len(self.frame) == len(self.configs)


def make_study(
    own: OwnData, *, model: str = MODEL, learning_rate: float = 0.0, seeds: int = 0, reinit_layers: Sequence[int] = (),
    max_steps: Sequence[int] = (), settings: Mapping[str, Any] | None = None,
) -> Study:  # fmt: skip
    """A study of one task, with the runs of Sections 4 to 6.

    Args:
        own: the data.
        model: as RunConfig.model.
        learning_rate: of all runs; 0: the default model's own, else the paper's.
        seeds: runs a setting; 0: SEEDS.
        reinit_layers: the L's of Re-init; none: LAYERS, as far as `num_hidden_layers` in the settings allows.
        max_steps: the steps of Longer; none: STEPS. Those below three epochs are left out.
        settings: other fields of RunConfig, for every run.

    Raises:
        UsageError: what Study and RunConfig refuse.
    """
    if seeds < 0:
        raise UsageError(f"seeds: {seeds}; accepted: 0 (for {SEEDS}) or more")
    settings = dict(settings or {})
    default = RunConfig.from_dict({"task": own.name, **settings})
    blocks = default.num_hidden_layers
    whose = f"the bottom {blocks} blocks of {model}" if blocks else model
    return Study(
        name=own.name, description=f"{whose} on {own.name}", model=model, tasks=(own.name,),
        learning_rate=learning_rate or (RATE if model == MODEL else default.learning_rate),
        seeds=dict.fromkeys((*PARTS, "longer_search"), seeds or SEEDS),
        grids={
            "reinit_layers": tuple(reinit_layers) or tuple(n for n in LAYERS if not blocks or n <= blocks),
            "max_steps": tuple(max_steps) or STEPS,
        },
        settings=settings, data={own.name: own.data},
    )  # fmt: skip


def whole_numbers(argument: str, text: str | int) -> tuple[int, ...]:
    """Comma-separated whole numbers; none for an empty text. A single one may be a number: papermill makes it one.

    Raises:
        UsageError: names the argument and the text.
    """
    try:
        return tuple(int(part) for part in str(text).split(",") if part.strip())
    except ValueError:
        raise UsageError(f"{argument}: {text!r}; accepted: whole numbers, comma separated") from None


def load(
    study: Study, *, train: bool = False, device: str = "auto", workers: int = 0, results: str = "results"
) -> Comparison:
    """The study's stored runs; with `train`, those that are missing are done first.

    Args:
        study: as `make_study` gives it.
        train, device, workers, results: as for `experiments.load`.

    Raises:
        UsageError: a wrong model, device or setting, before any training.
    """
    store = ResultStore(studies.root() / Path(results), study.name)
    if train:
        from fewft.sweep import sweep

        run_all(study, PARTS, store, partial(sweep, store=store, workers=workers, device=device))
        store.collect()
    plans = [plan(study, name, records=store.records()) for name in PARTS]
    configs = {c.run_id: c for p in plans for c in p.configs}
    pending = sum(p.count_pending(configs) for p in plans)
    frame = name_recipes(select(store, list(configs.values())), study.settings.get("max_steps", 0))
    return Comparison(study, list(configs.values()), frame, pending)


def name_recipes(frame: pd.DataFrame, max_steps: int = 0) -> pd.DataFrame:
    """Runs with the columns `recipe` (one of RECIPES) and `setting` (with its L and steps), in that order.

    Args:
        frame: runs as `experiments.select` gives them.
        max_steps: of the runs that are not Longer's.
    """
    if frame.empty:
        return frame.assign(recipe=np.array([], str), setting=np.array([], str))
    recipes, settings = [], []
    for run in frame.itertuples():
        longer, again = run.max_steps != max_steps, run.reinit_layers >= 0
        recipe = BY_PARTS[again, longer] if run.correct_bias else "BERTAdam"
        said = [recipe, *([f"L = {run.reinit_layers}"] * again), *([f"{run.max_steps} steps"] * longer)]
        recipes.append(recipe)
        settings.append(", ".join(said))
    named = frame.assign(recipe=recipes, setting=settings, order=[RECIPES.index(r) for r in recipes])
    return named.sort_values(["order", "reinit_layers", "max_steps", "init_seed"], ignore_index=True).drop(
        columns="order"
    )
