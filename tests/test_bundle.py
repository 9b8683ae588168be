"""The bundle for a machine without a network: its checker finds what is not as it was, its installer asks nobody."""

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

TOOLS = Path(__file__).parents[1] / "tools" / "bundle"
TAG = f"cp{sys.version_info.major}{sys.version_info.minor}"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle with our scripts and a torch of no content, its checksums written."""
    folder = tmp_path / "a bundle"
    (folder / "project").mkdir(parents=True)
    (folder / "wheels").mkdir()
    (folder / "wheels" / f"torch-1-{TAG}-{TAG}-any.whl").touch()
    (folder / "project" / "a.csv").write_text("1\n")
    for name in ("install", "check.py"):
        shutil.copy(TOOLS / name, folder)
    assert run(folder, "check.py", "--write").returncode == 0
    return folder


def run(bundle: Path, name: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    program = [sys.executable, "-B"] if name.endswith(".py") else ["env", f"PYTHON={sys.executable}", "bash"]
    command = [*program, str(bundle / name), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=bundle.parent)


def test_a_whole_bundle_has_no_faults_for_us_nor_for_sha256sum(bundle: Path) -> None:
    done = run(bundle, "check.py")
    assert (done.returncode, done.stdout) == (0, "SHA256SUMS: every file is as it was written\n")
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=bundle, check=True)


def test_a_changed_a_missing_and_an_extra_file_are_named(bundle: Path) -> None:
    (bundle / "project" / "a.csv").write_text("2\n")
    (bundle / "install").unlink()
    (bundle / "wheels" / "b-1-py3-none-any.whl").touch()
    done = run(bundle, "check.py")
    lines = ["changed: project/a.csv", "missing: install", "extra: wheels/b-1-py3-none-any.whl"]
    assert (done.returncode, done.stdout.splitlines()) == (1, lines)


def test_the_checker_refuses_a_wrong_call(bundle: Path) -> None:
    assert run(bundle, "check.py", "--wirte").returncode == 2
    (bundle / "SHA256SUMS").unlink()
    done = run(bundle, "check.py")
    assert done.returncode == 2 and "no SHA256SUMS in" in done.stderr


def test_nothing_is_installed_from_a_bundle_with_a_fault(bundle: Path) -> None:
    (bundle / "project" / "a.csv").write_text("2\n")
    done = run(bundle, "install", "there")
    assert (done.returncode, done.stdout) == (1, "changed: project/a.csv\n")
    assert not (bundle.parent / "there").exists()


def test_the_installer_says_which_python_and_which_folder_it_takes(bundle: Path) -> None:
    (bundle / "wheels" / f"torch-1-{TAG}-{TAG}-any.whl").rename(bundle / "wheels" / "torch-1-cp399-cp399-any.whl")
    done = run(bundle, "install", "there")
    assert done.returncode == 2 and f"is {TAG}; accepted:" in done.stderr and "torch-1-cp399" in done.stderr
    done = run(bundle, "install", str(bundle))
    assert done.returncode == 2 and "accepted: one that is not" in done.stderr


def test_the_installer_asks_no_index() -> None:
    text = (TOOLS / "install").read_text()
    calls = re.findall(r"^.*\bpip (?:install|download|wheel)\b.*$", text, re.MULTILINE)
    assert len(calls) == 1 and '--no-index --find-links "$bundle/wheels"' in calls[0]
    assert "PIP_CONFIG_FILE=/dev/null" in text and "://" not in text
    added = re.findall(r"\badd (--.*?)(?:;|$)", text, re.MULTILINE)
    assert len(added) == 3 and all(re.match("--require-hashes|--no-build-isolation --editable .", x) for x in added)


def test_everything_locked_goes_into_the_bundle(root: Path) -> None:
    lock = (root / "requirements.lock").read_text()
    (program,) = re.findall(r"awk '(.*)' requirements.lock", (TOOLS / "make").read_text())
    done = subprocess.run(["awk", program], input=lock, capture_output=True, text=True, check=True)
    (torch,) = set(re.findall(r"^\S+==", lock, re.MULTILINE)) - set(re.findall(r"^\S+==", done.stdout, re.MULTILINE))
    assert torch == "torch=="


@pytest.fixture(scope="module")
def checker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check", TOOLS / "check.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_path_below_the_folder_may_have_any_name(checker: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "a  b é").mkdir()
    (tmp_path / "a  b é" / "SHA256SUMS").write_text("of another folder")
    assert checker.main(["--write"], tmp_path) == 0
    assert checker.faults(tmp_path) == []
    (tmp_path / "a  b é" / "SHA256SUMS").write_text("changed")
    assert checker.faults(tmp_path) == ["changed: a  b é/SHA256SUMS"]
