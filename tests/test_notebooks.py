"""The notebooks on stored runs: every figure and table of the paper has its label once, and says what was not run."""

import ast
import json
import re
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest

from fewft.book import Shown, notebook_parameters
from fewft.plots import COLORS, BookFigure
from fewft.plots.look import TOGETHER

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
FIGURES = {f"fig-{n}" for n in range(1, 19)}
TABLES = {f"tbl-{n}" for n in range(1, 8)}


def cells(path: Path) -> list[dict[str, Any]]:
    """The code cells of a notebook, their sources as one text."""
    found = json.loads(path.read_text("utf8"))["cells"]
    return [c | {"source": "".join(c["source"])} for c in found if c["cell_type"] == "code"]


def labels(path: Path) -> list[str]:
    """Labels of the figures and tables in a notebook."""
    found = [c["metadata"].get("mystnb", {}).get("figure", {}).get("name") for c in cells(path)]
    return [
        *filter(None, found),
        *(name for c in cells(path) for name in re.findall(r'name="(tbl-[\w-]+)"', c["source"])),
    ]


def run(path: Path, monkeypatch: pytest.MonkeyPatch, **parameters: Any) -> dict[str, Any]:
    """Run a notebook's cells in this process; what stood under each label: a figure, or a table's text."""
    monkeypatch.chdir(path.parent)
    names: dict[str, Any] = {"__name__": "__main__"}
    shown = {}
    with mpl.rc_context():
        for cell in cells(path):
            tree = ast.parse(cell["source"])
            last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
            exec(compile(tree, str(path), "exec"), names)
            value = eval(compile(ast.Expression(last.value), str(path), "eval"), names) if last else None
            if "parameters" in cell["metadata"].get("tags", []):
                names |= {k: v for k, v in parameters.items() if k in notebook_parameters(path)}
            if isinstance(value, BookFigure):
                value._repr_svg_()  # drawn for real: a warning is an error here
                shown[cell["metadata"]["mystnb"]["figure"]["name"]] = value
            elif isinstance(value, Shown) and (name := re.search(r"^:name: (\S+)", value.markdown, re.MULTILINE)):
                shown[name[1]] = value.markdown
    return shown


def words(figure: BookFigure) -> list[str]:
    """The texts inside the axes of a figure."""
    return [text.get_text() for ax in figure.axes for text in ax.texts]


@pytest.fixture(scope="module")
def shown_for() -> Callable[[str], dict[str, Any]]:
    """What all notebooks show for a study; they are run once."""

    @cache
    def shown(study: str) -> dict[str, Any]:
        with pytest.MonkeyPatch.context() as patch:
            return {label: what for path in NOTEBOOKS for label, what in run(path, patch, study=study).items()}

    return shown


def test_every_figure_and_table_of_the_paper_has_its_label_once() -> None:
    found = Counter(label for path in NOTEBOOKS for label in labels(path))
    assert {label for label, n in found.items() if n > 1} == set()
    assert {label for label in found if re.fullmatch(r"fig-\d+", label)} == FIGURES
    assert {label for label in found if re.fullmatch(r"tbl-\d+", label)} == TABLES


def test_the_text_refers_to_every_figure_and_table() -> None:
    texts = [path.read_text("utf8") for path in (*NOTEBOOKS, *(ROOT / "book").glob("*.md"))]
    referred = {label for text in texts for label in re.findall(r"\{numref\}`([\w-]+)`", text)}
    assert {label for path in NOTEBOOKS for label in labels(path)} - referred == set()


@pytest.mark.parametrize("study", ["minilm", "demo"])
def test_recipes_that_meet_in_a_figure_are_among_those_told_apart(study: str, shown_for: Callable[..., Any]) -> None:
    figures = {label: what for label, what in shown_for(study).items() if isinstance(what, BookFigure)}
    met = {
        label: {text for ax in f.axes for text in ax.get_legend_handles_labels()[1]} & set(COLORS)
        for label, f in figures.items()
    }
    assert [label for label, words_ in met.items() if not any(words_ <= set(group) for group in TOGETHER)] == []
    assert sum(map(bool, met.values())) > 10


@pytest.mark.parametrize("study", ["minilm", "demo"])
def test_every_label_is_shown_for_a_study(study: str, shown_for: Callable[[str], dict[str, Any]]) -> None:
    assert set(shown_for(study)) == {label for path in NOTEBOOKS for label in labels(path)}


def test_the_demo_study_has_every_figure_and_table_from_runs(shown_for: Callable[[str], dict[str, Any]]) -> None:
    shown = shown_for("demo")
    silent = {label for label in FIGURES & shown.keys() if "not run" in words(shown[label])}
    rows = {label: shown[label].splitlines()[5:-1] for label in TABLES & shown.keys()}
    silent |= {label for label, lines in rows.items() if all("not run" in line for line in lines)}
    assert silent == set() and all(rows.values())
    assert not any("not run" in line for label in TABLES - {"tbl-7"} for line in rows[label])
    ran = [line for line in rows["tbl-7"] if "not run" not in line]  # demo has one of the four other models
    assert ran and all("ELECTRA" in line for line in ran)


def test_without_any_run_every_figure_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    drawn = {}
    for path in NOTEBOOKS:
        if "study" in notebook_parameters(path):
            drawn |= run(path, monkeypatch, study="minilm", results=str(tmp_path))
    for label in FIGURES - {"fig-1"}:
        assert "not run" in words(drawn[label]), label
