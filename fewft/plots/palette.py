"""The figures' colours as CSS variables, for what pages draw themselves: badges of verdicts, the explorer."""

import re

from fewft.plots.claims import LOOKS
from fewft.plots.look import COLORS, GREY

PAPER, NIGHT = "#ffffff", "#14181e"  # what light and dark pages are written on
NOT_RUN = "not run"
DARK = {  # a colour on paper -> the same one at night
    "#0072B2": "#3F8FF0", "#D55E00": "#E8673A", "#009E73": "#7FDCA8", "#CC79A7": "#E7C8F2", "#7A3B69": "#9383A1",
    "#A67F00": "#E0B83A", "#2E94D1": "#56B4E9", "#6B4F12": "#B99A5B", "#404040": "#9A9A9A", "#8C8C8C": "#C4C4C4",
    "#6B8E00": "#CDE03C", "#A50026": "#F4707A", GREY: "#A9B0BB",
}  # fmt: skip


def slug(word: str) -> str:
    """A recipe or verdict as part of a CSS name: `re-init, longer` becomes `reinit-longer`."""
    return re.sub(r"[^a-z0-9]+", "-", word.lower().replace("-", "")).strip("-")


def variables() -> dict[str, str]:
    """CSS variable to its colour on paper: `--fewft-reinit`, `--fewft-verdict-holds`."""
    found = {f"--fewft-{slug(word)}": color for word, color in COLORS.items()}
    found |= {f"--fewft-verdict-{slug(verdict)}": color for verdict, (color, _) in LOOKS.items()}
    return found | {f"--fewft-verdict-{slug(NOT_RUN)}": GREY}


def css() -> str:
    """A style sheet that sets the variables for light and dark pages."""
    light = [f"  {name}: {color};" for name, color in variables().items()]
    dark = [f"  {name}: {DARK[color]};" for name, color in variables().items()]
    screen = ["@media screen {", 'html[data-theme="dark"] {', *dark, "}", "}"]  # paper stays paper
    return "\n".join(
        ["/* Made from fewft/plots/look.py by fewft/plots/palette.py. */", ":root {", *light, "}", *screen, ""]
    )
