"""Files from strangers: nothing of theirs is executed, and nothing outside their folder is read or written."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from fewft import costs, provenance, studies, tasks, verify, yours
from fewft.cli import main
from fewft.config import CORE_VERSION, RunConfig, UsageError
from fewft.results import ResultStore

SECTION = '\n[data.own]\nvalidation = "own.csv"\ntext = "text"\nlabel = "label"\nmetric = "accuracy"\ntrain = '
ROWS = "text,label\na good one,1\na bad one,0\n" * 20


# --- paths --------------------------------------------------------------------------------------------------------
@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A file that a study in `tmp_path/study` has no business with."""
    (folder := tmp_path / "study").mkdir()
    (folder / "own.csv").write_text(ROWS)
    (folder / "sub").mkdir()
    (tmp_path / "secret.csv").write_text(ROWS)
    (folder / "link.csv").symlink_to(tmp_path / "secret.csv")
    (folder / "up").symlink_to(tmp_path)
    (folder / "circle").symlink_to(folder / "circle")
    (folder / "sub" / "fine.csv").symlink_to(folder / "own.csv")
    return tmp_path / "secret.csv"


def load_study(folder: Path, train: str) -> studies.Study:
    head = 'description = "a"\nmodel = "bundled:minilm"\ntasks = ["own"]\nlearning_rate = 1e-4\n'
    (folder / "study" / "s.toml").write_text(head + SECTION + json.dumps(train) + "\n")
    return studies.load(str(folder / "study" / "s.toml"))


@pytest.mark.parametrize(
    "name",
    ["../secret.csv", "sub/../../secret.csv", "link.csv", "up/secret.csv", "{}/secret.csv", "circle", "a\0b", "~"],
)
def test_a_study_names_no_file_outside_its_folder(outside: Path, name: str) -> None:
    named = name.format(outside.parent)
    with pytest.raises(UsageError) as error:
        load_study(outside.parent, named)
    accepted = "a file in the study's folder, by a relative path"
    assert str(error.value) == f"data.own.train: {named!r}; accepted: {accepted}" or name == "~"


@pytest.mark.parametrize("name", ["own.csv", "sub/../own.csv", "./own.csv", "sub/fine.csv"])
def test_a_study_names_any_file_in_its_folder(outside: Path, name: str) -> None:
    assert len(tasks.load("own", load_study(outside.parent, name).data["own"]).train) == 40


@pytest.mark.parametrize("name", ["..toml", "...toml"])
def test_a_studys_name_leads_to_no_other_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("")
    with pytest.raises(UsageError, match="more than dots"):
        studies.load(str(tmp_path / name))


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "../a", "/a", "a\0b", "a\nb", ".hidden", "a\\b"])
def test_a_name_of_own_data_is_no_path(tmp_path: Path, name: str) -> None:
    (tmp_path / "own.csv").write_text("text,label\n" + "".join(f"text {i},{i % 2}\n" for i in range(200)))
    with pytest.raises(UsageError, match="^name: .* accepted: letters"):
        yours.read(name, {"train": tmp_path / "own.csv"}, ["text"], "label", folder=tmp_path / "results")
    assert not (tmp_path / "results").exists()


class Watch:
    """What was opened while it watched; audit hooks cannot be taken away, so there is one."""

    opened: list[str] = []


@pytest.fixture(scope="module")
def _hook() -> None:
    import sys

    sys.addaudithook(lambda event, args: Watch.opened.append(str(args[0])) if event == "open" else None)


@pytest.fixture
def opened(_hook: None) -> list[str]:
    Watch.opened.clear()
    return Watch.opened


@pytest.fixture
def strange(outside: Path, stored_run: Callable[..., Any]) -> tuple[studies.Study, dict[str, Any]]:
    """A study without own data, and a record that names a file outside."""
    study = studies.load("demo")
    data = tasks.own_data(dict.fromkeys(("train", "validation"), outside), ["text"], "label", "accuracy")
    config = RunConfig(task="own", model="random:bert-tiny", data=data, max_steps=1)
    here = {"core_version": CORE_VERSION, "device": "cpu", "tokens": 10, "seconds": 1.0, "data_digest": "d"}
    return study, stored_run(config, **here)


def test_the_files_that_a_record_names_are_not_opened(
    outside: Path, strange: tuple[studies.Study, dict[str, Any]], opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    study, record = strange
    store = ResultStore(outside.parent / "results", study.name)
    store.add(record)
    with pytest.raises(UsageError, match=r"no run to verify \(1 on files that the study does not name\)"):
        verify.verify(study, store)
    device = pytest.importorskip("fewft.environment").environment(torch.device("cpu"))["device"]
    monkeypatch.setattr(costs, "measure", lambda _: (1.0, "nothing"))
    assert costs.rate([study.run(study.tasks[0], "debiased", 0)], [{**record, "device": device}]).source
    assert str(outside) not in opened


def test_the_files_that_a_list_of_runs_names_are_not_opened(
    outside: Path, strange: tuple[studies.Study, dict[str, Any]], opened: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (outside.parent / "runs.csv").write_text(provenance.runs_csv(pd.DataFrame([strange[1]])))
    call = ["run", "demo", "--runs", str(outside.parent / "runs.csv"), "--results", str(outside.parent / "results")]
    assert main(call) == 2
    error = capsys.readouterr().err
    assert "line 2: task 'own' has files of its own; accepted: a task with the same files in the study's" in error
    assert str(outside) not in opened and error.count("\n") == 1


def test_a_list_of_runs_finds_its_files_by_the_study(outside: Path, stored_run: Callable[..., Any]) -> None:
    study = load_study(outside.parent, "own.csv")
    there = tasks.own_data({"train": outside, "validation": outside}, ["text"], "label", "accuracy")
    other = tasks.own_data({"train": outside, "validation": outside}, ["text"], "label", "f1")
    for data in (there, other):
        text = provenance.runs_csv(pd.DataFrame([stored_run(RunConfig(task="own", data=data))]))
        (outside.parent / "runs.csv").write_text(text)
        if data == there:
            (run,) = provenance.read_runs(outside.parent / "runs.csv", study.data)
            assert run == RunConfig(task="own", data=study.data["own"])
    with pytest.raises(UsageError, match="has files of its own"):
        provenance.read_runs(outside.parent / "runs.csv", study.data)
