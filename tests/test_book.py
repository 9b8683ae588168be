"""fewft.book: parameters are checked first, a notebook appears only when it ran, and the notebooks keep the rules."""

import ast
import json
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest

from fewft.book import (
    BookError,
    build,
    check_parameters,
    execute,
    execute_all,
    notebook_parameters,
    outside_requests,
    show_table,
)
from fewft.config import UsageError
from fewft.markup import with_markup

ROOT = Path(__file__).parents[1]
FIGURE = {"image": {"alt": "scores rise"}, "figure": {"name": "fig-1", "caption": "n is 3."}}
PARAMETERS = 'study = "minilm"  # a name\nseeds = 0  # 0 for the study\'s = all\ntrain = False\nrate = 2e-5\n'


def code(source: str, *tags: str, **mystnb: dict) -> nbformat.NotebookNode:
    metadata = {"tags": list(tags)} | ({"mystnb": mystnb} if mystnb else {})
    return nbformat.v4.new_code_cell(source, metadata=metadata)


def write(path: Path, *cells: nbformat.NotebookNode, kernel: str = "python3") -> Path:
    spec = {"name": kernel, "display_name": "Python 3", "language": "python"}
    path.parent.mkdir(exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(cells=list(cells), metadata={"kernelspec": spec}), path)
    return path


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    return write(tmp_path / "notebooks" / "a.ipynb", code(PARAMETERS, "parameters"), code("print(seeds + 1)"))


# --- parameters ---------------------------------------------------------------------------------------------------
def test_parameters_are_the_tagged_cells_literals(notebook: Path) -> None:
    assert notebook_parameters(notebook) == {"study": "minilm", "seeds": 0, "train": False, "rate": 2e-5}


@pytest.mark.parametrize("value", [1, 0.5])
def test_an_int_stands_for_a_float(notebook: Path, value: float) -> None:
    check_parameters(notebook, {"rate": value, "study": "demo", "train": True})


def test_unknown_parameter_names_the_nearest_and_all(notebook: Path) -> None:
    with pytest.raises(UsageError, match=r"'sedes'.*'seeds'.*rate, seeds, study, train"):
        check_parameters(notebook, {"sedes": 3})


@pytest.mark.parametrize(
    ("name", "value"), [("seeds", "3"), ("seeds", True), ("seeds", 3.0), ("train", 1), ("study", 3)]
)
def test_wrong_type_is_refused(notebook: Path, name: str, value: object) -> None:
    with pytest.raises(UsageError, match=rf"parameter {name}: .* is {type(value).__name__}; accepted: "):
        check_parameters(notebook, {name: value})


def test_a_parameter_must_belong_to_some_notebook(notebook: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'sedes'"):
        execute_all([notebook], tmp_path / "stage", {"sedes": 3})
    assert not (tmp_path / "stage").exists()


def test_build_refuses_a_folder_that_is_no_project(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no _config\.yml"):
        build(root=tmp_path, parameters={})


# --- execution ----------------------------------------------------------------------------------------------------
def test_execute_writes_the_same_bytes_twice(notebook: Path, tmp_path: Path) -> None:
    outs = [tmp_path / "out" / name for name in ("1.ipynb", "2.ipynb")]
    for out in outs:
        execute(notebook, out, {"seeds": 3})
    cells = nbformat.read(outs[0], as_version=4).cells
    assert cells[2].outputs[0].text == "4\n"
    assert cells[1].metadata.tags == ["injected-parameters", "hide-input"]
    assert outs[0].read_bytes() == outs[1].read_bytes()
    assert sorted(out.parent.iterdir()) == outs


def test_execute_leaves_nothing_when_a_cell_fails(notebook: Path, tmp_path: Path) -> None:
    bad = write(tmp_path / "notebooks" / "bad.ipynb", code("print('before')"), code("1 / 0"))
    out = tmp_path / "out" / "bad.ipynb"
    out.parent.mkdir()
    out.write_text("an older success")
    with pytest.raises(BookError, match=r"bad\.ipynb failed(.|\n)*ZeroDivisionError"):
        execute(bad, out, {})
    assert list(out.parent.iterdir()) == []


def test_execute_all_gives_each_its_own_and_names_the_failure(notebook: Path, tmp_path: Path) -> None:
    plain = write(tmp_path / "notebooks" / "plain.ipynb", code("from pathlib import Path\nPath.cwd().name"))
    execute_all([notebook, plain], tmp_path / "stage", {"seeds": 3})
    shown = nbformat.read(tmp_path / "stage" / "notebooks" / "plain.ipynb", as_version=4).cells[0].outputs[0]
    assert shown.data["text/plain"] == "'notebooks'"
    bad = write(tmp_path / "notebooks" / "bad.ipynb", code("raise SystemExit(3)"))
    with pytest.raises(BookError, match=r"bad\.ipynb failed"):
        execute_all([bad], tmp_path / "stage", {})


# --- tables -------------------------------------------------------------------------------------------------------
def test_show_table_keeps_texts_and_aligns_numbers() -> None:
    frame = pd.DataFrame({"Task": ["a|b", "RTE"], "Ours": ["52.90", "–"], "F1": [0.5, np.nan], "n": [3, 4]})
    text = show_table(frame, name="tbl-3", caption="Sizes {cite}`x`.").markdown
    assert text.splitlines() == [
        "~~~{table} Sizes {cite}`x`.",
        ":name: tbl-3",
        "",
        "| Task | Ours | F1 | n |",
        "| :--- | ---: | ---: | ---: |",
        "| a\\|b | 52.90 | 0.500 | 3 |",
        "| RTE | – | – | 4 |",
        "~~~",
    ]


def test_show_table_shows_a_named_index_only() -> None:
    frame = pd.DataFrame({"n": [1]}, index=pd.Index(["RTE"], name="Task"))
    assert "| RTE | 1 |" in show_table(frame, name="tbl-x-a", caption="A.").markdown
    assert "RTE" not in show_table(frame.rename_axis(None), name="tbl-x-a", caption="A.").markdown


def test_show_table_keeps_numbers_that_belong_together_on_one_line() -> None:
    frame = with_markup(pd.DataFrame({"Ours": ["**72.6 ± 1.6**", "one of two"], "n": ["3 of 20", "RTE (1k)"]}), "Ours")
    text = show_table(frame, name="tbl-x-a", caption="A.").markdown
    assert "| **72.6\u00a0±\u00a01.6** | 3\u00a0of\u00a020 |" in text and "| one of two | RTE\u00a0(1k) |" in text


# --- the notebooks' rules -----------------------------------------------------------------------------------------
def faults(folder: Path) -> list[str]:
    """What is wrong with the notebooks in a folder, one line a fault."""
    found = []
    for path in sorted(folder.glob("*.ipynb")):
        notebook = json.loads(path.read_text("utf8"))
        cells = [cell | {"source": "".join(cell["source"])} for cell in notebook["cells"]]
        kernel = notebook["metadata"].get("kernelspec", {}).get("name")
        found += [f"{path.name}: kernelspec {kernel}"] * (kernel != "python3")
        for number, cell in enumerate(cells):
            problems = code_faults(cell) if cell["cell_type"] == "code" else []
            found += [f"{path.name}, cell {number}: {problem}" for problem in problems]
    return found


def code_faults(cell: dict) -> list[str]:
    source, tags = cell["source"], cell["metadata"].get("tags", [])
    lines = [line for line in source.splitlines() if not line.startswith("%")]
    figure, image = (cell["metadata"].get("mystnb", {}).get(key, {}) for key in ("figure", "image"))
    draws = any(word in source for word in ("grid(", "subplots(", "plt."))
    nodes = list(ast.walk(ast.parse("\n".join(lines))))
    checks = {
        "has outputs": bool(cell["outputs"]) or cell["execution_count"] is not None,
        "over 20 lines": len(source.splitlines()) > 20,
        "def or class": any(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) for node in nodes),
        "figure without alt text": bool(figure or draws) and not image.get("alt"),
        "figure without name": bool(figure or draws) and not figure.get("name", "").startswith("fig-"),
        "figure without caption": bool(figure or draws) and not figure.get("caption"),
        # papermill's own check reads each line up to its only "=", and calls the others unknown
        "parameter line with a second '='": "parameters" in tags and any(line.count("=") > 1 for line in lines),
        "parameter without a comment": "parameters" in tags and any("=" in x and "#" not in x for x in lines),
    }
    return [name for name, wrong in checks.items() if wrong]


def test_the_projects_notebooks_keep_the_rules() -> None:
    assert faults(ROOT / "notebooks") == []


def test_a_good_notebook_has_no_faults(tmp_path: Path) -> None:
    parameters = code('study = "demo"  # a name', "parameters")
    write(tmp_path / "good.ipynb", parameters, code("%matplotlib inline\nplots.box(study)", **FIGURE))
    assert faults(tmp_path) == []


@pytest.mark.parametrize(
    ("cell", "fault"),
    [
        (code("fig, axes = plots.grid(3)"), "figure without alt text"),
        (code("plots.box(runs)", image=FIGURE["image"], figure={"name": "fig-1"}), "figure without caption"),
        (code("show(x)", image=FIGURE["image"], figure={"name": "one", "caption": "A."}), "figure without name"),
        (code("def f():\n    pass"), "def or class"),
        (code("x = 1\n" * 21), "over 20 lines"),
        (code("1") | {"outputs": [], "execution_count": 4}, "has outputs"),
        (code("seeds = 0  # 0 = the study's", "parameters"), "parameter line with a second '='"),
        (code("seeds = 0", "parameters"), "parameter without a comment"),
    ],
)
def test_each_fault_is_found(tmp_path: Path, cell: nbformat.NotebookNode, fault: str) -> None:
    write(tmp_path / "bad.ipynb", nbformat.from_dict(cell))
    assert f"bad.ipynb, cell 0: {fault}" in faults(tmp_path)


def test_another_kernel_is_found(tmp_path: Path) -> None:
    write(tmp_path / "bad.ipynb", code("1"), kernel="venv")
    assert faults(tmp_path) == ["bad.ipynb: kernelspec venv"]


def test_every_deviation_can_be_linked_to() -> None:
    lines = (ROOT / "book" / "deviations.md").read_text("utf8").splitlines()
    entries = [i for i, line in enumerate(lines) if line.startswith("## ") and not line.startswith("## Kept")]
    assert len(entries) >= 13
    assert [lines[i] for i in entries if not lines[i - 1].startswith("(dev-")] == []


def test_a_page_that_asks_the_network_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text('<a href="https://b.org">text</a><script src="_static/own.js"></script>')
    assert outside_requests(tmp_path) == []
    (tmp_path / "b.html").write_text('<script async src="https://cdn.org/x.js"></script><img src="//cdn.org/x.png">')
    (tmp_path / "c.css").write_text(
        "@import 'https://fonts.org/a.css'; a { background: url(https://fonts.org/b.woff) }"
    )
    outside = ["b.html: https://cdn.org/x.js", "b.html: //cdn.org/x.png"]
    outside += ["c.css: https://fonts.org/a.css", "c.css: https://fonts.org/b.woff"]
    assert outside_requests(tmp_path) == outside


def test_captions_and_alt_texts_say_what_the_notebook_found(tmp_path: Path) -> None:
    glued = code('from fewft.book import glue\nglue("count", 3)')
    texts = {
        "figure": {"name": "fig-1", "caption": "{glue:text}`count` runs"},
        "image": {"alt": "of {glue:text}`count`"},
    }
    notebook = write(tmp_path / "notebooks" / "a.ipynb", code(PARAMETERS, "parameters"), code("1", **texts), glued)
    execute(notebook, out := tmp_path / "out.ipynb", {})
    shown = nbformat.read(out, 4).cells[1].metadata.mystnb
    assert (shown.figure.caption, shown.image.alt) == ("3 runs", "of 3")
    write(notebook, code("1", **texts))
    with pytest.raises(BookError, match="no cell glues 'count'"):
        execute(notebook, out, {})


def test_a_folder_with_somebody_elses_work_is_not_built_in(root: Path, tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    with pytest.raises(UsageError, match="'src' or '_build' that is no book's"):
        build(root=root, parameters={}, out=tmp_path)
    assert (tmp_path / "src").is_dir() and not (tmp_path / "build.log").exists()
