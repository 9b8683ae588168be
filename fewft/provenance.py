"""Where a figure comes from: its runs as a CSV file, the command that does exactly these again, when and where they ran."""

import base64
import csv
import dataclasses
import html
import io
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from fewft.book import Shown
from fewft.config import CORE_VERSION, RunConfig, UsageError, shown
from fewft.experiments import Stored
from fewft.files import read_text
from fewft.markup import code, escape, guard_formula, unguard_formula
from fewft.tables import NOT_RUN, where_words

OUTCOMES = (
    "status", "metric", "best_val", "val_reported", "test_best", "test_last", "majority_test", "degenerate",
    "num_steps", "core_version", "device", "torch_version", "transformers_version", "commit", "started",
)  # fmt: skip
PARSERS: dict[Any, Callable[[str], Any]] = {
    bool: lambda text: {"True": True, "False": False}[text], str: unguard_formula,
}  # fmt: skip


def runs_csv(drawn: pd.DataFrame, series: Sequence[str] = ()) -> str:
    """Runs as CSV text: id, whole configuration, outcome, and the columns in `series`, lists written as JSON."""
    columns = [c for c in ("run_id", *RunConfig.names(), *OUTCOMES, *series) if c in drawn]
    rows = drawn.drop_duplicates("run_id")[columns] if len(drawn) else pd.DataFrame(columns=["run_id"])
    shown = {c: rows[c].map(_short if c in series else guard_formula) for c in rows}
    return rows.assign(**shown).to_csv(index=False)


def _short(values: Any) -> str:
    """A list of numbers, or of such lists, as JSON with four digits each."""
    if isinstance(values, float | int):
        return f"{values:.4g}"
    return "" if values is None else f"[{','.join(map(_short, values))}]"


def read_runs(path: Path | str, data: Mapping[str, str]) -> list[RunConfig]:
    """The runs that a CSV file of `runs_csv` names, by their configurations.

    Args:
        path: of the file.
        data: a study's own, by task; the files that the CSV file names are never opened.

    Raises:
        UsageError: no such file, none in it, or a line whose configuration is not that of its `run_id`, or whose
            data are not the study's.
    """
    try:
        text = read_text(Path(path))
    except (OSError, ValueError) as error:  # a name with a NUL, bytes that are no UTF-8
        raise UsageError(f"runs: {shown(str(path))} cannot be read ({error}); accepted: a CSV file of runs") from error
    rows, runs = csv.DictReader(io.StringIO(text, newline="")), []
    try:
        runs = [_own(path, rows.line_num, _run(path, rows.line_num, row), data) for row in rows]
    except csv.Error as error:
        where = f"{str(path)!r}, line {rows.line_num + 1}"
        raise UsageError(f"runs: {where} cannot be read ({error}); accepted: a CSV file of runs") from error
    if not runs:
        raise UsageError(f"runs: {str(path)!r} has none; accepted: a CSV file of runs")
    return runs


def _run(path: Path | str, line: int, row: dict[str, Any]) -> RunConfig:
    where, wanted = f"runs: {str(path)!r}, line {line}", row.get("run_id")
    fields = [f for f in dataclasses.fields(RunConfig) if row.get(f.name) is not None]
    try:
        config = RunConfig.from_dict({f.name: PARSERS.get(f.type, f.type)(row[f.name]) for f in fields})
    except (ValueError, KeyError) as error:
        raise UsageError(f"{where}: {error}; accepted: the columns as they were downloaded") from error
    if config.run_id != wanted:
        raise UsageError(f"{where}: run_id {shown(wanted)} has another configuration; accepted: {config.run_id}")
    return config


def _own(path: Path | str, line: int, config: RunConfig, data: Mapping[str, str]) -> RunConfig:
    """The same run, on the study's files in place of those that the line names."""
    if not config.data:
        return config
    own = dataclasses.replace(config, data=data.get(config.task, ""))
    if own.run_id != config.run_id:
        where, accepted = f"runs: {str(path)!r}, line {line}", "a task with the same files in the study's [data]"
        raise UsageError(f"{where}: task {config.task!r} has files of its own; accepted: {accepted}")
    return own


def behind(
    label: str, study: str, drawn: pd.DataFrame, *, series: Sequence[str] = (), command: str = "", count: str = ""
) -> Shown:
    """The runs behind a figure or table: in its margin how many, when and where; below it a fold with their ids, their data
    to download, and the command that repeats them.

    Args:
        label: of the figure or table, `fig-2`; the name of the file.
        study: name or TOML file, for the command.
        drawn: exactly the runs that are in it.
        series: columns with lists that the figure draws, such as `train_loss`.
        command: does these runs again; empty: `fewft run` with that file.
        count: "n of N runs", where `drawn` has all that an experiment asks for.
    """
    ids = list(dict.fromkeys(drawn["run_id"])) if len(drawn) else []
    if not ids:
        return Shown(f"*{label}: no run of this study is behind it.*", f"<p>{label}: no run is behind it.</p>")
    name, note = f"{label}.csv", _note(drawn, count or f"{len(ids)} run{'s' * (len(ids) > 1)}")
    data = base64.b64encode(runs_csv(drawn, series).encode()).decode()
    link = f'<a download="{name}" href="data:text/csv;base64,{data}">{name}</a>'
    command = command or f"fewft run {study} --runs {name} --results again"
    count = f"{len(ids)} run{'s' * (len(ids) > 1)}"
    again = "These runs, and no others, again, into a folder of their own:"
    inside, shown = (f"{again} {c}. Their ids: {escape(', '.join(ids))}." for c in (code(command), command))
    fold = [f"~~~~{{dropdown}} {count} behind it: data, command, ids", ":class-container: fewft-behind", ""]
    fold += ["```{raw} html", f"<p>Data: {link}</p>", "```", "", inside, "~~~~"]
    page = f"<details><summary>{count} behind it</summary><p>Data: {link}</p><p>{html.escape(shown)}</p></details>"
    margin = ["```{margin}", f":class: fewft-provenance {label}", "", f"{{numref}}`{label}`: {note}", "```", ""]
    return Shown("\n".join([*margin, *fold]), f"<p>{html.escape(note)}</p>{page}")


def _note(drawn: pd.DataFrame, count: str) -> str:
    """How many runs, on which days, on what; and which of them older code made."""
    rows = drawn.drop_duplicates("run_id")
    places = rows.device.map(lambda name: re.sub(r"\(R\)| Processor", "", str(name))).value_counts(sort=False)
    where = escape(", ".join(f"{n} on {place}" for place, n in places.items()))
    return " ".join([f"{count}, {escape(_when(rows))}; {where}.", outdated(drawn)]).strip()


def _when(rows: pd.DataFrame) -> str:
    """First and last day."""
    days = sorted({str(text)[:10] for text in rows.started})
    return " to ".join(dict.fromkeys((days[0], days[-1])))


def outdated(drawn: pd.DataFrame) -> str:
    """A sentence on runs made by an older version of the training code; empty without any."""
    old = drawn.drop_duplicates("run_id").core_version.value_counts().sort_index()
    said = [f"{count} by version {escape(version)}" for version, count in old.items() if version != CORE_VERSION]
    if not said:
        return ""
    return f"*Made with older training code: {', '.join(said)} of {old.sum()} runs; today's is version {CORE_VERSION}.*"


def run_words(*experiments: Stored) -> dict[str, str]:
    """What a notebook's runs are, in words to glue: n of N, when, where, and how long they took together."""
    stored = pd.concat([e.frame for e in experiments if len(e.frame)] or [pd.DataFrame()])
    wanted = {c.run_id for e in experiments for c in e.configs}
    pending = sum(e.pending for e in experiments)
    said = {"where_said": where_words(stored), "when_said": NOT_RUN, "hours_said": NOT_RUN}
    if len(stored):
        stored = stored.drop_duplicates("run_id")
        said["when_said"] = _when(stored)
        said["hours_said"] = f"{stored.seconds.sum() / 3600:.1f}"
        said["where_said"] = where_words(stored)
    return said | {"runs_said": f"{len(stored)} of {len(wanted) + pending} runs"}
