"""fewft.yours: which recipe is advised and why, the runs behind it, and a saved model that transformers reads."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from fewft import studies, sweep, tasks, train, yours
from fewft.cli import main
from fewft.config import RunConfig, UsageError
from fewft.metrics import score
from fewft.results import ResultStore
from fewft.schedule import Done
from fewft.sources import RANDOM_FAMILIES
from fewft.yours import Advice, Comparison, best_settings, make_study, read, recommend, save, summary, words
from fewft.yours.runs import PARTS, name_recipes, whole_numbers

WORDS = ("red", "blue", "green", "warm", "cold", "old", "new")
FEW = {"model": "random:bert-tiny", "reinit_layers": (1,), "max_steps": (20,), "seeds": 1}
SETTINGS = {"num_train_epochs": 1, "num_evals": 1, "max_seq_length": 16, "num_distances": 0}


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """200 rows: whether a text has a colour in it."""
    texts = [f"{WORDS[i % 7]} {WORDS[i // 7 % 7]} number {i}" for i in range(200)]
    labels = ["yes" if set(text.split()) & set(WORDS[:3]) else "no" for text in texts]
    pd.DataFrame({"text": texts, "label": labels}).to_csv(tmp_path / "colours.csv", index=False)
    return tmp_path / "colours.csv"


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Runs are done in this process; the ids of those that were done."""
    done: list[str] = []

    def sweep_here(configs: Sequence[RunConfig], store: ResultStore, **_: Any) -> list[Done]:
        for config in {c.run_id: c for c in configs if c.run_id not in store.finished()}.values():
            store.add(train.fine_tune(config, device="cpu").record())
            done.append(config.run_id)
        return []

    monkeypatch.setattr(sweep, "sweep", sweep_here)
    return done


def frame(majority: float = 0.5, **scores: Sequence[float]) -> pd.DataFrame:
    """Runs by setting, with these validation scores; test scores are their opposite, so that none can have chosen."""
    rows = []
    for name, values in scores.items():
        setting = name.replace("_", " ")
        for seed, value in enumerate(values):
            row = {"setting": setting, "recipe": setting.split(" of ")[0], "best_val": value, "val_reported": value}
            row |= {
                "test_best": 1 - value,
                "majority_val": majority,
                "degenerate": value < 0.1,
                "run_id": f"{name}{seed}",
            }
            rows.append(row)
    return pd.DataFrame(rows)


LOW, HIGH = (0.60, 0.61, 0.62, 0.63, 0.64), (0.80, 0.83, 0.81, 0.82, 0.80)


# --- advice -------------------------------------------------------------------------------------------------------
def test_a_clear_winner_is_advised_with_its_best_run() -> None:
    advice = recommend(frame(Standard=LOW, BERTAdam=LOW, Longer=HIGH))
    assert (advice.setting, advice.run_id) == ("Longer", "Longer1")
    assert advice.sentence.startswith("Use Longer: its mean validation score is 0.192 above Standard's (5 and 5 runs")
    assert "against 0.025" in advice.sentence  # 0.05, shared by two


def test_what_a_test_cannot_tell_stays_with_debiased_adam() -> None:
    advice = recommend(frame(Standard=LOW, Longer=(0.61, 0.60, 0.66, 0.62, 0.63)))
    assert (advice.setting, advice.run_id) == ("Standard", "Standard4")
    assert "Longer is higher by 0.004 in mean validation score, but the runs cannot tell them apart" in advice.sentence


def test_every_setting_that_is_tried_raises_the_bar() -> None:
    """p is about 0.02: enough for one setting, not for the best of four."""
    better = (0.62, 0.63, 0.66, 0.65, 0.64)
    assert recommend(frame(Standard=LOW, Longer=better)).setting == "Longer"
    others = {f"Re-init_of_{n}": LOW for n in range(3)}
    assert recommend(frame(Standard=LOW, Longer=better, **others)).setting == "Standard"


def test_no_better_setting_needs_no_test() -> None:
    advice = recommend(frame(Standard=HIGH, Longer=LOW))
    assert (
        advice.setting == "Standard"
        and "no other setting has a higher mean validation score than its 0.812" in advice.sentence
    )


@pytest.mark.parametrize("scores", [{"Standard": LOW[:4], "Longer": HIGH}, {"Standard": LOW, "Longer": HIGH[:4]}])
def test_four_runs_are_too_few(scores: dict[str, Sequence[float]]) -> None:
    advice = recommend(frame(**scores))
    assert advice.setting == "Standard"
    assert "too few runs to tell recipes apart (4 a setting, 5 are needed), and so far Longer has" in advice.sentence


def test_a_standard_that_learns_nothing_is_not_advised() -> None:
    advice = recommend(frame(Standard=(0.5, 0.4), Longer=(0.7, 0.8)))
    assert (advice.setting, advice.run_id) == ("Longer", "Longer1")
    assert "Standard never beats the majority baseline on validation, though there are too few runs" in advice.sentence


def test_where_no_run_learns_nothing_is_advised() -> None:
    advice = recommend(frame(Standard=(0.5, np.nan), Longer=(0.4, 0.5)))
    assert (advice.setting, advice.run_id) == ("", "")
    assert advice.sentence.startswith("Use none of them: none of 4 runs beats the majority baseline on validation")


def test_degenerate_runs_of_the_advised_setting_are_said_and_a_diverged_one_counts_as_0() -> None:
    advice = recommend(frame(Standard=(*HIGH, 0.05, np.nan), Longer=(*LOW, 0.6, 0.6)))
    assert advice.setting == "Longer" or "1 of its 7 runs are degenerate" in advice.sentence
    told = recommend(frame(Standard=(*HIGH, 0.05), Longer=LOW))
    assert told.setting == "Standard" and "; 1 of its 6 runs are degenerate" in told.sentence


@pytest.mark.parametrize("runs", [name_recipes(pd.DataFrame()), frame(Longer=HIGH)])
def test_without_standard_there_is_no_advice(runs: pd.DataFrame) -> None:
    assert recommend(runs) == Advice("", "No advice: Standard was not run.", "")


def test_each_recipe_is_shown_at_its_best_setting_on_validation() -> None:
    runs = frame(Standard=LOW, **{"Re-init_of_1": LOW, "Re-init_of_2": HIGH, "Re-init_of_3": HIGH})
    assert list(dict.fromkeys(best_settings(runs).setting)) == ["Standard", "Re-init of 2"]


def test_summary_and_words_by_hand() -> None:
    runs = frame(Standard=(0.6, 0.8), Longer=(0.05,))
    assert summary(runs).to_dict("records") == [
        {"Recipe": "Standard", "Runs": 2, "Validation": "0.700 ± 0.141", "Test": "0.300 ± 0.141", "Degenerate": "0 of 2"},
        {"Recipe": "Longer", "Runs": 1, "Validation": "0.050", "Test": "0.950", "Degenerate": "1 of 1"},
    ]  # fmt: skip
    assert words(runs) == {
        "degenerate_said": "1 of 3 runs (1 of 1 with Longer)",
        "mean_said": "0.300 (Standard) to 0.950 (Longer)",
        "spread_said": "0.141 (Standard) to 0.141 (Standard)",
    }
    assert set(words(frame()).values()) == {"not run"} and summary(frame()).Recipe.tolist() == ["not run"]


# --- runs ---------------------------------------------------------------------------------------------------------
def test_runs_get_the_names_of_their_recipes(stored_run: Any) -> None:
    changes = [
        {"reinit_layers": 2, "max_steps": 400},
        {"max_steps": 400},
        {"reinit_layers": 0},
        {"correct_bias": False},
        {},
    ]
    named = name_recipes(pd.DataFrame([stored_run(RunConfig(task="mine", **c)) for c in changes]))
    assert named.setting.tolist() == [
        "Standard", "BERTAdam", "Re-init, L = 0", "Longer, 400 steps", "Re-init, longer, L = 2, 400 steps",
    ]  # fmt: skip
    assert named.recipe.tolist() == ["Standard", "BERTAdam", "Re-init", "Longer", "Re-init, longer"]


def test_the_study_fits_the_model_and_names_its_rate(file: Path, tmp_path: Path) -> None:
    own = read("colours", {"train": file}, ["text"], "label", folder=tmp_path)
    study = make_study(own)
    assert (study.model, study.learning_rate, study.count("longer")) == ("bundled:minilm", 1e-4, 5)
    assert make_study(own, model="bert-base-uncased").learning_rate == 2e-5
    small = make_study(own, settings={"num_hidden_layers": 2})
    assert small.grid("reinit_layers") == (1, 2)
    assert small.description == "the bottom 2 blocks of bundled:minilm on colours"
    with pytest.raises(UsageError, match="seeds: -1"):
        make_study(own, seeds=-1)
    with pytest.raises(UsageError, match="setting: 'num_epochs' is not known"):
        make_study(own, settings={"num_epochs": 1})


def test_whole_numbers() -> None:
    assert whole_numbers("max_steps", "200, 400") == (200, 400) and whole_numbers("max_steps", "") == ()
    assert whole_numbers("max_steps", 200) == (200,)
    with pytest.raises(UsageError, match="max_steps: '200;400'; accepted: whole numbers"):
        whole_numbers("max_steps", "200;400")


# --- the model that is kept ---------------------------------------------------------------------------------------
def kept(config: RunConfig, folder: Path, **stored: Any) -> tuple[train.Trainer, Path]:
    """A trained run, and the folder where `save` has put its model."""
    done = train.trained(config, device="cpu")
    row = done.result.record() | {"setting": "Standard", "recipe": "Standard"} | stored
    study = studies.load("demo")  # not looked at
    advice = Advice("Standard", "Use Standard.", config.run_id)
    return done, save(Comparison(study, [config], pd.DataFrame([row]), 0), advice, folder, device="cpu")


def logits(folder: Path, texts: Sequence[str]) -> np.ndarray:
    """Those of transformers alone, on padded batches."""
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    batch = AutoTokenizer.from_pretrained(folder)(list(texts), padding=True, truncation=True, return_tensors="pt")
    with torch.no_grad():
        return model(**batch).logits.numpy()


@pytest.mark.parametrize("family", RANDOM_FAMILIES)
def test_transformers_reads_the_saved_model_of_every_family(file: Path, tmp_path: Path, family: str) -> None:
    own = read("colours", {"train": file}, ["text"], "label", folder=tmp_path)
    model = f"random:{family}-tiny"
    config = RunConfig(task="colours", data=own.data, model=model, max_steps=3, learning_rate=1e-3, **SETTINGS)
    done, folder = kept(config, tmp_path / "model")
    data = tasks.load("colours", own.data)
    found = logits(folder, data.test.text_a)
    np.testing.assert_allclose(found, done.logits("test"), atol=1e-4)
    assert score("accuracy", found, data.test.labels) == done.result.test_best


def test_a_saved_model_names_the_labels_the_run_and_its_scores(file: Path, tmp_path: Path) -> None:
    own = read("colours", {"train": file}, ["text"], "label", folder=tmp_path)
    settings = SETTINGS | {"num_hidden_layers": 2}
    config = RunConfig(
        task="colours", data=own.data, model="random:bert-tiny", max_steps=3, mixout_prob=0.5, **settings
    )
    done, folder = kept(config, tmp_path / "model")
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    assert model.config.id2label == {0: "no", 1: "yes"} and model.config.num_hidden_layers == 2
    assert AutoTokenizer.from_pretrained(folder).model_max_length == 16
    said = json.loads((folder / "run.json").read_text())
    assert said["run_id"] == config.run_id and said["unlike_stored"] == []
    assert said["scores"]["test_best"] == done.result.test_best
    assert "the stored run to the bit" in (folder / "README.md").read_text()
    assert sorted(path.name for path in folder.parent.iterdir() if path.is_dir()) == ["colours", "model"]


def test_a_model_that_comes_out_otherwise_says_so(file: Path, tmp_path: Path) -> None:
    own = read("colours", {"train": file}, ["text"], "label", folder=tmp_path)
    config = RunConfig(task="colours", data=own.data, model="random:bert-tiny", max_steps=2, **SETTINGS)
    _, folder = kept(config, tmp_path / "model", best_val=0.99)
    assert json.loads((folder / "run.json").read_text())["unlike_stored"] == ["best_val"]
    assert "unlike the stored run in best_val" in (folder / "README.md").read_text()


def test_a_regression_keeps_one_output(file: Path, tmp_path: Path) -> None:
    pd.read_csv(file).assign(label=lambda x: x.index / 8).to_csv(file, index=False)
    own = read("colours", {"train": file}, ["text"], "label", folder=tmp_path)
    config = RunConfig(task="colours", data=own.data, model="random:bert-tiny", max_steps=2, **SETTINGS)
    done, folder = kept(config, tmp_path / "model")
    found = logits(folder, tasks.load("colours", own.data).test.text_a)
    np.testing.assert_allclose(found, done.logits("test"), atol=1e-4)
    assert found.shape == (40, 1)


def test_advice_without_a_run_saves_nothing(tmp_path: Path) -> None:
    runs = Comparison(studies.load("demo"), [], frame(Standard=LOW), 0)
    with pytest.raises(UsageError, match="advice: run '' is not stored"):
        save(runs, Advice("", "No advice.", ""), tmp_path / "model")


# --- the whole way ------------------------------------------------------------------------------------------------
def command(file: Path, *more: str) -> list[str]:
    sizes = [
        "--model",
        "random:bert-tiny",
        "--reinit-layers",
        "1",
        "--max-steps",
        "20",
        "--seeds",
        "1",
        "--device",
        "cpu",
    ]
    said = [part for name, value in SETTINGS.items() for part in ("--set", name, str(value))]
    return ["yours", str(file), *sizes, *said, "--results", str(file.parent / "out"), *more]


def test_one_call_trains_says_and_saves_and_the_next_goes_on(
    file: Path, here: list[str], capsys: pytest.CaptureFixture
) -> None:
    assert main(command(file, "--learning-rate", "1e-3")) == 0
    said = capsys.readouterr().out
    assert "rows: 120 train, 40 validation, 40 test" in said and "6 of 6 runs" in said
    assert len(here) == len(set(here)) == 6  # BERTAdam, Standard, L = 0, L = 1, and 20 steps for Standard and L = 1
    model = file.parent / "out" / "colours" / "model"
    assert said.endswith(f"model: {model}\n") == (model / "run.json").is_file()
    assert main(command(file, "--learning-rate", "1e-3")) == 0
    assert len(here) == 6 and "6 of 6 runs" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--label", "lable"], "'lable' is not known (did you mean 'label'?)"),
        (["--text", "txt"], "'txt' is not known (did you mean 'text'?)"),
        (["--test", "none.csv"], "'none.csv' does not exist"),
        (["--set", "max_seq_lenght", "9"], "settings: 'max_seq_lenght' is not known"),
        (["--set", "max_seq_length", "nine"], "settings: max_seq_length 'nine'; accepted: int"),
        (["--max-steps", "many"], "max_steps: 'many'; accepted: whole numbers"),
        (["--seeds", "-1"], "seeds: -1"),
        (["--out", str(Path(__file__).parent)], "is there and no model of ours; accepted: a new or an empty folder"),
    ],
)
def test_a_wrong_call_ends_2_in_one_line(
    file: Path, here: list[str], more: list[str], message: str, capsys: pytest.CaptureFixture
) -> None:
    assert main(command(file, *more)) == 2
    said = capsys.readouterr()
    assert message in said.err and said.err.count("\n") == 1 and here == []


def test_too_large_an_l_is_refused_before_any_training(file: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(command(file, "--reinit-layers", "1,9")) == 2
    assert "reinit_layers: 9 for 'random:bert-tiny'; accepted: -1 to 3" in capsys.readouterr().err


def test_a_run_that_is_missing_is_counted(file: Path, tmp_path: Path) -> None:
    own = read("colours", {"train": file}, ["text"], "label", folder=tmp_path)
    runs = yours.load(make_study(own, **FEW), results=str(tmp_path))
    assert runs.count == "0 of 6 runs" and not runs.complete and runs.frame.empty
    assert set(dataclasses.asdict(runs.study)["seeds"]) == {*PARTS, "longer_search"}
