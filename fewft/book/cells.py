"""What a notebook's cell gives to the book: a numbered table, a fold, a number or text for other pages."""

import ast
import html
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fewft.config import UsageError
from fewft.markup import KEY, escape

if TYPE_CHECKING:
    import pandas as pd

TOGETHER = re.compile(r"(?<=\d) (±|of) (?=\d)|(?<=\w) (\(1k\))")  # no line ends within "72.6 ± 1.6" or "RTE (1k)"


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
    cells = [map(table_cell, columns), ["---:" if right else ":---" for right in number]]
    cells += [[table_cell(value, markup=own) for value, own in zip(row, ours, strict=True)] for row in rows]
    lines = [f"| {' | '.join(line)} |" for line in cells]
    page = shown.to_html(index=False, na_rep="–", float_format="{:.3f}".format) + f"\n<p>{html.escape(caption)}</p>"
    return Shown("\n".join([f"~~~{{table}} {caption}", f":name: {name}", "", *lines, "~~~"]), page)


def _plain(value: object) -> str:
    if value is None or value != value:  # NaN and NaT
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def table_cell(value: object, *, markup: bool = False) -> str:
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


def glued(notebook: Any) -> dict[str, Any]:
    """The values that the notebook's cells kept with `glue`."""
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", [])]
    kept = [out for out in outputs if "scrapbook" in out.get("metadata", {})]
    record = "application/papermill.record/text/plain"
    return {out.metadata["scrapbook"]["name"]: ast.literal_eval(out.data[record]) for out in kept}
