"""Binder and Colab: buttons on exactly the pages that run without torch, and a Binder that has all these need."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import distribution
from pathlib import Path

import nbformat
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
BINDER = ROOT / ".binder"
ENTRY = re.compile(r"^([a-z0-9-]+)==.*\n(?:    .*\n)*", re.MULTILINE)  # a package of a lock, with its hashes
PAGES = """
import ast, json, os, sys
from pathlib import Path
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "transformers", "datasets"):
            raise ImportError(f"{name} is blocked")
sys.meta_path.insert(0, Blocked())
for path in map(Path, sys.argv[1:]):
    os.chdir(path.parent)
    names = {"__name__": "__main__"}
    try:
        for cell in json.loads(path.read_text("utf8"))["cells"]:
            if cell["cell_type"] == "code":
                exec("".join(cell["source"]), names)
    except ImportError as error:
        print(path.name, error, file=sys.stderr)
"""
SITE = """
import sys
from sphinx.application import Sphinx
sys.path.insert(0, sys.argv[2])
theme = "sphinx_book_theme"
conf = {"extensions": ["myst_nb", theme, "fewft_book"], "html_theme": theme, "nb_execution_mode": "off"}
conf |= {"html_theme_options": {}}
Sphinx(sys.argv[1], None, "out", "doctrees", "html", confoverrides=conf, status=None).build()
"""


def entries(lock: Path) -> dict[str, str]:
    """A lock's packages: name to version, marker and hashes, as they stand there."""
    return {found[1]: found[0] for found in ENTRY.finditer(lock.read_text("utf8"))}


# --- the buttons --------------------------------------------------------------------------------------------------
def test_the_pages_with_buttons_are_those_that_run_without_torch() -> None:
    notebooks = sorted((ROOT / "notebooks").glob("*.ipynb"))
    command = [sys.executable, "-W", "ignore", "-c", PAGES, *map(str, notebooks)]
    environment = os.environ | {"MPLBACKEND": "agg"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    needing = {line.split()[0] for line in done.stderr.splitlines() if " is blocked" in line}
    without = {p.name for p in notebooks if json.loads(p.read_text("utf8"))["metadata"].get("launch") is False}
    assert needing == without, done.stderr


@pytest.fixture
def links(tmp_path: Path) -> Callable[..., dict[str, list[str]]]:
    """Which launch links the pages of a small site have: a notebook, one that needs torch, a page of text."""
    spec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    for name, more in {"free": {}, "training": {"launch": False}}.items():
        cells = [nbformat.v4.new_markdown_cell(f"# {name}")]
        nbformat.write(
            nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": spec, **more}), tmp_path / f"{name}.ipynb"
        )
    (tmp_path / "index.md").write_text("# Text\n\n```{toctree}\nfree\ntraining\n```\n")

    def build(**environment: str) -> dict[str, list[str]]:
        command = [sys.executable, "-W", "ignore", "-c", SITE, str(tmp_path), str(ROOT / "book" / "_ext")]
        plain = {k: v for k, v in os.environ.items() if not k.startswith("GITHUB_")}
        subprocess.run(command, cwd=tmp_path, env=plain | environment, check=True, capture_output=True)
        pages = {name: (tmp_path / "out" / f"{name}.html").read_text("utf8") for name in ("free", "training", "index")}
        return {name: re.findall(r'href="https://(colab\.[^"]*|mybinder[^"]*)"', text) for name, text in pages.items()}

    return build


def test_buttons_stand_on_a_notebook_that_runs_without_torch_and_nowhere_else(
    links: Callable[..., dict[str, list[str]]],
) -> None:
    binder = "mybinder.org/v2/gh/OWNER/NAME/main?urlpath=lab/tree/free.ipynb"
    colab = "colab.research.google.com/github/OWNER/NAME/blob/colab/free.ipynb"
    assert links(GITHUB_REPOSITORY="OWNER/NAME") == {"free": [binder, colab], "training": [], "index": []}


def test_there_are_no_buttons_where_the_repository_is_not_known(links: Callable[..., dict[str, list[str]]]) -> None:
    assert links() == {"free": [], "training": [], "index": []}


# --- Binder -------------------------------------------------------------------------------------------------------
def test_binder_installs_a_part_of_the_lock_unchanged() -> None:
    own, whole = entries(BINDER / "requirements.lock"), entries(ROOT / "requirements.lock")
    assert own and own.items() <= whole.items()
    assert not own.keys() & {"torch", "transformers", "ray", "datasets", "jupyter-book"}


def test_binder_has_what_the_pages_ask_for_and_all_that_this_needs() -> None:
    own = entries(BINDER / "requirements.lock")
    asked = [line for line in (BINDER / "requirements.in").read_text().splitlines() if not line.startswith("#")]
    assert set(asked) <= own.keys()
    for name in own:
        wanted = [Requirement(r) for r in (distribution(name).requires or [])] if here(own[name]) else []
        needed = {canonicalize_name(r.name) for r in wanted if r.marker is None or r.marker.evaluate({"extra": ""})}
        assert needed <= own.keys(), name


def here(entry: str) -> bool:
    """Whether a lock's entry is for this machine."""
    marker = Requirement(entry.partition("\\")[0]).marker
    return marker is None or marker.evaluate()


def test_binder_has_the_projects_python_and_installs_the_project_without_looking_for_more() -> None:
    ours, whole = (yaml.safe_load((f / "environment.yml").read_text())["dependencies"] for f in (BINDER, ROOT))
    assert ours[:2] == whole[:2] and ours[2] == {"pip": ["--requirement requirements.lock"]}
    assert "pip install --no-deps --no-build-isolation --editable .\n" in (BINDER / "postBuild").read_text()
    assert os.access(BINDER / "postBuild", os.X_OK)


# --- Colab --------------------------------------------------------------------------------------------------------
def test_colabs_copies_are_the_notebooks_after_a_cell_that_gets_the_project(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "tools" / "colab.py"), "OWNER/NAME", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True)
    copies = sorted((tmp_path / "notebooks").iterdir())
    assert [c.name for c in copies] == sorted(p.name for p in (ROOT / "notebooks").glob("*.ipynb"))
    for copy in copies:
        first, *cells = nbformat.read(copy, as_version=4).cells
        assert cells == nbformat.read(ROOT / "notebooks" / copy.name, as_version=4).cells
        assert "https://github.com/OWNER/NAME /content/fewft\n" in first.source
        assert f"myst-nb=={distribution('myst-nb').version}\n" in first.source


def test_colabs_copies_are_not_made_for_what_is_no_repository(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "tools" / "colab.py"), "NAME; ls", str(tmp_path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 1 and "accepted: OWNER/NAME" in done.stderr and not list(tmp_path.iterdir())
