"""Sphinx extension for the book's Reference: docstrings without torch, and the settings of a run as a table."""

import dataclasses
from typing import Any

from sphinx.application import Sphinx
from sphinx.ext.autodoc.mock import _MockObject


def table_of_settings(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Below a dataclass whose fields say what they are (`RunConfig`): default, meaning and source of each."""
    fields = (
        [f for f in dataclasses.fields(obj) if "about" in f.metadata]
        if what == "class" and dataclasses.is_dataclass(obj)
        else []
    )
    if not fields:
        return
    lines += ["", ".. list-table::", "   :header-rows: 1", ""]
    rows = [("Setting and default", "Meaning and unit", "Source")]
    for field in fields:
        default = "" if field.default is dataclasses.MISSING else f" = {field.default!r}"
        rows.append((f"``{field.name}{default}``", field.metadata["about"], field.metadata["source"]))
    for row in rows:
        lines += [f"   {'  ' if place else '* '}- {cell}" for place, cell in enumerate(row)]
    lines.append("")


def let_mocks_stand_for_types() -> None:
    """Let `Tensor | None` be a type also where torch is mocked."""
    _MockObject.__or__ = _MockObject.__ror__ = lambda self, other: self


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.setup_extension("sphinx.ext.autodoc")
    app.setup_extension("sphinx.ext.napoleon")
    let_mocks_stand_for_types()
    app.connect("autodoc-process-docstring", table_of_settings)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
