"""Sphinx extension of the book's look: colours as CSS variables, badges of verdicts, notes beside their figures."""

from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

from fewft.plots import palette

COLORS = "fewft-colors.css"
NOTE = "fewft-provenance"  # class of the notes that `fewft.provenance.behind` makes


def write_colors(app: Sphinx) -> None:
    """Put the style sheet of `fewft.plots.palette` beside the book's own."""
    if app.builder.format == "html":
        folder = Path(app.outdir) / "_static"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / COLORS).write_text(palette.css(), "utf8")


def verdict(name: str, rawtext: str, text: str, *_: Any) -> tuple[list[nodes.Node], list[nodes.system_message]]:
    """The role `verdict`: a claim's verdict as a badge."""
    return [nodes.inline(rawtext, text, classes=["fewft-verdict", f"fewft-verdict-{palette.slug(text)}"])], []


def move_notes(app: Sphinx, doctree: nodes.document) -> None:
    """Put each note on a figure's or table's runs before it, so that it stands beside it in the margin."""
    shown = {name: node for node in doctree.findall(_numbered) for name in (*node["names"], *node["ids"])}
    for note in list(doctree.findall(nodes.sidebar)):
        own = [shown[name] for name in note["classes"] if name in shown]
        if NOTE in note["classes"] and own:
            note.parent.remove(note)
            own[0].parent.insert(own[0].parent.index(own[0]), note)


def _numbered(node: nodes.Node) -> bool:
    return isinstance(node, nodes.figure | nodes.table)


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_css_file(COLORS)
    app.add_role("verdict", verdict)
    app.connect("builder-inited", write_colors)
    app.connect("doctree-read", move_notes)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
