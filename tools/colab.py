"""Copies of the notebooks for Colab: each gets the project and what Colab lacks in a cell before the others.

`python tools/colab.py OWNER/REPOSITORY FOLDER`, as the workflow `book` does for the branch `colab` that the book's
buttons lead to. Needs nothing but Python.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LACKING = ("myst-nb",)  # what the pages need and Colab does not have


def first_cell(repository: str) -> dict[str, Any]:
    """The cell that makes a notebook run on Colab; the project is put on Python's path, as a kernel installs nothing."""
    locked = dict(re.findall(r"^([\w.-]+)==([^\s;]+)", (ROOT / "requirements.lock").read_text("utf8"), re.MULTILINE))
    lines = [
        "# On Colab only: the project with its stored runs, and what Colab lacks",
        f"!git clone --quiet --depth 1 https://github.com/{repository} /content/fewft",
        f"%pip install --quiet {' '.join(f'{name}=={locked[name]}' for name in LACKING)}",
        "%cd /content/fewft/notebooks",
        "import sys; sys.path.insert(0, '/content/fewft')",
    ]
    return {"cell_type": "code", "execution_count": None, "id": "colab", "metadata": {}, "outputs": [],
            "source": "\n".join(lines).splitlines(keepends=True)}  # fmt: skip


def write(repository: str, folder: Path) -> list[Path]:
    """Write the copies into `folder/notebooks`; those that do not run without torch are left out."""
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        raise ValueError(f"repository: {repository!r}; accepted: OWNER/NAME, as GitHub has it")
    (folder / "notebooks").mkdir(parents=True, exist_ok=True)
    written = []
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        notebook = json.loads(path.read_text("utf8"))
        if notebook["metadata"].get("launch", True):
            notebook["cells"].insert(0, first_cell(repository))
            written.append(folder / "notebooks" / path.name)
            written[-1].write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", "utf8")
    return written


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    print(f"{len(write(sys.argv[1], Path(sys.argv[2])))} notebooks in {sys.argv[2]}/notebooks")
