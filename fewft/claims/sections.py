"""The claims of Sections 4 to 7, a row each."""

from collections.abc import Callable

from fewft.choices import INTERMEDIATE, LONGER, REINIT, REINIT_LONGER, STANDARD
from fewft.claims import published
from fewft.claims.arms import (
    Select,
    by_arm,
    by_recipe,
    chosen,
    every_layer,
    every_length,
    fewer_steps,
    first_task,
    in_percent,
    largest,
    middle,
    one_k,
    smallest,
)
from fewft.claims.claim import Claim
from fewft.claims.kinds import Kind, at_most, combined, higher, steadier
from fewft.claims.orders import (
    better_of_trials,
    falls_with_trials,
    higher_peak,
    more_often,
    most_tasks,
    narrower,
    near_share,
    no_one_size,
)
from fewft.claims.published import SHARE_MARGIN, Published

FEW, MANY, SEEN = 10, 50, 20  # trials that Section 4 compares; runs an arm without which nothing is said of many trials
ADAM, SWEEP, LENGTHS = ("bias_correction",), ("reinit",), ("reinit", "longer")
LAYERS, DISTANCES = "reinit_layers", "distance_layers"
THREE = "3 Epochs"  # columns of Table 1, with LONGER


def adam(*columns: str, corrected_first: bool) -> Select:
    """Both arms of Section 4."""
    return by_arm("bias_correction", "correct_bias", (corrected_first, not corrected_first), *columns)


def stem(*names: str) -> Callable[[str], bool]:
    """Tasks of these names, whole or cut to 1,000 examples."""
    return lambda task: task.removesuffix("-1k") in names


def _moved(first: object, second: object, column: str, of: int) -> Select:
    return in_percent(by_arm("distances", LAYERS, (first, second), column), of=of)


def _method(name: str, claim: str, text: str, kind: Kind, paper: Published) -> Claim:
    return Claim(f"s7-{claim}", text, "tbl-2", ("methods",), by_recipe(2, (name, STANDARD), "test"), kind, paper)


SECTION_4 = (
    Claim(
        "s4-variance", "Bias correction narrows the spread of test scores.", "fig-2",
        ADAM, adam("test", corrected_first=False), steadier(),
    ),
    Claim(
        "s4-degenerate", "Without correction more runs are degenerate.", "fig-2",
        ADAM, adam("degenerate", corrected_first=False), more_often(),
    ),
    Claim(
        "s4-rte-half", f"Without correction about half of the runs on RTE stay below 55 % (48 %, ± {SHARE_MARGIN:g} points).",
        "fig-2", ADAM, first_task(by_arm("bias_correction", "correct_bias", (False,), "below")),
        near_share(48.0, SHARE_MARGIN), published.rte_share,
    ),
    Claim(
        "s4-loss-mean", "Without correction the mean training loss ends higher.", "fig-3",
        ADAM, in_percent(adam("end_loss", corrected_first=False), of=1), higher("%"),
    ),
    Claim(
        "s4-loss-max", "Without correction the highest training loss of all runs is higher.", "fig-3",
        ADAM, in_percent(adam("end_loss", corrected_first=False), of=1), higher_peak("%"),
    ),
    Claim(
        "s4-few-trials", "With correction the best of 5 trials scores higher on test.", "fig-4",
        ADAM, adam("val", "test", corrected_first=True), better_of_trials(5),
    ),
    Claim(
        "s4-many-trials", f"The expected test score falls from {FEW} to {MANY} trials.", "fig-4",
        ADAM, adam("val", "test", corrected_first=True), falls_with_trials(FEW, MANY, SEEN),
    ),
)  # fmt: skip
SECTION_5 = (
    Claim(
        "s5-mean", "Re-init improves the mean test score.", "tbl-1", LENGTHS, by_recipe(1, (REINIT, STANDARD), "test"),
        higher(), published.means(1, [("Re-init", THREE), ("Standard", THREE)]),
    ),
    Claim(
        "s5-variance", "Re-init narrows the spread of test scores.", "tbl-1", LENGTHS,
        by_recipe(1, (STANDARD, REINIT), "test"), steadier(), published.steadier(1, [("Standard", THREE), ("Re-init", THREE)]),
    ),
    Claim(
        "s5-worst-case", "Re-init gains more in the worst run than in the best.", "fig-5",
        SWEEP, by_arm("reinit", LAYERS, (-1, chosen), "val"), narrower(),
    ),
    Claim(
        "s5-pooler-only", "Re-initializing only the pooler already helps.", "fig-5",
        SWEEP, by_arm("reinit", LAYERS, (0, -1), "val"), higher(),
    ),
    Claim(
        "s5-further-blocks", "Re-initializing blocks as well helps more.", "fig-5",
        SWEEP, by_arm("reinit", LAYERS, (chosen, 0), "test"), higher(),
    ),
    Claim(
        "s5-plateau", "The largest L gains nothing over one half as large (at most 1 point).", "fig-13",
        SWEEP, by_arm("reinit", LAYERS, (largest(LAYERS), middle(LAYERS)), "val"), at_most(),
    ),
    Claim("s5-best-l-varies", "The best L differs from task to task.", "fig-13", SWEEP, every_layer, no_one_size()),
    Claim(
        "s5-convergence", "With Re-init the training loss falls faster (mean over the steps).", "fig-6",
        SWEEP, in_percent(by_arm("reinit", LAYERS, (-1, chosen), "loss"), of=0), higher("%"),
    ),
    Claim(
        "s5-loss-range", "Re-init narrows the range of the training loss.", "fig-6",
        SWEEP, in_percent(by_arm("reinit", LAYERS, (-1, chosen), "loss"), of=0), narrower("%"),
    ),
    Claim(
        "s5-top-distance", "Re-init lets the top blocks move less.", "fig-7",
        ("distances",), _moved(-1, middle(DISTANCES), "top", 0), higher("%"),
    ),
    Claim(
        "s5-more-layers", "The more blocks are re-initialized, the less the top ones move.", "fig-7",
        ("distances",), _moved(smallest(DISTANCES), largest(DISTANCES), "top", 0), higher("%"),
    ),
    Claim(
        "s5-whole-network", "Re-initializing a single block already lets the bottom blocks move less.", "fig-15",
        ("distances",), _moved(-1, smallest(DISTANCES), "bottom", 0), higher("%"),
    ),
    Claim(
        "s5-bottom-distance", "Re-initializing too many blocks makes the bottom ones move more.", "fig-7",
        ("distances",), _moved(largest(DISTANCES), -1, "bottom", 1), higher("%"),
    ),
)  # fmt: skip
SECTION_6 = (
    Claim(
        "s6-mean", "Training longer improves the mean test score.", "tbl-1", LENGTHS, by_recipe(1, (LONGER, STANDARD), "test"),
        higher(), published.means(1, [("Standard", LONGER), ("Standard", THREE)]),
    ),
    Claim(
        "s6-variance", "Training longer narrows the spread of test scores.", "tbl-1", LENGTHS,
        by_recipe(1, (STANDARD, LONGER), "test"), steadier(), published.steadier(1, [("Standard", THREE), ("Standard", LONGER)]),
    ),
    Claim(
        "s6-small-data", "It improves 1,000-example tasks more than whole ones.", "tbl-1", LENGTHS,
        one_k(by_recipe(1, (LONGER, STANDARD), "test")), combined(1, -1, -1, 1), published.one_k("Standard"),
    ),
    Claim(
        "s6-gap", "Training longer shrinks what Re-init adds.", "tbl-1", LENGTHS,
        by_recipe(1, (REINIT, STANDARD, REINIT_LONGER, LONGER), "test"), combined(1, -1, -1, 1),
        published.means(
            1, [("Re-init", THREE), ("Standard", THREE), ("Re-init", LONGER), ("Standard", LONGER)], (1, -1, -1, 1)
        ),
    ),
    Claim(
        "s6-still", "On MRPC and MNLI Re-init still improves training longer.", "tbl-1", LENGTHS,
        by_recipe(1, (REINIT_LONGER, LONGER), "test", tasks=stem("mrpc", "mnli")), higher(),
        published.means(1, [("Re-init", LONGER), ("Standard", LONGER)], tasks=stem("mrpc", "mnli")),
    ),
    Claim("s6-no-one-size", "No number of steps suits all tasks.", "fig-8", LENGTHS, every_length, no_one_size()),
    Claim("s6-fewer-steps", "On most tasks Re-init needs fewer steps for its best.", "fig-8", LENGTHS, fewer_steps, most_tasks()),
)  # fmt: skip
_STANDARD = (STANDARD, "")
SECTION_7 = (
    _method(
        INTERMEDIATE, "intermediate-task", "An intermediate task improves the mean test score.", higher(),
        published.means(2, [(INTERMEDIATE, ""), _STANDARD]),
    ),
    *(
        _method(
            name, claim, f"{name}, with debiased Adam, adds at most 1 point to the mean test score.", at_most(),
            published.means(2, [(name, ""), _STANDARD], side="at most"),
        )
        for claim, name in (("llrd", "LLRD"), ("mixout", "Mixout"), ("prior-decay", "Pre-trained WD"), ("weight-decay", "WD"))
    ),
)  # fmt: skip
