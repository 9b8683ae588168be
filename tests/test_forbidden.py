"""No file of the project runs text as code or unpickles anything; a look at every call and import, not at words.

Worker processes and Ray hand configurations and results to each other by pickle, inside the standard library and inside
Ray: between processes of ours that run the same code, never from a file or from someone else.
"""

import ast
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("fewft", "tests", "book", "notebooks", "benchmarks", "examples", "studies", "results", "tools")
PICKLES = ("pickle", "_pickle", "cPickle", "cloudpickle", "marshal", "shelve", "dill", "joblib")
CALLS = {  # what may not be called, by its full name
    "eval", "exec", "compile", "__import__", "builtins.eval", "builtins.exec", "builtins.compile", "os.system", "os.popen",
    "subprocess.getoutput", "subprocess.getstatusoutput", "torch.load", "pandas.read_pickle", "yaml.unsafe_load",
    "yaml.full_load", "yaml.load_all", "runpy.run_path", "runpy.run_module", "pty.spawn",
}  # fmt: skip
ONLY_FALSE = ("allow_pickle", "shell", "trust_remote_code")  # arguments that may be False and nothing else
EXCEPT = {("tests/test_notebooks.py", name) for name in ("eval", "exec", "compile")}  # runs the project's own notebooks


def faults(source: str, *, library: bool = False) -> list[str]:
    """What is forbidden in a piece of Python, in its order.

    Args:
        source: of a module or a notebook's cell; what is not Python (a magic, a shell command) is a fault itself.
        library: whether transformers must be told each time not to run a model's code.
    """
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return ["not Python"]
    names: dict[str, str] = {}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {
                (a.asname or a.name.partition(".")[0]): a.name if a.asname else a.name.partition(".")[0]
                for a in node.names
            }
            found += [f"import {a.name}" for a in node.names if a.name.partition(".")[0] in PICKLES]
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            names |= {(a.asname or a.name): f"{module}.{a.name}" for a in node.names}
            found += [f"import {module}"] * (module.partition(".")[0] in PICKLES)
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return found + [fault for call in calls for fault in call_faults(call, names, library)]


def full_name(node: ast.expr, names: dict[str, str]) -> str:
    """`torch.load` for `t.load` after `import torch as t`; what is no name stays out."""
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    return f"{full_name(node.value, names)}.{node.attr}" if isinstance(node, ast.Attribute) else "?"


def call_faults(call: ast.Call, names: dict[str, str], library: bool) -> Iterator[str]:
    name = full_name(call.func, names)
    texts = [a.value for a in call.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
    options = {k.arg: k.value for k in call.keywords}
    if name in CALLS:
        yield name
    if name == "yaml.load" and "Safe" not in ast.unparse(call):
        yield name
    if name == "importlib.import_module" and texts and texts[0].partition(".")[0] in PICKLES:
        yield f"import {texts[0]}"
    for option in ONLY_FALSE:
        if option in options and ast.unparse(options[option]) != "False":
            yield f"{option}={ast.unparse(options[option])}"
    if library and name.endswith(".from_pretrained") and "trust_remote_code" not in options:
        yield f"{name} without trust_remote_code"


def pieces() -> Iterator[tuple[str, str]]:
    """Every Python file and every code cell, with its file."""
    files = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.*"))]
    for path in files:
        where = path.relative_to(ROOT).as_posix()
        if path.suffix == ".py":
            yield where, path.read_text("utf8")
        elif path.suffix == ".ipynb" and ".ipynb_checkpoints" not in where:
            cells = json.loads(path.read_text("utf8"))["cells"]
            yield from ((where, "".join(c["source"])) for c in cells if c["cell_type"] == "code")


def test_nothing_forbidden_stands_in_the_project() -> None:
    found = [(w, f) for w, source in pieces() for f in faults(source, library=w.startswith(("fewft/", "notebooks/")))]
    assert sorted(set(found) - EXCEPT) == []
    assert set(found) >= EXCEPT  # else the exception is not needed any more
    where = {name for name, _ in pieces()}
    assert {"fewft/sources.py", "book/_ext/fewft_book.py", "notebooks/claims.ipynb", "tests/test_forbidden.py"} <= where


def test_no_python_file_is_overlooked() -> None:
    ours = [folder for folder in ROOT.iterdir() if folder.is_dir() and not folder.name.startswith((".", "_"))]
    code = {f.name for f in ours if any(path.suffix in (".py", ".ipynb") for path in f.rglob("*.*"))}
    assert code <= set(FOLDERS) and not [*ROOT.glob("*.py"), *ROOT.glob("*.ipynb")]


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("x = eval(y)", "eval"),
        ("exec(open(y).read())", "exec"),
        ("def f():\n    return [compile(y, '', 'exec') for y in z]", "compile"),
        ("import builtins\nbuiltins.eval(y)", "builtins.eval"),
        ("from builtins import eval as safe\nsafe(y)", "builtins.eval"),
        ("__import__('os')", "__import__"),
        ("import pickle", "import pickle"),
        ("def f():\n    from dill import loads", "import dill"),
        ("import joblib.parallel as p", "import joblib.parallel"),
        ("import importlib\nimportlib.import_module('marshal')", "import marshal"),
        ("import torch as t\nt.load(y)", "torch.load"),
        ("from torch import load\nload(y, weights_only=True)", "torch.load"),
        ("import numpy as np\nnp.load(y, allow_pickle=True)", "allow_pickle=True"),
        ("np.load(y, allow_pickle=z)", "allow_pickle=z"),
        ("import subprocess as s\ns.run(y, shell=1)", "shell=1"),
        ("import os\nos.system(y)", "os.system"),
        ("from os import popen\npopen(y)", "os.popen"),
        ("import yaml\nyaml.load(y)", "yaml.load"),
        ("import yaml\nyaml.load(y, Loader=yaml.Loader)", "yaml.load"),
        ("import pandas as pd\npd.read_pickle(y)", "pandas.read_pickle"),
        ("A.from_pretrained(y, trust_remote_code=True)", "trust_remote_code=True"),
        ("A.from_pretrained(y)", "A.from_pretrained without trust_remote_code"),
        ("%load_ext x", "not Python"),
        ("!curl x", "not Python"),
    ],
)
def test_each_fault_is_found(source: str, fault: str) -> None:
    assert faults(source, library=True) == [fault]


@pytest.mark.parametrize(
    "source",
    [
        "import re, torch\nre.compile(y)\ntorch.compile(m)\nm.eval()",
        "import ast\nast.literal_eval(y)",
        "import yaml\nyaml.safe_load(y)\nyaml.load(y, Loader=yaml.SafeLoader)",
        "A.from_pretrained(y, trust_remote_code=False)",
        "'import pickle; eval(x)'  # exec(y)",
        "import safetensors.torch\nsafetensors.torch.load(y)",
    ],
)
def test_what_is_allowed_is_no_fault(source: str) -> None:
    assert faults(source, library=True) == []
