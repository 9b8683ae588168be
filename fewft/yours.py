"""The paper's recipes on data of one's own: which runs, what they say, which recipe to use, and its best model to keep."""

import dataclasses
import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from fewft import studies, tasks
from fewft.config import RunConfig, UsageError
from fewft.experiments import plan, run_all, select
from fewft.ownfiles import OwnData
from fewft.results import ResultStore
from fewft.stats import welch
from fewft.studies import Study

PARTS = ("bias_correction", "reinit", "longer")  # the experiments that have the paper's recipes
MODEL, RATE = "bundled:minilm", 1e-4  # needs no hub; its rate is the one that the study `minilm` found
SEEDS = 5  # runs a setting
LAYERS, STEPS = (1, 2, 3), (200, 400)  # those of the study `minilm`; the paper: L to 6, steps to 3,200
ALPHA = 0.05  # level of the test, shared among the settings that are compared with Standard
TEST_RUNS = 5  # runs a setting below which a test's verdict is "too few runs"
STANDARD = "Standard"
RECIPES = (STANDARD, "BERTAdam", "Re-init", "Longer", "Re-init, longer")  # in the order of the tables
BY_PARTS = {  # whether blocks are drawn anew, whether there are more steps
    (False, False): STANDARD, (True, False): "Re-init", (False, True): "Longer", (True, True): "Re-init, longer",
}  # fmt: skip


@dataclass(frozen=True)
class Comparison:
    """The runs that compare the recipes, and the stored ones among them."""

    study: Study
    configs: list[RunConfig]
    frame: pd.DataFrame  # one row a stored run that did not fail, with columns `recipe` and `setting`
    pending: int  # runs that a search must choose first

    @property
    def count(self) -> str:
        """How many runs there are: "n of N runs"."""
        return f"{len(self.frame)} of {len(self.configs) + self.pending} runs"

    @property
    def complete(self) -> bool:
        """Whether all runs are there."""
        return not self.pending and len(self.frame) == len(self.configs)


@dataclass(frozen=True)
class Advice:
    """Which recipe to use."""

    setting: str  # as in the column `setting`; empty: none
    sentence: str  # with the reason
    run_id: str  # the setting's run with the best validation score; empty: none


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
    kept = settings.get("num_hidden_layers") or max(LAYERS)
    paper_rate = RunConfig(task=own.name).learning_rate
    return Study(
        name=own.name, description=f"{model} on own data, {own.name}", model=model, tasks=(own.name,),
        learning_rate=learning_rate or (RATE if model == MODEL else paper_rate),
        seeds=dict.fromkeys((*PARTS, "longer_search"), seeds or SEEDS),
        grids={
            "reinit_layers": tuple(reinit_layers) or tuple(n for n in LAYERS if n <= kept),
            "max_steps": tuple(max_steps) or STEPS,
        },
        settings=settings, data={own.name: own.data},
    )  # fmt: skip


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
        return frame.assign(recipe=[], setting=[])
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


# --- what the runs say --------------------------------------------------------------------------------------------


def _validation(frame: pd.DataFrame) -> pd.Series:
    """Scores that choose; a run that diverged before its first evaluation counts as 0, as in the paper's searches."""
    return frame.best_val.fillna(0.0)


def best_settings(frame: pd.DataFrame) -> pd.DataFrame:
    """Of each recipe the runs of one setting, the one with the highest mean validation score. No test score enters."""
    means = _validation(frame).groupby([frame.recipe, frame.setting], sort=False).mean()
    chosen = [setting for _, setting in means.groupby(level=0, sort=False).idxmax()] if len(means) else []
    return frame[frame.setting.isin(chosen)].reset_index(drop=True)


def summary(frame: pd.DataFrame) -> pd.DataFrame:
    """A row a setting: runs, mean and standard deviation of validation and test score, degenerate runs."""
    if frame.empty:
        return pd.DataFrame({"Recipe": ["not run"]})
    rows = []
    for setting, own in frame.groupby("setting", sort=False):
        scores = {"Validation": _validation(own), "Test": own.test_best}
        said = {name: f"{x.mean():.3f}" + (f" ± {x.std():.3f}" if len(x) > 1 else "") for name, x in scores.items()}
        hits = int(own.degenerate.sum())
        rows.append({"Recipe": setting, "Runs": len(own), **said, "Degenerate": f"{hits} of {len(own)}"})
    return pd.DataFrame(rows)


def recommend(frame: pd.DataFrame) -> Advice:
    """Which recipe to use: the setting with the best mean validation score, if a test tells it apart from Standard.

    The test is Welch's, one-tailed, at ALPHA divided by the number of settings beside Standard; no test score enters.
    Where it cannot tell, or runs are too few to be tested, the advice is debiased Adam as it is.

    Args:
        frame: as `Comparison.frame`.

    Paper: Section 8 advises debiased Adam; Table 1 tests as here, at 0.05 for each.
    """
    if frame.empty or STANDARD not in set(frame.setting):
        return Advice("", "No advice: Standard was not run.", "")
    scores = {setting: _validation(own) for setting, own in frame.groupby("setting", sort=False)}
    best = max(scores, key=lambda setting: scores[setting].mean())
    fewest = min(map(len, scores.values()))
    use = f"Use {STANDARD}, debiased Adam for three epochs"
    if frame.degenerate.all():
        why = "more rows, more steps or another learning rate are needed"
        return Advice(
            "", f"Use none of them: all {len(frame)} runs are degenerate, no better than the majority; {why}.", ""
        )
    if fewest < TEST_RUNS:
        why = f"too few runs to tell recipes apart ({fewest} a setting, {TEST_RUNS} are needed)"
        return _advice(frame, STANDARD, f"{use}, for now: {why}; so far {best} has the best mean on validation")
    if best == STANDARD:
        why = f"no other setting has a higher mean validation score than its {scores[best].mean():.3f}"
        return _advice(frame, STANDARD, f"{use}: {why} ({len(scores[best])} runs)")
    gain, p = welch(scores[best], scores[STANDARD], alternative="greater")
    level = ALPHA / (len(scores) - 1)
    runs = f"{len(scores[best])} and {len(scores[STANDARD])} runs, p = {p:.2g}, one-tailed, against {level:.2g}"
    if p < level:
        return _advice(frame, best, f"Use {best}: its mean validation score is {gain:.3f} above {STANDARD}'s ({runs})")
    why = f"{best} is higher by {gain:.3f} in mean validation score, but the runs cannot tell them apart ({runs})"
    return _advice(frame, STANDARD, f"{use}: {why}")


def _advice(frame: pd.DataFrame, setting: str, said: str) -> Advice:
    own = frame[frame.setting == setting].reset_index(drop=True)
    hits = int(own.degenerate.sum())
    warning = f"; {hits} of its {len(own)} runs are degenerate, so try several seeds and keep the best" if hits else ""
    return Advice(setting, f"{said}{warning}.", str(own.run_id[_validation(own).argmax()]))


# --- the model to keep --------------------------------------------------------------------------------------------


def save(runs: Comparison, advice: Advice, folder: Path, *, device: str = "auto") -> Path:
    """Train the advised run again and keep its best checkpoint as transformers does: `from_pretrained(folder)` reads it.

    A model that the folder already has from the same run stays; another one is replaced once the new one is whole.

    Args:
        runs: that the advice came from.
        advice: with a run.
        folder: of the model.
        device: as for `fine_tune`.

    Raises:
        UsageError: advice without a run; as `fine_tune`.
    """
    stored = runs.frame[runs.frame.run_id == advice.run_id]
    if stored.empty:
        raise UsageError(f"advice: run {advice.run_id!r} is not stored; accepted: advice that names a run")
    card = folder / "run.json"
    if card.is_file() and json.loads(card.read_text("utf8"))["run_id"] == advice.run_id:
        return folder
    config = next(c for c in runs.configs if c.run_id == advice.run_id)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as part:
        (whole := Path(part) / folder.name).mkdir()
        _write_model(config, advice, stored.iloc[0], whole, device)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(whole, folder)
    return folder


def _write_model(config: RunConfig, advice: Advice, stored: pd.Series, folder: Path, device: str) -> None:
    from transformers import AutoTokenizer

    from fewft import models, sources, train

    done = train.trained(config, device=device)
    labels = tasks.own_labels(config.data)
    model = models.portable(config, done.model, len(labels) or 1)
    model.config.id2label = dict(enumerate(labels or ("score",)))
    model.config.label2id = {label: i for i, label in model.config.id2label.items()}
    model.config.problem_type = "single_label_classification" if labels else "regression"
    model.save_pretrained(folder)
    sources.load_tokenizer(config.model).save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)  # not the shared one: it is to cut texts where the run did
    tokenizer.model_max_length = config.max_seq_length
    tokenizer.save_pretrained(folder)
    names = ("best_val", "test_best", "majority_test", "best_step")
    scores = {name: getattr(done.result, name) for name in names}
    said = {"run_id": config.run_id, "recipe": advice.setting, "advice": advice.sentence, "metric": done.result.metric}
    said |= {"scores": scores, "stored_scores": {name: stored[name].item() for name in names}}
    changed = {f.name: v for f in dataclasses.fields(config) if (v := getattr(config, f.name)) != f.default}
    text = json.dumps(said | {"config": changed}, indent=1, ensure_ascii=False)
    (folder / "run.json").write_text(text + "\n", "utf8")
    (folder / "README.md").write_text(_card(said, config), "utf8")


def _card(said: Mapping[str, Any], config: RunConfig) -> str:
    scores, before = said["scores"], said["stored_scores"]
    same = "the same bits as the stored run" if scores == before else f"the stored run has {before}"
    return (
        f"# {config.task}: {said['recipe']}\n\n{said['advice']}\n\n"
        f"`{config.model}`, fine-tuned by fewft (run `{said['run_id']}`, every setting in `run.json`). "
        f"Best checkpoint after {scores['best_step']} steps: validation {scores['best_val']:.3f}, test "
        f"{scores['test_best']:.3f} {said['metric']} (the most frequent label: {scores['majority_test']:.3f}); {same}.\n\n"
        "```python\nfrom transformers import pipeline\n\n"
        'pipeline("text-classification", model="this folder")("a text")\n```\n'
    )
