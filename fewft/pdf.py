"""The built book as one PDF: Sphinx puts all pages on a single one, and a Chromium prints it."""

import html
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from bs4 import BeautifulSoup, Tag

from fewft.book import BookError
from fewft.config import UsageError, shown

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "microsoft-edge")
LONGEST = 300  # seconds that a browser may take
WAIT = 30_000  # milliseconds of the page's own clock for the formulas


def browser() -> str:
    """The first of BROWSERS that is installed.

    Raises:
        UsageError: none is; says which would do.
    """
    for name in BROWSERS:
        if path := shutil.which(name):
            return path
    raise UsageError(f"browser: none found on the PATH; accepted: {', '.join(BROWSERS)} (Debian: apt install chromium)")


def make(*, root: Path, out: Path | None = None) -> Path:
    """Print the book that `book.build` left in `out` (`<root>/_book`) to `<out>/fewft.pdf`; returns that file.

    Numbers of figures and tables are those of the pages; contents and references are links.

    Raises:
        UsageError: no book there, or no browser.
        BookError: Sphinx or the browser failed; the log is `<out>/pdf.log`.
    """
    root, out = root.resolve(), (out or root / "_book").resolve()
    program = browser()
    if not (out / "_build" / "html" / "index.html").is_file():
        raise UsageError(f"out: {shown(str(out))} has no built book; accepted: a folder that `fewft build` made")
    _single_page(root, out)
    toc = yaml.safe_load((root / "book" / "_toc.yml").read_text("utf8"))
    folder = out / "_build" / "singlehtml"
    page = folder / "fewft.html"  # beside what it refers to: Sphinx leaves it where the first page is
    page.write_text(as_book((folder / f"{toc['root']}.html").read_text("utf8"), toc), "utf8")
    target = out / "fewft.pdf"
    _print(program, page, target, out / "pdf.log")
    return target


def _single_page(root: Path, out: Path) -> None:
    """All pages as one, from the stage that the book was built from."""
    command = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()", "build", f"{out}/src"]
    command += ["--builder", "singlehtml", "--config", f"{root}/_config.yml", "--toc", f"{root}/book/_toc.yml"]
    paths = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))
    with (out / "pdf.log").open("w") as log:
        done = subprocess.run(
            [*command, "--path-output", str(out)],
            stdout=log,
            stderr=log,
            check=False,
            env=os.environ | {"PYTHONPATH": paths},
        )
    if done.returncode:
        raise BookError(f"the single page was not made, see {out}/pdf.log")


def as_book(page: str, toc: Mapping[str, Any]) -> str:
    """Sphinx's single page with a list of its chapters, each a link, and with no link that leads elsewhere on this disk.

    Args:
        page: HTML.
        toc: as book/_toc.yml has it: `root`, and `parts` of a `caption` and `chapters`.
    """
    soup = BeautifulSoup(page, "html.parser")
    soup.body["class"] = [*soup.body.get("class", []), "fewft-pdf"]
    for chrome in soup.select("#jb-print-docs-body, .bd-sidebar-primary, .bd-sidebar-secondary, .headerlink"):
        chrome.decompose()
    _own_ids(soup)
    soup.article["id"] = f"document-{toc['root']}"
    for link in soup.select("a[href]"):
        target = str(link["href"])
        if target.startswith(f"{toc['root']}.html#"):
            link["href"] = target[target.index("#") :]
        elif not re.match(r"#|https?:|mailto:", target):
            link.unwrap()
    soup.select_one("article h1").insert_after(_contents(soup, toc))
    return str(soup)


def _own_ids(soup: BeautifulSoup) -> None:
    """References are cited by numbers that each page had for itself."""
    for entry in soup.select("div.citation[id]"):
        entry["id"] = f"cited-{entry['id']}"
        for back in entry.select("[role=doc-backlink], .backrefs"):
            back.unwrap()
    for link in soup.select(".bibtex-citation a[href*='#']"):
        link["href"] = f"#cited-{str(link['href']).partition('#')[2]}"


def _contents(soup: BeautifulSoup, toc: Mapping[str, Any]) -> Tag:
    """The parts of the table of contents, and the titles of their chapters."""
    lines = ["<nav class='fewft-contents'><h2>Contents</h2>"]
    for part in toc["parts"]:
        lines.append(f"<p>{html.escape(part['caption'])}</p><ul>")
        for chapter in part["chapters"]:
            start = soup.find(id=f"document-{chapter['file']}")
            title = start.find_next(["h1", "h2"]).get_text() if start else chapter["file"]
            lines.append(f'<li><a href="#document-{chapter["file"]}">{html.escape(title)}</a></li>')
        lines.append("</ul>")
    return BeautifulSoup("".join([*lines, "</nav>"]), "html.parser").nav


def _print(program: str, page: Path, target: Path, log: Path) -> None:
    """Let the browser print a page, with a profile of its own."""
    target.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix="fewft-", ignore_cleanup_errors=True) as profile, log.open("a") as said:
        command = [program, "--headless", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
        command += [f"--user-data-dir={profile}", f"--virtual-time-budget={WAIT}", "--no-pdf-header-footer"]
        command += ["--generate-pdf-document-outline", f"--print-to-pdf={target}", page.as_uri()]
        if hasattr(os, "geteuid") and os.geteuid() == 0:  # a browser of root's has no sandbox
            command.insert(1, "--no-sandbox")
        try:
            subprocess.run(command, stdout=said, stderr=said, check=False, timeout=LONGEST)
        except subprocess.TimeoutExpired as error:
            raise BookError(f"{program} took over {LONGEST} seconds, see {log}") from error
    if not target.is_file():
        raise BookError(f"{program} printed nothing, see {log}")
