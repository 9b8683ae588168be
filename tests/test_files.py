"""Tables from files: what cannot be read is named."""

import re
from pathlib import Path

import pytest

from fewft.config import UsageError
from fewft.files import read_table


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", b""),
        ("a.csv", "a,y\n\u00e9,1\n".encode("latin1")),
        ("a.jsonl", b'{"a": 1}\n{"a":'),
        ("a.jsonl", b"[1]"),
    ],
)
def test_files_that_are_no_rows_are_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=re.escape(str(tmp_path / name)) + "' cannot be read .*UTF-8 rows"):
        read_table(tmp_path / name)
