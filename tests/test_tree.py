"""The library's tree: no import cycle, no long file, no long function."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

LIBRARY = Path(__file__).parents[1] / "fewft"
MOST_LINES = 250  # of a file
MOST_FUNCTION_LINES = 40
MOST_LOOP_LINES = 60  # of the training loop
LOOP = "fewft.trainer.run"


def modules(folder: Path) -> dict[str, Path]:
    """The modules of a package by name; a package's is its folder's."""
    paths = {".".join(p.relative_to(folder.parent).with_suffix("").parts): p for p in folder.rglob("*.py")}
    return {name.removesuffix(".__init__"): path for name, path in paths.items()}


def imports(path: Path, known: dict[str, Path]) -> set[str]:
    """The known modules that one imports, at its top or within its functions, for types too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = [(f"{node.module}.{alias.name}", node.module or "") for alias in node.names]
            found |= {name if name in known else module for name, module in names}
    return found & known.keys()


def cycle(folder: Path) -> list[str]:
    """Modules each of which imports the next, the last one being the first again; none if there is no such ring."""
    known = modules(folder)
    try:
        TopologicalSorter({name: imports(path, known) - {name} for name, path in known.items()}).prepare()
    except CycleError as error:
        return error.args[1][::-1]
    return []


def long_functions(folder: Path) -> list[str]:
    """Functions over the limit, with their lines."""
    found = []
    for name, path in modules(folder).items():
        for node in ast.walk(ast.parse(path.read_text("utf8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = node.end_lineno - node.lineno + 1
                limit = MOST_LOOP_LINES if f"{name}.{node.name}" == LOOP else MOST_FUNCTION_LINES
                found += [f"{name}.{node.name}: {lines}"] if lines > limit else []
    return found


def long_files(folder: Path) -> list[str]:
    """Files over the limit, with their lines."""
    sizes = {name: len(path.read_text("utf8").splitlines()) for name, path in modules(folder).items()}
    return [f"{name}: {lines}" for name, lines in sizes.items() if lines > MOST_LINES]


def test_the_librarys_tree() -> None:
    assert not cycle(LIBRARY)
    assert not long_functions(LIBRARY)
    assert not long_files(LIBRARY)
    assert LOOP.rpartition(".")[0] in modules(LIBRARY)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "lib"
    (folder / "sub").mkdir(parents=True)
    for name in ("__init__", "a", "b", "sub/__init__", "sub/c"):
        (folder / f"{name}.py").write_text("")
    return folder


@pytest.mark.parametrize(
    ("sources", "found"),
    [
        ({"a": "import lib.b", "b": "def f():\n    from lib import a"}, ["lib.a", "lib.b"]),
        ({"sub/__init__": "from lib.sub.c import x", "sub/c": "from lib.sub import y"}, ["lib.sub", "lib.sub.c"]),
        (
            {"a": "from lib.sub import c", "sub/c": "from lib.b import x", "b": "if 0:\n    from lib.a import y"},
            ["lib.a", "lib.b", "lib.sub.c"],
        ),
        ({"a": "from lib import b\nfrom lib.sub import c\nimport json", "b": "from lib.sub.c import x"}, []),
    ],
    ids=["in a function", "a package and its module", "three", "none"],
)
def test_a_cycle_is_named(package: Path, sources: dict[str, str], found: list[str]) -> None:
    for name, source in sources.items():
        (package / f"{name}.py").write_text(source)
    ring = cycle(package)
    assert sorted(set(ring)) == found
    known = modules(package)
    assert all(after in imports(known[before], known) for before, after in zip(ring, ring[1:], strict=False))


def test_what_is_too_long_is_named(package: Path) -> None:
    body = "    x = 1\n" * MOST_FUNCTION_LINES
    (package / "a.py").write_text(f"def f():\n{body}\n\ndef g():\n{body[10:]}")
    (package / "b.py").write_text("x = 1\n" * (MOST_LINES + 1))
    assert long_functions(package) == [f"lib.a.f: {MOST_FUNCTION_LINES + 1}"]
    assert long_files(package) == [f"lib.b: {MOST_LINES + 1}"]
