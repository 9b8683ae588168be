"""Beyond the paper: both arms, each at the learning rate that its own validation scores favour."""

from collections.abc import Mapping

import pandas as pd

from fewft.experiments import Experiment
from fewft.plots import ARMS, TASK_LABELS
from fewft.stats import Moments
from fewft.tables.beside import two_tailed
from fewft.tables.words import NOT_RUN, degenerate_words

UNSEARCHED = "too few runs"  # a rate of the search has none


def own_rates(runs: Experiment) -> dict[tuple[str, bool], float | None]:
    """The rate with the highest mean validation score by task and arm, the lowest of equals; None while a rate of the
    search has no run. A run that diverged before its first evaluation counts as 0, and no test score enters."""
    searched = sorted({config.learning_rate for config in runs.configs})
    found: dict[tuple[str, bool], float | None] = {}
    for task in runs.tasks:
        for corrected in ARMS:
            own = _of(runs, task, corrected)
            means = own.assign(val=own.best_val.fillna(0.0)).groupby("learning_rate").val.mean().reindex(searched)
            found[task, corrected] = None if means.isna().any() else float(means.idxmax())
    return found


def _of(runs: Experiment, task: str, corrected: bool, rate: float | None = None) -> pd.DataFrame:
    frame = runs.frame.reindex(columns=[*{*runs.frame.columns, "best_val", "test_best", "degenerate"}])
    own = frame[(frame.task == task) & (frame.correct_bias == corrected)]
    return own if rate is None else own[own.learning_rate == rate]


def own_rate_table(runs: Experiment) -> pd.DataFrame:
    """Both arms of each task at the study's one rate and each at its own best: test score of the best checkpoint in
    percent, degenerate runs, and p of Student's two-tailed t-test between the arms.

    Beyond the paper, which has one rate for both.
    """
    best, shared = own_rates(runs), runs.study.learning_rate
    rows = []
    for task in runs.tasks:
        own = {c: _of(runs, task, c, best[task, c]) if best[task, c] is not None else None for c in ARMS}
        tested = two_tailed(*(None if f is None else _moments(f) for f in own.values()))
        for corrected, word in ARMS.items():
            rate, frame = best[task, corrected], own[corrected]
            row = {"Task": TASK_LABELS.get(task, task), "Arm": word}
            row |= {f"At {shared:g}": _scored(_of(runs, task, corrected, shared))}
            row["Best rate"] = _unsearched(runs, task, corrected) if rate is None else f"{rate:g}"
            row["There"] = "–" if frame is None else _scored(frame)
            row["Degenerate there"] = "–" if frame is None else f"{int(frame.degenerate.sum())} of {len(frame)}"
            rows.append(row | {"p": tested if corrected else ""})
    return pd.DataFrame(rows)


def _unsearched(runs: Experiment, task: str, corrected: bool) -> str:
    own = _of(runs, task, corrected)
    wanted = sum((c.task, c.correct_bias) == (task, corrected) for c in runs.configs)
    return f"search unfinished: {len(own)} of {wanted} runs" if len(own) else NOT_RUN


def _moments(frame: pd.DataFrame) -> Moments:
    return Moments.of(100 * frame.test_best.dropna().to_numpy(float))


def _scored(frame: pd.DataFrame) -> str:
    cell = _moments(frame)
    spread = f" ± {cell.std:.1f}" if cell.std == cell.std else ""
    return f"{cell.mean:.1f}{spread} ({cell.n})" if cell.n else NOT_RUN


def own_rate_words(runs: Experiment) -> dict[str, str]:
    """On how many tasks correction has the higher mean at one rate and at its own, and degenerate runs at the latter."""
    best, shared = own_rates(runs), runs.study.learning_rate
    done = [task for task in runs.tasks if all(best[task, c] is not None for c in ARMS)]
    both = [task for task in runs.tasks if all(_moments(_of(runs, task, c, shared)).n for c in ARMS)]
    own = {task: {c: _of(runs, task, c, best[task, c]) for c in ARMS} for task in done}
    lower = sum(float(best[task, False] or 0) < float(best[task, True] or 0) for task in done)
    none = dict.fromkeys(("own_said", "own_degenerate", "lower_said", "own_tested"), NOT_RUN)
    said = {"shared_said": _ahead({task: {c: _of(runs, task, c, shared) for c in ARMS} for task in both})}
    if not done:
        return said | none
    degenerate = {c: pd.concat([own[task][c].degenerate for task in done]) for c in ARMS}
    tests = [two_tailed(*map(_moments, arms.values())) for arms in own.values()]
    return said | {
        "own_said": _ahead(own),
        "own_degenerate": degenerate_words(degenerate),
        "lower_said": f"{lower} of {len(done)} tasks",
        "own_tested": tests[0] if set(tests) == {UNSEARCHED} else ", ".join(f"p = {p}" for p in tests),
    }


def _ahead(arms: Mapping[str, Mapping[bool, pd.DataFrame]]) -> str:
    ahead = sum(_moments(own[True]).mean > _moments(own[False]).mean for own in arms.values())
    return f"{ahead} of {len(arms)} tasks" if arms else NOT_RUN
