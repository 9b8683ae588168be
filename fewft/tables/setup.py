"""Tables of the set-up: data sets, settings, the learning rate."""

import dataclasses

import pandas as pd

from fewft import paper
from fewft.config import RunConfig
from fewft.experiments import Experiment, choose_learning_rate
from fewft.markup import code, with_markup
from fewft.plots import METRIC_LABELS, TASK_LABELS
from fewft.studies import Study
from fewft.tables.words import NOT_RUN
from fewft.tasks import GLUE


def data_table(sizes: pd.DataFrame) -> pd.DataFrame:
    """The paper's Table 3 and ours, a row a task; `sizes` as `inventory.stored` gives them.

    Paper: Appendix A, Table 3.
    """
    rows = []
    for name in GLUE:
        own = sizes.loc[name] if name in sizes.index else None
        sample = "*" if own is not None and own.train_rows < own.hub_train_rows - 1 else ""
        printed = paper.published(3).set_index(["task", "row"]).text[name]
        row = {"Task": TASK_LABELS[name] + sample}
        for column, (paper_row, field) in COUNTS.items():
            row[column] = f"{printed[paper_row]} / {NOT_RUN if own is None else f'{own[field]:,}'}"
        row["Metric"] = METRIC_LABELS[GLUE[name].metric]
        for column, (paper_row, field) in BASELINES.items():
            row[column] = f"{printed[paper_row]} / {NOT_RUN if own is None else f'{100 * own[field]:.1f}'}"
        rows.append(row)
    return pd.DataFrame(rows)


COUNTS = {
    "Train": ("# of training samples", "num_train"),
    "Validation": ("# of validation samples", "num_validation"),
    "Test": ("# of test samples", "num_test"),
}
BASELINES = {
    "Majority (val.)": ("Majority baseline (val)", "majority_validation"),
    "Majority (test)": ("Majority baseline (test)", "majority_test"),
}


def baseline_agreement(sizes: pd.DataFrame) -> tuple[int, int]:
    """How many baselines equal Table 3's to the decimal, of how many; test sets that are samples are left out."""
    equal = checked = 0
    for name in GLUE:
        if name not in sizes.index or name in ("qqp", "mnli") and sizes.source[name] != "hub":
            continue
        for row, field in BASELINES.values():
            checked += 1
            equal += f"{100 * sizes[field][name]:.1f}" == f"{paper.value(3, task=name, row=row):.1f}"
    return equal, checked


def settings_table(study: Study) -> pd.DataFrame:
    """Every setting of a run: the default, the study's value, meaning and source.

    Paper: Section 3, "Experimental Setup".
    """
    example = study.run(study.tasks[0], "debiased", 0)
    rows = []
    for field in dataclasses.fields(RunConfig):
        if field.name in ("task", "data", "init_seed", "data_seed", "correct_bias"):  # the experiment's
            continue
        ours = getattr(example, field.name)
        same = "same" if ours == field.default else code(ours)
        default = "none" if field.default == "" else code(field.default)
        about = f"{field.metadata['about']} ({field.metadata['source']})"
        rows.append((code(field.name), default, same, about))
    table = pd.DataFrame(rows, columns=["Setting", "Default", "Here", "Meaning (source)"])
    return with_markup(table, "Setting", "Default", "Here")


def rate_table(runs: Experiment) -> pd.DataFrame:
    """Mean validation score of debiased Adam by learning rate: one column a task, their mean, and runs a cell.

    Not in the paper, which takes its rate from others.
    """
    if runs.frame.empty:
        return pd.DataFrame({"Learning rate": [NOT_RUN]})
    own = runs.frame[runs.frame.correct_bias.astype(bool)]
    cells = own.assign(val=own.best_val.fillna(0.0)).groupby(["learning_rate", "task"]).val
    table = cells.mean().unstack()[[t for t in runs.tasks if t in set(own.task)]].rename(columns=TASK_LABELS)
    counts = own.groupby(["learning_rate", "task"]).size().groupby("learning_rate")
    table["Mean"] = choose_learning_rate(own)
    extremes = zip(counts.min(), counts.max(), strict=True)
    table["Runs a cell"] = [f"{low}" if low == high else f"{low} to {high}" for low, high in extremes]
    return table.rename_axis("Learning rate").rename(index="{:g}".format)


def best_rate(runs: Experiment, *, correct_bias: bool = True) -> str:
    """The rate that the search favours for an arm, or why it cannot say."""
    if runs.frame.empty:
        return NOT_RUN
    means = choose_learning_rate(runs.frame, correct_bias=correct_bias)
    searched = {c.learning_rate for c in runs.configs}
    return f"{means.idxmax():g}" if searched == set(means.dropna().index) else "no rate yet (too few runs)"
