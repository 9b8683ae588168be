"""The explorer as one piece of HTML: its choices, a script and a style of its own, the data, and a table without scripts."""

import html
import json
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from fewft.explore.data import gather
from fewft.tables.words import NOT_RUN

ID = "fewft-explorer"  # of the whole; every other id begins with it
SELECTS = {  # id and key of the link -> label
    "study": "Study and model",
    "task": "Task",
    "by": "Compare",
    "metric": "Score",
    "curve": "Curves below",
}
KEY = (
    '<span class="sample run" aria-hidden="true"></span> one run',
    '<span class="sample degenerate" aria-hidden="true"></span> degenerate run',
    '<span class="sample mean" aria-hidden="true"></span> mean ± standard deviation',
    '<span class="sample base" aria-hidden="true"></span> majority baseline',
)
HELP = (
    "Point at a dot, or go to the dots with Tab: left and right arrows move among an arm's runs, up and down among arms, "
    "Escape chooses none."
)


@dataclass(frozen=True)
class Explorer:
    """What a notebook's cell shows: `data` as `explore.gather` makes it, in a page that draws them."""

    data: dict[str, Any]

    @property
    def said(self) -> str:
        """How many runs of which studies can be looked at."""
        names = list(dict.fromkeys(group["study"] for group in self.data["groups"]))
        return f"{self.data['runs']} runs of {len(names)} studies ({', '.join(names)})" if names else NOT_RUN

    def _repr_html_(self) -> str:
        if not self.data["groups"]:
            return f'<div id="{ID}" class="{ID}"><p>{NOT_RUN}: no run of any study is stored.</p></div>'
        source = files(__package__)
        script = "\n".join(source.joinpath(name).read_text("utf8") for name in ("draw.js", "explore.js"))
        parts = [
            f"<style>{source.joinpath('explore.css').read_text('utf8')}</style>",
            _controls(),
            _without_script(self),
        ]
        parts += [f'<script type="application/json" id="{ID}-data">{embedded(self.data)}</script>']
        return f'<div id="{ID}" class="{ID}">{"".join(parts)}<script>{script}</script></div>'

    def __repr__(self) -> str:
        return f"Explorer({self.said})"


def explorer(study: str, results: str = "results") -> Explorer:
    """The explorer of every stored run, not in the paper.

    Args:
        study: name or TOML file; it is shown first.
        results: folder of the stored runs; a relative one is below the project's.

    Raises:
        UsageError: an unknown study, a damaged file of results.
    """
    return Explorer(gather(study, results))


def embedded(data: Any) -> str:
    """JSON that no HTML ends: texts from data may hold anything, `</script>` included."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _controls() -> str:
    """What is there before the script fills it; without one it stays hidden."""
    selects = "".join(
        f'<div><label for="{ID}-{key}">{label}</label><select id="{ID}-{key}"></select></div>'
        for key, label in SELECTS.items()
    )
    key = "".join(f"<li>{item}</li>" for item in KEY)
    return (
        f'<div id="{ID}-app" hidden><fieldset><legend>Choose</legend><div class="choices">{selects}</div></fieldset>'
        f'<p id="{ID}-said" class="said" role="status"></p><div id="{ID}-dots" class="drawn"></div>'
        f'<ul class="key" aria-label="How to read the dots">{key}</ul><p class="help" id="{ID}-help">{HELP}</p>'
        f'<p id="{ID}-run" class="chosen"></p><div id="{ID}-curves" class="drawn"></div>'
        f'<table id="{ID}-table"></table><p class="link"><a id="{ID}-link" href="#">Link to this view</a></p></div>'
    )


def _without_script(shown: Explorer) -> str:
    """A sentence and a table of the first study's arms, for a reader whose browser runs no script."""
    first = shown.data["groups"][0]["study"]
    rows = [
        f"<tr><td>{html.escape(group['label'])}</td><td>{html.escape(label)}</td><td>{_numbers(group['arms'][i]['stats'][0])}</td></tr>"
        for group in shown.data["groups"]
        if group["study"] == first
        for i, label in group["views"]["all"]
    ]
    return (
        "<noscript><p>Choosing needs JavaScript, which this browser does not run. The table has every arm of the study "
        f"{html.escape(first)}; the figures and tables of the other pages need no JavaScript.</p><table><thead><tr>"
        '<th scope="col">Task</th><th scope="col">Arm</th><th scope="col">Test score, best checkpoint: mean, sd, n</th>'
        f"</tr></thead><tbody>{''.join(rows)}</tbody></table></noscript>"
    )


def _numbers(stats: list[Any]) -> str:
    n, mean, sd = stats[:3]
    shown = ["–" if value is None else f"{value / 1000:.3f}" for value in (mean, sd)]
    return f"{shown[0]} ± {shown[1]} (n = {n})" if n > 1 else f"{shown[0]} (n = {n})"
