"""fewft.tasks: the paper's splits, and the same data from hub, folder and own files; what cannot be read is named."""

import csv
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from fewft import inventory, own_files
from fewft.config import UsageError
from fewft.glue import GLUE
from fewft.metrics import majority_baseline
from fewft.own_files import own_data
from fewft.paper import value
from fewft.splits import SMALL
from fewft.tasks import TaskData, load

needs_glue = pytest.mark.skipif("FEWFT_GLUE_DIR" not in os.environ, reason="FEWFT_GLUE_DIR names no GLUE folder")
IN_TABLE_3 = ("rte", "mrpc", "cola", "stsb", "sst2", "qnli")
Rows = Sequence[Sequence[object]]


@pytest.fixture(autouse=True)
def fresh_cache() -> Iterator[None]:
    load.cache_clear()
    yield
    load.cache_clear()


def printed(task: str) -> list[float]:
    return [value(3, task=task, row=f"Majority baseline ({part})") for part in ("val", "test")]


@needs_glue
@pytest.mark.parametrize("task", IN_TABLE_3)
def test_a_glue_folder_gives_the_counts_and_the_baselines_of_table_3(task: str) -> None:
    counts = {"rte": (138, 139), "mrpc": (203, 205), "cola": (521, 522), "stsb": (722, 778), "sst2": (1000, 872)}
    data = load(task)
    halves = (data.validation, data.test)
    assert tuple(map(len, halves)) == counts.get(task, (1000, 5463))
    ours = [100 * majority_baseline(data.metric, half.labels, data.majority) for half in halves]
    assert [round(score, 1) for score in ours] == printed(task)


@pytest.mark.parametrize("task", IN_TABLE_3)
@pytest.mark.parametrize("version", ["", "-1k"])
def test_the_stored_baselines_are_those_of_table_3(task: str, version: str) -> None:
    row = inventory.stored().loc[task + version]
    assert [round(100 * row[f"majority_{part}"], 1) for part in ("validation", "test")] == printed(task)
    assert row.num_train == (1000 if version else row.train_rows - (1000 if task not in SMALL else 0))


# --- hub and folder -----------------------------------------------------------------------------------------------
def write_glue(root: Path, name: str, train: Rows, dev: Rows, *, columns: Sequence[str] = (), bom: str = "") -> None:
    """Rows (texts, label) in the layout of glue_data/; `columns` where they are not the task's."""
    task = GLUE[name]
    columns = columns or (*task.text, task.label)
    (root / task.folder).mkdir(parents=True, exist_ok=True)
    for file, rows in (("train.tsv", train), (task.dev, dev)):
        if task.header:
            columns, rows = [], [("src", label, "", text) for text, label in rows]
        lines = ["\t".join(map(str, row)) for row in ([columns] if columns else []) + list(rows)]
        (root / task.folder / file).write_text(bom + "\n".join(lines))


@pytest.fixture
def glue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FEWFT_GLUE_DIR", str(tmp_path / "glue"))
    return tmp_path / "glue"


DEV = [("a", "b", "entailment"), ("c", "d", "entailment"), ("e", "f", "not_entailment"), ("g", "h", "not_entailment")]


def test_a_folders_marks_quotes_and_column_order(glue: Path) -> None:
    rows = [("not_entailment", '"a lone quote', "NA"), ("entailment", 'and "another', "x, y")]
    dev = [(label, first, second) for first, second, label in DEV]
    write_glue(glue, "rte", rows, dev, columns=("label", "sentence1", "sentence2"), bom="\ufeff")
    data = load("rte")
    assert data.train.text_a == ('"a lone quote', 'and "another') and data.train.text_b == ("NA", "x, y")
    assert data.train.labels.tolist() == [1, 0] and data.train.labels.dtype == np.int64
    assert (len(data.validation), len(data.test), data.source, data.train_rows) == (2, 2, "folder", 2)


def test_cola_has_no_header_and_one_text(glue: Path) -> None:
    write_glue(glue, "cola", [("good", 1), ("bad", 0)], [("a", 1), ("b", 1), ("c", 0), ("d", 0)])
    train = load("cola").train
    assert (train.text_a, train.text_b, train.labels.tolist()) == (("good", "bad"), None, [1, 0])


@pytest.mark.parametrize(
    ("name", "dev", "columns", "match"),
    [
        ("rte", DEV, ("sentence1", "sentnce2", "label"), r"RTE/train.tsv.*'sentence2'.*'sentnce2'"),
        ("rte", [*DEV, ("i", "j", "maybe")], (), r"'maybe'.*RTE/dev.tsv', row 5, column 'label'.*not_entailment"),
        ("rte", [*DEV, ("i", "j", "entailment", "k")], (), r"RTE/dev.tsv.*line 6"),
        ("rte", [(*row, "more") for row in DEV], (), r"RTE/dev.tsv.*3 fields in line 2, saw 4"),
        ("rte", [*DEV, ("i", "j")], (), r"''.*RTE/dev.tsv', row 5, column 'label'"),
    ],
)
def test_what_a_folder_lacks_is_named(glue: Path, name: str, dev: Rows, columns: Sequence[str], match: str) -> None:
    write_glue(glue, name, DEV, dev, columns=columns)
    with pytest.raises(UsageError, match=match):
        load(name)


@pytest.mark.parametrize("label", ["high", "nan", "inf", ""])
def test_a_score_must_be_a_finite_number(glue: Path, label: str) -> None:
    write_glue(glue, "stsb", [("a", "b", 5.0), ("c", "d", label)], [("a", "b", 1), ("c", "d", 1)])
    with pytest.raises(UsageError, match=rf"'{label}' in '.*STS-B/train.tsv', row 2, column 'score'.*a number"):
        load("stsb")


def test_a_missing_file_and_an_unknown_task_are_named(glue: Path) -> None:
    with pytest.raises(UsageError, match=r"MRPC/train.tsv' does not exist"):
        load("mrpc")
    with pytest.raises(UsageError, match=r"'mrcp'.*'mrpc'.*bundled:similarity"):
        load("mrcp")


def labelled(name: str, size: int) -> list[tuple[str, ...]]:
    """Rows of texts and a label, as the classic files spell it."""
    task = GLUE[name]
    labels = task.labels or ("0.250", "3.800", "5.000")
    return [(*(f'{c} "{i}' for c in task.text), labels[i * 7 // 5 % len(labels)]) for i in range(size)]


@pytest.mark.parametrize("name", list(GLUE))
def test_hub_and_folder_give_the_same_data(name: str, glue: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    task, train, dev = GLUE[name], labelled(name, 1300), labelled(name, 12)
    write_glue(glue, name, train, dev)
    from_folder = load(name)

    def part(rows: Rows) -> object:
        labels = [task.labels.index(row[-1]) if task.labels else float(row[-1]) for row in rows]
        kind = datasets.ClassLabel(names=list(task.labels)) if task.labels else datasets.Value("float32")
        texts = dict(zip(HUB_TEXT[name], zip(*(row[:-1] for row in rows), strict=True), strict=True))
        strings = dict.fromkeys(texts, datasets.Value("string"))
        return datasets.Dataset.from_dict({**texts, "label": labels}, datasets.Features({**strings, "label": kind}))

    def load_dataset(path: str, config: str) -> object:
        assert (path, config) == ("nyu-mll/glue", name)
        validation = "validation_matched" if name == "mnli" else "validation"
        return datasets.DatasetDict({"train": part(train), validation: part(dev)})

    monkeypatch.delenv("FEWFT_GLUE_DIR")
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    load.cache_clear()
    from_hub = load(name)
    assert from_hub.digest == from_folder.digest
    assert (from_hub.source, from_folder.source) == ("hub", "folder")


def test_a_hub_out_of_reach_says_what_to_do_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = pytest.importorskip("datasets")

    def offline(*_: object) -> None:
        raise ConnectionError("Couldn't reach the hub")

    monkeypatch.delenv("FEWFT_GLUE_DIR", raising=False)
    monkeypatch.setattr(hub, "load_dataset", offline)
    with pytest.raises(UsageError, match="'rte': Couldn't reach the hub; accepted: .*FEWFT_GLUE_DIR"):
        load("rte")


PAIR = ("sentence1", "sentence2")
HUB_TEXT = {  # columns of nyu-mll/glue
    "rte": PAIR, "mrpc": PAIR, "stsb": PAIR, "cola": ("sentence",), "sst2": ("sentence",),
    "qnli": ("question", "sentence"), "qqp": ("question1", "question2"), "mnli": ("premise", "hypothesis"),
}  # fmt: skip


# --- own files ----------------------------------------------------------------------------------------------------
ROWS = [('say "no", she said', "NA", "no"), ("two", "", "yes"), ("three", "007", "yes"), ("four", "x", "no")]


def own(
    folder: Path, *, ending: str = "csv", train: Rows = ROWS, validation: Rows = ROWS, test: Rows | None = ROWS,
    metric: str = "accuracy", text: Sequence[str] = ("a", "b"), label: str = "y",
) -> TaskData:  # fmt: skip
    """Write a user's files with columns a, b and y, and load them."""
    files = {}
    for part, rows in (("train", train), ("validation", validation), ("test", test)):
        if rows is None:
            continue
        files[part] = folder / f"{part}.{ending}"
        with files[part].open("w", newline="") as file:
            if ending == "csv":
                csv.writer(file).writerows([("a", "b", "y"), *rows])
            elif ending == "tsv":
                file.write("\n".join("\t".join(map(str, row)) for row in [("a", "b", "y"), *rows]))
            else:
                file.write("\n".join(json.dumps(dict(zip("aby", row, strict=True))) for row in rows))
    return load("mine", own_data(files, text, label, metric))


@pytest.mark.parametrize("metric", ["accuracy", "spearman"])
def test_every_kind_of_file_gives_the_same_data(tmp_path: Path, metric: str) -> None:
    rows = ROWS if metric == "accuracy" else [(a, b, i / 2 if i % 2 else i) for i, (a, b, _) in enumerate(ROWS)]
    parts = {"train": rows, "validation": rows, "test": rows, "metric": metric}
    found = [own(tmp_path, ending=ending, **parts) for ending in ("csv", "tsv", "jsonl")]
    assert len({data.digest for data in found}) == 1
    assert found[0].train.text_a[0] == ROWS[0][0] and found[0].train.text_b == ("NA", "", "007", "x")
    assert found[0].train.labels.tolist() == ([0, 1, 1, 0] if metric == "accuracy" else [0, 0.5, 2, 1.5])
    assert (found[0].num_labels, found[0].source) == (2 if metric == "accuracy" else 1, "own files")


def test_numbers_and_nulls_of_jsonl_read_as_those_of_csv(tmp_path: Path) -> None:
    rows = [(1500000000, None, 1), (2.50, "x", 0)]
    parts = {"train": rows, "validation": rows, "test": rows}
    first, second = (own(tmp_path, ending=ending, **parts).train for ending in ("csv", "jsonl"))
    assert first.text_a == second.text_a == ("1500000000", "2.5") and first.text_b == second.text_b == ("", "x")
    assert first.labels.tolist() == second.labels.tolist() == [1, 0]


def test_without_test_file_validation_is_halved(tmp_path: Path) -> None:
    data = own(tmp_path, test=None, metric="f1")
    assert sorted(data.validation.text_a + data.test.text_a) == sorted(row[0] for row in ROWS)
    assert data.validation.labels.tolist() == data.test.labels.tolist() == [0, 1]
    assert (data.metric, data.selection) == ("f1", "accuracy")


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"test": [("a", "b", "perhaps")]}, r"'perhaps' in '.*test.csv', row 1, column 'y'.*accepted: no, yes"),
        ({"train": [*ROWS, ("a", "b", "")]}, r"'' in '.*train.csv', row 5, column 'y'.*accepted: no, yes"),
        ({"ending": "jsonl", "train": [*ROWS, ("a", "b", None)]}, r"'' in '.*train.jsonl', row 5, column 'y'"),
        ({"text": ("a", "c")}, r"column of '.*train.csv': 'c' is not known.*a, b, y"),
        ({"label": "label"}, r"column of '.*train.csv': 'label' is not known.*a, b, y"),
        ({"train": ROWS[1:3]}, r"train.csv' has only \('yes',\).*two or more"),
        ({"train": [*ROWS, ("a", "b", "perhaps")], "metric": "f1"}, "'f1' with 3 labels.*two labels"),
        ({"metric": "spearman"}, r"'no' in '.*train.csv', row 1, column 'y'.*a number"),
        ({"metric": "auc"}, "metric: 'auc'.*accuracy, f1, matthews, spearman"),
        ({"test": []}, "'mine'.*test split has no examples"),
        ({"text": ("a", "b", "y")}, "one or two text columns"),
        ({"ending": "txt"}, r"'.txt' is not known.*.csv, .jsonl, .tsv"),
    ],
)
def test_own_files_that_cannot_be_used_are_refused(tmp_path: Path, changes: dict, match: str) -> None:
    with pytest.raises(UsageError, match=match):
        own(tmp_path, **changes)


def test_own_labels_are_in_the_order_of_the_models_outputs(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,y\none,2\ntwo,10\nthree,2\n")
    files = {"train": path, "validation": path}
    assert own_files.own_labels(own_data(files, ["a"], "y", "accuracy")) == ("10", "2")
    assert own_files.own_labels(own_data(files, ["a"], "y", "spearman")) == ()


def test_a_missing_own_file_and_an_unknown_split_are_named(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("a,y\n")
    with pytest.raises(UsageError, match=r"validation: no file '.*none.csv'"):
        own_data({"train": tmp_path / "train.csv", "validation": tmp_path / "none.csv"}, ["a"], "y", "accuracy")
    with pytest.raises(UsageError, match="data file: 'dev'.*test, train, validation"):
        own_data({"dev": tmp_path / "train.csv"}, ["a"], "y", "accuracy")
    with pytest.raises(UsageError, match="files for train and validation"):
        own_data({"train": tmp_path / "train.csv"}, ["a"], "y", "accuracy")


def test_a_bundled_task_of_single_texts_has_no_second_one() -> None:
    assert load("bundled:acceptability").train.text_b is None
