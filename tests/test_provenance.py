"""fewft.provenance: the CSV below a figure names exactly its runs, and brings each of them back."""

import base64
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from fewft import experiments
from fewft.cli import main
from fewft.config import CORE_VERSION, RunConfig, UsageError
from fewft.provenance import behind, outdated, read_runs, run_words, runs_csv
from fewft.results import ResultStore

CONFIGS = [
    RunConfig(task="rte-1k", learning_rate=1.1e-4, correct_bias=False, init_seed=3),
    RunConfig(task="cola-1k", reinit_layers=2, intermediate_task="mnli", mixout_prob=0.1),
]


@pytest.fixture
def drawn(stored_run: Callable[..., dict[str, Any]]) -> pd.DataFrame:
    where = {"core_version": CORE_VERSION, "seconds": 1800.0, "started": "2026-01-02T03:04:05Z", "threads": 1}
    where |= {"device": "a, b", "torch_version": "2.13", "transformers_version": "5.17"}
    return pd.DataFrame([stored_run(c, block_distances=[[0.0, 1 / 3], [1.0, 2e-7]], **where) for c in CONFIGS])


def test_the_file_of_a_figure_brings_its_runs_back(drawn: pd.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "fig-2.csv"
    path.write_text(runs_csv(pd.concat([drawn, drawn]), ["train_loss", "block_distances"]))
    assert read_runs(path, {}) == CONFIGS
    table = pd.read_csv(path)
    assert table.run_id.tolist() == [c.run_id for c in CONFIGS] and table.test_best.tolist() == [0.55, 0.55]
    assert json.loads(table.block_distances[0]) == [[0, 0.3333], [1, 2e-7]] and table.device[0] == "a, b"
    assert "seconds" not in table


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("0.00011", "0.00012"), r"line 2: run_id '\w{16}' has another configuration; accepted: \w{16}"),
        (("False", "no"), r"line 2: 'no'; accepted: the columns as they were downloaded"),
        (("cola-1k", ""), r"line 3: run_id"),
    ],
)
def test_a_changed_line_is_named(drawn: pd.DataFrame, tmp_path: Path, change: tuple[str, str], said: str) -> None:
    path = tmp_path / "fig-2.csv"
    path.write_text(runs_csv(drawn).replace(*change, 1))
    with pytest.raises(UsageError, match=rf"fig-2\.csv', {said}"):
        read_runs(path, {})


def test_what_is_no_file_of_runs_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UsageError, match="line 2: task: missing"):
        read_runs(tmp_path / "x.csv", {})
    assert main(["run", "demo", "--runs", str(tmp_path / "none.csv"), "--results", str(tmp_path)]) == 2
    assert "none.csv' cannot be read" in capsys.readouterr().err


def test_the_fold_has_count_data_command_and_ids(drawn: pd.DataFrame) -> None:
    fold = behind("fig-9", "demo", drawn)
    for text in (fold.markdown, fold.html):
        encoded = re.search(r'download="fig-9\.csv" href="data:text/csv;base64,([^"]+)"', text)
        assert encoded and base64.b64decode(encoded[1]).decode() == runs_csv(drawn)
        assert "2 runs behind it" in text and "fewft run demo --runs fig-9.csv --results again" in text
        assert all(c.run_id in text for c in CONFIGS) and "older training code" not in text
    assert behind("fig-9", "demo", drawn.iloc[:0]).markdown == "*fig-9: no run of this study is behind it.*"


def test_runs_of_older_code_are_named(drawn: pd.DataFrame) -> None:
    assert outdated(drawn) == ""
    drawn.loc[0, "core_version"] = CORE_VERSION - 1
    said = f"1 by version {CORE_VERSION - 1} of 2 runs; today's is version {CORE_VERSION}."
    assert said in outdated(drawn) and outdated(drawn) in behind("fig-9", "demo", drawn).markdown


def test_the_margin_says_how_many_when_and_where(drawn: pd.DataFrame) -> None:
    drawn = drawn.assign(
        device=["AMD EPYC", "Intel(R) Xeon(R) Processor"], started=["2026-01-02T03:04Z", "2026-01-01Z"]
    )
    said = "{numref}`fig-9`: 2 runs, 2026-01-01 to 2026-01-02; 1 on AMD EPYC, 1 on Intel Xeon."
    assert said in behind("fig-9", "demo", pd.concat([drawn, drawn])).markdown.splitlines()
    fold = behind("fig-9", "demo", drawn.assign(device="a*b", started="2026-01-01"), count="2 of 3 runs")
    assert "2 of 3 runs, 2026-01-01; 2 on a\\*b." in fold.markdown


def test_only_the_runs_of_the_file_are_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stored_run: Callable[..., dict[str, Any]]
) -> None:
    done: list[RunConfig] = []

    def sweep(configs: list[RunConfig], store: ResultStore, **_: Any) -> list[Any]:
        done.extend(configs)
        return []

    monkeypatch.setattr("fewft.sweep.sweep", sweep)
    (tmp_path / "fig-1.csv").write_text(runs_csv(pd.DataFrame([stored_run(c) for c in CONFIGS])))
    assert main(["run", "demo", "--runs", str(tmp_path / "fig-1.csv"), "--results", str(tmp_path / "again")]) == 0
    assert done == CONFIGS


def test_a_notebooks_runs_in_words(
    write_study: Callable[..., Path], tmp_path: Path, drawn: pd.DataFrame, stored_run: Callable[..., dict[str, Any]]
) -> None:
    path, results = str(write_study()), tmp_path / "results"
    first = experiments.load(path, "reinit", results=str(results))
    assert set(run_words(first).values()) == {"0 of 16 runs", "not run"}
    for i, config in enumerate(first.configs[:2]):
        circumstances = {k: drawn[k][0] for k in ("device", "torch_version", "transformers_version")}
        circumstances |= {"threads": 1, "seconds": 1800.0, "started": f"2026-01-0{2 + i}T00:00:00Z"}
        ResultStore(results, "small").add(stored_run(config, **circumstances))
    both = [experiments.load(path, name, results=str(results)) for name in ("reinit", "distances")]
    said = run_words(*both)
    assert (said["when_said"], said["hours_said"]) == ("2026-01-02 to 2026-01-03", "1.0")
    wanted = {c.run_id for e in both for c in e.configs}
    assert said["runs_said"] == f"2 of {len(wanted)} runs" and said["where_said"].startswith("2 on a, b, 1 thread")


def test_a_file_without_runs_or_with_a_huge_field_is_named(tmp_path: Path) -> None:
    (path := tmp_path / "fig-2.csv").write_text("run_id,task\n")
    with pytest.raises(UsageError, match=r"fig-2\.csv' has none"):
        read_runs(path, {})
    path.write_text("run_id,task\n" + "x" * 140_000 + ",rte\n")
    with pytest.raises(UsageError, match=r"fig-2\.csv', line 2 cannot be read .field larger than"):
        read_runs(path, {})
