"""Shared by the tests: the project's folder, a small study as a TOML file, and stored runs that nobody trained."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fewft.config import RunConfig

STUDY = {
    "description": "a study for tests",
    "model": "bundled:minilm",
    "tasks": ["rte-1k", "cola-1k"],
    "learning_rate": 1e-4,
    "seeds": {"bias_correction": 3, "stability_map": 2, "reinit": 2, "longer_search": 1, "longer": 2, "methods": 2},
    "grids": {"learning_rate": [1e-5, 1e-4, 1e-3], "reinit_layers": [1, 2], "max_steps": [50, 200, 400]},
}


def as_toml(value: Any) -> str:
    """A value of STUDY, sections inline."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {as_toml(v)}" for key, v in value.items()) + "}"
    return json.dumps(value)


TALLY = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="tests/faults at full length, as `make faults` does")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[TALLY] = []


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):  # one of several processes: its lines go to the one that prints
        session.config.workeroutput["tally"] = session.config.stash[TALLY]


@pytest.hookimpl(optionalhook=True)  # called by pytest-xdist
def pytest_testnodedown(node: Any) -> None:
    node.config.stash[TALLY].extend(getattr(node, "workeroutput", {}).get("tally", []))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.stash[TALLY]:
        terminalreporter.section("faults")
        terminalreporter.write("".join(f"{line}\n" for line in config.stash[TALLY]))


@pytest.fixture(scope="session")
def long(request: pytest.FixtureRequest) -> bool:
    """Whether the campaigns in tests/faults run at full length."""
    return request.config.getoption("--long")


@pytest.fixture(scope="session")
def tally(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Keeps a line of counts for the end of the output."""
    return request.config.stash[TALLY].append


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> None:
    """Let Ctrl-C be an exception also where the tests were started in the background, with it ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def root() -> Path:
    """The project's folder."""
    return Path(__file__).parents[1]


@pytest.fixture
def write_study(tmp_path: Path) -> Callable[..., Path]:
    """Write `<name>.toml`: STUDY with other values; None leaves a key out, `more` is added as it is."""

    def write(name: str = "small", more: str = "", **changes: Any) -> Path:
        values = {key: value for key, value in (STUDY | changes).items() if value is not None}
        path = tmp_path / f"{name}.toml"
        path.write_text("".join(f"{key} = {as_toml(value)}\n" for key, value in values.items()) + more)
        return path

    return write


@pytest.fixture
def stored_run() -> Callable[..., dict[str, Any]]:
    """A record as the store holds it."""

    def record(config: RunConfig, **changes: Any) -> dict[str, Any]:
        scores = {"best_val": 0.6, "best_step": 10, "test_best": 0.55, "test_last": 0.5, "majority_test": 0.525}
        curves = {"eval_steps": [10, 20], "val_scores": [0.6, float("nan")], "train_loss": [0.7, 0.6]}
        state = {"status": "ok", "reason": "", "metric": "accuracy", "degenerate": False}
        return {"run_id": config.run_id, **config.to_dict(), **state, **scores, **curves, **changes}

    return record
