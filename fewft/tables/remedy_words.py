"""Sentences on Re-init and Longer: counts of tasks, what was chosen, where weights move less."""

from collections.abc import Iterable, Sequence

import pandas as pd

from fewft import choices
from fewft.experiments import Experiment
from fewft.plots import TASK_LABELS
from fewft.tables.arms import final_losses
from fewft.tables.remedies import UNDECIDED, distance_table
from fewft.tables.words import NOT_RUN


def count_words(frame: pd.DataFrame, keys: Sequence[str], expected_n: int, *, cells: int = 0) -> str:
    """How many runs the cells of a figure have, fewest to most, of how many: "2 to 3 of 3 runs"; with fewer than `cells`
    of them in the frame, the fewest are 0."""
    if frame.empty:
        return f"0 of {expected_n} runs"
    sizes = frame.groupby(list(keys)).size()
    fewest = 0 if len(sizes) < cells else sizes.min()
    return f"{' to '.join(map(str, sorted({fewest, sizes.max()})))} of {expected_n} runs"


def missing_words(frame: pd.DataFrame, tasks: Iterable[str]) -> str:
    """A sentence that names the tasks without any run, for the end of a caption; empty if there are none."""
    missing = [TASK_LABELS.get(task, task) for task in tasks if task and task not in set(frame.task)]
    return f" Not run: {', '.join(missing)}." if missing else ""


def layers_words(runs: Experiment, tasks: Iterable[str]) -> str:
    """The L chosen for each task that was run: "3 on RTE, 1 on MRPC"."""
    said = []
    for task in tasks:
        if task in set(runs.frame.task):
            layers = choices.chosen_layers(runs.ask, task)
            said.append(f"{f'undecided ({UNDECIDED})' if layers is None else layers} on {TASK_LABELS.get(task, task)}")
    return ", ".join(said) or NOT_RUN


def box_words(frame: pd.DataFrame) -> dict[str, str]:
    """On how many tasks validation scores gain over Standard: the mean with the pooler alone and with the best L, and the
    worst run more than the best run, both with the L of the highest mean. Paper: Section 5, Figures 5 and 13."""
    pooler, best, worst = {}, {}, {}
    for task, own in frame.groupby("task"):
        cells = own.groupby("reinit_layers").best_val.agg(["mean", "min", "max", "count"])
        if -1 not in cells.index:
            continue
        gains = cells.drop(index=-1) - cells.loc[-1]
        if 0 in gains.index:
            pooler[task] = gains["mean"][0]
        if len(deep := gains[gains.index > 0].dropna()):
            layers = deep["mean"].idxmax()
            best[task] = deep["mean"][layers]
            if cells["count"][[-1, layers]].min() > 1:  # a single run is the worst and the best
                worst[task] = deep["min"][layers] - deep["max"][layers]
    said = {"pooler_said": tasks_said(pooler), "best_said": tasks_said(best), "worst_said": tasks_said(worst)}
    return said | ({"worst_said": UNDECIDED} if best and not worst else {})


def tasks_said(gains: dict[str, float] | pd.Series) -> str:
    """On how many of the tasks with a value it is above 0: "3 of 4 tasks"."""
    known = pd.Series(gains, dtype=float).dropna()
    if known.empty:
        return NOT_RUN
    return f"{int((known > 0).sum())} of {len(known)} {'task' if len(known) == 1 else 'tasks'}"


def recipe_words(frame: pd.DataFrame, recipe: str, against: str) -> dict[str, str]:
    """On how many tasks a recipe's test scores have the higher mean, the smaller deviation and the higher worst run."""
    both = frame[frame.recipe.isin([recipe, against])]
    if both.recipe.nunique() < 2:
        return dict.fromkeys(("mean", "deviation", "worst"), NOT_RUN)
    cells = both.groupby(["task", "recipe"]).test_best
    gains = {"mean": cells.mean(), "deviation": -cells.std(), "worst": cells.min()[cells.count() > 1]}
    said = {}
    for key, values in gains.items():
        table = values.unstack().reindex(columns=[recipe, against])
        said[key] = tasks_said(table[recipe] - table[against])
    ran = said["mean"] != NOT_RUN
    return {key: UNDECIDED if ran and word == NOT_RUN else word for key, word in said.items()}


def gap_words(frame: pd.DataFrame) -> str:
    """On how many tasks the mean test scores of Standard and Re-init differ less after longer training.

    Paper: Section 6."""
    means = frame.groupby(["task", "recipe"]).test_best.mean().unstack() if len(frame) else pd.DataFrame()
    pairs = (choices.STANDARD, choices.REINIT), (choices.LONGER, choices.REINIT_LONGER)
    if not {name for pair in pairs for name in pair} <= set(means.columns):
        return NOT_RUN
    before, after = ((means[first] - means[second]).abs() for first, second in pairs)
    return tasks_said(before - after)


def step_words(frame: pd.DataFrame) -> dict[str, str]:
    """On how many tasks Standard's mean validation score is highest after more than three epochs, and on how many
    Re-init's is after fewer steps than Standard's. Paper: Section 6, Figure 8."""
    longer, sooner = {}, {}
    for task, own in frame.groupby("task"):
        means = own.groupby(["recipe", "num_steps"]).best_val.mean().dropna()
        peak = {recipe: means[recipe].idxmax() for recipe in means.index.unique("recipe")}
        tried = {recipe: set(means[recipe].index) for recipe in peak}
        if len(tried.get(choices.STANDARD, ())) > 1:
            longer[task] = peak[choices.STANDARD] - own.num_steps.min()
            if tried.get(choices.REINIT) == tried[choices.STANDARD]:
                sooner[task] = peak[choices.STANDARD] - peak[choices.REINIT]
    return {"longer_said": tasks_said(longer), "sooner_said": tasks_said(sooner)}


def fall_words(frame: pd.DataFrame) -> dict[str, str]:
    """On how many tasks Re-init's training loss is lower: its mean over all steps, over the last ten, and the range of the
    latter over the runs. Paper: Section 5, Figure 6."""
    said = dict.fromkeys(("loss_said", "last_said", "range_said"), NOT_RUN)
    if len(frame) == 0 or not {choices.STANDARD, choices.REINIT} <= set(frame.recipe):
        return said
    losses = frame.assign(
        whole=frame.train_loss.map(lambda loss: float(pd.Series(loss).mean())), last=final_losses(frame)
    )
    cells = losses.groupby(["task", "recipe"])
    spread = (cells["last"].max() - cells["last"].min())[cells.size() > 1]
    for key, values in zip(said, (cells.whole.mean(), cells["last"].mean(), spread), strict=True):
        table = values.unstack()
        if {choices.STANDARD, choices.REINIT} <= set(table.columns):
            said[key] = tasks_said(table[choices.STANDARD] - table[choices.REINIT])
        else:
            said[key] = UNDECIDED
    return said


def distance_words(frame: pd.DataFrame) -> dict[str, str]:
    """In which blocks of one task the mean distance after the last step is below Standard's, L by L; and for how many L in
    the top and in the bottom block. Paper: Section 5, Figures 7 and 15 to 18."""
    table = distance_table(frame)
    lines = [name for name in table.columns if name.startswith("Re-init")]
    if "Standard" not in table or not lines:
        word = NOT_RUN if frame.empty else "not recorded"
        return dict.fromkeys(("nearer_said", "top_said", "bottom_said"), word)
    nearer = {name: table.Block[table[name] < table.Standard].tolist() for name in lines}
    said = [f"{blocks_said(blocks)} with {name}" for name, blocks in nearer.items()]
    top, bottom = (sum(end in blocks for blocks in nearer.values()) for end in (table.Block.max(), table.Block.min()))
    words = {"nearer_said": "; ".join(said)}
    return words | {"top_said": f"{top} of {len(lines)} L", "bottom_said": f"{bottom} of {len(lines)} L"}


def blocks_said(blocks: Sequence[int]) -> str:
    """Numbers of blocks in words, neighbours together: "blocks 2, 4 to 6"."""
    spans: list[list[int]] = []
    for number in sorted(blocks):
        if spans and number == spans[-1][-1] + 1:
            spans[-1].append(number)
        else:
            spans.append([number])
    parts = [str(span[0]) if len(span) == 1 else f"{span[0]} to {span[-1]}" for span in spans]
    if not parts:
        return "no block"
    return f"block{'s' if len(blocks) > 1 else ''} {', '.join(parts)}"
