"""Sphinx extension of the book: pages that work from a folder, for screen readers, and without a word in the console."""

import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

INDEX = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<link rel="icon" href="data:,">
<meta http-equiv="refresh" content="0; url={first}">
</head>
<body><p><a href="{first}">{title}</a></p></body>
</html>
"""
# Excerpts of what a search found are fetched, which browsers refuse to pages that were opened from a folder.
SEARCH = "DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = location.protocol !== 'file:';"
SIGNATURE = re.compile(r'(?<=<span class="sig-paren">\(</span>)\s*<dl>(.*?)</dl>', re.DOTALL)


def in_lines(parameters: re.Match[str]) -> str:
    """The parameters of a long signature, a line each; Sphinx makes them a list of definitions that defines nothing."""
    lines = parameters[1].replace("<dd>", '<span class="fewft-parameter">').replace("</dd>", "</span>")
    return f'<span class="fewft-parameters">{lines}</span>'


def mend(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: object) -> None:
    """On the search page no excerpts over file://; lists that screen readers know for references and long signatures."""
    if pagename == "search":
        app.add_js_file(None, body=SEARCH)
    if "body" in context:
        body = context["body"].replace('role="doc-biblioentry"', 'role="listitem"')  # ARIA dropped docutils' role
        context["body"] = SIGNATURE.sub(in_lines, body)


def write_index(app: Sphinx, error: Exception | None) -> None:
    """A first page that leads on to the book's own, with a title and a language."""
    if error is None and app.builder.name == "html":
        text = INDEX.format(title=app.config.html_title, first=f"{app.config.root_doc}.html")
        Path(app.outdir, "index.html").write_text(text, "utf8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("html-page-context", mend)
    app.connect("build-finished", write_index, priority=100)  # else sphinx_external_toc writes a bare one
    return {"parallel_read_safe": True, "parallel_write_safe": True}
