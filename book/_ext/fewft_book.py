"""Sphinx extension of the book: the paper's figure numbers, author-year references, MathJax carried along."""

import os
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from docutils.nodes import document
from pybtex.plugin import register_plugin
from pybtex.style.formatting.unsrt import Style as UnsrtStyle
from pybtex.style.labels import BaseLabelStyle
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.environment import BuildEnvironment

BRANCH = "main"  # that GitHub publishes the book of
LABEL = re.compile(r"(?:fig|tbl)-(\d+)")


class AuthorYearLabels(BaseLabelStyle):
    """Labels such as "Devlin et al., 2019", as the pages cite them."""

    def format_labels(self, sorted_entries: list[Any]) -> Iterator[str]:
        """One label an entry."""
        for entry in sorted_entries:
            names = [" ".join(p.prelast_names + p.last_names).strip("{}") for p in entry.persons["author"]]
            who = f"{names[0]} et al." if len(names) > 2 else " and ".join(names)
            yield f"{who}, {entry.fields['year']}"


class Style(UnsrtStyle):
    """The bibliography, sorted by author and year."""

    default_label_style = AuthorYearLabels
    default_sorting_style = "author_year_title"


def number_as_the_paper(app: Sphinx, env: BuildEnvironment) -> list[str]:
    """Give `fig-2` and `tbl-3` the paper's numbers 2 and 3, and what the paper lacks X1, X2, ..."""
    extra: Counter[str] = Counter()
    for kinds in env.toc_fignumbers.values():
        for kind, numbers in kinds.items():
            for label in numbers:
                match = LABEL.fullmatch(label)
                extra[kind] += not match
                numbers[label] = (match[1],) if match else (f"X{extra[kind]}",)
    return []


def link_repository(app: Sphinx, config: Config) -> None:
    """On GitHub's builder, add the buttons that lead to the page's source, Colab and Binder."""
    if repository := os.environ.get("GITHUB_REPOSITORY"):
        launch = {"colab_url": "https://colab.research.google.com", "binderhub_url": "https://mybinder.org"}
        launch["notebook_interface"] = "jupyterlab"
        config.html_theme_options |= {
            "repository_url": f"https://github.com/{repository}",
            "use_repository_button": True,
            "repository_branch": BRANCH,
            "use_edit_page_button": True,
            "launch_buttons": launch,
        }


def adapt_launch_buttons(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: document | None
) -> None:
    """Of the theme's launch buttons, none where a notebook says `"launch": false`: what Binder installs has no torch.

    Colab opens the copy of the notebook that gets the project first, which tools/colab.py puts on a branch of its own.
    """
    for group in [b for b in context["header_buttons"] if b.get("label") == "launch-buttons"]:
        if app.env.metadata.get(pagename, {}).get("launch") == "False":
            context["header_buttons"].remove(group)
        for button in group["buttons"]:
            if button["text"] == "Colab":
                button["url"] = button["url"].replace(f"/blob/{BRANCH}/", "/blob/colab/")


def copy_mathjax(app: Sphinx, error: Exception | None) -> None:
    """Put MathJax beside the pages, so that formulas need no network."""
    if error is None and app.builder.format == "html":
        source = distribution("sphinx-mathjax-offline").locate_file("sphinx-mathjax-offline/static/mathjax/tex-svg.js")
        target = Path(app.outdir) / "_static" / "mathjax"
        target.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(str(source), target / "tex-svg.js")


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.config.html_static_path.append(str(Path(__file__).with_name("static")))
    app.add_css_file("fewft.css")
    register_plugin("pybtex.style.formatting", "fewft", Style)
    app.connect("config-inited", link_repository)
    app.connect("env-get-updated", number_as_the_paper, priority=900)  # after Sphinx's own numbering
    app.connect("html-page-context", adapt_launch_buttons, priority=502)  # after the theme has made them
    app.connect("build-finished", copy_mathjax)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
