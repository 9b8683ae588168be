"""`fewft yours`: what it does and prints."""

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from fewft import studies, yours
from fewft.config import RunConfig, UsageError, check_choice
from fewft.yours.keep import check_folder


def run(options: argparse.Namespace) -> int:
    """Do the runs that are missing, say which recipe to use, keep its model; 1 when a run failed."""
    folder, name = studies.root() / options.results, options.name or Path(options.train).stem
    files = {part: getattr(options, part) for part in ("train", "validation", "test")}
    own = yours.read(name, files, options.text or ["text"], options.label, metric=options.metric, folder=folder)
    study = yours.make_study(
        own, model=options.model, learning_rate=options.learning_rate, seeds=options.seeds,
        reinit_layers=yours.whole_numbers("reinit_layers", options.reinit_layers),
        max_steps=yours.whole_numbers("max_steps", options.max_steps), settings=dict(map(_setting, options.settings)),
    )  # fmt: skip
    target = Path(options.out or folder / own.name / "model")
    check_folder(target)
    example = study.run(own.name, "debiased", 0)
    print(*yours.notes(own, example.max_seq_length), sep="\n", flush=True)
    found = yours.load(study, train=True, device=options.device, workers=options.workers, results=options.results)
    print(f"\n{found.count}", yours.summary(found.frame).to_string(index=False), sep="\n")
    advice = yours.recommend(found.frame)
    print(f"\n{advice.sentence}")
    if advice.run_id:
        print(f"model: {yours.save(found, advice, target, device=options.device)}")
    return 0 if found.complete else 1


def _setting(given: tuple[str, str]) -> tuple[str, Any]:
    name, text = given
    kinds: dict[str, Any] = {f.name: f.type for f in dataclasses.fields(RunConfig)}
    check_choice("settings", name, kinds)
    try:
        return name, kinds[name](text)
    except ValueError:
        raise UsageError(f"settings: {name} {text!r}; accepted: {kinds[name].__name__}") from None
