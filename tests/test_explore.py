"""fewft.explore: the page's numbers are those of the stored runs, and a browser shows them for what a reader chooses."""

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest
from bs4 import BeautifulSoup, Tag

from fewft import studies
from fewft.config import UsageError
from fewft.explore import Explorer, explorer, gather
from fewft.explore.data import MOST_CURVES, MOST_LOSSES, Stored, compact, summary, thinned
from fewft.explore.page import ID, SELECTS, embedded
from fewft.plots import COLORS, TASK_LABELS
from fewft.results import ResultStore
from fewft.stats import welch

ROOT = Path(__file__).parents[1]
LIMIT = 300_000  # bytes of script, style and data
HOSTILE = ('</script><script>document.title="owned"</script>', "<img src=x onerror=document.title='owned'>")
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), "")
needs_browser = pytest.mark.skipif(not BROWSER, reason="no chromium")


@pytest.fixture(scope="module")
def committed() -> dict[str, Any]:
    """The data of the results that the project has."""
    return gather("minilm", str(ROOT / "results"))


@pytest.fixture
def small(stored_run: Callable[..., Any]) -> Callable[..., Stored]:
    """Runs of the study `minilm` on RTE (1k) that nobody trained: each arm a pair of changes and its test scores."""

    def make(*arms: tuple[dict[str, Any], list[float | None]], **record: Any) -> Stored:
        study = studies.load("minilm")
        records = [
            stored_run(study.run("rte-1k", "debiased", seed, **changes), test_best=score, **record)
            for changes, scores in arms
            for seed, score in enumerate(scores)
        ]
        return Stored("minilm", study, records)

    return make


def group_of(data: dict[str, Any], **wanted: str) -> dict[str, Any]:
    (found,) = [g for g in data["groups"] if all(g[key] == value for key, value in wanted.items())]
    return found


def arms_of(group: dict[str, Any], view: str) -> dict[str, dict[str, Any]]:
    """The arms of a view, by their names."""
    return {label: group["arms"][place] for place, label in group["views"][view]}


# --- the numbers --------------------------------------------------------------------------------------------------
def test_an_arm_has_the_mean_and_deviation_of_its_runs(small: Callable[..., Stored]) -> None:
    data = compact([small(({}, [0.5, 0.6, 0.7]), ({"correct_bias": False}, [0.4]))])
    arms = arms_of(data["groups"][0], "correction")
    assert arms["Correction"]["stats"][0] == [3, 600, 100, None, None]
    assert arms["No correction"]["stats"][0] == [1, 400, None, None, None]
    assert [run[1:3] for run in arms["Correction"]["runs"]] == [[0, 0], [1, 1], [2, 2]]
    assert [run[4][0] for run in arms["Correction"]["runs"]] == [500, 600, 700]


@pytest.mark.parametrize("study", ["minilm", "demo", "scipy_modules"])
def test_every_committed_run_is_there_once_and_counts_in_its_arm(study: str, committed: dict[str, Any]) -> None:
    frame = ResultStore(ROOT / "results", study).frame().set_index("run_id")
    groups = [group for group in committed["groups"] if group["study"] == study]
    arms = [arm for group in groups for arm in group["arms"]]
    ids = [run[0] for arm in arms for run in arm["runs"]]
    assert sorted(ids) == sorted(frame.index)
    for arm in arms:
        own = frame.loc[[run[0] for run in arm["runs"]]]
        assert own.task.nunique() == own.learning_rate.nunique() == own.correct_bias.nunique() == 1
        for place, key in enumerate(("test_best", "test_last", "best_val")):
            n, mean, sd = arm["stats"][place][:3]
            assert n == len(own) and f"{mean / 1000:.3f}" == f"{own[key].mean():.3f}"
            assert sd is None if n == 1 else abs(sd / 1000 - own[key].std()) <= 0.00051
        assert [run[3] for run in arm["runs"]] == own.degenerate.astype(int).tolist()


def test_a_difference_needs_five_runs_in_both_arms(small: Callable[..., Stored]) -> None:
    plain, other = [0.5, 0.6, 0.7, 0.55, 0.65], [0.4, 0.5, 0.45, 0.55, 0.5]
    arms = ({}, plain), ({"reinit_layers": 2}, other), ({"reinit_layers": 1}, other[:4])
    found = arms_of(compact([small(*arms)])["groups"][0], "reinit")
    difference, p = welch(other, plain)
    assert found["Re-init 2"]["stats"][0][3:] == [round(1000 * difference), round(1000 * p)]
    assert found["Re-init 1"]["stats"][0][3:] == found["Standard"]["stats"][0][3:] == [None, None]
    assert summary(np.array(other), plain[:4])[3:] == [None, None]


def test_a_run_without_a_score_is_counted_out_and_a_failed_one_is_not_there(
    tmp_path: Path, stored_run: Callable[..., Any]
) -> None:
    store, study = ResultStore(tmp_path, "minilm"), studies.load("minilm")
    lost = {"test_best": float("nan"), "status": "diverged", "degenerate": True}
    for seed, changes in enumerate(({}, lost, {"status": "failed"})):
        store.add(stored_run(study.run("rte-1k", "debiased", seed), **changes))
    (arm,) = gather("minilm", str(tmp_path))["groups"][0]["arms"]
    assert arm["stats"][0][:2] == [1, 550] and len(arm["runs"]) == 2
    assert [run[3] for run in arm["runs"]] == [0, 3] and arm["runs"][1][4][0] is None


def test_losses_are_means_of_equal_pieces() -> None:
    assert thinned(np.array([1.0, 2.0, 3.0, 4.0, 5.0, float("nan")]), 3) == [1500, 3500, None]
    assert thinned(np.array([0.25]), 3) == [250] and thinned(np.array([]), 3) == []


def test_the_committed_curves_are_those_of_the_runs(committed: dict[str, Any]) -> None:
    frame = ResultStore(ROOT / "results", "minilm").frame().set_index("run_id")
    for run in group_of(committed, study="minilm", task="rte-1k")["arms"][0]["runs"]:
        own = frame.loc[run[0]]
        assert list(committed["steps"][run[6]]) == list(own.eval_steps)
        assert run[7] == [round(1000 * score) for score in own.val_scores] and run[8] == len(own.train_loss)
        assert np.mean(run[9]) / 1000 == pytest.approx(np.mean(own.train_loss), abs=0.001)


# --- the arms -----------------------------------------------------------------------------------------------------
def test_arms_are_named_by_what_they_change_in_the_order_of_the_settings(small: Callable[..., Stored]) -> None:
    rates = [({"learning_rate": rate, "correct_bias": c}, [0.5]) for rate in (3e-4, 2e-5) for c in (False, True)]
    longer = [({"max_steps": n, "reinit_layers": 2}, [0.5]) for n in (400, 200)]
    other = [({"reinit_layers": n}, [0.5]) for n in (2, 1, 0)] + [({"mixout_prob": 0.9}, [0.5])]
    decays = [({"layerwise_lr_decay": 0.9, "learning_rate": 2e-4}, [0.5]), ({"data_seed": 7}, [0.5])]
    group = compact([small(({}, [0.5]), *rates, *longer, *other, *decays)])["groups"][0]
    named = {view: [label for _, label in rows] for view, rows in group["views"].items()}
    assert named["reinit"] == ["Standard", "Re-init 0", "Re-init 1", "Re-init 2"]
    assert named["steps"] == ["3 epochs", "3 epochs, Re-init 2", "200 steps, Re-init 2", "400 steps, Re-init 2"]
    assert named["rate"][:2] == ["rate 2e-5, Correction", "rate 2e-5, No correction"]
    assert named["rate"][2:] == ["rate 1e-4, Correction", "rate 3e-4, Correction", "rate 3e-4, No correction"]
    assert named["methods"] == ["Standard", "LLRD 0.9, rate 2e-4", "Mixout 0.9", "Re-init 0", "Re-init 1", "Re-init 2"]
    assert named["seeds"] == ["Standard", "Standard, crossed seeds"]
    assert len(named["all"]) == len(group["arms"]) == 13 and "correction" not in named and "precision" not in named


def test_an_arm_has_the_colour_of_its_recipe(small: Callable[..., Stored]) -> None:
    arms = ({}, [0.5]), ({"correct_bias": False}, [0.5]), ({"reinit_layers": 2}, [0.5]), ({"max_steps": 400}, [0.5])
    data = compact([small(*arms)])
    found = {label: data["colors"][arm["color"]] for label, arm in arms_of(data["groups"][0], "all").items()}
    assert found == {
        "Standard": f"var(--fewft-standard, {COLORS['Standard']})",
        "No correction": f"var(--fewft-no-correction, {COLORS['No correction']})",
        "Re-init 2": f"var(--fewft-reinit, {COLORS['Re-init']})",
        "400 steps": f"var(--fewft-longer, {COLORS['Longer']})",
    }


def test_without_a_study_the_plainest_and_most_frequent_setting_is_standard(small: Callable[..., Stored]) -> None:
    one = small(
        ({"learning_rate": 1e-3}, [0.5]), ({"learning_rate": 1e-5}, [0.5] * 2), ({"reinit_layers": 1}, [0.5] * 3)
    )
    group = compact([replace(one, study=None)])["groups"][0]
    assert [len(arm["runs"]) for arm in group["arms"] if arm["plain"]] == [2]


def test_the_studys_own_tasks_come_first_and_in_its_order(committed: dict[str, Any]) -> None:
    names = [group["study"] for group in committed["groups"]]
    assert names == sorted(names, key=["minilm", "demo", "scipy_modules"].index)
    tasks = [group["task"] for group in committed["groups"] if group["study"] == "minilm"]
    assert tasks == [task for task in studies.load("minilm").all_tasks if task in tasks]
    assert gather("demo", str(ROOT / "results"))["groups"][0]["study"] == "demo"


# --- the page -----------------------------------------------------------------------------------------------------
def test_the_page_is_small_and_the_same_when_made_again(committed: dict[str, Any]) -> None:
    page = Explorer(committed)._repr_html_()
    assert len(page.encode()) < LIMIT
    assert explorer("minilm", str(ROOT / "results"))._repr_html_() == page
    assert "://" not in page.replace("http://www.w3.org/2000/svg", "")  # the name of a language, not an address


def test_with_many_runs_curves_get_coarser_and_then_go(small: Callable[..., Stored]) -> None:
    one = small(({}, [0.5] * 20), train_loss=[0.5] * 50)
    many = replace(one, records=one.records * (MOST_CURVES // 20))
    data = compact([many])
    assert data["runs"] == MOST_CURVES and 0 < data["points"] <= MOST_LOSSES // MOST_CURVES
    data = compact([replace(many, records=many.records + one.records)])
    assert data["points"] == 0 and len(data["groups"][0]["arms"][0]["runs"][0]) == 6


def test_with_no_results_the_page_says_so(tmp_path: Path) -> None:
    shown = explorer("minilm", str(tmp_path))
    assert shown.said == "not run" and "not run: no run" in shown._repr_html_()
    assert "<script" not in shown._repr_html_()
    with pytest.raises(UsageError, match="study: 'minlm'"):
        explorer("minlm", str(tmp_path))


def test_no_text_from_data_ends_the_script() -> None:
    text = embedded([*HOSTILE, "<!--", "&amp;", "\u2028"])
    assert not set("<>&\u2028") & set(text) and json.loads(text)[:2] == list(HOSTILE)


def test_without_a_script_a_table_has_the_first_study(committed: dict[str, Any]) -> None:
    page = BeautifulSoup(Explorer(committed)._repr_html_(), "html.parser")
    assert page.find(id=f"{ID}-app").has_attr("hidden")
    rows = [[cell.get_text() for cell in row("td")] for row in page.noscript("tr")[1:]]
    groups = [group for group in committed["groups"] if group["study"] == "minilm"]
    assert len(rows) == sum(len(group["arms"]) for group in groups)
    n, mean, sd = arms_of(groups[0], "all")["Standard"]["stats"][0][:3]
    assert ["RTE (1k)", "Standard", f"{mean / 1000:.3f} ± {sd / 1000:.3f} (n = {n})"] in rows


# --- in a browser -------------------------------------------------------------------------------------------------
Browse = Callable[..., BeautifulSoup]


@pytest.fixture
def browse(tmp_path: Path) -> Iterator[Browse]:
    """What a browser makes of the page of some data, with a choice in its address, once a script of the test has run."""

    def look(data: dict[str, Any], script: str = "", **choice: str) -> BeautifulSoup:
        page = tmp_path / "page.html"
        body = f"<title>mine</title><body>{Explorer(data)._repr_html_()}<script>{script}</script>"
        page.write_text(f'<!DOCTYPE html><meta charset="utf-8">{body}')
        command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--enable-logging=stderr"]
        command += ["--disable-background-networking", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"]
        command += ["--virtual-time-budget=2000", "--window-size=900,1200", f"{page.as_uri()}#{urlencode(choice)}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []
        shown = BeautifulSoup(done.stdout, "html.parser")
        assert shown.title.get_text() == "mine"
        return shown

    yield look


def part(page: BeautifulSoup, name: str) -> Tag:
    found = page.find(id=f"{ID}-{name}")
    assert isinstance(found, Tag)
    return found


def table(page: BeautifulSoup) -> list[list[str]]:
    return [[cell.get_text() for cell in row(["th", "td"])] for row in part(page, "table").tbody("tr")]


def as_text(thousandths: int | None) -> str:
    return "–" if thousandths is None else f"{thousandths / 1000:.3f}".replace("-", "−")


def wanted(group: dict[str, Any], view: str, metric: int) -> list[list[str]]:
    """The first four columns of the table."""
    arms = arms_of(group, view).items()
    return [[label, str(arm["stats"][metric][0]), *map(as_text, arm["stats"][metric][1:3])] for label, arm in arms]


@needs_browser
def test_an_error_of_the_script_would_be_seen(browse: Browse, small: Callable[..., Stored]) -> None:
    with pytest.raises(AssertionError, match="Uncaught"):
        browse(compact([small(({}, [0.5]))]), "throw Error('mine')")


CHOICES = [
    ("minilm", "rte-1k", "correction", 0),
    ("minilm", "cola-1k", "rate", 2),
    ("demo", "bundled:similarity", "all", 3),
]


@needs_browser
@pytest.mark.parametrize(("study", "task", "view", "metric"), CHOICES)
def test_the_table_and_the_dots_are_those_of_the_address(
    study: str, task: str, view: str, metric: int, browse: Browse, committed: dict[str, Any]
) -> None:
    model = "bundled:minilm"
    group = group_of(committed, study=study, model=model, task=task)
    choice = {"study": study, "model": model, "task": task, "by": view, "metric": committed["metrics"][metric]}
    page = browse(committed, **choice)
    assert [row[:4] for row in table(page)] == wanted(group, view, metric)
    dots = [dot["data-run"] for dot in part(page, "dots").select(".dot")]
    arms = arms_of(group, view).values()
    assert sorted(dots) == sorted(run[0] for arm in arms for run in arm["runs"])
    hollow = part(page, "dots").select(".dot .degenerate")
    assert len(hollow) == sum(run[3] & 1 for arm in arms for run in arm["runs"])
    assert len(part(page, "curves").select(".curve")) == len(dots)
    assert TASK_LABELS[task] in part(page, "said").get_text()
    assert len(part(page, "task")("option")) == sum(
        (g["study"], g["model"]) == (study, model) for g in committed["groups"]
    )


@needs_browser
def test_another_choice_changes_what_is_shown_and_the_link(browse: Browse, committed: dict[str, Any]) -> None:
    script = "".join(
        f"{{ const s = document.getElementById('{ID}-{name}'); s.value = {json.dumps(value)};"
        " s.dispatchEvent(new Event('change')); }"
        for name, value in (("task", "stsb-1k"), ("by", "reinit"), ("metric", "test_last"), ("curve", "loss"))
    )
    page = browse(committed, script, study="minilm")
    assert [row[:4] for row in table(page)] == wanted(group_of(committed, study="minilm", task="stsb-1k"), "reinit", 1)
    link = part(page, "link")["href"]
    assert link == "#" + urlencode(
        {
            "study": "minilm",
            "model": "bundled:minilm",
            "task": "stsb-1k",
            "by": "reinit",
            "metric": "test_last",
            "curve": "loss",
        }
    )
    assert browse(committed, study="minilm", task="stsb-1k", by="reinit", metric="test_last").find(
        id=f"{ID}-table"
    ) == part(page, "table")


@needs_browser
def test_keys_go_from_run_to_run_and_say_which_it_is(browse: Browse, small: Callable[..., Stored]) -> None:
    scores = [0.6, 0.5, 0.7]
    data = compact([small(({}, scores), ({"correct_bias": False}, [0.69]))])
    ids = {run[4][0]: run[0] for arm in data["groups"][0]["arms"] for run in arm["runs"]}

    def chosen(*keys: str) -> str:
        press = "".join(
            f"document.activeElement.dispatchEvent(new KeyboardEvent('keydown', {{ key: '{key}', bubbles: true }}));"
            for key in keys
        )
        script = f"document.querySelector('#{ID}-dots [tabindex=\"0\"]').focus(); {press}"
        page = browse(data, script, study="minilm")
        found = [dot["data-run"] for dot in part(page, "dots").select("[aria-selected=true]")]
        assert [curve["data-run"] for curve in part(page, "curves").select(".chosen")] == found
        assert all(run in part(page, "run").get_text() and f"run={run}" in part(page, "link")["href"] for run in found)
        return found[0] if found else part(page, "run").get_text()

    assert chosen() == ids[500]  # the lowest
    assert chosen("ArrowRight") == ids[600]
    assert chosen("End", "ArrowDown") == ids[690]
    assert chosen("ArrowDown", "ArrowUp") == ids[700]  # the nearest of the arm above
    assert chosen("ArrowRight", "Escape") == "No run is chosen."


@needs_browser
def test_pointing_tells_of_a_run_and_a_click_chooses_it(browse: Browse, small: Callable[..., Stored]) -> None:
    data = compact([small(({}, [0.6, 0.6, 0.6, 0.5]))])  # three above each other
    last = data["groups"][0]["arms"][0]["runs"][2][0]

    def at(kind: str) -> BeautifulSoup:
        script = f"""const dot = document.querySelector("[data-run='{last}']"), box = dot.getBoundingClientRect();
        const at = {{ clientX: (box.left + box.right) / 2 + 1, clientY: (box.top + box.bottom) / 2, bubbles: true }};
        dot.dispatchEvent(new MouseEvent("{kind}", at));"""
        return browse(data, script, study="minilm")

    pointed, clicked = at("pointermove"), at("click")
    assert all(last in part(page, "run").get_text() for page in (pointed, clicked))
    assert "run=" not in part(pointed, "link")["href"] and f"run={last}" in part(clicked, "link")["href"]


@needs_browser
def test_an_address_of_something_else_shows_the_first(browse: Browse, committed: dict[str, Any]) -> None:
    page = browse(committed, study=HOSTILE[0], task=HOSTILE[1], by="constructor", metric="__proto__", run="x")
    assert [row[:4] for row in table(page)] == wanted(committed["groups"][0], "correction", 0)
    assert table(browse(committed)) == table(page)


@needs_browser
def test_the_address_changes_with_a_choice_and_not_before(browse: Browse, small: Callable[..., Stored]) -> None:
    later = "setTimeout(() => { document.body.dataset.at = location.hash; }, 1000)"
    press = f"document.querySelector('#{ID}-dots .dot').focus();"
    data = compact([small(({}, [0.5]))])
    assert browse(data, later, heading="x").body["data-at"] == "#heading=x"
    page = browse(data, press + later, heading="x")
    assert page.body["data-at"] == part(page, "link")["href"] and "run=" in page.body["data-at"]


@needs_browser
def test_a_browser_shows_hostile_names_and_runs_none_of_them(browse: Browse, small: Callable[..., Stored]) -> None:
    one = small(({}, [0.5, 0.6]), ({"intermediate_task": "mnli"}, [0.5]), metric=HOSTILE[1])
    names = {"task": HOSTILE[0], "model": HOSTILE[1]}
    records = [r | names | {"intermediate_task": r["intermediate_task"] and HOSTILE[0]} for r in one.records]
    page = browse(compact([Stored(HOSTILE[1], None, records)]))
    assert page.select("img, [onerror]") == [] and len(page("script")) == 3
    text = part(page, "app").get_text()
    assert all(name in text for name in HOSTILE) and f"Int. Task {HOSTILE[0]}" in text
    assert set(SELECTS) <= {tag["id"].removeprefix(f"{ID}-") for tag in page("select")}
