"""Text from data, studies and records shows in the book as it was written: looked at in a browser that could run it."""

import csv
import io
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from markdown_it import MarkdownIt
from matplotlib.mathtext import MathTextParser

from fewft import book, experiments, plots, provenance, studies
from fewft.config import RunConfig
from fewft.markup import code, escape, guard_formula, unguard_formula, with_markup
from fewft.results import ResultStore

ROOT = Path(__file__).parents[1]
SCRIPT = '<script>document.title="owned"</script>'
IMAGE = "<img src=x onerror=document.title='owned'>"
MARKUP = "{{x}} {ref}`dev-no` $a_1$ \\(b\\) [c](javascript:d) `e` **f** _g_ a|b &lt; </td> ~~~ {sub}`h` <https://i.org>"
BLOCKS = [
    "# a",
    "- a",
    "1. a",
    "> a",
    "+++",
    "% a",
    "::: a",
    "(a)=",
    "===",
    "---",
    "| a",
    ": a",
    "~~~ a",
    "```{raw} html",
]
HOSTILE = (SCRIPT, IMAGE, MARKUP)


@pytest.mark.parametrize(
    "text", [*HOSTILE, *BLOCKS, "\\", "\\`", "a\\|b", "&amp;", "!", "[^1]", "-1.5", "n < 3 (p = 0.1)"]
)
def test_an_escaped_text_is_that_text(text: str) -> None:
    shown = BeautifulSoup(MarkdownIt("commonmark").enable("table").render(escape(text)), "html.parser")
    assert shown.get_text().strip() == text and [tag.name for tag in shown.find_all()] == ["p"]
    table = MarkdownIt("commonmark").enable("table").render(f"| a | b |\n|---|---|\n| {escape(text)} | c |")
    assert [cell.get_text() for cell in BeautifulSoup(table, "html.parser")("td")] == [text, "c"]


@pytest.mark.parametrize("text", ["a", "`", "``a`", "a`", SCRIPT, "$x$ {ref}`y`"])
def test_a_code_span_is_that_text(text: str) -> None:
    shown = BeautifulSoup(MarkdownIt("commonmark").render(code(text)), "html.parser")
    assert shown.code.get_text() == text == shown.get_text().strip()


def test_a_text_of_many_lines_stays_on_one() -> None:
    assert escape("a\n\n# b\r\nc\u2028d") == r"a \# b c d" and code("a\n~~~\nb") == "`a ~~~ b`"


def test_only_columns_of_our_own_are_markup() -> None:
    frame = with_markup(pd.DataFrame({"Task": ["**a**"], "Ours": ["**b**"]}), "Ours")
    assert "| \\*\\*a\\*\\* | **b** |" in book.show_table(frame, name="tbl-x-a", caption="A.").markdown
    page = book.show_table(pd.DataFrame({SCRIPT: [IMAGE]}), name="tbl-x-a", caption=f"A {SCRIPT}.").html
    assert "<script" not in page and "<img" not in page


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@a", "'a", "'", "''=a", "\ta", "a=", ""])
def test_a_spreadsheet_computes_no_text_of_a_csv_file(text: str) -> None:
    guarded = guard_formula(text)
    assert str(guarded)[:1] not in tuple("=+-@\t\r") and unguard_formula(str(guarded)) == text


def test_a_task_that_is_a_formula_comes_back_from_its_csv(tmp_path: Path, stored_run: Callable[..., Any]) -> None:
    configs = [RunConfig(task=name) for name in ('=HYPERLINK("http://a")', "'a", *HOSTILE)]
    text = provenance.runs_csv(pd.DataFrame([stored_run(c, device="@x", val_reported=-0.5) for c in configs]))
    rows = list(csv.DictReader(io.StringIO(text)))
    assert rows[0]["task"][0] == rows[0]["device"][0] == "'" and float(rows[0]["val_reported"]) == -0.5
    (tmp_path / "a.csv").write_text(text)
    assert provenance.read_runs(tmp_path / "a.csv", {}) == configs


def test_a_figure_shows_dollars(monkeypatch: pytest.MonkeyPatch, stored_run: Callable[..., Any]) -> None:
    def no_formula(*_: object, **__: object) -> None:
        raise AssertionError("a formula was drawn")

    name = r"$\frac$ and \$ $"  # as a formula, an error
    runs = [stored_run(RunConfig(task=name, correct_bias=c), metric=name, num_steps=1) for c in (True, False)]
    figure, axes = plots.grid([name])
    monkeypatch.setattr(MathTextParser, "parse", no_formula)
    plots.performance_box(pd.DataFrame(runs), axes[0])
    axes[0].set_ylim(0, 1)
    assert "<svg" in figure._repr_svg_()


# --- in a browser -------------------------------------------------------------------------------------------------
TASKS = [SCRIPT, MARKUP, IMAGE]
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), "")
STUDY_NAME = "study $a$ `b` <b onclick=c> {d}"  # a file's name has no slash
SAID = {  # notebook -> what it glues of texts from data
    "appB_randomness": ["task_said", "where_said"], "appD_full_mnli": ["task_said", "where_said"],
    "sec5_reinit": ["layers_said", "where_said"], "your_data": ["description_said", "advice"],
}  # fmt: skip
MORE = """
show_table(tables.settings_table(about), name="tbl-x-settings", caption="A.")
#
show_table(tables.model_table(about), name="tbl-x-models", caption="A.")
#
show_table(tables.search_table(runs.ask), name="tbl-x-search", caption="A.")
#
show_table(tables.method_table(choices.recipe_frame([runs], choices.table_2), runs), name="tbl-x-methods", caption="A.")
#
show_table(tables.arm_table(experiments.load(study, "bias_correction").frame), name="tbl-x-arms", caption="A.")
#
judged = [j for j in claims.of_study(study) if j.claim.figure in ("fig-5", "fig-6")]  # which this book has
show_table(claims.overview({about.name: judged}), name="tbl-x-claims", caption="A.")
#
glue("description_said", about.description)
figure, axes = plots.grid(about.tasks)
figure
"""


def write_project(folder: Path, stored_run: Callable[..., Any]) -> Path:
    """A small project: real notebooks without their prose, a study and records full of hostile text; its study file."""
    for name in ("_config.yml", "book/_ext", "book/favicon.svg", "book/references.bib"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, folder / name)
    data = folder / "studies"
    data.mkdir()
    rows = pd.DataFrame({"text": [f"{t} {i}" for i in range(100) for t in HOSTILE], "label": list(HOSTILE) * 100})
    rows.to_csv(data / "own.csv", index=False)
    section = 'train = "own.csv"\nvalidation = "own.csv"\ntext = "text"\nlabel = "label"\nmetric = "accuracy"\n'
    values = {
        "description": SCRIPT + MARKUP,
        "model": IMAGE,
        "tasks": TASKS,
        "learning_rate": 1e-4,
        "large_task": SCRIPT,
    }
    seeds = dict.fromkeys(("bias_correction", "stability_map", "reinit", "distances", "randomness", "large_task"), 1)
    seeds |= {"methods_search": 1, "methods": 1}
    text = "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())
    text += "\n[seeds]\n" + "".join(f"{key} = {n}\n" for key, n in seeds.items())
    text += "\n[other_models]\n" + f"XLNet = {json.dumps(MARKUP)}\n"
    text += "".join(f"\n[data.{json.dumps(name)}]\n{section}" for name in TASKS)
    (path := data / f"{STUDY_NAME}.toml").write_text(text)
    store_runs(folder, studies.load(str(path)), stored_run)
    write_pages(folder)
    return path


def store_runs(folder: Path, study: studies.Study, stored_run: Callable[..., Any]) -> None:
    """Some runs of each experiment, as from a machine whose name is a script."""
    hostile = {"device": SCRIPT, "commit": MARKUP, "torch_version": IMAGE, "metric": MARKUP, "started": f"{SCRIPT}Z"}
    hostile |= {"core_version": 1, "threads": 1, "seconds": 1.0, "transformers_version": MARKUP, "reason": SCRIPT}
    hostile |= {"num_steps": 20, "majority_val": 0.5, "val_reported": 0.6, "block_distances": [[0.0] * 3, [1.0] * 3]}
    hostile |= {"distance_steps": [0, 20], "train_loss": [0.7] * 20}
    store = ResultStore(folder / "results", study.name)
    for name in ("bias_correction", "reinit", "distances", "randomness", "large_task"):
        for config in experiments.plan(study, name).configs:
            if config.task != IMAGE:  # is not run, which captions say
                store.add(stored_run(config, **hostile))
    store.collect()
    shutil.copy(ROOT / "results" / "datasets.csv", folder / "results")


def write_pages(folder: Path) -> None:
    """The notebooks' code, a paragraph with the texts that they glue, and the page on the execution."""
    (folder / "notebooks").mkdir()
    for name in SAID:
        notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
        cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
        write(folder / "notebooks" / f"{name}.ipynb", notebook, cells, SAID[name])
    first, *rest = MORE.strip().split("\n#\n")
    parameters = nbformat.v4.new_code_cell('study = "x"  # a study', metadata={"tags": ["parameters"]})
    imports = "from fewft import choices, claims, experiments, plots, studies, tables\nfrom fewft.book import glue, show_table"
    load = "about, runs = studies.load(study), experiments.load(study, 'methods')"
    figure = {"figure": {"name": "fig-x-a", "caption": "{glue:text}`description_said`"}}
    figure |= {"image": {"alt": "A {glue:text}`description_said`"}}
    cells = [parameters, *map(nbformat.v4.new_code_cell, (imports, load, first, *rest))]
    cells[-1].metadata["mystnb"] = figure
    write(folder / "notebooks" / "more.ipynb", notebook, cells, ["description_said"])
    pages = [f"notebooks/{name}" for name in (*SAID, "more")] + ["book/execution"]
    toc = "format: jb-book\nroot: book/intro\nchapters:\n" + "".join(f"  - file: {page}\n" for page in pages)
    (folder / "book" / "_toc.yml").write_text(toc)
    (folder / "book" / "intro.md").write_text("# Introduction\n")
    tables_ = "# Execution\n\n```{include} _executed.txt\n```\n\n```{include} _runs.txt\n```\n"
    (folder / "book" / "execution.md").write_text(tables_)


def write(path: Path, like: Any, cells: list[Any], said: list[str]) -> None:
    title = nbformat.v4.new_markdown_cell(f"# Page {path.stem}")
    glued = nbformat.v4.new_markdown_cell("Said: " + ", ".join(f"{{glue:text}}`{key}`" for key in said))
    notebook = nbformat.v4.new_notebook(cells=[title, *cells, glued], metadata=like.metadata)
    nbformat.write(notebook, path)


def browse(page: Path, profile: Path) -> BeautifulSoup:
    """What a browser has made of a page, its scripts run."""
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", f"--user-data-dir={profile}"]
    command += ["--disable-background-networking", "--virtual-time-budget=3000", "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return BeautifulSoup(done.stdout, "html.parser")


def straight(text: str) -> str:
    """With the quotes of the keyboard, which Sphinx makes typographic in all texts of a book, and single spaces."""
    return " ".join(text.translate(str.maketrans("“”‘’", "\"\"''")).split())


@pytest.mark.skipif(not BROWSER, reason="no chromium")
def test_a_browser_shows_hostile_text_and_runs_none_of_it(tmp_path: Path, stored_run: Callable[..., Any]) -> None:
    study = write_project(tmp_path / "project", stored_run)
    parameters = {"study": str(study), "train_file": "studies/own.csv", "text": "text", "label": "label"}
    html = book.build(root=tmp_path / "project", parameters=parameters).parent
    pages = [*(html / "notebooks").glob("*.html"), html / "book" / "execution.html"]
    assert len(pages) == len(SAID) + 2
    for page in pages:
        shown, written = browse(page, tmp_path / "profile"), BeautifulSoup(page.read_text("utf8"), "html.parser")
        assert shown.title.string == written.title.string
        text = straight(shown.article.get_text())
        assert [t for t in HOSTILE if straight(t) not in text] == [], page.name
        assert shown.select("img[src=x], [onerror], [onclick=c], a[href^=javascript], a[href^='https://i.org']") == []
        assert not [
            tag for tag in shown.article.select("script, sub, .math") if "a_1" in (t := tag.text) or "owned" in t
        ]
        alts = [straight(image["alt"]) for image in shown.article("img", alt=True)]
        assert page.stem != "more" or f"A {straight(SCRIPT + MARKUP)}" in alts
