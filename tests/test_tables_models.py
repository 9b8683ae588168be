"""Table 6 as printed, and what each study uses."""

import pytest

from fewft import studies, tables


def rows(study: str) -> dict[tuple[str, str], dict[str, str]]:
    return tables.model_table(studies.load(study)).set_index(["Model", "Task"]).to_dict("index")


def test_table_6_is_printed_whole() -> None:
    found = rows("paper")
    assert len(found) == 1 + 4 * 4
    assert list(found["XLNet", "CoLA"].values())[:5] == ["3 × 10⁻⁵", "1200 steps", "128", "120 steps", "–"]
    assert found["ELECTRA", "RTE"]["LLRD"] == "0.9"
    assert found["XLNet", "CoLA"]["Here"] == "`xlnet-large-cased`: the same"
    assert found["BERT", "all"]["Here"] == "`bert-large-uncased`: 2e-05, 3 epochs, batch 32, warm-up 10%"


@pytest.mark.parametrize("study", ["minilm", "mpnet"])
def test_a_study_of_one_model_says_so(study: str) -> None:
    here = {model: row["Here"] for (model, _), row in rows(study).items()}
    assert here.pop("BERT").startswith(f"`bundled:{study}`: ") and set(here.values()) == {"not in this study"}


def test_tasks_that_table_6_lacks_have_the_studys_settings() -> None:
    found = rows("demo")
    own = found["ELECTRA", "Entailment, Paraphrase, Similarity, Acceptability"]
    assert own["Learning rate"] == own["Length"] == "–"
    assert own["Here"] == "`random:electra-tiny`: 0.0005, 8 epochs, batch 32, warm-up 10%"
    assert len(found) == 17 + 1
