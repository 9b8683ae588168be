"""The paper's splits, against a second statement of the released code's procedure."""

from collections.abc import Sequence

import numpy as np
import pytest

from fewft.config import UsageError
from fewft.splits import SMALL, Split, halve, majority_label, paper_splits


def numbered(labels: Sequence[float] | np.ndarray) -> Split:
    """A split whose texts are the row numbers."""
    return Split(tuple(map(str, range(len(labels)))), None, np.asarray(labels))


def rows_of(split: Split) -> list[int]:
    return [int(text) for text in split.text_a]


# --- the splits ---------------------------------------------------------------------------------------------------
def released_halves(labels: np.ndarray) -> tuple[list[int], list[int]]:
    """As the released code does: per score, file order, shuffled by seed 1, the rounded-down half to validation."""
    first: list[int] = []
    second: list[int] = []
    for score in np.unique(labels):
        group = np.flatnonzero(labels == score)
        group = group[np.random.RandomState(1).permutation(len(group))]
        half = int(len(group) / 2)
        first, second = [*first, *group[:half]], [*second, *group[half:]]
    return sorted(first), sorted(second)


def released_groups(labels: np.ndarray) -> list[np.ndarray]:
    """Per label in order of first appearance, its rows; one stream of seed 0 shuffles them all."""
    stream = np.random.RandomState(0)
    groups = [np.flatnonzero(labels == label) for label in dict.fromkeys(labels.tolist())]
    return [group[stream.permutation(len(group))] for group in groups]


@pytest.mark.parametrize("labels", [np.arange(41) % 2, np.arange(60) % 7 / 2, np.array([3.2, 1.0, 1.0])])
def test_dev_halves_are_those_of_the_released_code(labels: np.ndarray) -> None:
    validation, test = halve(numbered(labels))
    assert (sorted(rows_of(validation)), sorted(rows_of(test))) == released_halves(labels)
    assert (validation.labels == labels[rows_of(validation)]).all()


def test_a_score_that_comes_once_goes_to_test() -> None:
    validation, test = halve(numbered([0.5, 2.0, 0.5, 4.75]))
    assert len(validation) == 1 and {1, 3} < set(rows_of(test))


@pytest.mark.parametrize("subset", [False, True])
@pytest.mark.parametrize(("name", "num_labels"), [("rte", 2), ("cola", 2), ("sst2", 2), ("mnli", 3)])
def test_training_and_held_out_rows_are_those_of_the_released_code(name: str, num_labels: int, subset: bool) -> None:
    labels = np.random.default_rng(0).permutation(np.arange(2500) % num_labels)
    dev = numbered(np.arange(50) % num_labels)
    train, validation, test = paper_splits(name, numbered(labels), dev, subset=subset)
    groups, share = released_groups(labels), 1000 // num_labels
    if name not in SMALL:
        assert rows_of(test) == list(range(50))
        assert sorted(rows_of(validation)) == sorted(row for group in groups for row in group[-share:])
        assert not set(rows_of(validation)) & set(rows_of(train))
        left = len(labels) - share * num_labels
    else:
        assert (sorted(rows_of(validation)), sorted(rows_of(test))) == released_halves(dev.labels)
        left = len(labels)
    if subset:
        assert sorted(rows_of(train)) == sorted(row for group in groups for row in group[:share])
    assert len(train) == (share * num_labels if subset else left)


def test_stsb_1k_is_torchs_permutation_of_seed_0() -> None:
    import torch

    labels = np.linspace(0, 5, 1200, dtype=np.float32)
    train, _, _ = paper_splits("stsb", numbered(labels), numbered([1.0, 1.0]), subset=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        assert rows_of(train) == torch.randperm(1200)[:1000].tolist()


def test_too_few_rows_for_a_held_out_set_are_refused() -> None:
    with pytest.raises(UsageError, match="'sst2-1k'.*under 1000 training rows"):
        paper_splits("sst2", numbered(np.arange(1998) % 2), numbered([0, 1]), subset=True)


def test_majority_is_by_validation_then_by_the_training_files_order() -> None:
    assert majority_label(np.array([0, 1, 1]), np.array([0, 0, 0])) == 1
    assert majority_label(np.array([0, 1, 2, 0, 1]), np.array([2, 1, 0])) == 1
    assert majority_label(np.array([0, 1, 0, 1]), np.array([0, 1, 1])) == 0


# --- the real data ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("labels", "count"), [([], 0), ([1, 1], 1)])
def test_a_training_file_with_one_label_or_none_is_refused(labels: list[int], count: int) -> None:
    train = Split(("a",) * len(labels), None, np.array(labels, int))
    with pytest.raises(UsageError, match=f"task 'rte': its training file has {count} of its labels"):
        paper_splits("rte", train, train, subset=True)
