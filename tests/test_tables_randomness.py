"""Appendix B in numbers and sentences."""

import pandas as pd

from fewft import tables

SCORES = {-1: [[0.60, 0.62], [0.70, 0.76]], 2: [[0.75, 0.61], [0.80, 0.83]]}


def make_runs() -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"reinit_layers": layers, "init_seed": i, "data_seed": j, "best_val": score}
            for layers, matrix in SCORES.items()
            for i, row in enumerate(matrix)
            for j, score in enumerate(row)
        ]
    )


def test_each_arm_in_numbers() -> None:
    table = tables.randomness_table(make_runs(), (-1, 2), 2).set_index("Arm")
    standard = table.loc["Standard"]
    assert tuple(standard[["Lowest", "Mean", "Highest", "n"]]) == ("60.00", "67.00", "76.00", "4 of 4")
    assert standard["SD, all"] == "7.39"  # the root of (7² + 5² + 3² + 9²) / 3
    assert standard["SD, initialization fixed"] == "2.83" and standard["SD, data fixed"] == "8.49"
    assert list(table.index) == ["Standard", "Re-init 2"]


def test_pairs_are_compared_one_by_one() -> None:
    said = tables.randomness_words(make_runs(), (-1, 2))
    assert said["reinit_said"] == "Re-init 2" and said["pairs_said"] == "3 of 4 pairs"  # 61 is below 62
    assert said["init_fixed"].startswith("2.83 points for Standard and ")
    part = tables.randomness_words(make_runs().drop(index=0), (-1, 2))
    assert part["pairs_said"] == "2 of 3 pairs"


def test_what_was_not_run_is_said() -> None:
    runs = make_runs()
    diagonal = runs[runs.init_seed == runs.data_seed]
    assert tables.randomness_words(diagonal, (-1, 2))["data_fixed"] == "too few runs"
    assert tables.randomness_table(diagonal, (-1, 2), 2)["SD, data fixed"].tolist() == ["too few runs"] * 2
    empty = pd.DataFrame({"task": []})
    said = tables.randomness_words(empty, (-1, 2))
    assert said.pop("reinit_said") == "Re-init 2" and set(said.values()) == {"not run"}
    table = tables.randomness_table(empty, (-1, 2), 3)
    assert set(table.n) == {"0 of 9"} and set(table.Mean) == {"not run"}
