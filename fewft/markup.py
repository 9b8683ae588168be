"""Strangers' text on a page: names of tasks and models, devices, reasons show as written, whatever is in them."""

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

SPECIAL = re.compile(r"[\\`*_{}\[\]<>$|~&#^!@]|^[-+=:%()](?!\d)")  # the latter open a block of MyST at a line's start
NUMBERED = re.compile(r"^(\d+)(?=[.)](?:\s|$))")  # so does a number
FORMULA = re.compile(r"^['=+\-@\t\r]")  # what a spreadsheet computes, and the apostrophe that tells it not to
KEY = "markup"


def escape(text: object) -> str:
    """A text for a line of MyST that shows it: no HTML, role, directive, link, formula, code or cell comes of it."""
    line = re.sub(r"\s*[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]\s*", " ", str(text)).replace("\0", "\ufffd")
    return NUMBERED.sub(r"\1\\", SPECIAL.sub(r"\\\g<0>", line))


def code(text: object) -> str:
    """A text as a code span of MyST, whatever backticks it has."""
    line = " ".join(str(text).split()).replace("\0", "\ufffd")
    ticks = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    space = " " if "`" in line else ""
    return f"{ticks}{space}{line}{space}{ticks}"


def with_markup(table: "pd.DataFrame", *columns: str) -> "pd.DataFrame":
    """Say that these columns are MyST of our own making; `book.show_table` escapes all others."""
    table.attrs[KEY] = [*table.attrs.get(KEY, []), *columns]
    return table


def guard_formula(text: object) -> object:
    """A text for a CSV file: one that a spreadsheet would compute gets an apostrophe before it."""
    return f"'{text}" if isinstance(text, str) and FORMULA.match(text) else text


def unguard_formula(text: str) -> str:
    """The inverse of `guard_formula`."""
    return text[1:] if text[:1] == "'" else text
