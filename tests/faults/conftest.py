"""Fixtures of the crash campaign."""

from collections.abc import Iterator
from pathlib import Path

import harness
import pytest


@pytest.fixture(scope="session")
def zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[harness.Zygote]:
    """Forks commands."""
    zygote = harness.Zygote(tmp_path_factory.mktemp("zygote"))
    yield zygote
    zygote.close()


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory, long: bool) -> Path:
    """The study of the campaign."""
    path = tmp_path_factory.mktemp("study") / "tiny.toml"
    path.write_text(harness.study_text(long=long))
    return path


@pytest.fixture(scope="session")
def reference(zygote: harness.Zygote, study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a store that nothing disturbed; its cache beside it."""
    folder = tmp_path_factory.mktemp("reference") / "results"
    call = zygote.start(harness.run_of(study, folder), folder.parent / "cache")
    assert call.code() == 0, call.said()
    return folder
