"""The book as readers meet it: no error, no outside request, no dead link, readable by all, at any width, searchable.

The book is the one that `make book` built; where that is missing or older than its sources, it is built first.
"""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import browsing
import pytest
from axe_playwright_python.sync_playwright import Axe
from browsing import HTML, visit
from bs4 import BeautifulSoup
from playwright.sync_api import Browser

from fewft.book import build

PAGES = browsing.pages()
STATEFUL = "notebooks/explore.html"  # what follows its "#" is a view, not a place
ALL: dict[str, object] = {}  # of axe's rules
THEIRS = {"search.html", "genindex.html", "py-modindex.html"}  # Sphinx's own pages

pytestmark = pytest.mark.skipif(browsing.CHROMIUM is None, reason="no Chromium")


@pytest.fixture(scope="module", autouse=True)
def book() -> Path:
    """The folder of the built book."""
    if browsing.stale():
        build(root=browsing.ROOT, parameters={})
    return HTML


@pytest.fixture(scope="module")
def homes(book: Path) -> Iterator[dict[str, str]]:
    """Where the book lies, by the way of getting there."""
    with browsing.served(book) as address:
        yield {"file": book.as_uri(), "http": address}


@pytest.fixture(scope="module")
def browser(homes: dict[str, str]) -> Iterator[Browser]:
    """One for all tests here; closed before other tests start event loops of their own."""
    with browsing.chromium() as browser:
        yield browser


@cache
def parsed(page: str) -> BeautifulSoup:
    """A page of the book."""
    return BeautifulSoup((HTML / page).read_text("utf8"), "html.parser")


def test_the_book_has_the_pages_of_its_contents() -> None:
    built = {p.relative_to(HTML).as_posix() for p in HTML.rglob("*.html") if "_static" not in p.parts}
    assert built - THEIRS - {"index.html"} == set(PAGES)


@pytest.mark.parametrize("way", ["file", "http"])
@pytest.mark.parametrize("page", [*PAGES, "search.html"])
def test_a_page_loads_without_error_and_asks_nobody_else(
    browser: Browser, homes: dict[str, str], page: str, way: str
) -> None:
    with visit(browser, homes[way], page) as seen:
        seen.page.wait_for_load_state("networkidle")
        broken = "[...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src)"
        assert seen.page.evaluate(broken) == []
    assert seen.wrong == []


@pytest.mark.parametrize("page", PAGES)
def test_every_link_and_file_of_a_page_is_there(page: str) -> None:
    dead = []
    for tag in parsed(page).select("[href], [src]"):
        link = urlsplit(tag.get("href") or tag.get("src"))
        if link.scheme or link.netloc:
            continue  # elsewhere, or data within the page
        target = (HTML / page).parent.joinpath(unquote(link.path)).resolve() if link.path else HTML / page
        where = target.relative_to(HTML).as_posix()
        if not target.is_file():
            dead.append(tag)
        elif link.fragment and where.endswith(".html") and where != STATEFUL:
            dead += [tag] * (parsed(where).find(id=unquote(link.fragment)) is None)
    assert dead == []


@pytest.mark.parametrize("page", PAGES)
def test_every_picture_of_a_page_says_what_it_shows(page: str) -> None:
    pictures = parsed(page).select("main img, article img")
    texts = [picture.get("alt", "") for picture in pictures]
    poor = [t for t in texts if len(t.split()) < 8 or re.search(r"\.(svg|png)$|\{glue|_images/", t)]
    assert poor == [] and len(set(texts)) == len(texts)


@pytest.mark.parametrize("page", [*PAGES, "search.html"])
def test_axe_finds_no_serious_barrier(browser: Browser, homes: dict[str, str], page: str) -> None:
    found = {}
    with visit(browser, homes["http"], page) as seen:
        for scheme in ("light", "dark"):
            seen.page.evaluate("scheme => document.documentElement.dataset.theme = scheme", scheme)
            rules = ALL if scheme == "light" else {"runOnly": ["color-contrast"]}  # what a scheme can change
            found[scheme] = (
                Axe().run(seen.page, options={"resultTypes": ["violations"], **rules}).response["violations"]
            )
    serious = [(scheme, v) for scheme, vs in found.items() for v in vs if v["impact"] in ("serious", "critical")]
    assert [f"{scheme}, {v['id']}: {n['html'][:200]}" for scheme, v in serious for n in v["nodes"]] == []


@pytest.mark.parametrize("page", [*PAGES, "search.html"])
def test_no_page_scrolls_sideways(browser: Browser, homes: dict[str, str], page: str) -> None:
    with visit(browser, homes["http"], page, width=390) as seen:
        for width in (390, 1280):
            seen.page.set_viewport_size({"width": width, "height": 900})
            seen.page.evaluate("scrollTo(10000, 0)")
            assert seen.page.evaluate("[scrollX, document.scrollingElement.scrollWidth]") == [0, width]


def test_the_book_follows_the_readers_dark_mode(browser: Browser, homes: dict[str, str]) -> None:
    for scheme in ("light", "dark"):
        with visit(browser, homes["file"], PAGES[0], scheme=scheme) as seen:
            assert seen.page.evaluate("document.documentElement.dataset.theme") == scheme


def test_the_index_leads_to_the_first_page(browser: Browser, homes: dict[str, str]) -> None:
    for home in homes.values():
        with visit(browser, home, "index.html") as seen:
            seen.page.wait_for_url(f"{home}/{PAGES[0]}")
        assert seen.wrong == []


def heading(page: str) -> str:
    """A long word of the page's own heading, in lower case."""
    words = re.findall(r"[a-z]{4,}", parsed(page).select_one("h1").get_text().lower())
    return max(words, key=len)


@pytest.mark.parametrize("page", PAGES)
def test_search_finds_a_page_by_a_word_of_it(browser: Browser, homes: dict[str, str], page: str) -> None:
    with visit(browser, homes["file"], f"search.html?q={heading(page)}") as seen:
        seen.page.locator(f"#search-results a[href^='{page}']").first.wait_for()
    assert seen.wrong == []


def test_the_explorer_answers_to_keys_and_keeps_the_choice_in_its_address(
    browser: Browser, homes: dict[str, str]
) -> None:
    with visit(browser, homes["file"], STATEFUL) as seen:
        page, part = seen.page, "#fewft-explorer"
        said, table = page.locator(f"{part}-said"), page.locator(f"{part}-table")
        before = (said.inner_text(), table.inner_text())
        page.locator(f"{part}-task").focus()
        page.keyboard.press("ArrowDown")
        assert said.inner_text() != before[0] and table.inner_text() != before[1]
        for _ in range(4):  # past the other choices, to the dots
            page.keyboard.press("Tab")
        first = page.locator(f"{part}-run").inner_text()
        page.keyboard.press("ArrowRight")
        chosen = page.locator(f"{part}-run").inner_text()
        assert chosen.startswith("Run ") and chosen != first
        address = page.locator(f"{part}-link").get_attribute("href")
        shown = (said.inner_text(), table.inner_text())
    with visit(browser, homes["http"], f"{STATEFUL}{address}") as again:
        assert again.page.locator("#fewft-explorer-run").inner_text() == chosen
        texts = [again.page.locator(f"#fewft-explorer-{name}").inner_text() for name in ("said", "table")]
    assert tuple(texts) == shown and seen.wrong == again.wrong == []


def test_each_fault_of_a_page_is_noticed(browser: Browser, tmp_path: Path) -> None:
    script = "console.error('said'); setTimeout(() => { throw Error('thrown') })"
    outside = '<img src="http://127.0.0.1:9/outside.png">'
    (tmp_path / "bad.html").write_text(f'<script>{script}</script><img src="missing.png">{outside}')
    with browsing.served(tmp_path) as home, visit(browser, home, "bad.html") as seen:
        seen.page.wait_for_load_state("networkidle")
    faults = ("console: said", "exception: thrown", f"404: {home}/missing.png", "outside: http://127.0.0.1:9/")
    assert [f for f in faults if not any(line.startswith(f) for line in seen.wrong)] == []
