"""Wrong arguments and parameters: every command ends 0, with a finding, or with 2 and one line, before anything trains."""

import contextlib
import csv
import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bad_input import VALUES, Campaign, check_line, deadline
from hypothesis import strategies as st

from fewft import bench, book, claims, costs, experiments, inventory, pace, studies, sweep, tasks
from fewft.cli import main
from fewft.config import UsageError
from fewft.provenance import runs_csv
from fewft.results import ResultStore

WORDS = (
    "", " ", "0", "-1", "1", "2", "1e12", "nan", "inf", "-inf", "1e999", "1e-320", str(10**30), "9" * 3900, "9" * 5000, "x" * 300, "y" * 100_000,
    "a\0b", "\udcff", "a\nb", "\x1b[2J", "<script>", "\u00e9", "--", "-p", "True", "None", "1/2", "2/1", "0/0", "1/" + "9" * 3000, "junk", "a,b", ",",
    "rte-1k", "rte", "cola-1k,rte-1k", "small", "small.toml", "broken.toml", "folder", "folder.toml", "none.toml", "..", ".", "none/none", "small.toml/x",
    "t.csv", "t.jsonl", "utf16.csv", "runs.csv", "expect.csv", "large.csv", "other.parquet", "damaged.parquet", "/dev/null", "results", "bertadam",
    "accuracy", "f1", "spearman", "y", "text", "ray", "local", "cpu", "cuda", "cuda:99", "tpu", "auto", "longer", "reinit", "bundled:entailment",
)  # fmt: skip
CALLS = (  # right ones
    ("plan", "small", "--experiment", "reinit", "--seeds", "1", "--rate", "1e12", "--tasks", "rte-1k", "--results", "none"),
    ("status", "small", "--experiment", "longer", "--seeds", "1", "--tasks", "rte-1k", "--results", "results"),
    ("run", "small", "--experiment", "reinit", "--seeds", "1", "--shard", "1/2", "--workers", "1", "--device", "cpu", "--executor", "local"),
    ("run", "small", "--runs", "runs.csv", "--results", "again", "--address", ""),
    ("claims", "small", "--expect", "expect.csv", "--write", "written.csv", "--results", "none"),
    ("verify", "small", "--sample", "2", "--seed", "1", "--tasks", "rte-1k", "--device", "cpu", "--workers", "1"),
    ("merge", "new.parquet", "other.parquet", "other.parquet"),
    ("data", "--tasks", "rte,bundled:entailment", "--results", "sets"),
    ("yours", "t.csv", "--label", "y", "--text", "text", "--name", "mine", "--metric", "f1", "--seeds", "1", "--reinit-layers", "1,2"),
    ("yours", "t.jsonl", "--label", "y", "--max-steps", "100", "--set", "num_hidden_layers", "2", "--learning-rate", "1e-4", "--out", "model"),
    ("build", "-p", "study", "small", "-p", "seeds", "2", "-p", "learning_rate", "1", "--jobs", "1", "--out", "out"),
    ("bench", "--tasks", "rte", "--models", "bundled:minilm", "--repeats", "1", "--steps", "1", "--workers", "1", "--out", "bench", "--no-runs"),
)  # fmt: skip
FINDINGS = {  # what a 1 has in its output
    "claims": "changed: ", "merge": "conflict", "verify": "agree", "status": "failed: ", "yours": "No advice",
}  # fmt: skip


assert bench  # imported here, with torch, so that no case has to


class Reached(Exception):
    """The call is right so far: what would follow takes long, and is left out."""


def reached(*_: object, **__: object) -> None:
    raise Reached


@pytest.fixture
def project(
    tmp_path: Path, root: Path, write_study: Callable[..., Path], stored_run: Callable[..., dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> Path:  # fmt: skip
    """A small project to call in; what would train, measure, build or wait for the disk is left out."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.setenv("FEWFT_GLUE_DIR", "none")
    for name in ("PYTHONPATH", "SOURCE_DATE_EPOCH"):  # a build sets them
        monkeypatch.setenv(name, os.environ.get(name, "1"))
    monkeypatch.setattr(sweep, "_todo", lambda *_: [])
    monkeypatch.setattr(sweep, "preflight", reached)  # of bench, here
    monkeypatch.setattr(book.pages, "execute_all", reached)
    monkeypatch.setattr(costs, "cost", lambda _: costs.Cost(10, 250_000, 3.6e15))
    monkeypatch.setattr(pace, "measure", lambda _: (1e12, "a trial"))
    monkeypatch.setattr(costs, "assumptions", lambda _: [])
    monkeypatch.setattr(inventory, "describe", lambda name: {"task": tasks_name(name), "num_train": 1, "digest": "0"})
    write_files(folder, write_study(), stored_run)
    write_notebooks(folder)
    return folder


def tasks_name(name: str) -> str:
    """As `tasks.load` refuses it."""
    if name not in tasks.names():
        raise UsageError(f"task: {name!r} is not known; accepted: {', '.join(tasks.names())}")
    return name


def write_files(folder: Path, study: Path, stored_run: Callable[..., dict[str, Any]]) -> None:
    """What WORDS names, whole and damaged."""
    (folder / "studies").mkdir()
    for place in (folder, folder / "studies"):
        shutil.copy(study, place)
    (folder / "broken.toml").write_text("model = ")
    for name in ("folder", "folder.toml"):
        (folder / name).mkdir()
    (folder / "folder" / "x").write_text("x")
    rows = [{"text": f"text {i}", "y": "yes" if i % 3 else "no"} for i in range(120)]
    (folder / "t.csv").write_text("text,y\n" + "".join(f"{r['text']},{r['y']}\n" for r in rows))
    (folder / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "utf16.csv").write_text("claim,verdict\n", "utf-16")
    (folder / "large.csv").write_text("claim,verdict\n" + "x" * 140_000 + ",holds\n")
    (folder / "damaged.parquet").write_bytes(b"PAR1PAR1")
    configs = experiments.plan(studies.load("small"), "bias_correction").configs[:3]
    records = [
        stored_run(config, core_version=2, device="a CPU", val_reported=0.6, majority_val=0.5) for config in configs
    ]
    (folder / "runs.csv").write_text(runs_csv(experiments.pd.DataFrame(records)))
    store = ResultStore(folder, "other")
    for record in records:
        store.add(record)
    store.collect()
    (folder / "results").mkdir()
    shutil.copy(folder / "other.parquet", folder / "results" / "small.parquet")
    claims.write(claims.of_study("small", results="none"), folder / "expect.csv")


def write_notebooks(folder: Path) -> None:
    """Two notebooks with parameters, and nothing else of a book."""
    (folder / "_config.yml").write_text("title: a book\n")
    (folder / "book").mkdir()
    (folder / "notebooks").mkdir()
    for name, source in (
        ("one", 'study = "small"\nseeds = 0\ntrain = False\n'),
        ("two", "learning_rate = 0.5\nseeds = 1\n"),
    ):
        cell = {"cell_type": "code", "metadata": {"tags": ["parameters"]}, "source": source, "outputs": []}
        (folder / "notebooks" / f"{name}.ipynb").write_text(json.dumps({"cells": [cell], "metadata": {}}))


@st.composite
def calls(draw: st.DrawFn) -> list[str]:
    """A right call with up to three arguments replaced, left out or put in."""
    call = list(draw(st.sampled_from(CALLS)))
    for _ in range(draw(st.sampled_from((0, 1, 1, 1, 2, 3)))):
        change = draw(st.sampled_from(("value",) * 8 + ("replace", "out", "in")))
        values = [i for i in range(1, len(call)) if change != "value" or not call[i].startswith("-")]
        place = draw(st.sampled_from(values or [len(call)]))
        call[place : place + (change != "in")] = [] if change == "out" else [draw(st.sampled_from(WORDS))]
    return call


def end_of(call: list[str]) -> int:
    """The exit status of a call whose output is as it must be; argparse's own errors end 2 as well."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), deadline():
        try:
            code = main(call)
        except Reached:
            return 0
        except SystemExit as end:
            assert end.code == 2 and "usage: fewft" in err.getvalue(), end
            return 2
    said = err.getvalue()
    if code == 2:
        assert said.startswith("fewft: ") and said.endswith("\n"), said
        check_line(said.removeprefix("fewft: ").removesuffix("\n"))
    elif code == 1:
        assert call[0] in FINDINGS and FINDINGS[call[0]] in out.getvalue() + said, said
    else:
        assert code == 0 and not said, said
    return code


def test_wrong_calls_of_every_command(project: Path, long: bool, tally: Callable[[str], None]) -> None:
    campaign = Campaign("command line")

    def one(call: list[str]) -> None:
        if end_of(call) == 2:
            campaign.refused += 1
        else:
            campaign.accepted += 1

    for call in CALLS:
        assert end_of(list(call)) in (0, 1), call
    tally(campaign.run(6_000 if long else 300, calls(), one, long=long))


def test_damaged_lists_of_verdicts(project: Path, long: bool, tally: Callable[[str], None]) -> None:
    judged, path, campaign = claims.of_study("small", results="none"), project / "x.csv", Campaign("lists of verdicts")
    rows = list(csv.reader((project / "expect.csv").read_text().splitlines()))
    changes = st.lists(st.tuples(st.integers(0, len(rows) - 1), st.integers(0, 1), st.sampled_from(WORDS)), max_size=2)

    def one(drawn: tuple[list[tuple[int, int, str]], str, int]) -> None:
        changed, encoding, length = drawn
        table = [list(row) for row in rows]
        for row, column, word in changed:
            table[row][column] = word
        text = "".join(",".join(row) + "\n" for row in table)
        path.write_bytes(text.encode(encoding, "replace")[: length or None])
        campaign.case(lambda: claims.changes(judged, path), "x.csv")

    encodings = st.sampled_from(("utf-8",) * 6 + ("utf-16", "latin-1"))
    strategy = st.tuples(changes, encodings, st.one_of(st.just(0), st.integers(0, 500)))
    tally(campaign.run(8_000 if long else 150, strategy, one, long=long))


def test_parameters_of_any_value(project: Path, long: bool, tally: Callable[[str], None]) -> None:
    campaign, notebooks = Campaign("notebook parameters"), sorted((project / "notebooks").glob("*.ipynb"))
    fitting = st.sampled_from(("demo", 3, True, 0.5))
    value = st.one_of(fitting, st.sampled_from(VALUES), st.integers(), st.floats(), st.text(max_size=9))
    names = st.sampled_from(("study", "seeds", "train", "learning_rate", "sedes", "", "x" * 100_000))

    def one(parameters: dict[str, Any]) -> None:
        campaign.case(lambda: book.share_parameters(notebooks, parameters), *(name[:100] for name in parameters))
        for notebook in notebooks:
            campaign.case(lambda nb=notebook: book.check_parameters(nb, parameters), *(n[:100] for n in parameters))

    strategy = st.lists(st.tuples(names, value), max_size=2).map(dict)
    tally(campaign.run(9_000 if long else 80, strategy, one, long=long))
