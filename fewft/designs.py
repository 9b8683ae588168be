"""The runs of each experiment of the paper, searches included: which settings, tasks and seeds a section needs."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np

from fewft import paper, tasks
from fewft.config import RunConfig
from fewft.studies import RECIPES, SEARCHED, Study


@dataclass(frozen=True)
class Choice:
    """Runs that wait for a search: whichever of `candidates` has the best mean validation score."""

    candidates: list[list[RunConfig]]


@dataclass(frozen=True)
class Request:
    """What an experiment builds its runs from."""

    study: Study
    tasks: tuple[str, ...]
    seeds: int  # 0: as the study says
    scores: Mapping[str, float]  # best validation score by run id, of the stored runs that did not fail

    def count(self, name: str) -> int:
        """Runs for each cell."""
        return self.seeds or self.study.count(name)

    def cell(self, task: str, seeds: int, **changes: Any) -> list[RunConfig]:
        """One setting of debiased Adam, seed by seed."""
        return [self.study.run(task, "debiased", seed, **changes) for seed in range(seeds)]


Wanted = Iterator[RunConfig | Choice]


def best(candidates: Mapping[Any, Sequence[RunConfig]], scores: Mapping[str, float]) -> Any:
    """The key of the candidate with the highest mean validation score, the first of equals; None before all are done.

    A run that diverged before its first evaluation counts as 0. No test score enters.

    Paper: Sections 5 to 7, Appendix H.
    """
    if not candidates or any(c.run_id not in scores for runs in candidates.values() for c in runs):
        return None
    return max(candidates, key=lambda key: float(np.mean([scores[c.run_id] for c in candidates[key]])))


def bias_correction(ask: Request) -> Wanted:
    """Both arms, seed by seed. Paper: Section 4, Figures 2 to 4; Appendix E."""
    seeds = range(ask.count("bias_correction"))
    yield from (ask.study.run(task, arm, seed) for seed, task, arm in product(seeds, ask.tasks, RECIPES))


def stability_map(ask: Request) -> Wanted:
    """Both arms at several rates; not in the paper, which takes its rate from Lee et al. (2020)."""
    seeds, rates = range(ask.count("stability_map")), ask.study.grid("learning_rate")
    for seed, arm, rate, task in product(seeds, RECIPES, rates, ask.tasks):
        yield ask.study.run(task, arm, seed, learning_rate=rate)


def reinit(ask: Request) -> Wanted:
    """Standard, the pooler alone, and each L. Paper: Section 5, Figures 5, 6 and 13, Table 1."""
    for seed, task in product(range(ask.count("reinit")), ask.tasks):
        for layers in (-1, 0, *ask.study.grid("reinit_layers")):
            yield ask.study.run(task, "debiased", seed, reinit_layers=layers)


def distances(ask: Request) -> Wanted:
    """The L whose blocks are followed from their start. Paper: Figures 7 and 15 to 18."""
    for seed, task in product(range(ask.count("distances")), ask.tasks):
        for layers in (-1, *ask.study.grid("distance_layers")):
            yield ask.study.run(task, "debiased", seed, reinit_layers=layers)


def reinit_cells(ask: Request, task: str) -> dict[int, list[RunConfig]]:
    """The Re-init sweep of a task, by L."""
    return {n: ask.cell(task, ask.count("reinit"), reinit_layers=n) for n in ask.study.grid("reinit_layers")}


def longer_cells(ask: Request, task: str, layers: int) -> dict[int, dict[str, Any]]:
    """Numbers of steps that Longer tries, none below three epochs, and the settings that each stands for."""
    three_epochs = ask.study.run(task, "debiased", 0).num_steps(tasks.num_train(task, ask.study.data.get(task, "")))
    steps = (n for n in ask.study.grid("max_steps") if n >= three_epochs)
    return {n: {"reinit_layers": layers, "max_steps": n} for n in steps}


def search_runs(ask: Request, task: str, cells: Mapping[Any, dict[str, Any]], name: str) -> dict[Any, list[RunConfig]]:
    """The runs of each cell of a search; `name` in SEEDS says how many."""
    return {key: ask.cell(task, ask.count(name), **changes) for key, changes in cells.items()}


def longer(ask: Request) -> Wanted:
    """Standard and the chosen L for more steps: searches for both, then more seeds. Paper: Section 6, Table 1."""
    for task in ask.tasks:
        sweep = reinit_cells(ask, task)
        yield from (config for runs in sweep.values() for config in runs)
        yield from _longer(ask, task, -1)
        layers = best(sweep, ask.scores)
        if layers is None:
            yield Choice([_known(_longer(replace(ask, scores={}), task, n)) for n in sweep])
        else:
            yield from _longer(ask, task, layers)


def _longer(ask: Request, task: str, layers: int) -> Wanted:
    # the point at three epochs of Figures 8 and 14
    yield from ask.cell(task, ask.count("longer_search"), reinit_layers=layers)
    yield from _search(ask, task, longer_cells(ask, task, layers), "longer")


def _search(ask: Request, task: str, cells: Mapping[Any, dict[str, Any]], name: str) -> Wanted:
    """Every cell with the seeds of `<name>_search`, then the best one with those of `name`."""
    search, final = (ask.count(n) for n in (f"{name}_search", name))
    candidates = search_runs(ask, task, cells, f"{name}_search")
    yield from (config for key in candidates for config in candidates[key])
    chosen = best(candidates, ask.scores)
    if chosen is not None:
        yield from ask.cell(task, final, **cells[chosen])
    elif final > search and cells:
        yield Choice([ask.cell(task, final, **changes) for changes in cells.values()])


def _known(wanted: Wanted) -> list[RunConfig]:
    """All runs, of a choice those of its first candidate, so that they can be counted before it is made."""
    runs = (c for w in wanted for c in (w.candidates[0] if isinstance(w, Choice) else [w]))
    return list({c.run_id: c for c in runs}.values())


def method_grids(study: Study) -> dict[str, dict[Any, dict[str, Any]]]:
    """The search space of each method that the study has: a point and the settings it stands for. Paper: Appendix H."""
    rates, decays = study.grid("llrd_learning_rate"), study.grid("layerwise_lr_decay")
    pairs = {(r, d): {"learning_rate": r, "layerwise_lr_decay": d} for r, d in product(rates, decays)}
    single = [method.setting for method in SEARCHED if study.grid(method.setting)]
    return {"layerwise_lr_decay": pairs} | {name: {v: {name: v} for v in study.grid(name)} for name in single}


def methods(ask: Request) -> Wanted:
    """Standard, each method's grid and its best point, and the intermediate task. Paper: Section 7, Table 2."""
    final = ask.count("methods")
    for task in ask.tasks:
        yield from ask.cell(task, final)
        for cells in method_grids(ask.study).values():
            yield from _search(ask, task, cells, "methods")
        if ask.study.intermediate_task not in ("", task):
            yield from ask.cell(task, final, intermediate_task=ask.study.intermediate_task)


def randomness(ask: Request) -> Wanted:
    """Every pair of seeds on the first task, standard and with Re-init. Paper: Appendix B, Figures 9 and 10."""
    seeds = range(ask.count("randomness"))
    layers = (-1, *ask.study.grid("randomness_layers"))
    for task, init, data, n in product(ask.tasks[:1], seeds, seeds, layers):
        yield ask.study.run(task, "debiased", init, data_seed=data, reinit_layers=n)


def precision(ask: Request) -> Wanted:
    """Mixed against full precision. Paper: Appendix C, Table 4."""
    usual = ask.study.settings.get("precision", "fp32")
    both = ("fp32", "bf16" if usual == "fp32" else usual)
    for seed, task, kind in product(range(ask.count("precision")), ask.tasks, both):
        yield ask.study.run(task, "debiased", seed, precision=kind)


def large_task(ask: Request) -> Wanted:
    """Both arms on a large data set. Paper: Appendix D, Table 5."""
    for seed, task, arm in product(range(ask.count("large_task")), ask.tasks, RECIPES):
        yield ask.study.run(task, arm, seed)


def model_changes(study: Study, name: str, task: str) -> dict[str, Any]:
    """Another model and its settings on a task: Table 6's, or the study's own for a task that it does not have."""
    known = task.removesuffix("-1k") in set(paper.published(6)["task"])
    return {"model": study.other_models[name], **(paper.model_settings(name, task) if known else {})}


def other_models(ask: Request) -> Wanted:
    """Standard and each L for other models, with Table 6's settings. Paper: Appendix F, Table 7.

    Table 7 does not say which L its Re-init has: ours is chosen as in Section 5.
    """
    cells = [(task, model_changes(ask.study, name, task)) for name in ask.study.other_models for task in ask.tasks]
    layers = (-1, *ask.study.grid("reinit_layers"))
    for seed, (task, changes), n in product(range(ask.count("other_models")), cells, layers):
        yield ask.study.run(task, "debiased", seed, reinit_layers=n, **changes)


EXPERIMENTS: dict[str, Callable[[Request], Wanted]] = {
    "bias_correction": bias_correction,
    "stability_map": stability_map,
    "reinit": reinit,
    "distances": distances,
    "longer": longer,
    "methods": methods,
    "randomness": randomness,
    "precision": precision,
    "large_task": large_task,
    "other_models": other_models,
}


def tasks_of(study: Study, name: str) -> tuple[str, ...]:
    """The tasks of an experiment."""
    if name == "large_task":
        return (study.large_task,) if study.large_task else ()
    return study.all_tasks if name in ("reinit", "longer") else study.tasks
