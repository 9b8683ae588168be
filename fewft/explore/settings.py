"""What a run's settings are called: the words and colour of an arm, and which arms a comparison has, in which order."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fewft.choices import INTERMEDIATE, LONGER, METHOD_NAMES, REINIT, REINIT_LONGER, STANDARD
from fewft.config import METHODS, RunConfig
from fewft.designs import model_changes
from fewft.plots import ARMS, COLORS, TASK_LABELS
from fewft.plots.look import GREY
from fewft.plots.palette import slug
from fewft.studies import Study

CROSSED = "crossed seeds"  # a setting of ours: whether a run's two seeds differ, as in Appendix B
FIRST = ("learning_rate", "correct_bias", "intermediate_task", *METHOD_NAMES, "reinit_layers", "max_steps")
NO_SETTINGS = ("task", "model", "init_seed", "data_seed", "num_distances", *FIRST)
FIELDS = (*FIRST, *(name for name in RunConfig.names() if name not in NO_SETTINGS), CROSSED)
RECIPES = {  # what an arm changes, its rate and seeds aside: the recipe whose colour it has
    frozenset(): STANDARD,
    frozenset({"correct_bias"}): ARMS[False],
    frozenset({"intermediate_task"}): INTERMEDIATE,
    **{frozenset({field}): name for field, name in METHOD_NAMES.items()},
    frozenset({"reinit_layers"}): REINIT,
    frozenset({"max_steps"}): LONGER,
    frozenset({"reinit_layers", "max_steps"}): REINIT_LONGER,
}
Setting = dict[str, Any]  # by the names in FIELDS


@dataclass(frozen=True)
class View:
    """A comparison to choose: arms that change nothing but what one of `groups` has."""

    key: str
    label: str
    groups: tuple[tuple[str, ...], ...]
    said: tuple[str, ...] = ()  # settings that each arm is named by, changed or not
    varied: str = ""  # of the other settings only those that were also tried with this one changed


VIEWS = (
    View("correction", "Bias correction (Section 4)", (("correct_bias",),), said=("correct_bias",)),
    View("reinit", "Re-init (Section 5)", (("reinit_layers",),)),
    View(
        "steps",
        "Training length (Section 6)",
        (("reinit_layers", "max_steps"),),
        said=("max_steps",),
        varied="max_steps",
    ),
    View("methods", "Methods (Section 7)", (*((m, "learning_rate") for m in METHOD_NAMES), *((m,) for m in FIRST[2:]))),
    View(
        "rate",
        "Learning rate, both arms of Adam",
        (("learning_rate", "correct_bias"),),
        said=("learning_rate", "correct_bias"),
    ),
    View("seeds", "Seeds crossed (Appendix B)", (("reinit_layers", CROSSED),), varied=CROSSED),
    View("precision", "Precision (Appendix C)", (("precision",),), said=("precision",)),
    View("all", "All settings", (FIELDS,)),
)


def setting_of(record: Mapping[str, Any]) -> Setting:
    """A run's settings but for its task, model and seeds; one that is newer than the run has its default."""
    default = {name: value for name, value in RunConfig(task="rte").to_dict().items() if name in FIELDS}
    found = {name: value if record.get(name) is None else record[name] for name, value in default.items()}
    found["data"] = json.dumps(json.loads(found["data"] or "{}").get("sha256", {}), sort_keys=True)
    return found | {CROSSED: record["init_seed"] != record["data_seed"]}


def standard(study: Study | None, model: str, task: str, found: Sequence[Setting]) -> Setting:
    """The setting that arms are compared with: a study's debiased Adam; without one, the plainest and most frequent."""
    if study:
        names = {other: name for name, other in study.other_models.items()}
        changes = {} if model == study.model else model_changes(study, names[model], task) if model in names else None
        if changes is not None:
            return setting_of(study.run(task, "debiased", 0, **changes).to_dict())
    default = RunConfig(task="rte").to_dict()
    plain = (*METHODS, "max_steps", "correct_bias")
    counts = Counter(tuple(s.items()) for s in found)
    return dict(max(counts, key=lambda s: (sum(dict(s)[name] == default[name] for name in plain), counts[s])))


def changes_of(setting: Setting, base: Setting) -> Setting:
    """The settings in which an arm differs from the standard one."""
    return {name: setting[name] for name in FIELDS if setting[name] != base[name]}


def color_of(changes: Mapping[str, Any]) -> str:
    """An arm's colour as CSS, that of its recipe in all figures; grey where it is none of the paper's recipes."""
    recipe = RECIPES.get(frozenset(changes) - {"learning_rate", CROSSED}, "other")
    return f"var(--fewft-{slug(recipe)}, {COLORS.get(recipe, GREY)})"


def label_of(setting: Setting, changes: Mapping[str, Any], said: Sequence[str] = ()) -> str:
    """An arm in words: first the settings in `said`, then what it changes; "Standard" where that is nothing."""
    names = [*said, *(name for name in (*FIELDS[1:], FIELDS[0]) if name in changes and name not in said)]
    plain = [] if said or set(names) - {CROSSED} else [STANDARD]
    return ", ".join([*plain, *(_word(name, setting) for name in names)])


def _word(name: str, setting: Setting) -> str:
    value = setting[name]
    if name in METHOD_NAMES:
        return f"{METHOD_NAMES[name]} {value:g}"
    words = {
        "correct_bias": lambda: ARMS[bool(value)],
        "learning_rate": lambda: f"rate {_short(value)}",
        "reinit_layers": lambda: STANDARD if value < 0 else f"{REINIT} {value}",
        "max_steps": lambda: f"{value} steps" if value else f"{setting['num_train_epochs']} epochs",
        "intermediate_task": lambda: f"{INTERMEDIATE} {TASK_LABELS.get(value, value)}" if value else "no Int. Task",
        "precision": lambda: value,
        "data": lambda: "other data",
        CROSSED: lambda: CROSSED if value else "equal seeds",
    }
    return words.get(name, lambda: f"{name} {value}")()


def _short(rate: float) -> str:
    """A rate as the paper writes it: 2e-5."""
    digits, power = f"{rate:e}".split("e")
    return f"{float(digits):g}e{int(power)}"


def rows_of(view: View, settings: Sequence[Setting], base: Setting) -> list[int]:
    """Places of the arms that a view compares, in its order, the standard one among them; none if nothing differs."""
    changes = [changes_of(setting, base) for setting in settings]
    kept = [i for i, own in enumerate(changes) if any(own.keys() <= set(group) for group in view.groups)]
    if view.varied:
        rest = [_without(changes[i], view.varied) for i in kept if view.varied in changes[i]]
        kept = [i for i in kept if not changes[i] or _without(changes[i], view.varied) in rest]
    if "learning_rate" not in view.said and view.key != "all":  # a rate alone is no method
        kept = [i for i in kept if changes[i].keys() != {"learning_rate"}]

    if view.said and not any(view.said[0] in changes[i] for i in kept):
        return []

    def place(i: int) -> list[Any]:
        own = settings[i]
        first = [not own[name] if isinstance(own[name], bool) else own[name] for name in view.said]
        rest = [name for name in reversed(FIELDS) if name != view.varied]
        return first + [(name in changes[i], own[name]) for name in (*rest, *filter(None, [view.varied]))]

    return sorted(kept, key=place)


def _without(changes: Setting, name: str) -> Setting:
    return {key: value for key, value in changes.items() if key != name}
