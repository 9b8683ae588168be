"""Tables from files: what cannot be read is named."""

import re
from pathlib import Path

import pytest

from fewft.config import UsageError
from fewft.files import read_table, to_split


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", b""),
        ("a.csv", "a,y\n\u00e9,1\n".encode("latin1")),
        ("a.jsonl", b'{"a": 1}\n{"a":'),
        ("a.jsonl", b"[1]"),
        ("a.jsonl", b""),
        ("a.jsonl", b"[" * 100_000),
        ("a.csv", "a,y\n1,2\n".encode("utf-16-le")),
        ("a.csv", b"a,a\n1,2\n"),
    ],
)
def test_files_that_are_no_rows_are_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=re.escape(str(tmp_path / name)) + "' cannot be read .*UTF-8 rows"):
        read_table(tmp_path / name)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"a": NaN}', "line 2: NaN is not JSON"),
        ('{"a": 1, "a": 2}', "line 2: 'a' is named twice"),
        (r'{"a": "\ud800"}', "line 2: .*surrogates not allowed"),
        (r'{"a": "\u0000"}', "line 2: a NUL character"),
        ('{"a": 1', "line 2, column 8: Expecting ',' delimiter"),
        ('{"a": %s}' % ("9" * 5000), "line 2: Exceeds the limit"),
    ],
)
def test_a_damaged_line_of_json_is_named(tmp_path: Path, line: str, reason: str) -> None:
    (path := tmp_path / "a.jsonl").write_text('{"a": "b"}\n' + line)
    with pytest.raises(UsageError, match=rf"a\.jsonl' cannot be read \({reason}"):
        read_table(path)


def test_columns_without_a_name_are_left_out(tmp_path: Path) -> None:
    (path := tmp_path / "a.csv").write_text("a,y,,\n1,2,,\n3\n")
    assert read_table(path).to_dict("list") == {"a": ["1", "3"], "y": ["2", ""]}


def test_a_header_of_ours_must_fit(tmp_path: Path) -> None:
    (path := tmp_path / "a.tsv").write_text("1\t2\n")
    assert read_table(path, header=("a", "y")).to_dict("list") == {"a": ["1"], "y": ["2"]}
    with pytest.raises(UsageError, match="it has 2 columns, not 3: a, b, y"):
        read_table(path, header=("a", "b", "y"))


def test_a_number_beyond_float32_is_no_label(tmp_path: Path) -> None:
    (path := tmp_path / "a.csv").write_text("a,y\np,1e38\nq,1e39\n")
    with pytest.raises(UsageError, match=r"label: '1e39' in '.*a\.csv', row 2, column 'y'"):
        to_split(read_table(path), ["a"], "y", (), path)


def test_a_byte_that_is_not_utf8_is_named_with_its_line(tmp_path: Path) -> None:
    (path := tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbfa,y\np,1\n\xe9,2\n")
    with pytest.raises(UsageError, match=r"a\.csv' cannot be read .line 3: byte 0xe9 is not UTF-8."):
        read_table(path)
