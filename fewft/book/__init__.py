"""From notebooks to the book: what a cell shows, check parameters, execute, stage, build."""

from fewft.book.cells import Shown, glue, show_table
from fewft.book.notebooks import (
    BookError,
    check_parameters,
    execute,
    execute_all,
    notebook_parameters,
    share_parameters,
)
from fewft.book.pages import build, outside_requests

__all__ = [
    "BookError", "Shown", "build", "check_parameters", "execute", "execute_all", "glue", "notebook_parameters",
    "outside_requests", "share_parameters", "show_table",
]  # fmt: skip
