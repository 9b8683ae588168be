"""Table 6: the settings of each pre-trained model, and what a study uses in their place."""

import pandas as pd

from fewft import paper
from fewft.config import RunConfig
from fewft.designs import model_changes
from fewft.markup import code, with_markup
from fewft.plots import TASK_LABELS
from fewft.studies import Study

COLUMNS = {  # of Table 6 -> ours
    "Learning Rate": "Learning rate", "Training Epochs / Steps": "Length", "Batch Size": "Batch",
    "Warmup Ratio / Steps": "Warm-up", "LLRD": "LLRD",
}  # fmt: skip


def model_table(study: Study) -> pd.DataFrame:
    """Table 6 as printed, a row a model and data set, and the study's settings: of its own model beside BERT's, of another
    on the whole or the 1,000-example version of the data set; below, those on tasks that Table 6 lacks.

    Paper: Appendix F, Table 6.
    """
    cells = paper.published(6)
    rows = []
    for (model, task), own in cells.groupby(["row", "task"], sort=False):
        printed = own.set_index("column").text
        row = {"Model": model, "Task": TASK_LABELS.get(task, task)}
        row |= {name: printed[column].replace("-", "–") for column, name in COLUMNS.items()}
        rows.append(row | {"Here": _here(study, str(model), str(task))})
    others = [task for task in study.tasks if task.removesuffix("-1k") not in set(cells["task"])]
    for name in study.other_models if others else ():
        names = ", ".join(TASK_LABELS.get(task, task) for task in others)
        row = {"Model": name, "Task": names} | dict.fromkeys(COLUMNS.values(), "–")
        rows.append(row | {"Here": _said(study.run(others[0], "debiased", 0, **model_changes(study, name, others[0])))})
    return with_markup(pd.DataFrame(rows), "Here")


def _here(study: Study, model: str, task: str) -> str:
    if model == "BERT":
        return _said(study.run(study.tasks[0], "debiased", 0))
    same = [own for own in study.tasks if own.removesuffix("-1k") == task]
    if model not in study.other_models or not same:
        return "not in this study"
    run = study.run(same[0], "debiased", 0, **model_changes(study, model, same[0]))
    return f"{code(run.model)}: the same" + (" settings, 1,000 examples" if same[0].endswith("-1k") else "")


def _said(run: RunConfig) -> str:
    length = f"{run.max_steps} steps" if run.max_steps else f"{run.num_train_epochs} epochs"
    warmup = f"{run.warmup_steps} steps" if run.warmup_steps else f"{run.warmup_ratio:.0%}"
    decay = "" if run.layerwise_lr_decay == 1 else f", LLRD {run.layerwise_lr_decay:g}"
    return f"{code(run.model)}: {run.learning_rate:g}, {length}, batch {run.train_batch_size}, warm-up {warmup}{decay}"
