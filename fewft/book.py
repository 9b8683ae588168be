"""From notebooks to the book: check parameters, execute, stage, build."""

import ast
import html
import json
import logging
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from importlib import metadata
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fewft.config import UsageError, check_choice, check_type, shown
from fewft.markup import KEY, code, escape

if TYPE_CHECKING:
    import pandas as pd

VERSIONS = ("torch", "transformers", "numpy", "pandas", "scipy", "matplotlib", "jupyter-book", "papermill")
RESOURCE = re.compile(r'<(?:script|img|iframe|source|video|link)\b[^>]*?(?:src|href)="((?:https?:)?//[^"]+)"')
GLUED = re.compile(r"\{glue:text\}`(\w+)`")
TOGETHER = re.compile(r"(?<=\d) (±|of) (?=\d)|(?<=\w) (\(1k\))")  # no line ends within "72.6 ± 1.6" or "RTE (1k)"
STYLE_RESOURCE = re.compile(r"""(?:url\(|@import )["']?((?:https?:)?//[^)"';]+)""")


class BookError(RuntimeError):
    """A notebook or the book could not be made; the message says which and shows the end of its log."""


def notebook_parameters(notebook: Path) -> dict[str, Any]:
    """The literal assignments of the notebook's cell tagged `parameters`: name to default."""
    cells = json.loads(notebook.read_text("utf8"))["cells"]
    source = ["".join(cell["source"]) for cell in cells if "parameters" in cell["metadata"].get("tags", [])]
    nodes = ast.parse("\n".join(source)).body
    return {ast.unparse(n.targets[0]): ast.literal_eval(n.value) for n in nodes if isinstance(n, ast.Assign)}


def check_parameters(notebook: Path, parameters: dict[str, Any]) -> None:
    """Refuse parameters that the notebook does not have, or of another type, before anything runs.

    Raises:
        UsageError: names the parameter, its value, the nearest name and all accepted ones; or the type.
    """
    defaults = notebook_parameters(notebook)
    for name, value in parameters.items():
        check_choice(f"parameter of {notebook.name}", name, defaults)
        wanted = type(defaults[name])
        if type(value) is not wanted and (type(value), wanted) != (int, float):
            raise UsageError(f"parameter {name}: {shown(value)} is {type(value).__name__}; accepted: {wanted.__name__}")
        check_type(f"parameter {name}", value, wanted)


def execute(notebook: Path, out: Path, parameters: dict[str, Any]) -> None:
    """Run a notebook in its own folder; `out`, without times or random ids, appears only on success.

    Raises:
        UsageError: as `check_parameters`.
        BookError: a cell failed, or the kernel did not start.
    """
    check_parameters(notebook, parameters)
    import nbformat
    import papermill
    from traitlets.config import Config

    logging.getLogger("papermill").setLevel(logging.ERROR)  # it misreads comments, and calls parameters unknown
    out.unlink(missing_ok=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fewft-") as private:  # kernels over TCP collide when run in parallel
        config = Config({"KernelManager": {"transport": "ipc", "ip": f"{private}/s"}})
        try:
            done = papermill.execute_notebook(
                notebook.resolve(), None, parameters, progress_bar=False, cwd=notebook.resolve().parent, config=config
            )
        except Exception as error:  # of the notebook's code, of papermill or of the kernel: any kind
            raise BookError(f"{notebook.name} failed:\n{str(error)[-3000:]}") from error
    nbformat.write(_scrub(done), part := out.with_name(f".{out.name}.part"))
    part.replace(out)


def _scrub(notebook: Any) -> Any:
    """Put glued values into captions and alt texts, hide the injected parameters, drop what differs between executions."""
    notebook.metadata.pop("papermill", None)
    said = _glued(notebook)
    for cell in notebook.cells:
        for part, key in (("figure", "caption"), ("image", "alt")):  # MyST knows no glue in an alt text
            texts = cell.metadata.get("mystnb", {}).get(part, {})
            for name in re.findall(GLUED, texts.get(key, "")):
                if name not in said:
                    raise BookError(f"{part} {key}: no cell glues {name!r}; glued: {', '.join(sorted(said))}")
                text = escape(said[name]) if key == "caption" else str(said[name])
                texts[key] = texts[key].replace(f"{{glue:text}}`{name}`", text)
        if "injected-parameters" in cell.metadata.get("tags", []):
            cell.metadata.tags.append("hide-input")
            cell.id = "injected-parameters"
        for key in ("papermill", "execution"):
            cell.metadata.pop(key, None)
    return notebook


def _glued(notebook: Any) -> dict[str, Any]:
    """The values that the notebook's cells kept with `glue`."""
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", [])]
    kept = [out for out in outputs if "scrapbook" in out.get("metadata", {})]
    record = "application/papermill.record/text/plain"
    return {out.metadata["scrapbook"]["name"]: ast.literal_eval(out.data[record]) for out in kept}


def share_parameters(notebooks: Sequence[Path], parameters: dict[str, Any]) -> dict[Path, dict[str, Any]]:
    """For each notebook those of the parameters that it has.

    Raises:
        UsageError: a parameter that no notebook has, or of another type.
    """
    for name in parameters:
        check_choice("notebook parameter", name, set().union(*map(notebook_parameters, notebooks)))
    own = {nb: {k: v for k, v in parameters.items() if k in notebook_parameters(nb)} for nb in notebooks}
    for nb, values in own.items():
        check_parameters(nb, values)
    return own


def execute_all(notebooks: Sequence[Path], stage: Path, parameters: dict[str, Any], jobs: int = 2) -> None:
    """Execute notebooks side by side into `stage/<folder>/`, each with those parameters that it has.

    Raises:
        UsageError: as `share_parameters`, before anything runs.
        BookError: the first notebook that failed; those not yet started are not run.
    """
    own = share_parameters(notebooks, parameters)
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:  # papermill changes the folder: no threads
        runs = [pool.submit(execute, nb, stage / nb.resolve().parent.name / nb.name, own[nb]) for nb in notebooks]
        try:
            any(run.result() for run in as_completed(runs))  # raises what the first to fail raised
        finally:
            pool.shutdown(cancel_futures=True)


def build(*, root: Path, parameters: dict[str, Any], jobs: int = 2, out: Path | None = None) -> Path:
    """Execute the notebooks of the project at `root` and build its book in `out` (`<root>/_book`); returns its index.

    Raises:
        UsageError: as `execute_all`.
        BookError: as `execute_all`, or a warning of the build; the whole log is `<out>/build.log`.
    """
    root, out = root.resolve(), (out or root / "_book").resolve()
    stage = out / "src"
    if not (root / "_config.yml").is_file():
        raise UsageError(f"root: {str(root)!r} has no _config.yml; accepted: the folder of the fewft project")
    os.environ.setdefault("SOURCE_DATE_EPOCH", _git(root, "log", "-1", "--format=%ct") or "1767225600")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))
    notebooks = sorted((root / "notebooks").glob("*.ipynb"))
    share_parameters(notebooks, parameters)  # a wrong call leaves the last book as it is
    if jobs < 1:
        raise UsageError(f"jobs: {jobs}; accepted: 1 or more")
    if os.path.exists(out) and not os.path.isdir(out):
        raise UsageError(f"out: {shown(str(out))} is a file; accepted: a folder")
    if not (out / "build.log").is_file() and any((out / name).exists() for name in ("src", "_build")):
        raise UsageError(f"out: {shown(str(out))} has a 'src' or '_build' that is no book's; accepted: another folder")
    out.mkdir(parents=True, exist_ok=True)
    (out / "build.log").touch()  # from here on these two are ours, also when this is killed
    shutil.rmtree(stage, ignore_errors=True)
    shutil.copytree(root / "book", stage / "book", ignore=shutil.ignore_patterns("_ext", "_toc.yml", "__pycache__"))
    execute_all(notebooks, stage, parameters, jobs)
    (stage / "book" / "_executed.txt").write_text(_provenance(root, parameters), "utf8")
    (stage / "book" / "_runs.txt").write_text(_run_table(stage / "notebooks"), "utf8")
    shutil.copytree(root / "results", stage / "results", ignore=shutil.ignore_patterns("*.json", "*.md"))
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
    return out / "_build" / "html" / "index.html"


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
    cells = (f"| {_cell(name)} | {_cell(code(value), markup=True)} |" for name, value in rows)
    return "\n".join(["| What | Value |", "|:---|:---|", *cells])


def _run_table(folder: Path) -> str:
    """The second table of `book/execution.md`: the runs behind each executed notebook, as it glued them."""
    import nbformat

    rows = ["| Page | Runs | Made on | Hours together | Where |", "|:---|:---|:---|---:|:---|"]
    for path in sorted(folder.glob("*.ipynb")):
        said = _glued(nbformat.read(path, as_version=4))
        if "when_said" in said:
            cells = (_cell(said[key]) for key in ("runs_said", "when_said", "hours_said", "where_said"))
            rows.append(f"| {{doc}}`/notebooks/{path.stem}` | {' | '.join(cells)} |")
    return "\n".join(rows)


@dataclass(frozen=True)
class Shown:
    """What a cell shows as Markdown in the book, a numbered table for example, and as plain HTML in a notebook."""

    markdown: str
    html: str

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        return {"text/markdown": self.markdown, "text/html": self.html, "text/plain": self.markdown}


def show_table(frame: "pd.DataFrame", *, name: str, caption: str) -> Shown:
    """Show a frame as a numbered table; end a cell with it.

    Args:
        frame: texts show as they are, but for columns with `markup.with_markup`, which are MyST; floats get three
            decimals, missing values a dash. A named index is shown.
        name: label, `tbl-3` for the paper's Table 3, `tbl-x-rates` for one that the paper lacks.
        caption: MyST, without the words "Table 3": they come from the label.
    """
    shown = frame.reset_index() if any(frame.index.names) else frame
    columns = list(shown.columns)
    ours = [column in frame.attrs.get(KEY, ()) for column in columns]
    rows = list(shown.itertuples(index=False))
    number = [all(_plain(value)[:1] in "–-−<0123456789" for value in values) for values in zip(*rows, strict=True)]
    cells = [map(_cell, columns), ["---:" if right else ":---" for right in number]]
    cells += [[_cell(value, markup=own) for value, own in zip(row, ours, strict=True)] for row in rows]
    lines = [f"| {' | '.join(line)} |" for line in cells]
    page = shown.to_html(index=False, na_rep="–", float_format="{:.3f}".format) + f"\n<p>{html.escape(caption)}</p>"
    return Shown("\n".join([f"~~~{{table}} {caption}", f":name: {name}", "", *lines, "~~~"]), page)


def _plain(value: object) -> str:
    if value is None or value != value:  # NaN and NaT
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _cell(value: object, *, markup: bool = False) -> str:
    text = _plain(value)
    text = text.replace("|", "\\|").replace("\n", " ") if markup else escape(text)
    return re.sub(TOGETHER, lambda found: found[0].replace(" ", "\u00a0"), text)


def glue(key: str, value: Any) -> None:
    """Keep a number or text of this notebook for other pages: ``{glue:text}`x.ipynb::key:.2f```.

    Raises:
        UsageError: a value of another kind.
    """
    import myst_nb

    plain = value.item() if hasattr(value, "item") else value  # numpy's scalars would print as np.float64(...)
    if not isinstance(plain, bool | int | float | str):
        raise UsageError(f"glue {key}: {value!r} is {type(value).__name__}; accepted: bool, int, float, str")
    myst_nb.glue(key, plain, display=False)
