"""The book: notebooks executed, staged beside the pages, and built by Jupyter Book."""

import os
import platform
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from fewft.book.cells import glued, table_cell
from fewft.book.notebooks import BookError, execute_all, share_parameters
from fewft.config import UsageError, shown
from fewft.markup import code

VERSIONS = ("torch", "transformers", "numpy", "pandas", "scipy", "matplotlib", "jupyter-book", "papermill")
RESOURCE = re.compile(r'<(?:script|img|iframe|source|video|link)\b[^>]*?(?:src|href)="((?:https?:)?//[^"]+)"')
STYLE_RESOURCE = re.compile(r"""(?:url\(|@import )["']?((?:https?:)?//[^)"';]+)""")


def build(*, root: Path, parameters: dict[str, Any], jobs: int = 2, out: Path | None = None) -> Path:
    """Execute the notebooks of the project at `root` and build its book in `out` (`<root>/_book`); returns its index.

    Raises:
        UsageError: as `execute_all`.
        BookError: as `execute_all`, or a warning of the build; the whole log is `<out>/build.log`.
    """
    root, out = root.resolve(), (out or root / "_book").resolve()
    if not (root / "_config.yml").is_file():
        raise UsageError(f"root: {str(root)!r} has no _config.yml; accepted: the folder of the fewft project")
    notebooks = sorted((root / "notebooks").glob("*.ipynb"))
    share_parameters(notebooks, parameters)  # a wrong call leaves the last book as it is
    if jobs < 1:
        raise UsageError(f"jobs: {jobs}; accepted: 1 or more")
    _claim_folder(out)
    os.environ.setdefault("SOURCE_DATE_EPOCH", _git(root, "log", "-1", "--format=%ct") or "1767225600")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))
    stage = out / "src"
    shutil.rmtree(stage, ignore_errors=True)
    shutil.copytree(root / "book", stage / "book", ignore=shutil.ignore_patterns("_ext", "_toc.yml", "__pycache__"))
    execute_all(notebooks, stage, parameters, jobs)
    (stage / "book" / "_executed.txt").write_text(_provenance(root, parameters), "utf8")
    (stage / "book" / "_runs.txt").write_text(_run_table(stage / "notebooks"), "utf8")
    shutil.copytree(root / "results", stage / "results", ignore=shutil.ignore_patterns("*.json", "*.md"))
    _make_html(root, stage, out)
    return out / "_build" / "html" / "index.html"


def _claim_folder(out: Path) -> None:
    """Make `out` a book's folder, whose `src` and `_build` are ours to replace; refuse one with somebody else's."""
    if os.path.exists(out) and not os.path.isdir(out):
        raise UsageError(f"out: {shown(str(out))} is a file; accepted: a folder")
    if not (out / "build.log").is_file() and any((out / name).exists() for name in ("src", "_build")):
        raise UsageError(f"out: {shown(str(out))} has a 'src' or '_build' that is no book's; accepted: another folder")
    out.mkdir(parents=True, exist_ok=True)
    (out / "build.log").touch()  # from here on these two are ours, also when this is killed


def _make_html(root: Path, stage: Path, out: Path) -> None:
    """Run Jupyter Book on the stage; its warnings are errors, and so is a page that asks the network for something."""
    shutil.rmtree(out / "_build", ignore_errors=True)
    command = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()", "build", str(stage), "-W", "-n"]
    command += ["--config", f"{root}/_config.yml", "--toc", f"{root}/book/_toc.yml", "--path-output", str(out)]
    with (out / "build.log").open("w") as log:
        done = subprocess.run([*command, "--keep-going"], stdout=log, stderr=log, check=False)
    if done.returncode:
        lines = re.sub(r"\x1b\[[\d;]*m", "", (out / "build.log").read_text("utf8")).splitlines()  # without colours
        problems = [line for line in lines if "WARNING" in line or "ERROR" in line]
        raise BookError("\n".join([f"the book was not built, see {out}/build.log:", *(problems or lines[-30:])]))
    if requests := outside_requests(out / "_build" / "html"):
        raise BookError("\n".join(["the book asks the network for:", *requests]))


def outside_requests(html: Path) -> list[str]:
    """What the pages and styles in a folder would fetch from elsewhere; links that a reader may follow are not meant."""
    found = []
    for pattern, kind in ((RESOURCE, "*.html"), (STYLE_RESOURCE, "*.css")):
        pages = sorted(html.rglob(kind))
        found += [
            f"{page.relative_to(html)}: {url}" for page in pages for url in pattern.findall(page.read_text("utf8"))
        ]
    return found


def _git(root: Path, *arguments: str) -> str:
    """What git says; nothing without git or a commit."""
    command = ["git", "-C", str(root), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False) if shutil.which("git") else None
    return done.stdout.strip() if done and done.returncode == 0 else ""


def _provenance(root: Path, parameters: dict[str, Any]) -> str:
    """The table of `book/execution.md`: parameters, versions, commit."""
    rows = [(f"parameter {key}", repr(value)) for key, value in parameters.items()] or [("parameters", "the defaults")]
    rows += [("commit", _git(root, "rev-parse", "--short=12", "HEAD") or "none"), ("machine", platform.machine())]
    rows += [("Python", platform.python_version()), *((name, metadata.version(name)) for name in VERSIONS)]
    cells = (f"| {table_cell(name)} | {table_cell(code(value), markup=True)} |" for name, value in rows)
    return "\n".join(["| What | Value |", "|:---|:---|", *cells])


def _run_table(folder: Path) -> str:
    """The second table of `book/execution.md`: the runs behind each executed notebook, as it glued them."""
    import nbformat

    rows = ["| Page | Runs | Made on | Hours together | Where |", "|:---|:---|:---|---:|:---|"]
    for path in sorted(folder.glob("*.ipynb")):
        said = glued(nbformat.read(path, as_version=4))
        if "when_said" in said:
            cells = (table_cell(said[key]) for key in ("runs_said", "when_said", "hours_said", "where_said"))
            rows.append(f"| {{doc}}`/notebooks/{path.stem}` | {' | '.join(cells)} |")
    return "\n".join(rows)
