"""The claims of Appendices B to G, a row each."""

from fewft.claims import published
from fewft.claims.arms import by_arm, by_length, chosen, crossed, in_percent, largest, models, other_precision, spreads
from fewft.claims.claim import Claim
from fewft.claims.kinds import combined, equal, higher, steadier
from fewft.claims.orders import narrower, outruns_test
from fewft.claims.sections import ADAM, FEW, LENGTHS, MANY, SEEN, adam
from fewft.paper import OTHER_MODELS

XLNET, ROBERTA, ELECTRA, BART = OTHER_MODELS
LARGE = ("sst2-1k", "qnli-1k", "qqp-1k", "mnli-1k")  # those of Figure 14
STEPS = "max_steps"


APPENDICES = (
    Claim(
        "b-mean", "Re-init improves validation accuracy whichever seed the weights have.", "fig-9",
        ("randomness",), crossed("init_seed", arms=(1, 0)), higher(),
    ),
    Claim(
        "b-data-varies", "Re-init steadies runs that share the weights' seed.", "fig-10",
        ("randomness",), crossed("init_seed", arms=(0, 1)), steadier(),
    ),
    Claim(
        "b-weights-vary", "Re-init steadies runs that share the data's seed.", "fig-10",
        ("randomness",), crossed("data_seed", arms=(0, 1)), steadier(),
    ),
    Claim(
        "b-alike", "With either seed fixed, runs spread alike (± 1 point of standard deviation).", "fig-10",
        ("randomness",), spreads, equal(),
    ),
    Claim(
        "c-precision", "Mixed and full precision score alike (± 1 point).", "tbl-4",
        ("precision",), by_arm("precision", "precision", (other_precision, "fp32"), "test"), equal(),
        published.means(4, [("Mixed precision", ""), ("Full precision", "")], side="within"),
    ),
    Claim(
        "d-large-task", "On a large data set correction makes no difference (± 1 point).", "tbl-5",
        ("large_task",), by_arm("large_task", "correct_bias", (True, False), "test"), equal(),
        published.means(5, [("Bias correction", "Test Acc."), ("No bias correction", "Test Acc.")], side="within"),
    ),
    Claim(
        "e-convergence", "With correction the training loss falls faster (mean over the steps).", "fig-11",
        ADAM, in_percent(adam("loss", corrected_first=False), of=1), higher("%"),
    ),
    Claim(
        "e-loss-range", "Correction narrows the range of the training loss.", "fig-11",
        ADAM, in_percent(adam("end_loss", corrected_first=False), of=1), narrower("%"),
    ),
    Claim(
        "e-validation-only", f"From {FEW} to {MANY} trials the expected validation score rises more than the test score.",
        "fig-12", ADAM, adam("val", "test", "reported", corrected_first=True), outruns_test(FEW, MANY, SEEN),
    ),
    Claim(
        "f-mean", "Re-init improves the mean test score of XLNet and RoBERTa.", "tbl-7",
        ("other_models",), models([(XLNET, ROBERTA)]), higher(),
        published.means(7, [(m, c) for m in (XLNET, ROBERTA) for c in ("Re-init", "Standard")], (0.5, -0.5, 0.5, -0.5)),
    ),
    Claim(
        "f-variance", "Re-init narrows the spread of test scores of other models.", "tbl-7",
        ("other_models",), models([OTHER_MODELS], standard_first=True), steadier(),
        published.steadier(7, [(m, c) for m in OTHER_MODELS for c in ("Standard", "Re-init")]),
    ),
    Claim(
        "f-less", "Re-init gives ELECTRA and BART less.", "tbl-7",
        ("other_models",), models([(XLNET, ROBERTA), (ELECTRA, BART)]), combined(1, -1, -1, 1),
        published.means(
            7, [(m, c) for m in OTHER_MODELS for c in ("Re-init", "Standard")],
            (0.5, -0.5, 0.5, -0.5, -0.5, 0.5, -0.5, 0.5),
        ),
    ),
    Claim(
        "g-longer", "Training longest improves the mean validation score of the large tasks cut to 1,000.", "fig-14", LENGTHS,
        by_length([(-1, largest(STEPS)), (-1, 0)], tasks=LARGE.__contains__), higher(),
    ),
    Claim(
        "g-gap", "Training longest shrinks what Re-init adds on validation.", "fig-14", LENGTHS,
        by_length([(chosen, 0), (-1, 0), (chosen, largest(STEPS)), (-1, largest(STEPS))]), combined(1, -1, -1, 1),
    ),
)  # fmt: skip
