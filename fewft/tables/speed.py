"""Tables of the benchmarks."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from fewft.plots import TASK_LABELS
from fewft.tables.words import NOT_MEASURED


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
