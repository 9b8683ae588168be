"""The published numbers of the paper, and on which page each of its tables and figures stands."""

from pathlib import Path

import pandas as pd

from fewft.config import UsageError, check_choice

VALUES = Path(__file__).with_name("paper_values.csv")
# number -> (page, title in our words)
TABLES: dict[int, tuple[int, str]] = {
    1: (5, "Standard fine-tuning against Re-init, three epochs and longer"),
    2: (8, "Seven remedies against standard fine-tuning, all with debiased Adam"),
    3: (13, "Sizes, metrics and majority baselines of the eight tasks"),
    4: (15, "Mixed against full precision"),
    5: (15, "Bias correction on full MNLI"),
    6: (17, "Hyper-parameters of each pre-trained model"),
    7: (17, "Re-init on XLNet, RoBERTa, ELECTRA and BART"),
}
FIGURES: dict[int, tuple[int, str]] = {
    1: (4, "Size of Adam's bias over training steps"),
    2: (4, "Test scores with and without bias correction"),
    3: (4, "Training loss on RTE with and without bias correction"),
    4: (5, "Expected test score over the number of trials"),
    5: (6, "Validation scores over the number of re-initialised blocks, RTE and MRPC"),
    6: (6, "Training loss with and without Re-init"),
    7: (7, "Distance from the start of four blocks on RTE"),
    8: (7, "Validation score over the number of steps, small 1k tasks"),
    9: (14, "Validation accuracy on RTE for every pair of seeds"),
    10: (14, "Spread of the RTE accuracy when one seed is fixed"),
    11: (16, "Training loss of four tasks with and without bias correction"),
    12: (16, "Expected validation score over the number of trials"),
    13: (16, "Validation scores over the number of re-initialised blocks, every task"),
    14: (18, "Validation score over the number of steps, large tasks cut to 1k"),
    15: (19, "Distance from the start of all blocks on RTE"),
    16: (20, "Distance from the start of all blocks on MRPC"),
    17: (21, "Distance from the start of all blocks on STS-B"),
    18: (22, "Distance from the start of all blocks on CoLA"),
}
OTHER_MODELS = ("XLNet", "RoBERTa", "ELECTRA", "BART")  # of Table 7, with their settings in Table 6


def model_settings(name: str, task: str) -> dict[str, int | float]:
    """What Table 6 says of a model on a task, as RunConfig fields; `-1k` tasks have those of their whole.

    Raises:
        UsageError: a model or task that it has no row for.

    Paper: Appendix F, Table 6.
    """
    cells = published(6)
    check_choice("model of Table 6", name, OTHER_MODELS)
    cells = cells[cells["row"] == name]
    check_choice(f"task of {name} in Table 6", task.removesuffix("-1k"), set(cells["task"]))
    own = cells[cells["task"] == task.removesuffix("-1k")].set_index("column")
    length, warmup = own.loc["Training Epochs / Steps"], own.loc["Warmup Ratio / Steps"]
    settings: dict[str, int | float] = {
        "learning_rate": float(own.loc["Learning Rate", "value"]),
        "train_batch_size": int(own.loc["Batch Size", "value"]),
        "max_steps" if length["unit"] == "steps" else "num_train_epochs": int(length["value"]),
    }
    in_steps = warmup["unit"] == "steps"
    settings |= {"warmup_steps": int(warmup["value"])} if in_steps else {"warmup_ratio": float(warmup["value"]) / 100}
    decay = own.loc["LLRD", "value"]
    return settings | ({} if pd.isna(decay) else {"layerwise_lr_decay": float(decay)})


def published(table: int | str) -> pd.DataFrame:
    """One table, a row a cell: `value` and `std` in `unit` (percent, not fractions), `text` as printed, `note` if odd.

    Raises:
        UsageError: `table` is neither 1 to 7 nor "text" (numbers from the running text).

    Paper: Tables 1 to 7.
    """
    cells = pd.read_csv(VALUES, dtype={"table": str}, keep_default_na=False, na_values={"value": "", "std": ""})
    check_choice("table", str(table), set(cells["table"]))
    return cells[cells["table"] == str(table)].reset_index(drop=True)


def value(table: int | str, *, task: str, row: str, column: str = "") -> float:
    """One printed number (a mean where the cell has one), in the unit of the table; Tables 2 to 4 have no columns.

    Raises:
        UsageError: no such table, task, row or column (what is accepted is named), or a cell without a number.

    Paper: Tables 1 to 7.
    """
    cells = published(table)
    for name, wanted in (("task", task), ("row", row), ("column", column)):
        check_choice(name, wanted, set(cells[name]))
        cells = cells[cells[name] == wanted]
    cell = cells.iloc[0]
    if pd.isna(cell["value"]):
        raise UsageError(f"row: {row!r} of table {table} prints {cell['text']!r} for {task}, not a number")
    return float(cell["value"])
