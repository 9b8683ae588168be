"""Examples in order, and the paper's splits of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fewft.config import UsageError

PARTS = ("train", "validation", "test")
SMALL = ("rte", "mrpc", "stsb", "cola")  # their dev sets are halved; Section 3
SUBSET = 1000  # training examples of the "-1k" versions; Section 3
HELD_OUT = 1000  # validation examples taken from the training set of the other tasks; Section 3


@dataclass(frozen=True)
class Split:
    """Texts and labels of one split, in order."""

    text_a: tuple[str, ...]
    text_b: tuple[str, ...] | None
    labels: np.ndarray  # int64 (examples,), or float32 for regression

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: Sequence[int]) -> "Split":
        """The examples at `indices`, in that order."""
        second = None if self.text_b is None else tuple(self.text_b[i] for i in indices)
        return Split(tuple(self.text_a[i] for i in indices), second, self.labels[np.asarray(indices, dtype=int)])


def paper_splits(name: str, train: Split, dev: Split, *, subset: bool) -> tuple[Split, Split, Split]:
    """Train, validation and test as the released code makes them from GLUE's train and dev sets.

    RTE, MRPC, STS-B, CoLA: dev is halved. The others: validation is held out of train, dev is the test set.

    Args:
        name: a key of GLUE.
        train: GLUE's training set, in file order.
        dev: GLUE's development set, in file order.
        subset: whether to cut the training set to 1,000 examples.

    Raises:
        UsageError: too few rows for training and validation sets without a common example.

    Paper: Section 3, "Data".
    """
    if name == "stsb":
        kept = _torch_permutation(len(train))[:SUBSET] if subset else range(len(train))
        return train.take(kept), *halve(dev)
    groups = shuffled_groups(train.labels)
    if len(groups) < 2:
        raise UsageError(f"task {name!r}: its training file has {len(groups)} of its labels; accepted: two or more")
    share = SUBSET // len(groups)
    if name in SMALL:
        kept = [i for g in groups for i in g[:share]] if subset else range(len(train))
        return train.take(kept), *halve(dev)
    held = HELD_OUT // len(groups)
    if subset and min(map(len, groups)) < share + held:
        raise UsageError(f"task '{name}-1k': a label has under {share + held} training rows; accepted: more rows")
    kept = [i for g in groups for i in (g[:share] if subset else g[:-held])]
    return train.take(kept), train.take([i for g in groups for i in g[-held:]]), dev


def shuffled_groups(labels: np.ndarray) -> list[list[int]]:
    """Indices by label in order of first appearance, each group shuffled from one stream of seed 0."""
    groups: dict[float, list[int]] = {}
    for i, label in enumerate(labels.tolist()):
        groups.setdefault(label, []).append(i)
    stream = np.random.RandomState(0)
    for group in groups.values():
        stream.shuffle(group)
    return list(groups.values())


def halve(dev: Split) -> tuple[Split, Split]:
    """Validation and test: per label value a fresh shuffle of seed 1, the first half (rounded down) to validation."""
    first: list[int] = []
    second: list[int] = []
    for label in dict.fromkeys(dev.labels.tolist()):
        group = np.flatnonzero(dev.labels == label).tolist()
        np.random.RandomState(1).shuffle(group)
        first += group[: len(group) // 2]
        second += group[len(group) // 2 :]
    return dev.take(first), dev.take(second)


def _torch_permutation(n: int) -> list[int]:
    import torch

    return torch.randperm(n, generator=torch.Generator().manual_seed(0)).tolist()


def majority_label(validation: np.ndarray, train: np.ndarray) -> int:
    """The most frequent validation label; among equals, the one that the training file has first.

    This rule gives every majority baseline of Table 3 from the paper's splits.
    """
    labels, counts = np.unique(validation, return_counts=True)
    tied = set(labels[counts == counts.max()].tolist())
    return next((int(x) for x in train if x in tied), int(labels[counts.argmax()]))
