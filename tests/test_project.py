"""The project's own files agree with each other, and its modules need no more than they say."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from fewft.weights import BUNDLED

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
LOCK = dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
LOCK = {canonicalize_name(name): version for name, version in LOCK.items()}
WANTED = [Requirement(r) for r in PROJECT["dependencies"] + sum(EXTRAS.values(), []) if not r.startswith("fewft[")]


@pytest.mark.parametrize("wanted", WANTED, ids=str)
def test_each_dependency_is_locked_at_a_version_that_it_accepts(wanted: Requirement) -> None:
    assert wanted.specifier.contains(LOCK[canonicalize_name(wanted.name)])


def test_the_extra_all_is_every_extra() -> None:
    (everything,) = EXTRAS["all"]
    assert Requirement(everything).extras == set(EXTRAS) - {"all"}


def test_the_bundled_model_comes_from_the_package_that_its_extra_pins() -> None:
    assert EXTRAS["bundled"] == list(BUNDLED["minilm"].parts)


def test_conda_and_make_install_the_same_from_the_same_lock() -> None:
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert conda[-1]["pip"] == ["--requirement requirements.lock", "--requirement requirements-cuda.lock"]
    python = next(line for line in conda if str(line).startswith("python=")).removeprefix("python=")
    assert PROJECT["requires-python"] == f">={python}"
    makefile, page = (ROOT / "Makefile").read_text(), (ROOT / "book" / "using.md").read_text()
    assert "$(LOCKED) requirements.lock\n" in makefile and "|| $(LOCKED) requirements-cuda.lock\n" in makefile
    assert "install --require-hashes --no-deps --requirement\n" in makefile
    assert all("install --no-deps --no-build-isolation --editable ." in text for text in (makefile, page))


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-cuda.lock"])
def test_each_locked_version_has_the_hashes_of_its_files_and_comes_from_nowhere_in_particular(name: str) -> None:
    text = re.sub(r"^#.*\n", "", (ROOT / name).read_text(), flags=re.MULTILINE)
    entry = r"[\w.-]+==[^\s;]+(?: ; [^\\\n]+)?(?: \\\n    --hash=sha256:[0-9a-f]{64})+"
    assert re.fullmatch(rf"(?:{entry} ?\n)+", text)  # so no URL, no index, no editable, nothing without a hash
    cuda = [bool(re.match("nvidia|cuda|triton", line)) for line in text.splitlines() if line[:1] != " "]
    assert set(cuda) == {name == "requirements-cuda.lock"}


def test_the_audit_looks_at_the_locks() -> None:
    audit = yaml.safe_load((ROOT / ".github" / "workflows" / "audit.yml").read_text())
    commands = [step["run"] for step in audit["jobs"]["audit"]["steps"] if "run" in step]
    assert commands[0].startswith("pip install pip-audit==")
    assert commands[1] == "pip-audit --require-hashes --disable-pip -r requirements.lock -r requirements-cuda.lock"


def test_what_the_readme_tells_to_type_is_there() -> None:
    readme, makefile = (ROOT / "README.md").read_text(), (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"(?:^|`)make (\w+)", readme, re.MULTILINE))
    assert {"book", "test", "demo"} <= targets
    assert targets <= set(re.findall(r"^(\w+):", makefile, re.MULTILINE))
    for path in re.findall(r"\b(?:notebooks|studies|book|results)/[\w/]+\.\w+", readme):
        assert (ROOT / path).is_file(), path


BLOCKED = """
import importlib, sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in sys.argv[1].split(","):
            raise ImportError(f"{name} is blocked")
sys.meta_path.insert(0, Blocked())
for module in sys.argv[2].split(","):
    importlib.import_module(module)
"""


@pytest.mark.parametrize(
    ("blocked", "modules"),
    [
        (
            "torch,transformers,datasets",
            "fewft.cli,fewft.experiments,fewft.tables,fewft.plots,fewft.book,fewft.verify,fewft.yours,fewft.explore",
        ),
        (
            "datasets,papermill,nbformat,myst_nb,matplotlib,IPython",
            "fewft.cli,fewft.train,fewft.sweep,fewft.experiments,fewft.yours",
        ),
    ],
)
def test_modules_import_without_what_they_do_not_need(blocked: str, modules: str) -> None:
    command = [sys.executable, "-c", BLOCKED, blocked, modules]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
