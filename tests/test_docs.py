"""What README, CONTRIBUTING and the files beside them promise: picture, numbers, links, and examples that work."""

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

import fewft
from fewft import claims, experiments, options
from fewft.config import RunConfig

ROOT = Path(__file__).parents[1]
README, USING, CONTRIBUTING = (
    (ROOT / name).read_text("utf8") for name in ("README.md", "book/using.md", "CONTRIBUTING.md")
)
PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "results/README.md", "book/using.md")
EXAMPLES = dict(
    re.findall(r"^### (.+?)\n(.*?)(?=^### |\Z)", CONTRIBUTING.partition("## Worked")[2], re.MULTILINE | re.DOTALL)
)
MAIN = "import sys; from fewft.cli import main; sys.exit(main())"


# --- README ---------------------------------------------------------------------------------------------------------
def test_the_picture_is_what_its_script_draws_from_todays_runs(tmp_path: Path) -> None:
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "book" / "readme" / "draw.py"), str(tmp_path)]
    subprocess.run(command, check=True, env=env, cwd=ROOT)
    for name in ("light.svg", "dark.svg"):
        kept = ROOT / "book" / "readme" / name
        assert kept.read_text() == (tmp_path / name).read_text(), f"{name}: run make picture and look at it"
        assert kept.stat().st_size < 100_000
        assert kept.relative_to(ROOT).as_posix() in README
    assert re.search(r'<img [^>]*alt="[^"]{40,}"', README)


def test_the_picture_shows_a_claim_that_holds() -> None:
    verdicts = pd.read_csv(ROOT / "results" / "minilm-claims.csv", index_col="claim").verdict
    assert verdicts["s4-loss-mean"] == "holds" and "without bias correction the training loss ends higher" in README
    found = experiments.load("minilm", "bias_correction").frame
    last = found.assign(end=[np.mean(loss[-10:]) for loss in found.train_loss])
    means = last.groupby(["task", "correct_bias"]).end.mean().unstack()
    assert "on all four it ends lower with bias correction" in README and (means[True] < means[False]).all()


def test_the_counts_in_the_readme_are_those_of_the_stored_runs() -> None:
    counts = pd.read_csv(ROOT / "results" / "minilm-claims.csv").verdict.value_counts().reindex(claims.VERDICTS)
    hold, fail, few, none = counts.fillna(0).astype(int)
    runs, demo = (len(pd.read_parquet(ROOT / "results" / f"{name}.parquet")) for name in ("minilm", "demo"))
    said = " ".join(README.split())
    assert fail == 0 and (
        f"Of the paper's {len(claims.CLAIMS)} claims {hold} hold on the {runs} runs so far, for {few} there are too few runs "
        f"to tell, none fails, and {none} have not been run." in said
    )
    assert f"from nothing, {demo} runs" in README and f"for {demo} runs" in USING


def test_what_the_table_by_hardware_tells_to_expect_is_what_is_stored() -> None:
    demo, minilm = (experiments.load(study, "bias_correction").frame for study in ("demo", "minilm"))
    without, corrected = (demo[demo.correct_bias == value] for value in (False, True))
    assert (
        f"{without.degenerate.sum()} of {len(without)} runs degenerate without bias correction, "
        f"{corrected.degenerate.sum()} of {len(corrected)} with it" in USING
    )
    stsb = minilm[minilm.task == "stsb-1k"].groupby("correct_bias").test_best.agg(["mean", "std"])
    with_it, lacking = ("{:.2f} ± {:.2f}".format(*stsb.loc[value]) for value in (True, False))
    assert f"Spearman {with_it} with correction, {lacking} without" in USING


def test_the_readmes_run_is_one_of_the_demos() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    calls = {ast.unparse(n.func): n for n in ast.walk(ast.parse(code)) if isinstance(n, ast.Call)}
    config = RunConfig(**{k.arg: ast.literal_eval(k.value) for k in calls["RunConfig"].keywords})
    stored = experiments.load("demo", "bias_correction").frame.set_index("run_id")
    assert stored.degenerate[config.run_id] and "fine_tune" in calls
    names = {f"result.{name}" for name in ("status", "test_best", "degenerate")}
    assert names <= set(re.findall(r"result\.\w+", code)) and {n.partition(".")[2] for n in names} <= set(stored)


# --- links, and the files that others read -----------------------------------------------------------------------------
def anchors(path: Path) -> set[str]:
    """What GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", path.read_text("utf8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_every_link_to_a_file_of_ours_leads_to_it(page: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", (ROOT / page).read_text("utf8")):
        if not target.startswith(("http://", "https://")):
            name, _, anchor = target.partition("#")
            path = (ROOT / page).parent / name
            assert path.is_file(), target
            assert not anchor or anchor in anchors(path), target


def test_every_target_and_command_that_the_pages_tell_to_type_is_there() -> None:
    texts = "\n".join((ROOT / page).read_text("utf8") for page in PAGES)
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    typed = set(re.findall(r"(?:^|`)make (\w+)", texts, re.MULTILINE))
    assert {"book", "demo", "test", "bench", "faults", "picture", "lint"} <= typed <= targets
    commands = {
        c for found in re.findall(r"(?:^|`|bin/)fewft ([a-z|]+)", texts, re.MULTILINE) for c in found.split("|")
    }
    assert {"plan", "run", "status", "yours"} <= commands <= set(options.COMMANDS)


def test_every_file_that_contributing_names_is_there() -> None:
    before = CONTRIBUTING.partition("## Worked")[0] + re.sub(r"```.*?```", "", CONTRIBUTING, flags=re.DOTALL)
    for name in re.findall(r"`((?:fewft|tests|book|studies|notebooks|results)/[\w/.*]*)`", before):
        assert [*ROOT.glob(name.rstrip("/"))], name


def test_citation_licences_and_changelog_agree_with_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == fewft.__version__ and citation["license"] == project["license"] == "MIT"
    assert citation["references"][0]["title"] == "Revisiting Few-sample BERT Fine-tuning"
    assert [a["name"] for a in citation["authors"]] == [a["name"] for a in project["authors"]]
    mit, cc = ((ROOT / name).read_text("utf8") for name in (*project["license-files"], "results/LICENSE"))
    assert mit.startswith("MIT License") and "the fewft contributors" in mit and "WITHOUT WARRANTY" in mit
    assert "Attribution 4.0 International" in cc and "https://creativecommons.org/licenses/by/4.0/" in cc
    assert re.search(rf"^## \[(Unreleased|{fewft.__version__})\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)


# --- CONTRIBUTING's worked examples --------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with the changes of all examples."""
    copy = tmp_path_factory.mktemp("worked") / "fewft"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "_book*", "_demo", "__pycache__", "*.egg-info"))
    for text in EXAMPLES.values():
        diffs = "".join(re.findall(r"```diff\n(.*?)```", text, re.DOTALL))
        subprocess.run(["git", "apply", "-"], input=diffs, text=True, check=True, cwd=copy)
    return copy


def test_there_is_an_example_of_each_kind() -> None:
    assert set(EXAMPLES) == {"A method", "A task", "A model", "A claim"}
    assert all("```diff\n" in text and "\n.venv/bin/pytest " in text for text in EXAMPLES.values())


@pytest.mark.skipif(not shutil.which("git"), reason="the examples are applied with git")
@pytest.mark.parametrize("example", EXAMPLES)
def test_each_example_works(changed: Path, example: str) -> None:
    programs = {"pytest": ["-m", "pytest", "-p", "no:cacheprovider"], "fewft": ["-c", MAIN]}
    for line in re.findall(r"^\.venv/bin/(.+)$", EXAMPLES[example], re.MULTILINE):
        program, *arguments = shlex.split(line)
        command = [sys.executable, *programs[program], *arguments]
        env = os.environ | {"PYTHONPATH": str(changed)}
        done = subprocess.run(command, cwd=changed, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{line}\n{done.stdout[-3000:]}\n{done.stderr[-1000:]}"
        assert "no tests ran" not in done.stdout
