"""What the tables share: levels, and the words for what was not run, and for where the rest was."""

import pandas as pd

ALPHA = 0.05  # level of every test, Table 1
TEST_RUNS = 5  # runs an arm below which a test's verdict is "too few runs"
LAST_STEPS = 10  # over which the loss at the end of training is averaged
NOT_RUN = "not run"
NOT_MEASURED = "not measured"


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
