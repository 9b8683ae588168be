"""Scores over a whole set, and the majority baseline that a degenerate run fails to beat."""

import warnings

import numpy as np
from scipy.stats import spearmanr
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

METRICS = ("accuracy", "f1", "matthews", "spearman")


def score(metric: str, logits: np.ndarray, labels: np.ndarray) -> float:
    """The metric of one set, computed once over all of it.

    Args:
        metric: one of METRICS; `f1` is that of label 1.
        logits: float (examples, labels); (examples, 1) for regression.
        labels: int (examples,), or float for `spearman`.

    Returns:
        A fraction (accuracy 0.65, not 65); NaN when a logit is not finite; 0 where a constant
        prediction leaves a correlation undefined.

    Paper: Table 3, "Evaluation metric"; deviations, "Metrics over the whole set".
    """
    if not np.isfinite(logits).all():
        return float("nan")
    if metric == "spearman":
        return correlation(logits[:, 0], labels)
    return label_score(metric, logits.argmax(axis=1), labels)


def label_score(metric: str, predicted: np.ndarray, labels: np.ndarray) -> float:
    """The metric of predicted labels, both int (examples,)."""
    if metric == "accuracy":
        return float(accuracy_score(labels, predicted))
    if metric == "f1":
        return float(f1_score(labels, predicted, zero_division=0.0))
    if metric == "matthews":
        with warnings.catch_warnings():  # one class only, in truth or prediction: 0 by definition
            warnings.simplefilter("ignore")
            return float(matthews_corrcoef(labels, predicted))
    raise ValueError(f"metric: {metric!r} is not known; accepted: {', '.join(METRICS)}")


def correlation(predicted: np.ndarray, labels: np.ndarray) -> float:
    """Spearman's rank correlation; 0 when either side is constant."""
    if np.ptp(predicted) == 0 or np.ptp(labels) == 0:
        return 0.0
    return float(spearmanr(predicted, labels).statistic)


def majority_baseline(metric: str, labels: np.ndarray, majority: int) -> float:
    """What always answering `majority` scores on `labels`; 0 for regression.

    Paper: Table 3, "Majority baseline".
    """
    if metric == "spearman":
        return 0.0
    return label_score(metric, np.full(len(labels), majority), labels)


def is_constant(logits: np.ndarray) -> bool:
    """Whether several examples all get one answer: the same label, or for regression the same number.

    Args:
        logits: float (examples, labels); (examples, 1) for regression. Those that are not finite are no answer.

    Paper: Section 4, "degenerate runs".
    """
    if len(logits) < 2 or not np.isfinite(logits).all():
        return False
    answers = logits[:, 0] if logits.shape[1] == 1 else logits.argmax(axis=1)
    return bool(np.ptp(answers) == 0)


def is_degenerate(test_score: float, baseline: float) -> bool:
    """Whether a run fails to outperform the majority baseline; a score of NaN does.

    Paper: Section 4, "degenerate runs".
    """
    return not test_score > baseline
