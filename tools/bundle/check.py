"""Compares a folder with its SHA256SUMS; `--write` makes that file. Needs nothing but Python.

0 when every file is as it was written, 1 when one is changed, missing or extra, 2 on a wrong call.
"""

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path

NAME = "SHA256SUMS"  # lines as of sha256sum: 64 hex digits, two spaces, the path below the folder


def sums(folder: Path) -> dict[str, str]:
    """The sha256 of each file below the folder but SHA256SUMS, by its path; a link counts as what it leads to."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path != folder / NAME:
            with path.open("rb") as file:
                found[path.relative_to(folder).as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def faults(folder: Path) -> list[str]:
    """What is not as SHA256SUMS says, one line a file."""
    lines = (folder / NAME).read_text("utf8").splitlines()
    said, found = {line[66:]: line[:64] for line in lines}, sums(folder)
    changed = [f"changed: {path}" for path in sorted(said.keys() & found.keys()) if said[path] != found[path]]
    missing = [f"missing: {path}" for path in sorted(said.keys() - found.keys())]
    return changed + missing + [f"extra: {path}" for path in sorted(found.keys() - said.keys())]


def main(arguments: Sequence[str], folder: Path) -> int:
    """Check the folder, or with `--write` keep what is there; the exit status."""
    if list(arguments) not in ([], ["--write"]):
        print(f"check.py: {' '.join(arguments)!r}; accepted: no argument, or --write", file=sys.stderr)
        return 2
    if arguments:
        lines = [f"{digest}  {path}\n" for path, digest in sums(folder).items()]
        (folder / NAME).write_text("".join(lines), "utf8")
        return 0
    if not (folder / NAME).is_file():
        print(f"check.py: no {NAME} in {str(folder)!r}; accepted: a folder that `make bundle` made", file=sys.stderr)
        return 2
    found = faults(folder)
    print(*(found or [f"{NAME}: every file is as it was written"]), sep="\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], Path(__file__).resolve().parent))
