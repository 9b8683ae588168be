"""fewft.metrics: equal to the textbook formulas over a whole set, and defined where those are not."""

import math

import numpy as np
import pytest
from scipy.stats import rankdata
from sklearn.metrics import f1_score, matthews_corrcoef

from fewft.metrics import correlation, is_constant, is_degenerate, label_score, majority_baseline, score

NAN = float("nan")


@pytest.mark.parametrize("seed", range(3))
def test_two_labels_against_the_formulas(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels, logits = rng.integers(0, 2, 97), rng.normal(size=(97, 2))
    said = (logits[:, 1] > logits[:, 0]).astype(int)
    hits, wrong = (said & labels).sum(), (said != labels).sum()
    assert score("accuracy", logits, labels) == pytest.approx(1 - wrong / 97)
    assert score("f1", logits, labels) == pytest.approx(2 * hits / (2 * hits + wrong))
    assert score("matthews", logits, labels) == pytest.approx(np.corrcoef(said, labels)[0, 1])
    assert score("f1", logits, labels) == pytest.approx(f1_score(labels, said))


def test_three_labels_and_ranks_with_ties() -> None:
    rng = np.random.default_rng(0)
    labels, logits = rng.integers(0, 3, 50), rng.normal(size=(50, 3))
    assert score("matthews", logits, labels) == pytest.approx(matthews_corrcoef(labels, logits.argmax(1)))
    similar, outputs = rng.integers(0, 6, 50).astype(np.float32), rng.normal(size=(50, 1)).round(1)
    ranks = np.corrcoef(rankdata(similar), rankdata(outputs[:, 0]))[0, 1]
    assert score("spearman", outputs, similar) == pytest.approx(ranks)


@pytest.mark.parametrize("bad", [NAN, math.inf, -math.inf])
@pytest.mark.parametrize("metric", ["accuracy", "f1", "matthews", "spearman"])
def test_one_logit_that_is_not_finite_makes_the_score_nan(metric: str, bad: float) -> None:
    logits = np.array([[0.0, 1.0], [1.0, bad], [0.5, 0.2]])
    assert math.isnan(score(metric, logits, np.array([0, 1, 0])))


@pytest.mark.parametrize("label", [0, 1])
def test_constant_predictions_leave_no_correlation(label: int) -> None:
    labels = np.array([0, 1, 1, 0])
    assert label_score("matthews", np.full(4, label), labels) == 0
    assert correlation(np.full(4, 0.3), labels) == correlation(labels, np.full(4, 0.3)) == 0


def test_majority_baselines_by_hand() -> None:
    labels = np.array([1, 1, 1, 0])
    assert majority_baseline("accuracy", labels, 1) == 0.75
    assert majority_baseline("accuracy", labels, 0) == 0.25
    assert majority_baseline("f1", labels, 1) == pytest.approx(6 / 7)  # precision 3/4, recall 1
    assert majority_baseline("f1", labels, 0) == 0
    assert majority_baseline("matthews", labels, 1) == 0
    assert majority_baseline("spearman", np.array([0.0, 2.5, 5.0]), 0) == 0


@pytest.mark.parametrize(
    ("logits", "constant"),
    [
        ([[0.1, 0.2], [-3.0, 5.0]], True),  # label 1 both times, from other outputs
        ([[0.1, 0.2], [5.0, -3.0]], False),
        ([[0.5], [0.5]], True),
        ([[0.5], [0.500001]], False),
        ([[0.1, 0.2]], False),  # one example has one answer whatever the model does
        ([[math.nan, 0.2], [math.nan, 0.2]], False),
        ([[math.inf], [math.inf]], False),
    ],
)
def test_one_answer_to_everything(logits: list[list[float]], constant: bool) -> None:
    assert is_constant(np.array(logits, np.float32)) is constant


def test_degenerate_means_not_above_the_baseline() -> None:
    assert not is_degenerate(0.53, 0.52)
    assert is_degenerate(0.52, 0.52) and is_degenerate(0.1, 0.52) and is_degenerate(NAN, 0.52)


def test_unknown_metric_is_refused() -> None:
    with pytest.raises(ValueError, match="'auc'.*accuracy, f1, matthews, spearman"):
        score("auc", np.zeros((2, 2)), np.array([0, 1]))
