"""Colours of recipes and verdicts are told apart by all readers, on light and on dark pages."""

import re
from itertools import combinations

import matplotlib as mpl
import pytest
from coloraide import Color

from fewft import plots
from fewft.plots import palette
from fewft.plots.claims import LOOKS
from fewft.plots.look import ARMS, COLORS, DASHES, GREY, STYLE, TOGETHER, arm
from fewft.plots.speed import OURS

VISIONS = ("", "protan", "deutan", "tritan")  # as it is, and without one of the three cones (Brettel, Viénot, Machado)
APART = 9.0  # CIEDE2000; 2 is what a trained eye sees side by side
LAYERS, FEW_LAYERS = (  # Standard, and the L of Figure 7 in the paper and in a small study
    tuple(arm("reinit_layers", n)[1] for n in (-1, *layers)) for layers in ((1, 3, 6, 10), (1, 2, 3))
)
GROUPS = [
    *(tuple(COLORS[word] for word in words) for words in TOGETHER),
    tuple(color for color, _ in LOOKS.values()),
    LAYERS,
    FEW_LAYERS,
]


def seen(color: str, vision: str) -> Color:
    return Color(color).filter(vision) if vision else Color(color)


def nearest(colors: tuple[str, ...], vision: str) -> float:
    """The smallest distance of two of these colours."""
    return min(seen(a, vision).delta_e(seen(b, vision), method="2000") for a, b in combinations(colors, 2))


@pytest.mark.parametrize("vision", VISIONS)
@pytest.mark.parametrize("colors", GROUPS, ids=["arms", "recipes", "verdicts", "layers", "few layers"])
def test_colours_that_meet_in_a_figure_are_told_apart(colors: tuple[str, ...], vision: str) -> None:
    assert nearest(colors, vision) >= APART


@pytest.mark.parametrize("vision", VISIONS)
def test_so_are_they_at_night(vision: str) -> None:
    for colors in GROUPS[:3]:
        assert nearest(tuple(palette.DARK[color] for color in colors), vision) >= APART


def test_the_bound_finds_what_is_not_told_apart() -> None:
    assert nearest(("#00A000", "#A07000"), "deutan") < APART < nearest(("#00A000", "#A07000"), "")


def test_every_colour_stands_out_from_its_page() -> None:
    assert STYLE["figure.facecolor"] == "white"
    faint = [c for c in palette.variables().values() if Color(c).contrast(palette.PAPER) < 3]
    faint += [c for c in palette.variables().values() if Color(palette.DARK[c]).contrast(palette.NIGHT) < 4.5]
    assert faint == []


def test_a_recipe_has_one_colour_under_both_names() -> None:
    assert (COLORS[ARMS[True]], COLORS[ARMS[False]]) == (COLORS["Standard"], COLORS["BERTAdam"])
    for words in TOGETHER:
        assert len({COLORS[word] for word in words}) == len({DASHES.get(word, "-") for word in words}) == len(words)


def test_a_recipes_colour_means_nothing_else() -> None:
    others = {color for color, _ in LOOKS.values()} | {OURS}
    drawn = {COLORS[word] for words in TOGETHER for word in words}
    assert min(Color(a).delta_e(b, method="2000") for a in others for b in drawn) > 1.5 * APART


def test_lines_differ_in_dashes_as_well() -> None:
    with mpl.rc_context():
        plots.apply_style()
        (ax,) = plots.grid([""])[1]
        for word in ("Standard", "BERTAdam"):
            plots.runs.band(ax, [1, 2], [1, 2], [0, 1], [2, 3], word, COLORS[word])
    assert [line.get_linestyle() for line in ax.lines] == ["-", "--"]


def test_the_style_sheet_has_every_recipe_and_verdict_for_day_and_night() -> None:
    day, night = palette.css().split("@media screen")
    for sheet, colors in ((day, lambda color: color), (night, palette.DARK.get)):
        found = dict(re.findall(r"(--fewft-[\w-]+): (#[0-9A-Fa-f]{6});", sheet))
        assert found == {name: colors(color) for name, color in palette.variables().items()}
    wanted = {"--fewft-standard", "--fewft-bertadam", "--fewft-reinit", "--fewft-reinit-longer", "--fewft-longer"}
    assert wanted | {"--fewft-verdict-holds", "--fewft-verdict-too-few-runs-to-tell"} <= set(palette.variables())
    assert palette.variables()["--fewft-verdict-not-run"] == GREY
