"""Damaged files of runs and wrong settings: a run is read as it was described, or refused with its line and setting."""

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from bad_input import VALUES, Campaign, damaged
from hypothesis import strategies as st

from fewft.config import RunConfig
from fewft.own_files import own_data
from fewft.provenance import read_runs, runs_csv

CELLS = (
    "", "nan", "inf", "-1", "9" * 30, "9" * 5000, "1e999", "true", "True", "x" * 140_000, "a\nb", "a\0b", '"', "{}", "[]", "[" * 50_000, "null", "rte",
    '{"files": 3}', '{"a": "b"}', "\u00e9", "\u2028", "<script>", "fp32", "0.5",
)  # fmt: skip


def table(folder: Path) -> list[list[str]]:
    """Some runs as the book gives them to download, one of a user's own data."""
    (folder / "t.csv").write_text("a,y\np,no\nr,yes\n")
    own = own_data({"train": folder / "t.csv", "validation": folder / "t.csv"}, ["a"], "y", "accuracy")
    configs = [
        RunConfig(task="rte-1k", learning_rate=1.1e-4, init_seed=3),
        RunConfig(task="cola-1k", reinit_layers=2, intermediate_task="mnli"),
        RunConfig(task="mine", data=own),
    ]
    said = {"status": "ok", "test_best": 0.5, "device": "a, b"}
    frame = pd.DataFrame([{"run_id": c.run_id, **c.to_dict(), **said} for c in configs])
    return list(csv.reader(io.StringIO(runs_csv(frame))))


@st.composite
def runs(draw: st.DrawFn, rows: list[list[str]]) -> bytes:
    """A file of runs with up to two cells, rows or columns changed."""
    rows = [list(row) for row in rows]
    for _ in range(draw(st.integers(0, 2))):
        row, column = draw(st.integers(0, len(rows) - 1)), draw(st.integers(0, len(rows[0]) - 1))
        change = draw(st.sampled_from(("cell", "cell", "cell", "short", "long", "double", "out", "column", "order")))
        if change == "cell":
            rows[row][min(column, len(rows[row]) - 1)] = draw(st.sampled_from(CELLS))
        elif change in ("double", "out"):
            rows[row : row + 1] = [list(rows[row])] * 2 if change == "double" else [[""]]
        elif change in ("short", "long"):
            rows[row] = rows[row][: column + 1] if change == "short" else [*rows[row], "more"]
        else:
            rows = [
                [*r[:column], *r[column + 1 :], *(r[column : column + 1] * (change == "order"))] or [""] for r in rows
            ]
    out = io.StringIO()
    csv.writer(out, lineterminator=draw(st.sampled_from(("\n", "\n", "\r\n", "\r")))).writerows(rows)
    return out.getvalue().encode(draw(st.sampled_from(("utf-8",) * 8 + ("utf-16", "utf-8-sig"))))


def test_damaged_files_of_runs(tmp_path: Path, long: bool, tally: Callable[[str], None]) -> None:
    path, campaign, rows = tmp_path / "fig-2.csv", Campaign("files of runs"), table(tmp_path)
    own = {"mine": rows[3][rows[0].index("data")]}

    def one(content: bytes) -> None:
        path.write_bytes(content)
        campaign.case(lambda: read_runs(path, own), "fig-2.csv")

    tally(campaign.run(20_000 if long else 350, damaged(runs(rows)), one, long=long))


def test_settings_of_any_value(long: bool, tally: Callable[[str], None]) -> None:
    campaign = Campaign("settings of a run")
    fitting = st.sampled_from((0, 1, 2, 16, 50, 1e-5, 0.1, 0.9, 1.0, "bf16", "fp16", "mnli", "{}", True, False))
    value = st.one_of(fitting, fitting, st.sampled_from(VALUES), st.integers(), st.floats(), st.text(max_size=9))
    names = st.sampled_from((*RunConfig.names(), "taks", "", 3, None))
    given = st.lists(st.tuples(names, value), max_size=2).map(lambda pairs: {"task": "rte", **dict(pairs)})

    def use(values: dict[str, Any]) -> None:
        config = RunConfig.from_dict(values)
        assert RunConfig.from_dict(config.to_dict()) == config and len(config.run_id) == 16
        config.intermediate()
        config.num_steps(100)

    def one(values: dict[Any, Any]) -> None:
        campaign.case(lambda: use(values), *(str(name)[:100] for name in values))

    tally(campaign.run(32_000 if long else 400, given, one, long=long))
