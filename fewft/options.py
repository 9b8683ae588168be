"""The options of the command line: each command's, as rows of name, default and meaning."""

import argparse

from fewft.yours.runs import MODEL, RATE
from fewft.yours.runs import SEEDS as OWN_SEEDS

Row = tuple[str, str | int | float, str]
STUDY: Row = ("study", "", "a name in studies/, or a TOML file")
RESULTS: Row = ("--results", "results", "folder of the stored runs (default: results)")
TASKS: Row = ("--tasks", "", "comma separated (default: all)")
SEEDS: Row = ("--seeds", 0, "seeds per cell (default: the study's)")
MACHINE: tuple[Row, ...] = (
    ("--workers", 0, "runs at once, of one thread (default: one a core)"),
    ("--device", "auto", "auto, cpu, cuda or cuda:N (default: auto)"),
)
COMMANDS: dict[str, tuple[str, tuple[Row, ...]]] = {
    "plan": (
        "Say which runs a study needs, which are stored, and what they cost.",
        (STUDY, RESULTS, TASKS, SEEDS, ("--rate", 0.0, "FLOP/s to count hours with (default: measured)")),
    ),
    "run": (
        "Do the runs of a study that are missing, and collect them into one Parquet file.",
        (
            STUDY, RESULTS, TASKS, SEEDS, *MACHINE,
            ("--runs", "", "a CSV file from below a figure: exactly its runs, in place of experiments"),
            ("--shard", "", "i/n: the i-th of n parts, each for a machine of its own (default: all)"),
            ("--executor", "local", "local or ray (default: local)"),
            ("--address", "", "of a running Ray (default: one of our own, on this machine)"),
        ),
    ),
    "status": (
        "Say what is stored; 1 when a run failed or a file is damaged.",
        (STUDY, RESULTS, TASKS, SEEDS, *MACHINE),
    ),
    "claims": (
        "Test the paper's claims on stored runs; 1 when a verdict is not --expect's.",
        (
            STUDY, RESULTS,
            ("--expect", "", "CSV of verdicts to compare with"),
            ("--write", "", "CSV to keep the verdicts in"),
        ),
    ),
    "verify": (
        "Train some stored runs again and compare; 1 when one differs.",
        (
            STUDY, RESULTS, TASKS, *MACHINE,
            ("--sample", 5, "how many, chosen at random (default: 5)"),
            ("--seed", 0, "of the choice (default: 0)"),
        ),
    ),
    "merge": (
        "Add the runs of other Parquet files to the first; 1 when two differ.",
        (("first", "", "a study's Parquet file, made if there is none"),),
    ),
    "data": ("Store the counts and majority baselines of the data sets (Table 3).", (RESULTS, TASKS)),
    "yours": (
        "Compare the paper's recipes on a file of your own.",
        (
            ("train", "", "a .csv, .tsv or .jsonl file with a header"),
            ("--validation", "", "a file like it (default: a fifth of the training file)"),
            ("--test", "", "a file like it (default: a fifth of the training file)"),
            ("--label", "label", "its label column (default: label)"),
            ("--name", "", "of the task and its results (default: the training file's)"),
            ("--model", MODEL, f"hub id, folder or bundled:NAME (default: {MODEL})"),
            ("--metric", "", "accuracy, f1, matthews or spearman (default: accuracy, for a scale of numbers spearman)"),
            ("--learning-rate", 0.0, f"of all runs (default: {RATE:g}, for another model the paper's 2e-5)"),
            ("--seeds", 0, f"runs a setting (default: {OWN_SEEDS})"),
            ("--reinit-layers", "", "L's of Re-init, comma separated (default: 1,2,3)"),
            ("--max-steps", "", "steps of Longer, comma separated (default: 200,400)"),
            RESULTS, *MACHINE,
            ("--out", "", "folder of the model (default: <results>/<name>/model)"),
        ),
    ),
    "build": (
        "Execute the notebooks and build the book.",
        (
            ("--jobs", 2, "notebooks at a time (default: 2)"),
            ("--out", "", "folder of the book (default: _book)"),
        ),
    ),
    "pdf": (
        "Print the built book to one PDF, with a Chromium that is installed.",
        (("--out", "", "folder of the book (default: _book)"),),
    ),
    "bench": (
        "Measure our speed beside transformers.Trainer's.",
        (
            ("--tasks", "rte,mrpc,stsb,cola", "comma separated (default: rte,mrpc,stsb,cola); whole runs are of their -1k"),
            ("--models", "", "comma separated (default: bundled:minilm, on a GPU also random:bert-large)"),
            ("--peers", "", "comma separated (default: padded,dynamic,grouped; on a GPU also -bf16, -bf16-compile)"),
            ("--precision", "", "ours (default: fp32, on a GPU bf16)"),
            ("--device", "auto", "auto, cpu or cuda (default: auto)"),
            ("--out", "", "folder of cpu.json or gpu.json, or a .json (default: benchmarks)"),
            ("--repeats", 5, "turns that count (default: 5)"),
            ("--steps", 0, "a turn (default: 2, on a GPU 20)"),
            ("--workers", 0, "processes at once (default: one a core, on a GPU one)"),
        ),
    ),
}  # fmt: skip


def parser(description: str) -> argparse.ArgumentParser:
    """For all commands; `command` of what it gives is the name of the one that was called."""
    parser = argparse.ArgumentParser(prog="fewft", description=description)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    subs = {name: commands.add_parser(name, help=about, description=about) for name, (about, _) in COMMANDS.items()}
    for name, sub in subs.items():
        for option, default, about in COMMANDS[name][1]:
            sub.add_argument(option, default=default, type=type(default), help=about)
    for name in ("plan", "run", "status"):
        subs[name].add_argument("--experiment", action="append", help="one of the study's experiments (default: all)")
    subs["status"].add_argument("--repair", action="store_true", help="set damaged files aside, do their runs again")
    subs["merge"].add_argument("others", nargs="+", help="files whose runs are added")
    subs["build"].add_argument(
        "-p", dest="parameters", action="append", nargs=2, metavar=("NAME", "VALUE"), default=[],
        help="a parameter for every notebook that has it",
    )  # fmt: skip
    subs["bench"].add_argument("--no-runs", dest="runs", action="store_false", help="steps only")
    own = subs["yours"]
    own.add_argument("--text", action="append", help="a text column, or two with --text twice (default: text)")
    own.add_argument(
        "--set", dest="settings", action="append", nargs=2, metavar=("NAME", "VALUE"), default=[],
        help="another setting of every run, such as num_hidden_layers 2",
    )  # fmt: skip
    return parser
