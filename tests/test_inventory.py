"""fewft.inventory: counts, baselines and lengths of the data sets, from the data and as stored."""

from pathlib import Path

import pytest

from fewft import inventory
from fewft.config import UsageError


def test_a_bundled_task_is_described_like_any_other() -> None:
    row = inventory.describe("bundled:paraphrase")
    stored = inventory.stored().loc["bundled:paraphrase"]
    assert {key: row[key] for key in stored.index} == stored.to_dict()


def test_recorded_datasets_replace_those_of_the_same_name(tmp_path: Path) -> None:
    results = str(tmp_path / "new")
    assert inventory.stored(results).empty
    inventory.record("bundled:similarity,bundled:entailment", results=results)
    file = tmp_path / "new" / "datasets.csv"
    file.write_text(file.read_text().replace("bundled:similarity,320", "bundled:similarity,1"))
    inventory.record("bundled:entailment", results=results)
    assert inventory.stored(results).num_train.to_dict() == {"bundled:entailment": 320, "bundled:similarity": 1}
    inventory.record("bundled:similarity", results=results)
    assert inventory.stored(results).num_train.tolist() == [320, 320]
    with pytest.raises(UsageError, match="task: 'bundled:x'"):
        inventory.record("bundled:x", results=results)
