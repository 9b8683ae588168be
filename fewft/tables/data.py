"""Appendix A in tables: how long the examples are, and what they look like."""

from collections.abc import Sequence

import pandas as pd

from fewft import bundled
from fewft.config import RunConfig
from fewft.glue import GLUE
from fewft.plots import TASK_LABELS
from fewft.tables.words import NOT_RUN

SOURCES = {"hub": "hub", "folder": "files", "bundled": "generated", "own files": "own files"}
LABELS = {  # generated task -> words for its labels 0 and 1; none for a regression
    "bundled:entailment": ("follows", "does not follow"),
    "bundled:paraphrase": ("no paraphrase", "paraphrase"),
    "bundled:similarity": (),
    "bundled:acceptability": ("broken", "well formed"),
}


def length_table(sizes: pd.DataFrame) -> pd.DataFrame:
    """Every stored data set: examples, mean length of the training inputs, and the steps of three epochs.

    Args:
        sizes: as `inventory.stored` gives them.
    Paper: Appendix A describes the data sets; lengths and steps are ours.
    """
    if sizes.empty:
        return pd.DataFrame({"Task": [NOT_RUN]})
    names = [name for name in TASK_LABELS if name in sizes.index]
    rows = []
    for name in names:
        own = sizes.loc[name]
        sample = "*" if own.train_rows < own.hub_train_rows - 1 else ""
        counts = [f"{own[f'num_{part}']:,}" for part in ("train", "validation", "test")]
        steps = f"{RunConfig(task=name).num_steps(int(own.num_train)):,}"
        tokens, origin = f"{own.mean_tokens_train:.1f}", SOURCES.get(own.source, own.source)
        rows.append((TASK_LABELS[name] + sample, *counts, tokens, steps, origin))
    columns = ["Task", "Train", "Validation", "Test", "Tokens", "Steps", "From"]
    return pd.DataFrame(rows, columns=columns)


def length_words(sizes: pd.DataFrame) -> dict[str, str]:
    """The shortest and the longest inputs among the whole data sets of GLUE, and which are samples."""
    whole = sizes[sizes.index.isin(GLUE)] if len(sizes) else sizes
    if whole.empty:
        return dict.fromkeys(("shortest", "longest", "samples"), NOT_RUN)
    tokens = whole.mean_tokens_train
    said = {
        key: f"{TASK_LABELS[name]} ({tokens[name]:.0f} tokens)"
        for key, name in (("shortest", tokens.idxmin()), ("longest", tokens.idxmax()))
    }
    cut = whole.index[whole.train_rows < whole.hub_train_rows - 1]
    return said | {"samples": ", ".join(TASK_LABELS[name] for name in cut) or "none"}


def size_words(sizes: pd.DataFrame, names: Sequence[str]) -> str:
    """Training examples of data sets, where they are stored."""
    found = [f"{sizes.num_train[name]:,}" for name in names if name in sizes.index]
    return ", ".join(found) if found and len(found) == len(names) else "not stored"


def example_table(count: int = 2) -> pd.DataFrame:
    """The first training inputs of each generated task, with their labels in words. Not in the paper."""
    rows = []
    for name, words in LABELS.items():
        for _, example in bundled.load(name)["train"].head(count).iterrows():
            label = words[int(example.label)] if words else f"{example.label:g}"
            rows.append((TASK_LABELS[name], example.text_a, example.get("text_b", "–"), label))
    return pd.DataFrame(rows, columns=["Task", "First text", "Second text", "Label"])
