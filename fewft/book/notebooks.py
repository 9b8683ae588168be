"""Notebooks: their parameters, checked before anything runs, and their execution."""

import ast
import json
import logging
import re
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from fewft.book.cells import glued
from fewft.config import UsageError, check_choice, check_type, shown
from fewft.markup import escape

GLUED = re.compile(r"\{glue:text\}`(\w+)`")
QUIET = {"extra_arguments": ["--log-level=50"]}  # else a kernel that is told to end writes "KeyboardInterrupt caught"


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
        config = Config({"KernelManager": {"transport": "ipc", "ip": f"{private}/s"}, "NotebookClient": QUIET})
        try:
            done = papermill.execute_notebook(
                notebook.resolve(), None, parameters, progress_bar=False, cwd=notebook.resolve().parent, config=config
            )
        except Exception as error:  # of the notebook's code, of papermill or of the kernel: any kind
            raise BookError(f"{notebook.name} failed:\n{str(error)[-3000:]}") from error
    nbformat.write(_scrub(done), part := out.with_name(f".{out.name}.part"))
    part.replace(out)


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


def _scrub(notebook: Any) -> Any:
    """Put glued values into captions and alt texts, hide the injected parameters, drop what differs between executions."""
    notebook.metadata.pop("papermill", None)
    said = glued(notebook)
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
