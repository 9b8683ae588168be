"""The GitHub workflows: they call what is there, may do no more than they need, and take in nothing unknown."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from fewft.options import parser

ROOT = Path(__file__).parents[1]
FLOWS = {path.stem: yaml.safe_load(path.read_text()) for path in sorted((ROOT / ".github" / "workflows").glob("*.yml"))}
JOBS = [(flow, job) for flow, said in FLOWS.items() for job in said["jobs"]]
STEPS = [(flow, job, step) for flow, job in JOBS for step in FLOWS[flow]["jobs"][job]["steps"]]
LINES = [(flow, line) for flow, _, step in STEPS for line in step.get("run", "").splitlines()]
MAY_WRITE = {  # job: what it may do beside reading the repository
    ("book", "publish"): {"pages": "write", "id-token": "write"},
    ("book", "colab"): {"contents": "write"},
}
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
MADE = ("_demo", "_colab", "_runs", "_book")  # folders that a line before makes


def faults(line: str) -> list[str]:
    """What a command names that is not there."""
    words = shlex.split(line)
    paths = [w for w in words if re.fullmatch(r"[\w.-]*/?[\w./-]+\.(?:py|csv|lock|toml)|\.ci/\w+", w)]
    found = [f"no file {p}" for p in paths if not p.startswith(MADE) and not (ROOT / p).is_file()]
    if words[0] == "make":
        found += [f"no target {t}" for t in words[1:] if t not in TARGETS]
    if words[0].endswith("/fewft"):
        try:
            parser("").parse_args(words[1:])
        except SystemExit:
            found.append(f"no call of fewft: {' '.join(words[1:])}")
    known = ("make", "bash", "python3", "pip", "pip-audit", "git", ".venv/bin/fewft")
    return found + [f"unknown command {words[0]}"] * (words[0] not in known)


def test_the_workflows_are_those_that_we_know() -> None:
    assert set(FLOWS) == {"audit", "book", "weekly"}
    assert {line for _, line in LINES} >= {"bash .ci/run", "make runs", "make same", "make demo"}


@pytest.mark.parametrize(("flow", "line"), LINES)
def test_each_command_names_what_is_there(flow: str, line: str) -> None:
    assert faults(line) == []


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("make boko", "no target boko"),
        ("bash .ci/rnu", "no file .ci/rnu"),
        ("python3 tools/collab.py x", "no file tools/collab.py"),
        (".venv/bin/fewft claims demo --expekt x", "no call of fewft: claims demo --expekt x"),
        (".venv/bin/fewft claims demo --expect results/dmo.csv", "no file results/dmo.csv"),
        ("curl x", "unknown command curl"),
    ],
)
def test_each_fault_is_found(line: str, fault: str) -> None:
    assert faults(line) == [fault]


@pytest.mark.parametrize("flow", FLOWS)
def test_a_workflow_may_read_and_only_named_jobs_may_more_and_those_only_for_main(flow: str) -> None:
    assert FLOWS[flow]["permissions"] == {"contents": "read"}
    for job, said in FLOWS[flow]["jobs"].items():
        assert said.get("permissions") == MAY_WRITE.get((flow, job))
        if (flow, job) in MAY_WRITE:
            assert said["if"] == "github.ref == 'refs/heads/main' && github.event_name == 'push'"
            assert said["needs"] == ["test", "build"]  # nothing is published that fails


def test_actions_are_githubs_own_each_at_one_version() -> None:
    uses = {step["uses"] for _, _, step in STEPS if "uses" in step}
    assert uses and all(re.fullmatch(r"actions/[\w-]+(?:/\w+)?@(?:v\d+|[0-9a-f]{40})", use) for use in uses)
    versions: dict[str, set[str]] = {}
    for use in uses:
        versions.setdefault(use.partition("@")[0], set()).add(use.partition("@")[2])
    assert [name for name, found in versions.items() if len(found) > 1] == []


def test_no_command_holds_a_text_that_a_stranger_can_set() -> None:
    assert [line for _, line in LINES if "${{" in line] == []  # such as a branch's name: the shell would run it


def test_what_was_trained_is_kept_also_when_a_later_step_fails() -> None:
    steps = FLOWS["book"]["jobs"]["build"]["steps"]
    names = [step.get("run") or step["uses"].partition("@")[0] for step in steps]
    restored, trained, saved = (names.index(n) for n in ("actions/cache/restore", "make runs", "actions/cache/save"))
    assert restored < trained < saved and steps[saved]["if"] == "always()"
    paths = {steps[i]["with"]["path"] for i in (restored, saved)}
    assert paths == {"_runs"} and steps[restored]["with"]["key"] == steps[saved]["with"]["key"]


def test_the_weekly_run_starts_from_nothing() -> None:
    steps: list[dict[str, Any]] = FLOWS["weekly"]["jobs"]["scratch"]["steps"]
    assert not any("cache" in step.get("uses", "") or "cache" in step.get("with", {}) for step in steps)
    assert "\trm -rf _demo " in MAKEFILE.partition("\ndemo:")[2].partition("\n\n")[0]


def test_publishing_takes_what_the_double_build_made() -> None:
    build = FLOWS["book"]["jobs"]["build"]["steps"]
    (path,) = (step["with"]["path"] for step in build if "upload-pages" in step.get("uses", ""))
    assert f"diff -r {path} _book-again/_build/html" in MAKEFILE
