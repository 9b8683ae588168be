"""What the runs say: spread, degenerate runs, and which recipe to use. No test score chooses anything."""

from dataclasses import dataclass

import pandas as pd

from fewft.stats import ALPHA, TEST_RUNS, welch
from fewft.yours.runs import STANDARD

NOT_RUN = "not run"


@dataclass(frozen=True)
class Advice:
    """Which recipe to use."""

    setting: str  # as in the column `setting`; empty: none
    sentence: str  # with the reason
    run_id: str  # the setting's run with the best validation score; empty: none


def recommend(frame: pd.DataFrame) -> Advice:
    """The setting with the best mean validation score, if a test tells it apart from Standard; else debiased Adam as it is.

    The test is Welch's, one-tailed, at ALPHA divided by the number of settings beside Standard. Without a verdict, and
    where Standard never beats the majority baseline on validation, the best setting is the advice all the same.

    Args:
        frame: as `Comparison.frame`.

    Paper: Section 8 for debiased Adam, Re-init and Longer; Table 1 has a one-tailed t-test at 0.05 each.
    """
    scores = {setting: validation(own) for setting, own in frame.groupby("setting", sort=False)}
    if STANDARD not in scores:
        return Advice("", f"No advice: {STANDARD} was {NOT_RUN}.", "")
    stuck = ~(frame.val_reported > frame.majority_val)  # also without a score
    if stuck.all():
        why = f"none of {len(frame)} runs beats the majority baseline on validation"
        return Advice("", f"Use none of them: {why}; try more rows, more steps or another learning rate.", "")
    best = max(scores, key=lambda setting: scores[setting].mean())
    plain = f"{STANDARD}, debiased Adam for three epochs"
    if best == STANDARD and len(scores[best]) >= TEST_RUNS:
        why = f"no other setting has a higher mean validation score than its {scores[best].mean():.3f}"
        return _advice(frame, STANDARD, f"Use {plain}: {why} ({len(scores[best])} runs)")
    verdict, told = _compare(scores, best)
    if told:
        return _advice(frame, best, f"Use {best}: {verdict}")
    if best != STANDARD and stuck[frame.setting == STANDARD].all():
        why = f"{STANDARD} never beats the majority baseline on validation"
        return _advice(frame, best, f"Use {best}: {why}, though {verdict}")
    return _advice(frame, STANDARD, f"Use {plain}: {verdict}")


def _compare(scores: dict[str, pd.Series], best: str) -> tuple[str, bool]:
    """How the best setting compares with Standard, in words, and whether the test tells them apart."""
    fewest = min(map(len, scores.values()))
    if fewest < TEST_RUNS:
        so_far = "" if best == STANDARD else f", and so far {best} has the best mean on validation"
        return (
            f"there are too few runs to tell recipes apart ({fewest} a setting, {TEST_RUNS} are needed){so_far}",
            False,
        )
    gain, p = welch(scores[best], scores[STANDARD], alternative="greater")
    level = ALPHA / (len(scores) - 1)  # shared among the settings that are compared with Standard
    tested = f"{len(scores[best])} and {len(scores[STANDARD])} runs, one-tailed p = {p:.2g} against {level:.2g}"
    if p < level:
        return f"its mean validation score is {gain:.3f} above {STANDARD}'s ({tested})", True
    return (
        f"{best} is higher by {gain:.3f} in mean validation score, but the runs cannot tell them apart ({tested})",
        False,
    )


def _advice(frame: pd.DataFrame, setting: str, said: str) -> Advice:
    own = frame[frame.setting == setting].reset_index(drop=True)
    hits = int(own.degenerate.sum())
    warning = f"; {hits} of its {len(own)} runs are degenerate, so train several and keep the best on validation"
    return Advice(setting, f"{said}{warning if hits else ''}.", str(own.run_id[validation(own).argmax()]))


def validation(frame: pd.DataFrame) -> pd.Series:
    """Scores that choose; a run that diverged before its first evaluation counts as 0, as in the paper's searches."""
    return frame.best_val.fillna(0.0)


def best_settings(frame: pd.DataFrame) -> pd.DataFrame:
    """Of each recipe the runs of one setting, the one with the highest mean validation score; the first of equals."""
    if frame.empty:
        return frame
    means = validation(frame).groupby([frame.recipe, frame.setting], sort=False).mean()
    chosen = [setting for _, setting in means.groupby(level=0, sort=False).idxmax()]
    return frame[frame.setting.isin(chosen)].reset_index(drop=True)


def summary(frame: pd.DataFrame) -> pd.DataFrame:
    """A row a setting: runs, mean and standard deviation of validation and test score, degenerate runs."""
    if frame.empty:
        return pd.DataFrame({"Recipe": [NOT_RUN]})
    rows = []
    for setting, own in frame.groupby("setting", sort=False):
        scores = {"Validation": validation(own), "Test": own.test_best.dropna()}
        said = {name: f"{x.mean():.3f}" + (f" ± {x.std():.3f}" if len(x) > 1 else "") for name, x in scores.items()}
        hits = int(own.degenerate.sum())
        rows.append({"Recipe": setting, "Runs": len(own), **said, "Degenerate": f"{hits} of {len(own)}"})
    return pd.DataFrame(rows)


def words(frame: pd.DataFrame) -> dict[str, str]:
    """Findings for captions and alt texts, of each recipe at its best setting: degenerate runs, mean test scores, spread."""
    if frame.empty:
        return dict.fromkeys(("degenerate_said", "mean_said", "spread_said"), NOT_RUN)
    groups = best_settings(frame).groupby("setting", sort=False)
    hits, means, spread = groups.degenerate.sum(), groups.test_best.mean(), groups.test_best.std()
    each = ", ".join(
        f"{n} of {size} with {name}" for (name, n), size in zip(hits.items(), groups.size(), strict=True) if n
    )
    degenerate = f"{hits.sum()} of {groups.size().sum()} runs{f' ({each})' * bool(each)}"
    ends = (f"{means[name]:.3f} ({name})" for name in (means.idxmin(), means.idxmax()))
    said = {"degenerate_said": degenerate, "mean_said": " to ".join(ends), "spread_said": "one run each: no spread"}
    if spread.notna().any():
        ends = (f"{spread[name]:.3f} ({name})" for name in (spread.idxmin(), spread.idxmax()))
        said["spread_said"] = " to ".join(ends)
    return said
