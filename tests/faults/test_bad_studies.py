"""Damaged study files are refused by `studies.load` in a line that names the file."""

from collections.abc import Callable
from pathlib import Path

import pytest
from bad_input import Campaign, damaged
from hypothesis import strategies as st

from fewft import experiments, studies

LINES = (  # section, key, value
    ("", "description", '"a study"'),
    ("", "model", '"bundled:minilm"'),
    ("", "tasks", '["rte-1k", "mine"]'),
    ("", "more_tasks", '["cola"]'),
    ("", "learning_rate", "1e-4"),
    ("", "intermediate_task", '"mnli"'),
    ("", "large_task", '"mnli"'),
    ("", "gpus_per_run", "0.5"),
    ("seeds", "reinit", "3"),
    ("seeds", "randomness", "2"),
    ("grids", "learning_rate", "[1e-5, 1e-4]"),
    ("grids", "max_steps", "[50, 200]"),
    ("grids", "reinit_layers", "[1, 2]"),
    ("settings", "num_train_epochs", "2"),
    ("settings", "warmup_ratio", "0.2"),
    ("settings", "precision", '"fp32"'),
    ("other_models", "BART", '"random:bart-tiny"'),
    ("data.mine", "train", '"t.csv"'),
    ("data.mine", "validation", '"t.csv"'),
    ("data.mine", "text", '["a", "b"]'),
    ("data.mine", "label", '"y"'),
    ("data.mine", "metric", '"accuracy"'),
)
WORDS = (
    "nan", "-inf", "1e400", "1e-400", "-1", "0", "1", "2.0", "9" * 30, "9" * 400, "9" * 5000, "0x" + "f" * 6000, "1_000", "true", '""', '"rte"',
    '"cola"', '"\\u0000"', '"a\\nb"', "'" + "x" * 50_000 + "'", '"' + "y" * 300 + '.csv"', '"/"', '"."', "[]", "[[]]", "[nan]", "[1, 'a']", "[2, -3]",
    "[" * 2000 + "]" * 2000, "[0x" + "f" * 6000 + "]", "{}", "{a = {b = 1}}", '["rte", "rte"]', "1979-05-27T07:32:00Z", "07:32:00", '"\\ud800"', "",
)  # fmt: skip
SECTIONS = ("", "seeds", "grids", "settings", "other_models", "data", "data.mine", "data.other", "nosuch")
NAMES = (
    "description",
    "tasks",
    "seeds",
    "name",
    "reinit",
    "max_steps",
    "nosuch",
    '"a b"',
    "''",
    "data",
    "init_seed",
    "num_evals",
    "test",
)


@st.composite
def texts(draw: st.DrawFn) -> bytes:
    """A study with up to three lines changed, left out, doubled or put in."""
    lines = list(LINES)
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(lines) - 1))
        section, name, value = lines[place]
        change = draw(st.sampled_from(("value", "value", "out", "double", "name", "section", "in")))
        word = draw(st.sampled_from(WORDS)) if change in ("value", "in") else value
        name = draw(st.sampled_from(NAMES)) if change in ("name", "in") else name
        section = draw(st.sampled_from(SECTIONS)) if change in ("section", "in") else section
        lines[place : place + (change not in ("double", "in"))] = [] if change == "out" else [(section, name, word)]
    by_section = {
        section: [line for line in lines if line[0] == section] for section in dict.fromkeys(s for s, *_ in lines)
    }
    head = {"": by_section.pop("", [])} | by_section
    return "".join(
        (f"[{section}]\n" if section else "") + "".join(f"{name} = {value}\n" for _, name, value in own)
        for section, own in head.items()
    ).encode()


def test_damaged_study_files(tmp_path: Path, long: bool, tally: Callable[[str], None]) -> None:
    (tmp_path / "t.csv").write_text("a,b,y\n" + "p,q,no\nr,s,yes\n" * 2)
    path, campaign = tmp_path / "small.toml", Campaign("study files")

    def use() -> None:
        study = studies.load(str(path))
        for name in ("stability_map", "reinit", "methods"):
            experiments.plan(study, name, seeds=1)

    def one(content: bytes) -> None:
        path.write_bytes(content)
        campaign.case(use, "small.toml", "task 'mine'", "t.csv")

    tally(campaign.run(20_000 if long else 450, damaged(texts()), one, long=long))


@pytest.mark.parametrize(
    "name", ["folder.toml", "none.toml", "x" * 300 + ".toml", "a\0.toml", "none.toml/a.toml", ".toml", "", "x" * 10_000]
)
def test_what_is_no_file_is_no_study(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder.toml").mkdir()
    campaign = Campaign("names of studies")
    campaign.case(lambda: studies.load(f"{tmp_path}/{name}"), "study: ")
    assert campaign.refused
