"""The built book in a browser: which pages it has, a server for them, and what a page did while it was open."""

import functools
import http.server
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, Response, sync_playwright

ROOT = Path(__file__).parents[1]
HTML = ROOT / "_book" / "_build" / "html"
SOURCES = ("fewft", "book", "notebooks", "results", "studies", "_config.yml")  # what the book is made from
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")
STILL = """addEventListener("DOMContentLoaded", () =>
    document.head.append(Object.assign(document.createElement("style"), {textContent: "* {transition: none !important}"})))
"""  # colours are those that a page ends with
TIMEOUT = 60_000  # milliseconds, for a machine that is busy with other work


def pages() -> list[str]:
    """The pages of the book's table of contents, as files below its folder."""
    toc = yaml.safe_load((ROOT / "book" / "_toc.yml").read_text("utf8"))
    return [f"{toc['root']}.html", *(f"{name}.html" for name in _files(toc))]


def _files(entry: dict[str, Any]) -> Iterator[str]:
    for below in (b for key in ("parts", "chapters", "sections") for b in entry.get(key, [])):
        if "file" in below:
            yield below["file"]
        yield from _files(below)


def stale() -> bool:
    """Whether the built book is missing, or older than what it is made from."""
    if not (HTML / "index.html").is_file():
        return True
    files = [f for name in SOURCES for f in ([ROOT / name] if (ROOT / name).is_file() else (ROOT / name).rglob("*"))]
    ours = [f for f in files if f.is_file() and "__pycache__" not in f.parts and ".ipynb_checkpoints" not in f.parts]
    return max(f.stat().st_mtime for f in ours) > (HTML / "index.html").stat().st_mtime


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """A server of this folder on this machine; its address, without a slash at the end."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@contextmanager
def chromium() -> Iterator[Browser]:
    """The system's Chromium; while it is open, this thread can start no other event loop."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


@dataclass
class Visit:
    """A page that is open, and what went wrong on it so far."""

    page: Page
    home: str  # the address that all its requests must begin with
    wrong: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(TIMEOUT)
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.wrong.append(f"exception: {error}"))
        self.page.on("request", self._asked)
        self.page.on("requestfailed", lambda request: self.wrong.append(f"failed: {request.url}"))
        self.page.on("response", self._answered)

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.wrong.append(f"console: {message.text}")

    def _asked(self, request: Request) -> None:
        if not request.url.startswith((self.home, "data:", "blob:")):
            self.wrong.append(f"outside: {request.url}")

    def _answered(self, response: Response) -> None:
        if response.status >= 400:
            self.wrong.append(f"{response.status}: {response.url}")


@contextmanager
def visit(browser: Browser, home: str, page: str, *, width: int = 1280, scheme: str = "light") -> Iterator[Visit]:
    """Open a page in a window of its own and wait for all that it loads; `scheme` is what the reader's system prefers."""
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce"
    )
    context.add_init_script(STILL)
    seen = Visit(context.new_page(), home)
    seen.page.goto(f"{home}/{page}", wait_until="load")
    yield seen
    context.close()
