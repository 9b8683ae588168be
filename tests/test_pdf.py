"""fewft.pdf: what stands on the single page, and what is said where there is no browser or no book."""

from pathlib import Path

import pytest
from bs4 import BeautifulSoup

from fewft import pdf
from fewft.book import BookError
from fewft.cli import main
from fewft.config import UsageError

TOC = {
    "root": "notebooks/first",
    "parts": [{"caption": "Parts & co.", "chapters": [{"file": "book/a"}, {"file": "b"}]}],
}
PAGE = """<html><body><div class="bd-sidebar-primary">menu</div><article>
<section><h1>Title<a class="headerlink" href="#t">#</a></h1>
<p><span class="bibtex-citation"><a href="notebooks/first.html#id2">2021</a></span>
<a href="notebooks/first.html#fig-2">Figure 2</a> <a href="https://a.org">out</a> <a href="#document-notebooks/first">top</a> <a href="_downloads/x.csv">x</a></p>
<span id="document-book/a"></span><section id="a"><h2 id="id2">A &amp; B<a class="headerlink" href="#a">#</a></h2></section>
<span id="document-b"></span><section><h2>References</h2><div class="citation" id="id2">
<span class="backrefs"><a role="doc-backlink" href="#id1">1</a></span> Zhang</div></section>
</section></article></body></html>"""


@pytest.fixture
def page() -> BeautifulSoup:
    return BeautifulSoup(pdf.as_book(PAGE, TOC), "html.parser")


def test_the_contents_name_every_chapter_and_lead_to_it(page: BeautifulSoup) -> None:
    contents = page.select_one("h1 + nav.fewft-contents")
    assert contents.p.get_text() == "Parts & co."
    assert [(a["href"], a.get_text()) for a in contents("a")] == [
        ("#document-book/a", "A & B"),
        ("#document-b", "References"),
    ]


def test_every_link_stays_inside_or_leads_to_the_web(page: BeautifulSoup) -> None:
    links = [a["href"] for a in page.select("p a")]
    assert links == ["#cited-id2", "#fig-2", "https://a.org", "#document-notebooks/first"] and "x" in page.get_text()
    assert page.find(id="cited-id2")["class"] == ["citation"] and page.find(id="id2").name == "h2"
    assert all(page.find(id=a["href"][1:]) or a["href"] == "#fig-2" for a in page.select("a[href^='#']"))


def test_what_only_a_screen_needs_is_gone(page: BeautifulSoup) -> None:
    assert "menu" not in page.get_text() and "#" not in page.get_text()
    assert page.body["class"] == ["fewft-pdf"]


def program(folder: Path, does: str) -> None:
    """A browser that does this and nothing else."""
    (folder / "chromium").write_text(f"#!/bin/sh\n{does}\n")
    (folder / "chromium").chmod(0o755)


def test_without_a_browser_the_accepted_ones_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="none found on the PATH; accepted: chromium, chromium-browser, google-chrome"):
        pdf.browser()
    assert main(["pdf", "--out", str(tmp_path)]) == 2
    program(tmp_path, "exit 0")
    assert pdf.browser() == str(tmp_path / "chromium")


def test_without_a_book_the_command_that_makes_one_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program(tmp_path, "exit 0")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["pdf", "--out", str(tmp_path)]) == 2
    assert "has no built book; accepted: a folder that `fewft build` made" in capsys.readouterr().err


def test_a_browser_that_prints_nothing_leaves_no_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program(tmp_path, "echo no display >&2; exit 3")
    (tmp_path / "fewft.pdf").write_text("an older one")
    (page := tmp_path / "a.html").write_text(PAGE)
    with pytest.raises(BookError, match=r"printed nothing, see .*pdf\.log"):
        pdf._print(str(tmp_path / "chromium"), page, tmp_path / "fewft.pdf", tmp_path / "pdf.log")
    assert not (tmp_path / "fewft.pdf").exists() and "no display" in (tmp_path / "pdf.log").read_text()


@pytest.mark.skipif(not any(map(pdf.shutil.which, pdf.BROWSERS)), reason="no chromium")
def test_a_browser_prints_the_page(tmp_path: Path) -> None:
    (page := tmp_path / "a.html").write_text(pdf.as_book(PAGE, TOC))
    pdf._print(pdf.browser(), page, tmp_path / "fewft.pdf", tmp_path / "pdf.log")
    assert (tmp_path / "fewft.pdf").read_bytes().startswith(b"%PDF-")
