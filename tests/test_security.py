"""Files from strangers: nothing of theirs is executed, and nothing outside their folder is read or written."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from fewft import costs, own_files, pace, provenance, sources, studies, tasks, verify, yours
from fewft.book import execute
from fewft.cli import main
from fewft.commands import _literal
from fewft.config import CORE_VERSION, RunConfig, UsageError
from fewft.environment import environment
from fewft.results import ResultStore

SECTION = '\n[data.own]\nvalidation = "own.csv"\ntext = "text"\nlabel = "label"\nmetric = "accuracy"\ntrain = '
ROWS = "text,label\n" + "a good one,1\na bad one,0\n" * 20


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
    ["../secret.csv", "sub/../../secret.csv", "link.csv", "up/secret.csv", "{}/secret.csv", "circle", "a\0b"],
)
def test_a_study_names_no_file_outside_its_folder(outside: Path, name: str) -> None:
    named = name.format(outside.parent)
    with pytest.raises(UsageError) as error:
        load_study(outside.parent, named)
    accepted = "a file in the study's folder, by a relative path"
    assert str(error.value) == f"s.toml: data.own.train: {named!r}; accepted: {accepted}"


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
    with pytest.raises(UsageError, match="(?s)^name: .* accepted: up to 60 letters"):
        yours.read(name, {"train": tmp_path / "own.csv"}, ["text"], "label", folder=tmp_path / "results")
    assert not (tmp_path / "results").exists()


class Watch:
    """What was opened while it watched; audit hooks cannot be taken away, so there is one."""

    opened: list[str] = []


@pytest.fixture(scope="module")
def _hook() -> None:
    sys.addaudithook(lambda event, args: Watch.opened.append(str(args[0])) if event == "open" else None)


@pytest.fixture
def opened(_hook: None) -> list[str]:
    Watch.opened.clear()
    return Watch.opened


@pytest.fixture
def strange(outside: Path, stored_run: Callable[..., Any]) -> tuple[studies.Study, dict[str, Any]]:
    """A study without own data, and a record that names a file outside."""
    study = studies.load("demo")
    data = own_files.own_data(dict.fromkeys(("train", "validation"), outside), ["text"], "label", "accuracy")
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
    device = environment(torch.device("cpu"))["device"]
    monkeypatch.setattr(pace, "measure", lambda _: (1.0, "nothing"))
    assert pace.rate([study.run(study.tasks[0], "debiased", 0)], [{**record, "device": device}]).source
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
    there = own_files.own_data({"train": outside, "validation": outside}, ["text"], "label", "accuracy")
    other = own_files.own_data({"train": outside, "validation": outside}, ["text"], "label", "f1")
    for data in (there, other):
        text = provenance.runs_csv(pd.DataFrame([stored_run(RunConfig(task="own", data=data))]))
        (outside.parent / "runs.csv").write_text(text)
        if data == there:
            (run,) = provenance.read_runs(outside.parent / "runs.csv", study.data)
            assert run == RunConfig(task="own", data=study.data["own"])
    with pytest.raises(UsageError, match="has files of its own"):
        provenance.read_runs(outside.parent / "runs.csv", study.data)


# --- models -------------------------------------------------------------------------------------------------------
@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A small model of the right kind, with its tokenizer."""
    folder = tmp_path / "model"
    sources.read("random:bert-tiny", 2).save_pretrained(folder)
    sources.load_tokenizer("random:bert-tiny").save_pretrained(folder)
    return folder


def pickle_that_writes(path: Path) -> bytes:
    """Unpickling it makes a file: `open(path, "w")`, in the oldest format."""
    return f"cbuiltins\nopen\n(S'{path}'\nS'w'\ntR.".encode()


def test_the_malicious_pickle_is_one(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(pickle_that_writes(tmp_path / "owned"))
    unpickle = "import pickle, sys; pickle.load(open(sys.argv[1], 'rb'))"  # in another process: here it is forbidden
    subprocess.run([sys.executable, "-c", unpickle, tmp_path / "a.bin"], check=True)
    assert (tmp_path / "owned").is_file()


@pytest.mark.parametrize(
    ("beside", "said"),
    [
        ("", "has no .safetensors file"),
        ("decoy.safetensors", "cannot be loaded"),
        ("model.safetensors.index.json", "names 'pytorch_model.bin'"),
        ("outside", "names '../decoy.safetensors'"),
        ("no index", "is no index of parts"),
    ],
)
def test_weights_in_a_pickle_are_refused_and_not_unpickled(model: Path, beside: str, said: str) -> None:
    (model / "pytorch_model.bin").write_bytes(pickle_that_writes(model / "owned"))
    content = (model / "model.safetensors").read_bytes()
    (model / "model.safetensors").unlink()
    index = model / "model.safetensors.index.json"
    if beside:
        (model / "decoy.safetensors").write_bytes(content)
    if beside == "no index":
        index.write_text("[1]")
    elif beside in (index.name, "outside"):
        part = "pytorch_model.bin" if beside == index.name else "../decoy.safetensors"
        index.write_text(json.dumps({"metadata": {}, "weight_map": {"classifier.weight": part}}))
    with pytest.raises(UsageError, match=rf"^model: .*{said}.*; accepted: "):
        sources.read(str(model), 2)
    assert not (model / "owned").exists()


def test_an_index_on_the_hub_that_names_a_pickle_is_refused(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (model / "pytorch_model.bin").write_bytes(pickle_that_writes(model / "owned"))
    (model / "model.safetensors").unlink()
    (model / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "pytorch_model.bin"}}))
    hub = tmp_path / "hub"  # what the hub's client keeps of a model that it has fetched
    for part in ("refs", "snapshots"):
        (hub / "models--someone--model" / part).mkdir(parents=True)
    (hub / "models--someone--model" / "refs" / "main").write_text("0" * 40)
    model.rename(hub / "models--someone--model" / "snapshots" / ("0" * 40))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(hub))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UsageError, match=r"^model: .*names 'pytorch_model.bin'; accepted: "):
        sources.read("someone/model", 2)
    assert not list(tmp_path.rglob("owned"))


def test_a_pickle_beside_whole_weights_stays_closed(model: Path, opened: list[str]) -> None:
    (model / "pytorch_model.bin").write_bytes(pickle_that_writes(model / "owned"))
    opened.clear()
    sources.read(str(model), 2)
    assert not (model / "owned").exists() and opened
    assert not [path for path in opened if path.endswith("pytorch_model.bin")]


def test_a_pickle_does_not_complete_weights(model: Path) -> None:
    tensors = load_file(model / "model.safetensors")
    del tensors["bert.embeddings.word_embeddings.weight"]
    save_file(tensors, model / "model.safetensors", {"format": "pt"})
    (model / "pytorch_model.bin").write_bytes(pickle_that_writes(model / "owned"))
    with pytest.raises(UsageError, match=r"has no fitting weights for 'bert\.embeddings\.word_embeddings\.weight'"):
        sources.read(str(model), 2)
    assert not (model / "owned").exists()


def add_code(folder: Path, kind: str, *, known: bool) -> None:
    """Let a model bring Python of its own; `known`: of a kind that transformers also has itself."""
    (folder / "mine.py").write_text(f"open({str(folder / 'owned')!r}, 'w')\nclass Mine: pass\n")
    names = ("AutoConfig", "AutoModel", "AutoModelForSequenceClassification")
    file = folder / ("tokenizer_config.json" if kind == "tokenizer" else "config.json")
    said = json.loads(file.read_text())
    if kind == "tokenizer":
        said |= {"auto_map": {"AutoTokenizer": ["mine.Mine", "mine.Mine"]}}
        said |= {} if known else {"tokenizer_class": "Mine"}
    else:
        said |= {"auto_map": dict.fromkeys(names, "mine.Mine")} | ({} if known else {"model_type": "mine"})
    file.write_text(json.dumps(said))


def refused() -> Any:
    return pytest.raises(UsageError, match="^model: .*custom code.*; accepted: .*without code of its own$")


def test_code_that_a_model_brings_is_not_executed(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("transformers asked"))
    add_code(model, "model", known=False)
    with refused():
        costs.shape_of(RunConfig(task="rte", model=str(model)))
    with refused():
        sources.read(str(model), 2)
    assert not (model / "owned").exists()


@pytest.mark.parametrize("kind", ["model", "tokenizer"])
def test_a_known_kind_is_loaded_without_the_code_that_it_brings(
    model: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("transformers asked"))
    add_code(model, kind, known=True)
    sources.read(str(model), 2)
    assert costs.shape_of(RunConfig(task="rte", model=str(model))).width == 64
    assert not (model / "owned").exists()


def test_code_that_a_tokenizer_brings_is_not_executed(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("transformers asked"))
    add_code(model, "tokenizer", known=False)
    add_code(model, "model", known=False)
    with refused():
        sources.load_tokenizer(str(model))
    assert not (model / "owned").exists()


# --- notebooks ----------------------------------------------------------------------------------------------------
PARAMETERS = {
    "quotes": '"; import os; os.system("touch owned")#',
    "escape": '\\"\n__import__("os").system("touch owned")\n"\\',
    "magic": 'a"\n%%bash\ntouch owned\n!touch owned\n"',
    "triple": "\"\"\"'''{quotes}{{x}}\N{LINE SEPARATOR}\t\\N{DASH}\\x41",
}
KERNEL = """import json
from pathlib import Path
import psutil
here = psutil.Process()
tcp = [c.laddr.ip for p in (here, *here.children(recursive=True)) for c in p.net_connections("tcp")]
said = {"quotes": quotes, "escape": escape, "magic": magic, "triple": triple}
Path("said.json").write_text(json.dumps([said, tcp]))
"""


def test_parameters_arrive_as_they_are_run_nothing_and_the_kernel_is_not_on_the_network(tmp_path: Path) -> None:
    """Its channels are files (ipc); ipykernel has one port more, on loopback, for what forked children print."""
    defaults = "\n".join(f'{name} = ""' for name in PARAMETERS)
    first = nbformat.v4.new_code_cell(defaults, metadata={"tags": ["parameters"]})
    spec = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    notebook = nbformat.v4.new_notebook(cells=[first, nbformat.v4.new_code_cell(KERNEL)], metadata=spec)
    nbformat.write(notebook, tmp_path / "a.ipynb")
    fine = {name: text for name, text in PARAMETERS.items() if text.isprintable()}
    assert 0 < len(fine) < len(PARAMETERS)
    for name in PARAMETERS.keys() - fine.keys():
        with pytest.raises(UsageError, match=f"parameter {name}: .* accepted: text without control characters"):
            execute(tmp_path / "a.ipynb", tmp_path / "out.ipynb", {name: PARAMETERS[name]})
    execute(tmp_path / "a.ipynb", tmp_path / "out.ipynb", fine)
    said, tcp = json.loads((tmp_path / "said.json").read_text())
    assert said == {**dict.fromkeys(PARAMETERS, ""), **fine}
    assert len(tcp) <= 1 and all(address == "127.0.0.1" for address in tcp)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.ipynb", "out.ipynb", "said.json"]


@pytest.mark.parametrize(
    "text", [*PARAMETERS.values(), "[1]", "{}", "None", "__import__('os')", "1 if 1 else 2", "b'a'"]
)
def test_what_is_no_literal_on_the_command_line_stays_a_text(text: str) -> None:
    assert _literal(text) == text
