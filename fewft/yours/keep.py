"""The advised model, trained again and kept as transformers keeps its own."""

import dataclasses
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from fewft import own_files
from fewft.config import RunConfig, UsageError
from fewft.markup import code, escape
from fewft.results import differences
from fewft.yours.advice import Advice
from fewft.yours.runs import Comparison


def save(runs: Comparison, advice: Advice, folder: Path, *, device: str = "auto") -> Path:
    """Train the advised run again and keep its best checkpoint as transformers does: `from_pretrained(folder)` reads it.

    A model that the folder already has from the same run stays; another one is replaced once the new one is whole.

    Args:
        runs: that the advice came from.
        advice: with a run.
        folder: of the model.
        device: as for `fine_tune`.

    Raises:
        UsageError: advice without a run; a folder as `check_folder` refuses it; as `fine_tune`.
    """
    stored = runs.frame[runs.frame.run_id == advice.run_id]
    if stored.empty:
        raise UsageError(f"advice: run {advice.run_id!r} is not stored; accepted: advice that names a run")
    check_folder(folder)
    card = folder / "run.json"
    if card.is_file() and json.loads(card.read_text("utf8"))["run_id"] == advice.run_id:
        return folder
    config = next(c for c in runs.configs if c.run_id == advice.run_id)
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)  # of a call that was killed
    part.mkdir(parents=True)
    _write_model(config, advice, stored.iloc[0], part, device)
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(part, folder)
    return folder


def check_folder(folder: Path) -> None:
    """Refuse to replace what `save` did not make.

    Raises:
        UsageError: a file, or a folder with something in it but no `run.json`.
    """
    if folder.exists() and not (folder / "run.json").is_file() and not (folder.is_dir() and not any(folder.iterdir())):
        raise UsageError(f"out: {str(folder)!r} is there and no model of ours; accepted: a new or an empty folder")


def _write_model(config: RunConfig, advice: Advice, stored: pd.Series, folder: Path, device: str) -> None:
    from transformers import AutoTokenizer

    from fewft import models, sources, train

    with _threads(int(stored.threads)):  # another number gives other bits
        done = train.trained(config, device=device)
    labels = own_files.own_labels(config.data)
    model = models.portable(config, done.model, len(labels) or 1)
    model.config.id2label = dict(enumerate(labels or ("score",)))
    model.config.label2id = {label: i for i, label in model.config.id2label.items()}
    model.config.problem_type = "single_label_classification" if labels else "regression"
    model.save_pretrained(folder)
    sources.load_tokenizer(config.model).save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(
        folder, trust_remote_code=False
    )  # not the shared one: it is to cut texts where the run did
    tokenizer.model_max_length = config.max_seq_length
    tokenizer.save_pretrained(folder)
    scores = {name: getattr(done.result, name) for name in ("best_val", "test_best", "majority_test", "best_step")}
    said = {"run_id": config.run_id, "recipe": advice.setting, "advice": advice.sentence, "metric": done.result.metric}
    said |= {"scores": scores, "unlike_stored": differences(stored.to_dict(), done.result.record())}
    changed = {f.name: v for f in dataclasses.fields(config) if (v := getattr(config, f.name)) != f.default}
    text = json.dumps(said | {"config": changed}, indent=1, ensure_ascii=False)
    (folder / "run.json").write_text(text + "\n", "utf8")
    (folder / "README.md").write_text(_card(said, config), "utf8")


@contextmanager
def _threads(count: int) -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _card(said: Mapping[str, Any], config: RunConfig) -> str:
    scores, unlike = said["scores"], ", ".join(said["unlike_stored"])
    same = f"unlike the stored run in {unlike}" if unlike else "the stored run to the bit"
    return (
        f"# {escape(config.task)}: {escape(said['recipe'])}\n\n{escape(said['advice'])}\n\n"
        f"{code(config.model)}, fine-tuned by fewft (run `{said['run_id']}`, every setting in `run.json`). "
        f"Best checkpoint after {scores['best_step']} steps: validation {scores['best_val']:.3f}, test "
        f"{scores['test_best']:.3f} {said['metric']} (the most frequent label: {scores['majority_test']:.3f}); {same}.\n\n"
        "```python\nfrom transformers import pipeline\n\n"
        'pipeline("text-classification", model="this folder")("a text")\n```\n'
    )
