"""Tables 2, 4 and 5: the paper's cells beside ours, significance, and what was not run."""

from dataclasses import replace

import pandas as pd
import pytest

from fewft import choices, experiments, paper, studies, tables
from fewft.experiments import Experiment
from fewft.stats import Moments
from fewft.tables.beside import PAPER_RUNS, moments, theirs, told_apart, two_tailed, visible
from fewft.tables.methods import PRECISIONS

STANDARD = (0.60, 0.61, 0.62, 0.63, 0.64)


def runs_of(study: str = "minilm", name: str = "methods", tasks: str = "", **changes: object) -> Experiment:
    about = replace(studies.load(study), **changes)
    plan = experiments.plan(about, name, tasks=tasks)
    return Experiment(about, plan.tasks, plan.seeds, plan.configs, pd.DataFrame({"task": []}), plan.ask)


def recipes(scores: dict[str, tuple[float, ...]], task: str = "rte") -> pd.DataFrame:
    """Runs of each recipe with these test scores, as `choices.recipe_frame` gives them."""
    rows = [
        {"task": task, "recipe": name, "test_best": score, "expected_n": len(values)}
        for name, values in scores.items()
        for score in values
    ]
    return pd.DataFrame(rows, columns=["task", "recipe", "test_best", "expected_n"])


def test_the_papers_cells_are_found_for_whole_and_cut_tasks() -> None:
    assert theirs(2, "rte", "Mixout") == theirs(2, "rte-1k", "Mixout") == Moments(71.3, 1.4, 20)
    assert theirs(5, "mnli", "Bias correction", "Dev Acc.") == Moments(85.9, 0.3, 3)
    assert theirs(2, "bundled:entailment", "Mixout") is None


def test_table_2_has_the_papers_columns_as_rows_in_its_order() -> None:
    runs = runs_of(tasks="rte")
    table = tables.method_table(recipes({}), replace(runs, tasks=("rte", "cola")))
    printed = paper.published(2)
    assert list(table.Recipe[:8]) == list(choices.TABLE_2) == list(dict.fromkeys(printed["row"]))
    assert len(table) == 16 and set(table.Ours) == {"not run"} and set(table.n) == {"0 of 3"}
    assert list(table["Over Standard"][:3]) == ["– / –", "+12.3 / –", "+0.2 / –"]
    assert table.Paper[10] == "63.0 ± 2.5" and table.Paper[14] == "**64.2 ± 1.6** †"  # Re-init, unlike Table 1


def test_what_is_better_than_standard_is_bold_in_both() -> None:
    better = tuple(score + 0.05 for score in STANDARD)
    frame = recipes({"Standard": STANDARD, "Mixout": better, "LLRD": STANDARD, "WD": (0.9,)})
    table = tables.method_table(frame, replace(runs_of(), tasks=("rte",))).set_index("Recipe")
    assert table.Ours["Standard"] == "62.0 ± 1.6" == table.Ours["LLRD"]
    assert table.Ours["Mixout"] == "**67.0 ± 1.6**" and table.Ours["WD"] == "90.0"  # one run is no test
    assert table["Over Standard"]["Mixout"] == "+1.8 / +5.0" and table.n["WD"] == "1 of 1"
    assert table.Difference["Mixout"] == "-4.3" and table.Agreement["Mixout"].startswith("differ")
    assert table.Ours["Re-init"] == "not run"


def test_another_data_set_agrees_with_nothing() -> None:
    frame = recipes({"Standard": STANDARD}, task="rte-1k")
    row = tables.method_table(frame, replace(runs_of(), tasks=("rte-1k",))).iloc[0]
    assert (row.Paper, row.Difference, row.Agreement) == ("69.5 ± 2.5", "–", "–")  # Standard
    bundled = recipes({"Standard": STANDARD}, task="bundled:paraphrase")
    row = tables.method_table(bundled, replace(runs_of("demo"), tasks=("bundled:paraphrase",))).iloc[0]
    assert (row.Paper, row.Difference, row.Agreement) == ("–", "–", "–")


def test_on_other_data_agreement_is_on_being_better_than_standard() -> None:
    better = tuple(score + 0.05 for score in STANDARD)
    scores = {
        "Standard": STANDARD,
        "Mixout": better,
        "LLRD": better,
        "WD": STANDARD,
        "Re-init": STANDARD,
        "Longer": (0.9,),
    }
    table = tables.method_table(recipes(scores, task="rte-1k"), replace(runs_of(), tasks=("rte-1k",)))
    assert table.set_index("Recipe").Agreement.to_dict() == {
        "Standard": "–", "Int. Task": "–", "LLRD": "better here only", "Mixout": "both better", "Pre-trained WD": "–",
        "WD": "neither better", "Re-init": "better in the paper only", "Longer": "too few runs",
    }  # fmt: skip


def test_the_intermediate_task_has_no_run_on_itself() -> None:
    table = tables.method_table(recipes({}), runs_of("demo")).set_index(["Task", "Recipe"])
    assert tuple(table.loc[("Entailment", "Int. Task"), ["Ours", "n"]]) == ("–", "–")
    assert table.Ours["Paraphrase", "Int. Task"] == "not run"


def test_the_words_of_section_7() -> None:
    better = tuple(score + 0.05 for score in STANDARD)
    said = tables.method_words(recipes({"Standard": STANDARD, "Mixout": better, "WD": (0.1,)}), ["rte", "cola"])
    assert said["better_ours"] == "Mixout on 1 of 1 tasks"  # WD has too few runs
    assert said["higher_ours"] == "Mixout on 1 of 1, WD on 0 of 1 tasks"
    assert (
        said["better_paper"].startswith("Int. Task on 3 of 4, LLRD on 0 of 4")
        and "WD on 0 of 4" in said["better_paper"]
    )
    few = tables.method_words(recipes({"Standard": STANDARD[:2], "Mixout": better[:2]}), ["rte"])
    assert few["better_ours"].startswith("too few runs") and few["higher_ours"] == "Mixout on 1 of 1 tasks"
    none = tables.method_words(recipes({"Standard": STANDARD}), ["rte"])
    assert none["better_ours"] == none["higher_ours"] == "not run"


def test_the_papers_slips_are_named() -> None:
    found = tables.slip_table(2)
    said = "Said to be copied from Table 1, which prints 90.5 ± 1.5"
    assert tuple(found.iloc[0]) == ("MRPC", "Longer", "91.0 ± 1.3", said) and len(found) == 2
    assert tables.slip_table(4).But.str.startswith("Table 1 prints").sum() == 4 and tables.slip_table(5).empty


@pytest.mark.parametrize(
    ("tasks", "words"),
    [(["rte-1k"], "1,000-example versions"), (["rte", "cola"], "same data sets"), (["bundled:paraphrase"], "no numbers")],
)  # fmt: skip
def test_how_the_data_relate(tasks: list[str], words: str) -> None:
    assert words in tables.data_words(tasks)


# --- Table 4 ------------------------------------------------------------------------------------------------------


def precisions(half: tuple[float, ...], full: tuple[float, ...]) -> pd.DataFrame:
    rows = [("bf16", score) for score in half] + [("fp32", score) for score in full]
    return pd.DataFrame(rows, columns=["precision", "test_best"]).assign(task="rte")


def test_both_precisions_stand_beside_the_papers() -> None:
    frame = tables.precision_frame(precisions(STANDARD, tuple(s + 0.1 for s in STANDARD)), 5)
    assert set(frame.recipe[frame.precision == "bf16"]) == {PRECISIONS[0]}
    table = tables.precision_table(frame, ["rte"], 5)
    assert list(table.Precision) == ["Mixed", "Full"] and list(table.Ours) == ["62.0 ± 1.6", "72.0 ± 1.6"]
    assert list(table.Paper) == ["71.8 ± 2.1 †", "71.4 ± 2.2"]
    assert list(table["p, paper / ours"]) == ["0.560 / < 0.001", ""]
    said = tables.precision_words(frame, ["rte"])
    assert said["apart_paper"] == "0 of 4 pairs" and said["apart_ours"] == "1 of 1 pairs"
    assert said["gap_ours"] == "10.0 points" and float(said["visible_five"].split()[0]) == pytest.approx(3.1)


def test_precisions_that_were_not_run_say_so() -> None:
    few = tables.precision_frame(precisions(STANDARD[:2], STANDARD), 5)
    assert tables.precision_table(few, ["rte"], 5)["p, paper / ours"][0] == "0.560 / too few runs"
    assert tables.precision_words(few, ["rte"])["apart_ours"] == "too few runs"
    empty = tables.precision_frame(pd.DataFrame({"task": []}), 5)
    table = tables.precision_table(empty, ["rte", "cola"], 5)
    assert set(table.Ours) == {"not run"} and len(table) == 4
    said = tables.precision_words(empty, ["rte", "cola"])
    assert said["apart_ours"] == said["gap_ours"] == "not run"


def test_two_tailed_is_students_test() -> None:
    assert two_tailed(Moments(1.0, 1.0, 3), Moments(1.0, 1.0, 3), least=3) == "1.000"
    assert two_tailed(Moments(1.0, 1.0, 3), Moments(1.0, 1.0, 3)) == "too few runs"
    assert two_tailed(Moments(1.0, 0.0, 9), Moments(2.0, 0.0, 9)) == "cannot be tested"
    assert two_tailed(None, Moments(1.0, 1.0, 3)) == "–"
    assert told_apart(["0.049", "0.051", "< 0.001", "too few runs"]) == "2 of 3 pairs"
    assert told_apart(["–"]) == "not run"


def test_the_visible_difference_is_the_critical_one() -> None:
    gap = visible(2.0, 20)
    assert float(two_tailed(Moments(gap, 2.0, 20), Moments(0.0, 2.0, 20))) == pytest.approx(0.05, abs=0.001)


# --- Table 5 ------------------------------------------------------------------------------------------------------


def test_both_arms_on_validation_and_test() -> None:
    rows = [(c, 0.80 + 0.01 * i, 0.70 + 0.01 * i + 0.05 * c) for c in (True, False) for i in range(5)]
    frame = pd.DataFrame(rows, columns=["correct_bias", "val_reported", "test_best"]).assign(task="mnli")
    table = tables.large_table(frame, ("mnli",), 5)
    assert list(table.Correction) == ["without", "with"] * 2
    assert list(table.Split) == ["validation"] * 2 + ["test"] * 2
    assert list(table.Paper) == ["86.0 ± 0.3", "85.9 ± 0.3", "87.0 ± 0.4", "86.9 ± 0.3"]
    assert list(table.Ours) == ["82.0 ± 1.6", "82.0 ± 1.6", "72.0 ± 1.6", "77.0 ± 1.6"]
    assert table["p, paper / ours"][0] == "0.704 / 1.000" and table["p, paper / ours"][2] == "0.746 / 0.001"
    said = tables.large_words(frame, ("mnli",), 5)
    assert said["large_scores"] == "72.0 without correction (5 runs) and 77.0 with correction (5 runs)"
    assert said["large_apart"] == "p = 0.001"


@pytest.mark.parametrize("tasks", [(), ("mnli",)])
def test_a_study_without_a_large_task_shows_the_papers(tasks: tuple[str, ...]) -> None:
    frame = pd.DataFrame({"task": [], "correct_bias": pd.Series([], dtype=bool)})
    table = tables.large_table(frame, tasks, 3)
    assert len(table) == 4 and set(table.Ours) == {"not run"} and set(table.n) == {"0 of 3"}
    assert set(tables.large_words(frame, tasks, 3).values()) == {"not run"}


def test_moments_leave_out_runs_without_a_score() -> None:
    frame = recipes({"Standard": (0.5, 0.7, float("nan"))})
    assert moments(frame, "rte", ["Standard"])["Standard"].n == 2 and PAPER_RUNS[5] == 3


def test_a_method_that_the_paper_lacks_stands_below_its_own() -> None:
    better = tuple(score + 0.05 for score in STANDARD)
    table = tables.method_table(
        recipes({"Standard": STANDARD, "Mine": better}, task="rte-1k"), replace(runs_of(), tasks=("rte-1k",))
    )
    last = table.iloc[-1]
    assert (last.Recipe, last.Paper, last["Over Standard"], last.Agreement) == ("Mine", "–", "– / +5.0", "–")
    words = tables.method_words(recipes({"Standard": STANDARD, "Mine": better}), ["rte"])
    assert words["better_ours"] == "Mine on 1 of 1 tasks" and "Mine" not in words["better_paper"]
