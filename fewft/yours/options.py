"""`fewft yours`: its options, and what it prints."""

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from fewft import studies, yours
from fewft.config import RunConfig, UsageError, check_choice
from fewft.yours import runs
from fewft.yours.keep import check_folder


def add_options(parser: argparse.ArgumentParser) -> None:
    """Make a parser that of `fewft yours`."""
    parser.add_argument("train", help="a .csv, .tsv or .jsonl file with a header")
    for name, default, about in (
        ("--validation", "", "a file like it (default: a fifth of the training file)"),
        ("--test", "", "a file like it (default: a fifth of the training file)"),
        ("--label", "label", "its label column (default: label)"),
        ("--name", "", "of the task and its results (default: the training file's)"),
        ("--model", runs.MODEL, f"hub id, folder or bundled:NAME (default: {runs.MODEL})"),
        ("--metric", "", "accuracy, f1, matthews or spearman (default: accuracy, for a scale of numbers spearman)"),
        ("--learning-rate", 0.0, f"of all runs (default: {runs.RATE:g}, for another model the paper's 2e-5)"),
        ("--seeds", 0, f"runs a setting (default: {runs.SEEDS})"),
        ("--reinit-layers", "", "L's of Re-init, comma separated (default: 1,2,3)"),
        ("--max-steps", "", "steps of Longer, comma separated (default: 200,400)"),
        ("--results", "results", "folder of the stored runs (default: results)"),
        ("--workers", 0, "runs at once, of one thread (default: one a core)"),
        ("--device", "auto", "auto, cpu, cuda or cuda:N (default: auto)"),
        ("--out", "", "folder of the model (default: <results>/<name>/model)"),
    ):
        parser.add_argument(name, default=default, type=type(default), help=about)
    parser.add_argument("--text", action="append", help="a text column, or two with --text twice (default: text)")
    parser.add_argument(
        "--set", dest="settings", action="append", nargs=2, metavar=("NAME", "VALUE"), default=[],
        help="another setting of every run, such as num_hidden_layers 2",
    )  # fmt: skip


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
