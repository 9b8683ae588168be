"""The extension of the book's look: badges, notes beside their figures, colours for the pages' own drawings."""

from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from docutils import nodes
from docutils.utils import new_document

from fewft.plots import palette

EXTENSIONS = Path(__file__).parents[1] / "book" / "_ext"


@pytest.fixture
def look(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(EXTENSIONS))
    import fewft_look

    return fewft_look


def test_a_note_moves_before_its_figure_and_others_stay(look: ModuleType) -> None:
    document = new_document("a")
    figure, text = nodes.figure(ids=["fig-2"], names=["fig-2"]), nodes.paragraph(text="Text.")
    note, other = (nodes.sidebar(classes=["fewft-provenance", name]) for name in ("fig-2", "fig-3"))
    document += nodes.container("", figure)
    document += [text, note, other]
    look.move_notes(None, document)
    assert document.children[0].children == [note, figure] and document.children[1:] == [text, other]


def test_a_verdict_is_a_badge_with_a_class_that_has_a_colour(look: ModuleType) -> None:
    for verdict in ("holds", "does not hold", "too few runs to tell", "not run"):
        (badge,), problems = look.verdict("verdict", "", verdict)
        assert badge.astext() == verdict and problems == []
        assert f"--{badge['classes'][1]}" in palette.variables()
        assert f".{badge['classes'][1]}" in (EXTENSIONS / "static" / "fewft.css").read_text()


def test_the_colours_are_written_beside_the_pages(look: ModuleType, tmp_path: Path) -> None:
    look.write_colors(SimpleNamespace(builder=SimpleNamespace(format="html"), outdir=tmp_path))
    assert (tmp_path / "_static" / look.COLORS).read_text() == palette.css()
