"""The Reference: every public name is on a page, with a docstring that says what it raises and where it comes from."""

import ast
import importlib
import inspect
import json
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest
import yaml

import fewft.config
import fewft.studies

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "book").glob("api*.md"))
DIRECTIVE = re.compile(r"^\.\. auto(function|class|exception|module):: (fewft[\w.]*)", re.MULTILINE)
DRAWN = """
import importlib, sys
sys.path.insert(0, sys.argv[1])
import fewft_api
from sphinx.ext.autodoc.mock import mock
end = sys.argv.index("--")
fewft_api.let_mocks_stand_for_types()
with mock(sys.argv[2:end]):
    for name in sys.argv[end + 1:]:
        importlib.import_module(name)
from fewft.train import RunResult
print(RunResult)
"""
MOCKED = yaml.safe_load((ROOT / "_config.yml").read_text())["sphinx"]["config"]["autodoc_mock_imports"]


def is_public(value: object) -> bool:
    """Whether it is a function or class of ours; constants are not documented one by one."""
    ours = getattr(value, "__module__", None) or ""
    return (inspect.isclass(value) or isinstance(value, FunctionType)) and ours.startswith("fewft")


def resolve(name: str) -> Any:
    module, _, last = name.rpartition(".")
    return getattr(importlib.import_module(module), last)


def documented() -> dict[str, Any]:
    """Full name as on the page -> object."""
    found = {}
    for kind, name in DIRECTIVE.findall("".join(page.read_text("utf8") for page in PAGES)):
        if kind == "module":
            module = importlib.import_module(name)
            own = [n for n, v in vars(module).items() if getattr(v, "__module__", "") == name and not n.startswith("_")]
            found |= {f"{name}.{n}": getattr(module, n) for n in getattr(module, "__all__", own)}
        else:
            found[name] = resolve(name)
    return {name: value for name, value in found.items() if is_public(value)}


def used(source: str) -> Iterator[str]:
    """Full names of what a piece of code takes from fewft: `plots.grid` after `from fewft import plots`."""
    tree, modules = ast.parse(source), {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "fewft":
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                if node.module == "fewft":
                    modules[alias.name] = name
                else:
                    yield name
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            yield f"{modules[node.value.id]}.{node.attr}"


def sources() -> Iterator[str]:
    """The code of each notebook, and that of README and of the Reference's first page."""
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        cells = json.loads(path.read_text("utf8"))["cells"]
        yield "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")
    for page in (ROOT / "README.md", ROOT / "book" / "api.md"):
        yield from re.findall(r"```python\n(.*?)```", page.read_text("utf8"), re.DOTALL)


DOCUMENTED = documented()


def test_every_name_that_notebooks_and_readme_use_is_in_the_reference() -> None:
    names = {name for source in sources() for name in used(source)}
    objects = {id(value) for value in DOCUMENTED.values()}
    wanted = {name: resolve(name) for name in names}
    assert len(names) > 100  # so that a change of the notebooks' style does not empty this test
    assert [name for name, value in sorted(wanted.items()) if is_public(value) and id(value) not in objects] == []


def test_the_pages_are_in_the_book_and_name_no_object_twice() -> None:
    parts = yaml.safe_load((ROOT / "book" / "_toc.yml").read_text())["parts"]
    (chapters,) = (part["chapters"] for part in parts if part["caption"] == "Reference")
    assert sorted(chapter["file"] for chapter in chapters) == [f"book/{page.stem}" for page in PAGES]
    assert len({id(value) for value in DOCUMENTED.values()}) == len(DOCUMENTED)


@pytest.mark.parametrize("name", sorted(DOCUMENTED))
def test_the_docstring_says_what_is_raised(name: str) -> None:
    value = DOCUMENTED[name]
    said = inspect.getdoc(value) or ""
    assert said and not said.startswith(f"{value.__name__}("), name  # a dataclass without one has its signature
    body = ast.parse(textwrap.dedent(inspect.getsource(value)))
    raised = {ast.unparse(n.exc).partition("(")[0] for n in ast.walk(body) if isinstance(n, ast.Raise) and n.exc}
    if isinstance(value, FunctionType):
        assert not raised or "Raises:" in said, f"{name} raises {', '.join(sorted(raised))}"


def test_what_draws_or_tabulates_names_its_source() -> None:
    functions = {n: v for n, v in DOCUMENTED.items() if isinstance(v, FunctionType)}
    draws = [n for n, v in functions.items() if {"ax", "axes"} & set(inspect.signature(v).parameters)]
    tables = [n for n in functions if n.startswith("fewft.tables.") and "table" in n.rpartition(".")[2]]
    assert len(draws) > 9 and len(tables) > 20
    told = re.compile(r"Paper: |([Bb]eyond|[Nn]ot in) the paper")
    assert [n for n in (*draws, *tables) if not told.search(functions[n].__doc__)] == []


def test_the_reference_is_drawn_without_torch() -> None:
    """As autodoc does it: what is mocked is not asked for, the rest of fewft is there."""
    modules = sorted({value.__module__ for value in DOCUMENTED.values()})
    command = [sys.executable, "-c", DRAWN, str(ROOT / "book" / "_ext"), *MOCKED, "--", *modules]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "torch" in MOCKED and "class" in done.stdout


def test_the_settings_of_a_run_are_a_table() -> None:
    page = (ROOT / "book" / "api_runs.md").read_text("utf8")
    assert "autoclass:: fewft.config.RunConfig(*, task: str, ...)\n" in page  # its settings stand in the table alone
    lines: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "book" / "_ext")
        table = importlib.import_module("fewft_api").table_of_settings
        table(None, "class", "fewft.config.RunConfig", fewft.config.RunConfig, None, lines)
        table(None, "class", "fewft.studies.Study", fewft.studies.Study, None, lines)
    named = [match[1] for line in lines if (match := re.fullmatch(r"   \* - ``(\w+)(?: = .+)?``", line))]
    assert named == fewft.config.RunConfig.names()
    at = lines.index("   * - ``warmup_ratio = 0.1``")
    assert lines[at + 1 : at + 3] == ["     - share of the steps; then linear decay to 0", "     - Section 3"]
