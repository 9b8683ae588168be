"""Both arms of Adam in numbers and sentences: Section 4 and Appendix E."""

import numpy as np
import pandas as pd

from fewft.experiments import Experiment
from fewft.plots import ARMS, TASK_LABELS
from fewft.stats import ALPHA, TEST_RUNS, brown_forsythe, share_interval
from fewft.tables.words import LAST_STEPS, NOT_RUN, degenerate_words


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
    said["degenerate_said"] = degenerate_words({c: frame[frame.correct_bias == c].degenerate for c in ARMS})
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
