"""Damaged data files (.tsv, .csv, .jsonl) are refused in a line that names the file, or read as examples with labels."""

import csv
import io
import json
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from bad_input import Campaign, damaged
from hypothesis import strategies as st

from fewft import own_files, tasks, yours
from fewft.glue import GLUE
from fewft.splits import PARTS

ROWS = [["id", "a", "b", "y", "score"]] + [
    [f"{i}", f"text {i}", f"other {i}", "yes" if i % 3 else "no", f"{i / 8:g}"] for i in range(120)
]
CELLS = (
    "", " ", "no", "maybe", "nan", "inf", "1e300", "-1", "9" * 5000, "x" * 140_000, "a\nb", "a\rb", "a\tb", "a,b", '"', '"a', 'a"b', "'", "\\", "\0",
    "\u00e9", "\u2028", "\u0085", "\ufeff", "\U0001f600", "y", "a", "NA", "null", "<script>",
)  # fmt: skip
WORDS = (
    "NaN", "Infinity", "-0", "1e999", "1.50", "9" * 5000, "null", "true", "[1, 2]", '{"a": "b"}', "[" * 200 + "]" * 200, "[" * 100_000, '"\\ud800"',
    '"\\u0000"', '""', '"no"', "", "'a'",
)  # fmt: skip
LINES = (
    "[1]",
    "3",
    '"text"',
    "null",
    "{}",
    '{"a": "p", "a": "q", "y": "no"}',
    "{",
    "   ",
    "nonsense",
    '{"\\ud800": "p"}',
)


def mutate(draw: st.DrawFn, rows: list[list[str]]) -> list[list[str]]:
    """A table with one change: of a cell, a row or a column."""
    rows = list(rows)
    row, column = draw(st.integers(0, len(rows) - 1)), draw(st.integers(0, max(0, len(rows[0]) - 1)))
    change = draw(
        st.sampled_from(("cell", "cell", "cell", "short", "long", "double", "head", "few", "column", "out", "class"))
    )
    if change == "cell":
        rows[row] = [*rows[row][:column], draw(st.sampled_from(CELLS)), *rows[row][column + 1 :]]
    elif change in ("short", "long"):
        rows[row] = rows[row][:column] if change == "short" else [*rows[row], "more"]
    elif change in ("double", "head", "few"):
        rows = {"double": [*rows, *rows[1:]], "head": rows[:1], "few": rows[: 1 + column]}[change]
    elif change == "class":
        rows = [rows[0], *([*r[:3], "yes", *r[4:]] for r in rows[1:])]
    else:
        rows = [[*r[:column], *(r[column : column + 1] * 2 * (change == "column")), *r[column + 1 :]] for r in rows]
    return rows


def delimited(draw: st.DrawFn, rows: Sequence[Sequence[str]], suffix: str) -> str:
    end = draw(st.sampled_from(("\n", "\n", "\n", "\r\n", "\r")))
    if suffix == ".tsv":
        return "".join("\t".join(row) + end for row in rows)
    out = io.StringIO()
    csv.writer(out, lineterminator=end).writerows(rows)
    return out.getvalue()


def json_lines(draw: st.DrawFn, rows: Sequence[Sequence[str]]) -> str:
    """Rows as objects; up to one line and one value are something else."""
    head, *body = rows
    lines = [json.dumps(dict(zip(head, row, strict=False))) for row in body] or [""]
    place = draw(st.integers(0, len(lines) - 1))
    kind = draw(st.sampled_from(("", "", "value", "line")))
    if kind == "line":
        lines[place] = draw(st.sampled_from(LINES))
    elif kind == "value":
        name, word = draw(st.sampled_from(("a", "y", "score", "new"))), draw(st.sampled_from(WORDS))
        lines[place] = f'{{"id": "x", "a": "p", "b": "q", "y": "no", "score": 1, "{name}": {word}}}'
        lines[place] = lines[place].replace(
            {"a": '"a": "p", ', "y": '"y": "no", ', "score": '"score": 1, '}.get(name, "-"), ""
        )
    return "\n".join(lines)


@st.composite
def files(draw: st.DrawFn, rows: list[list[str]], suffixes: Sequence[str]) -> tuple[str, bytes]:
    """An ending, and a table as a file with it, somewhat damaged."""
    suffix = draw(st.sampled_from(suffixes))
    for _ in range(draw(st.sampled_from((0, 1, 1, 2)))):
        rows = mutate(draw, rows)
    text = json_lines(draw, rows) if suffix == ".jsonl" else delimited(draw, rows, suffix)
    encoding = draw(st.sampled_from(("utf-8",) * 8 + ("utf-8-sig", "utf-16", "utf-16-le", "latin-1")))
    return suffix, draw(damaged(st.just(text.encode(encoding, "replace"))))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where files are written without waiting for the disk, and whole ones lie."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.setenv("FEWFT_GLUE_DIR", str(tmp_path))
    with (tmp_path / "whole.csv").open("w", newline="") as file:
        csv.writer(file).writerows(ROWS)
    return tmp_path


def check_examples(data: tasks.TaskData) -> None:
    """What was accepted is texts and labels that a model can be given."""
    for part in PARTS:
        split = getattr(data, part)
        texts = [*split.text_a, *(split.text_b or ())]
        assert len(split.text_a) == len(split) > 0 and all(isinstance(text, str) for text in texts)
        "".join(texts).encode()
        assert all(math.isfinite(label) for label in split.labels.tolist())
        assert data.num_labels == 1 or set(split.labels.tolist()) <= set(range(data.num_labels))


def test_damaged_files_of_ones_own(folder: Path, long: bool, tally: Callable[[str], None]) -> None:
    campaign, whole = Campaign("data files"), folder / "whole.csv"
    ways = (({}, ["a"], "y", ""), ({"validation": whole}, ["a", "b"], "y", "f1"), ({"test": whole}, ["b"], "score", ""))

    def one(drawn: tuple[tuple[str, bytes], int]) -> None:
        (suffix, content), way = drawn
        more, text, label, metric = ways[way % 3]
        (path := folder / f"train{suffix}").write_bytes(content)

        def use() -> None:
            tasks.load.cache_clear()
            if way < 3:
                own = yours.read("mine", {"train": path, **more}, text, label, metric=metric, folder=folder).data
            else:  # as a study has it: damaged is what the whole file's labels are validated by
                own = own_files.own_data({"train": whole, "validation": path}, text, label, metric or "accuracy")
            check_examples(tasks.load("mine", own))

        campaign.case(use, path.name, "'train", "whole.csv", "train.jsonl", "task 'mine'")

    strategy = st.tuples(files(ROWS, (".csv", ".tsv", ".jsonl")), st.integers(0, 5))
    tally(campaign.run(5_000 if long else 300, strategy, one, long=long))


def glue_rows(name: str) -> list[list[str]]:
    """A whole file of a GLUE task, with both of its labels."""
    task = GLUE[name.removesuffix("-1k")]
    names = task.header or ("id", *task.text, task.label)
    labels = task.labels or ("1.5", "2.5")
    body = [[labels[i % len(labels)] if n == task.label else f"{n} {i}" for n in names] for i in range(120)]
    return body if task.header else [list(names), *body]


def test_damaged_glue_folders(folder: Path, long: bool, tally: Callable[[str], None]) -> None:
    campaign = Campaign("GLUE's files")

    def one(drawn: tuple[str, str, tuple[str, bytes]]) -> None:
        name, damaged_part, (_, content) = drawn
        task = GLUE[name.removesuffix("-1k")]
        (place := folder / task.folder).mkdir(exist_ok=True)
        whole = "".join("\t".join(row) + "\n" for row in glue_rows(name)).encode()
        for part in ("train.tsv", task.dev):
            (place / part).write_bytes(content if part == damaged_part else whole)

        def use() -> None:
            tasks.load.cache_clear()
            check_examples(tasks.load(name))

        campaign.case(use, f"{task.folder}/{damaged_part}", f"task '{name}", f"task '{task.name}")

    of_task = [
        st.tuples(
            st.just(n),
            st.sampled_from(("train.tsv", GLUE[n.removesuffix("-1k")].dev)),
            files(glue_rows(n), (".tsv",)),
        )
        for n in ("rte", "rte-1k", "cola", "stsb", "sst2", "mnli-1k")
    ]
    tally(campaign.run(2_000 if long else 100, st.one_of(of_task), one, long=long))
