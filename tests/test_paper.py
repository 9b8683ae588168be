"""The published numbers: complete, parsed as printed, and with the paper's slips marked."""

import re

import pandas as pd
import pytest

from fewft.config import UsageError
from fewft.paper import FIGURES, TABLES, published, value

FULL = {"rte", "mrpc", "stsb", "cola", "sst2", "qnli", "qqp", "mnli"}
TASKS = FULL | {f"{task}-1k" for task in FULL} | {"all"}
CELLS = {1: 48, 2: 32, 3: 48, 4: 8, 5: 4, 6: 85, 7: 32}
WORDS = {"three": 3.0, "eight": 8.0, "ten": 10.0}
NO_NUMBER = {"-", "Acc.", "F1", "SCC", "MCC"}


def parse(text: str) -> tuple[float | None, float | None]:
    """Read a printed cell independently of the file's value and std columns."""
    if text in NO_NUMBER:
        return None, None
    if text in WORDS:
        return WORDS[text], None
    if power := re.fullmatch(r"(\d) × 10⁻⁵", text):
        return float(f"{power[1]}e-5"), None
    match = re.fullmatch(r"([\d.]+)(k|%| epochs| steps)?(?: ± ([\d.]+))?", text)
    assert match, text
    return float(match[1]) * (1000 if match[2] == "k" else 1), float(match[3]) if match[3] else None


def note(table: int, **where: str) -> str:
    cells = published(table)
    for name, wanted in where.items():
        cells = cells[cells[name] == wanted]
    return cells["note"].item()


@pytest.mark.parametrize("table", CELLS)
def test_every_cell_is_there_once_on_its_page(table: int) -> None:
    cells = published(table)
    assert len(cells) == CELLS[table]
    assert not cells.duplicated(["task", "row", "column"]).any()
    assert set(cells["page"]) == {TABLES[table][0]}


@pytest.mark.parametrize(
    ("table", "tasks", "rows", "columns"),
    [(1, 12, 2, 2), (2, 4, 8, 1), (3, 8, 6, 1), (4, 4, 2, 1), (5, 1, 2, 2), (7, 4, 4, 2)],
)
def test_tables_are_full_grids(table: int, tasks: int, rows: int, columns: int) -> None:
    cells = published(table)
    assert (cells["task"].nunique(), cells["row"].nunique(), cells["column"].nunique()) == (tasks, rows, columns)
    assert tasks * rows * columns == len(cells)


def test_table_6_has_five_settings_for_bert_and_for_four_models_on_four_tasks() -> None:
    sizes = published(6).groupby(["row", "task"]).size()
    assert sizes.loc["BERT"].to_dict() == {"all": 5}
    for model in ("XLNet", "RoBERTa", "ELECTRA", "BART"):
        assert sizes.loc[model].to_dict() == dict.fromkeys(["rte", "mrpc", "stsb", "cola"], 5)


@pytest.mark.parametrize("table", [*CELLS, "text"])
def test_value_and_std_agree_with_the_printed_text(table: int | str) -> None:
    for cell in published(table).itertuples():
        mean, std = parse(cell.text)
        assert (mean is None) == pd.isna(cell.value) and (mean is None or cell.value == pytest.approx(mean)), cell
        assert (std is None) == pd.isna(cell.std) and (std is None or cell.std == std), cell
        assert cell.unit or mean is None, cell


@pytest.mark.parametrize("table", [*CELLS, "text"])
def test_tasks_are_ours(table: int | str) -> None:
    assert set(published(table)["task"]) <= TASKS


def test_units_of_scores_follow_the_metric_of_table_3() -> None:
    metrics = published(3).query("row == 'Evaluation metric'").set_index("task")["text"]
    units = {"Acc.": "% accuracy", "F1": "% F1", "SCC": "Spearman x 100", "MCC": "Matthews x 100"}
    for table in (1, 2, 4, 5, 7):
        for cell in published(table).itertuples():
            assert cell.unit == units[metrics[cell.task.removesuffix("-1k")]], cell


def test_pinned_values() -> None:
    assert value(1, task="rte-1k", row="Standard", column="3 Epochs") == 62.5
    assert value(1, task="mnli-1k", row="Re-init", column="Longer") == 68.8
    assert value(2, task="rte", row="Int. Task") == 81.8
    assert value(3, task="qqp", row="Majority baseline (test)") == 63.2
    assert value(3, task="qnli", row="# of training samples") == 104_000
    assert value(5, task="mnli", row="Bias correction", column="Dev Acc.") == 85.9
    assert value(6, task="stsb", row="XLNet", column="Learning Rate") == 5e-5
    assert value(6, task="cola", row="RoBERTa", column="Warmup Ratio / Steps") == 320
    assert value(7, task="cola", row="ELECTRA", column="Re-init") == 61.3
    assert value("text", task="rte", row="No correction", column="Runs below the threshold") == 48
    assert value("text", task="all", row="Section 4", column="Trials per arm") == 50


def test_table_2_repeats_table_1_except_where_a_note_says_so() -> None:
    for cell in published(2).query("row in ['Standard', 'Re-init', 'Longer']").itertuples():
        row, column = ("Standard", "Longer") if cell.row == "Longer" else (cell.row, "3 Epochs")
        first = published(1).query("task == @cell.task and row == @row and column == @column")
        assert (cell.text == first["text"].item()) == (cell.note == ""), cell
        assert cell.text == first["text"].item() or cell.text in first["note"].item()


def test_table_4_mixed_precision_differs_from_table_1_and_says_so() -> None:
    for cell in published(4).query("row == 'Mixed precision'").itertuples():
        first = published(1).query("task == @cell.task and row == 'Standard' and column == '3 Epochs'")
        assert cell.text != first["text"].item()
        assert first["text"].item() in cell.note and cell.text in first["note"].item()


def test_counts_of_table_3_that_cannot_be_right_are_noted() -> None:
    dev = {"rte": 277, "mrpc": 408, "stsb": 1500, "cola": 1043}
    for task, size in dev.items():
        halves = [value(3, task=task, row=f"# of {part} samples") for part in ("validation", "test")]
        assert sum(halves) != size
        for part in ("validation", "test"):
            assert str(size) in note(3, task=task, row=f"# of {part} samples")
    assert note(3, task="sst2", row="# of training samples").startswith("Doubtful")
    assert "872" in note(3, task="sst2", row="# of test samples")
    assert "5,749" in note(3, task="stsb", row="# of training samples")


def test_re_init_losses_in_table_1_are_noted() -> None:
    means = published(1).pivot(index=["task", "column"], columns="row", values="value")
    lower = set(means.index[means["Re-init"] < means["Standard"]])
    assert lower == {("cola", "Longer"), ("cola-1k", "Longer")}
    for task, column in lower:
        assert "below Standard" in note(1, task=task, row="Re-init", column=column)


def test_wrong_calls_name_what_is_accepted() -> None:
    with pytest.raises(UsageError, match="table.*'8'.*1, 2, 3, 4, 5, 6, 7, text"):
        published(8)
    with pytest.raises(UsageError, match="task.*'rte-1k'.*cola, mrpc, rte, stsb"):
        value(2, task="rte-1k", row="Standard")
    with pytest.raises(UsageError, match="row.*'Reinit'.*Re-init, Standard"):
        value(1, task="rte", row="Reinit", column="Longer")
    with pytest.raises(UsageError, match="column.*'Best'.*3 Epochs, Longer"):
        value(1, task="rte", row="Standard", column="Best")
    with pytest.raises(UsageError, match="'Evaluation metric'.*'Acc.'.*not a number"):
        value(3, task="rte", row="Evaluation metric")


def test_tables_and_figures_are_numbered_through_and_in_page_order() -> None:
    for index, count in ((TABLES, 7), (FIGURES, 18)):
        pages = [page for page, _ in index.values()]
        assert list(index) == list(range(1, count + 1)) and pages == sorted(pages)
        assert all(title and 1 <= page <= 22 for page, title in index.values())
