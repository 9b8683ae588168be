"""Tables and sentences of the book: tidy frames in, text out; what was not run is said, never filled in."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from fewft import paper
from fewft.config import RunConfig
from fewft.experiments import Experiment, choose_learning_rate
from fewft.plots import ARMS, METRIC_LABELS, TASK_LABELS
from fewft.stats import brown_forsythe, share_interval
from fewft.studies import Study
from fewft.tasks import GLUE

ALPHA = 0.05  # level of every test, Table 1
TEST_RUNS = 5  # runs an arm below which a test's verdict is "too few runs"
LAST_STEPS = 10  # over which the loss at the end of training is averaged
NOT_RUN = "not run"
NOT_MEASURED = "not measured"


# --- Section 3 ----------------------------------------------------------------------------------------------------


def data_table(sizes: pd.DataFrame) -> pd.DataFrame:
    """The paper's Table 3 and ours, a row a task; `sizes` as `experiments.datasets` gives them.

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
        same = "same" if ours == field.default else f"`{ours}`"
        default = "none" if field.default == "" else f"`{field.default}`"
        about = f"{field.metadata['about']} ({field.metadata['source']})"
        rows.append((f"`{field.name}`", default, same, about))
    return pd.DataFrame(rows, columns=["Setting", "Default", "Here", "Meaning (source)"])


def rate_table(runs: Experiment) -> pd.DataFrame:
    """Mean validation score of debiased Adam by learning rate: one column a task, their mean, and runs a cell."""
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


def where_words(frame: pd.DataFrame) -> str:
    """On what the runs ran: processor or GPU, threads a run, precision, versions; each kind with its count."""
    if frame.empty:
        return NOT_RUN
    columns = ["device", "threads", "precision", "torch_version", "transformers_version"]
    kinds = frame.groupby(columns, dropna=False).size()
    return "; ".join(
        f"{count} on {device}, {threads} thread(s) a run, {precision}, torch {torch}, transformers {transformers}"
        for (device, threads, precision, torch, transformers), count in kinds.items()
    )


# --- Section 4 and Appendix E -------------------------------------------------------------------------------------


def arm_table(frame: pd.DataFrame, score: str = "test_best") -> pd.DataFrame:
    """Both arms of each task: runs, degenerate share, mean and deviation, p of equal spread.

    Paper: Section 4, the numbers behind Figure 2.
    """
    if frame.empty:
        return pd.DataFrame({"Task": [NOT_RUN]})
    rows = []
    for task, both in frame.groupby("task", sort=False):
        arms = {c: both[both.correct_bias == c] for c in ARMS}
        spread = _spread_p(arms[True][score], arms[False][score])
        for corrected, own in arms.items():
            hits, n = int(own.degenerate.sum()), len(own)
            low, high = share_interval(hits, n)
            share = f"{hits} of {n} ({low:.0%} to {high:.0%})" if n else NOT_RUN
            row = {"Task": TASK_LABELS.get(task, task), "Arm": ARMS[corrected], "Degenerate": share}
            deviation = f" ± {own[score].std():.3f}" if n > 1 else " (one run)"
            row["Test score"] = f"{own[score].mean():.3f}{deviation}" if n else NOT_RUN
            rows.append(row | {"p (equal spread)": spread if corrected else ""})
    return pd.DataFrame(rows)


def _spread_p(a: pd.Series, b: pd.Series) -> str:
    if min(a.count(), b.count()) < TEST_RUNS:
        return "too few runs"
    return f"{brown_forsythe(a.dropna(), b.dropna()):.3f}"


def arm_words(runs: Experiment, score: str = "test_best") -> dict[str, str]:
    """Findings for text, captions and alt texts: runs, degenerate runs, means and spreads of the arms."""
    frame = runs.frame
    said = {"runs_said": runs.count, "runs_an_arm": f"0 of {runs.seeds} runs"}
    if frame.correct_bias.nunique() < len(ARMS):
        return said | dict.fromkeys(("degenerate_said", "mean_said", "spread_said", "spread_tested"), NOT_RUN)
    sizes = frame.groupby(["task", "correct_bias"]).size()
    fewest = f"{sizes.min()} to " if sizes.min() < sizes.max() else ""
    said["runs_an_arm"] = f"{fewest}{sizes.max()} of {runs.seeds} runs"
    hits = {c: frame[frame.correct_bias == c].degenerate for c in ARMS}
    said["degenerate_said"] = " and ".join(
        f"{int(hits[c].sum())} of {len(hits[c])} runs {word} correction"
        for c, word in ((False, "without"), (True, "with"))
    )
    cells = frame.groupby(["task", "correct_bias"])[score]
    means, deviations = cells.mean().unstack(), cells.std().unstack()
    said["mean_said"] = f"{int((means[True] > means[False]).sum())} of {len(means)} tasks"
    said["spread_said"] = f"{int((deviations[True] < deviations[False]).sum())} of {len(means)} tasks"
    return said | {"spread_tested": _spread_tested(arm_table(frame, score))}


def _spread_tested(table: pd.DataFrame) -> str:
    told = [float(p) for p in table["p (equal spread)"] if p not in ("", "too few runs")]
    if not told:
        return f"too few runs for a test of the difference, which needs {TEST_RUNS} an arm"
    return f"a test at {ALPHA} tells the spreads apart on {sum(p < ALPHA for p in told)} of the {len(told)} tasks it was done on"


def final_losses(frame: pd.DataFrame) -> pd.Series:
    """Mean training loss over each run's last ten steps; NaN when one of them was not finite."""
    return frame.train_loss.map(lambda losses: float(np.mean(np.asarray(losses[-LAST_STEPS:], dtype=float))))


def mean_loss(frame: pd.DataFrame) -> str:
    """Mean over runs of the loss at the end of training, or why there is none."""
    return f"{final_losses(frame).mean():.3f}" if len(frame) else NOT_RUN


def loss_table(frame: pd.DataFrame) -> pd.DataFrame:
    """Loss at the end of training by task and arm: runs, mean and largest. Paper: Figures 3 and 11."""
    if frame.empty:
        return pd.DataFrame({"Task": [NOT_RUN]})
    cells = frame.assign(loss=final_losses(frame)).groupby(["task", "correct_bias"], sort=False).loss
    table = cells.agg(["size", "mean", "max"]).reset_index()
    table = table.assign(task=table.task.replace(TASK_LABELS), correct_bias=table.correct_bias.map(ARMS))
    return table.set_axis(["Task", "Arm", "Runs", "Mean loss", "Largest"], axis=1)


def loss_words(frame: pd.DataFrame) -> dict[str, str]:
    """On how many tasks the arm without correction ends with the higher mean and the higher maximum of the loss."""
    table = loss_table(frame)
    if "Arm" not in table or table.Arm.nunique() < 2:
        return dict.fromkeys(("higher_mean", "higher_max"), NOT_RUN)
    wide = table.pivot(index="Task", columns="Arm", values=["Mean loss", "Largest"])
    return {
        key: f"{int((wide[column][ARMS[False]] > wide[column][ARMS[True]]).sum())} of {len(wide)}"
        for key, column in (("higher_mean", "Mean loss"), ("higher_max", "Largest"))
    }


# --- Speed --------------------------------------------------------------------------------------------------------


def step_frame(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """The steps that `fewft bench` measured, a row for each panel (model, precision, device) and task.

    For ours, `torch.mm` and each kind of Trainer: ms a step and their ratio to ours; where a kind was measured with
    several options (bf16, compile), the fastest and its name.
    """
    found = []
    for row in rows:
        clock = row["clock"]
        own = _measured(row) | {key: row[key] for key in ("clock", "turns", "steps")}
        own |= {"tokens": row["ours"]["tokens"], "gflops": row["mm"][f"{clock}_gflops"]}
        for kind in KINDS:
            times = {name: row[name][f"{clock}_ms"] for name in row if name.partition("-")[0] == kind}
            if times:
                name = min(times, key=times.__getitem__)
                own |= {f"{kind}_name": name, f"{kind}_ms": times[name], f"{kind}_ratio": row[name][f"{clock}_ratio"]}
        found.append(own)
    costs = [f"{kind}_{what}" for kind in KINDS for what in ("name", "ms", "ratio")]
    return pd.DataFrame(found, columns=["panel", "task", "clock", "turns", "steps", "tokens", "gflops", *costs])


KINDS = ("ours", "mm", "padded", "dynamic", "grouped")


def rate_frame(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """The whole runs that `fewft bench` measured, a row for each panel and task: how many, runs per hour, their ratio."""
    columns = ["panel", "task", "count", "ours", "padded", "ratio"]
    found = []
    for row in rows:
        ours, padded = row["ours"], row["padded"]
        own = {"count": f"{ours['runs']} / {padded['runs']}", "ratio": row["ratio"]}
        found.append(_measured(row) | own | {"ours": ours["per_hour"], "padded": padded["per_hour"]})
    return pd.DataFrame(found, columns=columns)


def _measured(row: Mapping[str, Any]) -> dict[str, str]:
    panel = f"{row['model']}, {row['precision']}, {row['environment']['device']}"
    return {"panel": panel, "task": TASK_LABELS.get(row["task"], row["task"])}


def span(values: Iterable[float], form: str = ".1f") -> str:
    """The smallest and the largest of some numbers in words; `form` as in an f-string."""
    known = [value for value in values if value == value]
    ends = dict.fromkeys(f"{end:{form}}" for end in (min(known), max(known))) if known else [NOT_MEASURED]
    return " to ".join(ends)
