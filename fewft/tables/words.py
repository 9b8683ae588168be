"""What the tables share: levels, and the words for what was not run, and for where the rest was."""

from collections.abc import Mapping

import pandas as pd

LAST_STEPS = 10  # over which the loss at the end of training is averaged
NOT_RUN = "not run"
NOT_MEASURED = "not measured"


def p_words(p: float, unknown: str = "–") -> str:
    """A p-value; `unknown` for NaN."""
    return unknown if p != p else "< 0.001" if p < 0.001 else f"{p:.3f}"


def degenerate_words(flags: Mapping[bool, pd.Series]) -> str:
    """How many runs of each arm (correct_bias) are degenerate, of how many."""
    arms = ((False, "without"), (True, "with"))
    return " and ".join(f"{int(flags[c].sum())} of {len(flags[c])} runs {word} correction" for c, word in arms)


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
