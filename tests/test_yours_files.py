"""fewft.yours.files: parts that are missing are held out the same each time, and what cannot be used is refused by name."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fewft import tasks
from fewft.config import UsageError
from fewft.files import read_table
from fewft.splits import PARTS
from fewft.yours import notes, read
from fewft.yours.files import half_width, hold_out, infer_metric

ROWS = [(f"text {i}", f"other {i}", "yes" if i % 4 else "no", f"{i / 8:g}") for i in range(200)]


def write(path: Path, rows: list[tuple[str, ...]] = ROWS) -> Path:
    pd.DataFrame(rows, columns=["a", "b", "y", "score"]).to_csv(path, index=False)
    return path


def changed(row: int, column: int, value: str) -> list[tuple[str, ...]]:
    """ROWS with another value in one place."""
    return [(*r[:column], value, *r[column + 1 :]) if i == row else r for i, r in enumerate(ROWS)]


# --- parts --------------------------------------------------------------------------------------------------------
def test_one_file_gives_three_parts_with_its_labels_shares_and_loses_no_row(tmp_path: Path) -> None:
    own = read("mine", {"train": write(tmp_path / "t.csv")}, ["a"], "y", folder=tmp_path)
    parts = {part: read_table(tmp_path / "mine" / f"{part}.jsonl") for part in PARTS}
    assert {part: Counter(frame.y) for part, frame in parts.items()} == {
        "train": {"yes": 90, "no": 30},
        "validation": {"yes": 30, "no": 10},
        "test": {"yes": 30, "no": 10},
    }
    assert sorted(map(tuple, pd.concat(parts.values()).to_numpy().tolist())) == sorted(ROWS)
    assert own.held_out == ("validation", "test") and tasks.load("mine", own.data).metric == "accuracy"


def test_the_same_file_gives_the_same_parts_and_no_folder_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "t.csv")
    monkeypatch.chdir(tmp_path)
    first, second = (read("mine", {"train": "t.csv"}, ["a"], "y", folder=tmp_path / "out") for _ in range(2))
    assert first == second and str(tmp_path) not in first.data


@pytest.mark.parametrize(
    ("given", "sizes"),
    [(["validation"], (160, 200, 40)), (["test"], (160, 40, 200)), (["validation", "test"], (200, 200, 200))],
)
def test_given_files_stay_whole(tmp_path: Path, given: list[str], sizes: tuple[int, ...]) -> None:
    files = {part: write(tmp_path / f"{part}.csv") for part in ("train", *given)} | {"other": ""}
    own = read("mine", files, ["a", "b"], "y", folder=tmp_path)
    loaded = tasks.load("mine", own.data)
    assert tuple(len(getattr(loaded, part)) for part in PARTS) == sizes
    assert loaded.train.text_b is not None


def test_hold_out_by_hand() -> None:
    """Of ten rows of label 0 two a part, of five of label 1 one; every row once, in file order."""
    rows = hold_out(np.array([0] * 10 + [1] * 5), ("validation", "test"))
    assert [(sum(i < 10 for i in rows[p]), len(rows[p])) for p in PARTS] == [(6, 9), (2, 3), (2, 3)]
    assert sorted(sum(rows.values(), [])) == list(range(15))
    assert all(found == sorted(found) for found in rows.values())


@pytest.mark.parametrize(
    ("labels", "metric"),
    [
        (["a", "b"], "accuracy"),
        (["0", "1", "2"], "accuracy"),
        (["0.5", "1", "2"], "spearman"),
        ([str(i) for i in range(21)], "spearman"),
        (["1", "nan"], "accuracy"),
        (["1", "2.5", "x"], "accuracy"),
    ],
)
def test_the_labels_say_the_metric(labels: list[str], metric: str) -> None:
    assert infer_metric(labels) == metric


def test_numbers_are_held_out_without_a_look_at_them(tmp_path: Path) -> None:
    own = read("mine", {"train": write(tmp_path / "t.csv")}, ["a"], "score", folder=tmp_path)
    loaded = tasks.load("mine", own.data)
    assert (loaded.metric, loaded.num_labels, len(loaded.train), len(loaded.test)) == ("spearman", 1, 120, 40)


# --- what is refused ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("rows", "arguments", "match"),
    [
        (ROWS, {"text": ["aa"]}, r"column of '.*t\.csv': 'aa' is not known \(did you mean 'a'\?\); accepted: a, b, score, y"),
        (ROWS, {"label": "z"}, r"column of '.*t\.csv': 'z'"),
        (changed(6, 0, "  "), {}, r"text: '.*t\.csv', column 'a' is empty in row 7; accepted"),
        (changed(6, 2, ""), {}, r"label: '' in '.*t\.csv', row 7, column 'y' is not readable; accepted: no, yes"),
        (changed(6, 3, "x"), {"label": "score", "metric": "spearman"}, r"label: 'x' in '.*t\.csv', row 7, column 'score'"),
        ([(*r[:2], "yes", r[3]) for r in ROWS], {}, r"label: '.*t\.csv', column 'y' has only \('yes',\); accepted: two or"),
        (changed(6, 2, "maybe"), {}, r"label: 'maybe' in '.*t\.csv', column 'y' has 1 row\(s\); accepted: 5 or more"),
        (ROWS[:12], {}, r"validation: 2 rows held out of '.*t\.csv' are too few \(on 2 rows .* ± 0\.69\); accepted: 20 or more, so about 100"),
        (ROWS, {"metric": "acuracy"}, "metric: 'acuracy' is not known"),
        (ROWS, {"metric": "f1", "label": "b"}, r"label: 'other 0'.* has 1 row"),
        (ROWS, {"name": "../up"}, r"name: '\.\./up'; accepted: up to 60 letters"),
        (ROWS, {"name": "minilm"}, "name: 'minilm' is a study"),
        (ROWS, {"text": []}, "one or two columns beside the label's"),
        (ROWS, {"text": ["a", "y"]}, "one or two columns beside the label's"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused_with_its_place(
    tmp_path: Path, rows: list[tuple[str, ...]], arguments: dict, match: str
) -> None:
    said = {"name": "mine", "text": ["a"], "label": "y"} | arguments
    with pytest.raises(UsageError, match=match):
        read(files={"train": write(tmp_path / "t.csv", rows)}, folder=tmp_path, **said)


def test_a_label_that_training_lacks_is_refused(tmp_path: Path) -> None:
    files = {"train": write(tmp_path / "t.csv"), "test": write(tmp_path / "test.csv", changed(6, 2, "maybe"))}
    with pytest.raises(UsageError, match=r"label: 'maybe' in '.*test\.csv', row 7, column 'y'"):
        read("mine", files, ["a"], "y", folder=tmp_path)


def test_a_short_test_file_is_refused_and_a_short_training_file_is_not(tmp_path: Path) -> None:
    short, long = write(tmp_path / "short.csv", ROWS[:12]), write(tmp_path / "long.csv")
    own = read("mine", {"train": short, "validation": long, "test": long}, ["a"], "y", folder=tmp_path)
    assert own.held_out == ()
    with pytest.raises(UsageError, match=r"test: 12 rows in '.*short\.csv' are too few"):
        read("mine", {"train": long, "validation": long, "test": short}, ["a"], "y", folder=tmp_path)


# --- notes --------------------------------------------------------------------------------------------------------
def test_half_widths_by_hand() -> None:
    assert half_width("accuracy", 100) == pytest.approx(1.96 * 0.05)
    assert half_width("matthews", 100) == pytest.approx(0.196)


def test_notes_say_sizes_metric_resolution_and_nothing_else_of_good_data(tmp_path: Path) -> None:
    own = read("mine", {"train": write(tmp_path / "t.csv")}, ["a"], "y", folder=tmp_path)
    assert [note.partition(":")[0] for note in notes(own)] == ["rows", "metric", "resolution"]
    said = "\n".join(notes(own))
    assert "120 train, 40 validation, 40 test; validation and test held out" in said
    assert "accuracy (2 labels: no, yes)" in said and "± 0.15 (95 %), one row by 0.025" in said


def test_notes_say_whose_f1_it_is(tmp_path: Path) -> None:
    own = read("mine", {"train": write(tmp_path / "t.csv")}, ["a"], "y", metric="f1", folder=tmp_path)
    assert "metric: f1 of 'yes' (2 labels: no, yes)" in notes(own)


def test_notes_say_what_is_rare_repeated_and_cut(tmp_path: Path) -> None:
    rows = [*changed(0, 2, "maybe")[:-1], ("word " * 9, "b", "yes", "1")]
    files = {part: write(tmp_path / f"{part}.csv", rows) for part in PARTS}
    said = notes(read("mine", files, ["a"], "y", folder=tmp_path), max_seq_length=8)
    assert [note for note in said if note.startswith("too few")] == [
        f"too few: {part} rows of label 'maybe' 1" for part in PARTS
    ]
    assert "repeated: 200 test texts are also training texts" in said
    assert "cut: 3 texts or more are longer than max_seq_length = 8 tokens" in said


def test_parts_keep_every_column_and_character(tmp_path: Path) -> None:
    rows = changed(5, 0, 'two\r\nlines, "quoted"\tüß')
    own = read("mine", {"train": write(tmp_path / "t.csv", rows)}, ["a"], "y", folder=tmp_path)
    files = json.loads(own.data)["files"]
    texts = [text for part in PARTS for text in read_table(Path(files[part])).a]
    assert sorted(texts) == sorted(read_table(tmp_path / "t.csv").a)
    assert any("üß" in text for text in texts)
