"""Appendix A: lengths and examples."""

import pandas as pd

from fewft import bundled, inventory, tables

SIZES = pd.DataFrame(
    {
        "num_train": [2490, 8000, 320], "num_validation": [138, 999, 120], "num_test": [139, 1000, 120],
        "mean_tokens_train": [66.56, 40.1, 11.72], "metric": ["accuracy", "accuracy", "matthews"],
        "source": ["folder", "folder", "bundled"], "train_rows": [2490, 8999, 320], "hub_train_rows": [2490, 392702, 0],
    },
    index=["rte", "mnli", "bundled:acceptability"],
)  # fmt: skip


def test_lengths_and_steps() -> None:
    table = tables.length_table(SIZES)
    assert list(table.Task) == ["RTE", "MNLI*", "Acceptability"]  # a sample is marked
    assert tuple(table.iloc[0]) == ("RTE", "2,490", "138", "139", "66.6", "234", "files")
    assert tuple(table.iloc[2, [5, 6]]) == ("30", "generated")
    said = tables.length_words(SIZES)
    assert said == {"shortest": "MNLI (40 tokens)", "longest": "RTE (67 tokens)", "samples": "MNLI"}


def test_the_stored_counts_have_a_row_each() -> None:
    sizes = inventory.stored()
    assert len(tables.length_table(sizes)) == len(sizes) == 20


def test_nothing_stored_is_said() -> None:
    assert tables.length_table(pd.DataFrame()).Task.tolist() == ["not run"]
    assert set(tables.length_words(pd.DataFrame()).values()) == {"not run"}


def test_the_size_of_a_task_is_said_where_it_is_stored() -> None:
    assert tables.size_words(SIZES, ("mnli",)) == "8,000"
    assert tables.size_words(SIZES, ("qqp",)) == tables.size_words(pd.DataFrame(), ("mnli",)) == "not stored"
    assert tables.size_words(SIZES, ()) == "not stored"


def test_the_examples_are_the_tasks_own() -> None:
    table = tables.example_table(count=3)
    assert len(table) == 3 * len(bundled.NAMES)
    own = table[table.Task == "Entailment"]
    train = bundled.load("bundled:entailment")["train"].head(3)
    assert own["First text"].tolist() == train.text_a.tolist()
    assert own.Label.tolist() == [["follows", "does not follow"][label] for label in train.label]
    assert set(table[table.Task == "Acceptability"]["Second text"]) == {"–"}
