"""A study: which model, data and sizes the paper is re-done with, read from a TOML file."""

import dataclasses
import os.path
import tomllib
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, get_origin

from fewft import own_files, paper, tasks
from fewft.config import METHODS, RunConfig, UsageError, check_choice, check_type, shown
from fewft.files import read_text

RECIPES: dict[str, dict[str, Any]] = {  # the paper's arms: RunConfig fields on top of the study's settings
    "debiased": {"correct_bias": True},
    "bertadam": {"correct_bias": False},
}


@dataclass(frozen=True)
class Method:
    """A method that Section 7 compares, tuned by a search over one setting."""

    setting: str  # a field of RunConfig, neutral by default
    name: str  # in tables and figures
    values: str  # what the values of its grid are
    grid: tuple[float, ...] = ()  # in the paper; empty for a method that it lacks, which a study's [grids] asks for


SEARCHED = (  # in the order of Table 2; Appendix H
    Method("mixout_prob", "Mixout", "probability", (0.1, 0.3, 0.5, 0.7, 0.9)),
    Method("prior_weight_decay", "Pre-trained WD", "strength", (1e-3, 1e-2, 1e-1, 1.0)),
    Method("weight_decay", "WD", "strength", (1e-4, 1e-3, 1e-2, 1e-1)),
)
SET_BY_EXPERIMENTS = ("task", "model", "data", "init_seed", "data_seed", "learning_rate", "correct_bias", *METHODS)
SEEDS = {  # runs for each cell of an experiment, as in the paper; a study's [seeds] changes them
    "bias_correction": 50,  # Section 4
    "stability_map": 3,  # not in the paper
    "reinit": 20,  # Section 5
    "distances": 20,  # Section 5 does not say
    "longer_search": 8,  # Section 6: to choose the number of steps
    "longer": 20,  # Section 6: with the steps chosen
    "methods_search": 20,  # Section 7: for each point of Appendix H's grids
    "methods": 20,  # Section 7: with the point chosen
    "randomness": 10,  # Appendix B: of each kind, crossed
    "precision": 20,  # Appendix C
    "large_task": 3,  # Appendix D
    "other_models": 20,  # Appendix F
}
GRIDS: dict[str, tuple[float, ...]] = {  # as in the paper; a study's [grids] changes them
    "learning_rate": (1e-5, 2e-5, 5e-5, 1e-4),  # of the stability map; not in the paper
    "reinit_layers": (1, 2, 3, 4, 5, 6),  # Section 5
    "distance_layers": (1, 3, 6, 10),  # Figure 7: the L whose blocks are followed
    "randomness_layers": (5,),  # Figure 9: the L beside standard fine-tuning
    "max_steps": (200, 400, 800, 1600, 3200),  # Section 6
    "llrd_learning_rate": (2e-5, 5e-5, 1e-4),  # this and those below: Appendix H
    "layerwise_lr_decay": (0.9, 0.95),
    **{method.setting: method.grid for method in SEARCHED},
}
MOST_SEEDS = 1000  # runs for each cell; the paper's most are 50, and Appendix B has their square
COUNTS = ("reinit_layers", "distance_layers", "randomness_layers", "max_steps")  # grids of whole numbers


@dataclass(frozen=True, kw_only=True)
class Study:
    """One way to re-do the paper; every key of the TOML file is a field here.

    Raises:
        UsageError: an unknown task, seed count, grid or setting, a number out of range.
    """

    name: str  # also the name of its results
    description: str  # a sentence for the book
    model: str  # as RunConfig.model
    tasks: tuple[str, ...]  # of Sections 4 and 7 and the appendices, in the order of the figures; B takes the first
    learning_rate: float  # of every experiment that does not search for one
    more_tasks: tuple[str, ...] = ()  # of Sections 5 and 6, beside `tasks`
    intermediate_task: str = ""  # Section 7; empty: not in this study
    large_task: str = ""  # Appendix D; empty: not in this study
    gpus_per_run: float = 0.0  # on a Ray cluster; a share of one lets several runs have the same
    seeds: dict[str, int] = field(default_factory=dict)  # names of SEEDS; what is not named is as in the paper
    grids: dict[str, tuple[float, ...]] = field(default_factory=dict)  # names of GRIDS, likewise
    other_models: dict[str, str] = field(default_factory=dict)  # Appendix F: name in Table 6 -> RunConfig.model
    settings: dict[str, Any] = field(default_factory=dict)  # other RunConfig fields, for every run
    data: dict[str, str] = field(default_factory=dict)  # own tasks: name -> RunConfig.data

    def __post_init__(self) -> None:
        if not self.tasks:
            raise UsageError("tasks: an empty list; accepted: one entry or more")
        for task in (*self.tasks, *self.more_tasks, *filter(None, (self.intermediate_task, self.large_task))):
            check_choice("task", task, [*tasks.names(), *self.data])
        check_type("gpus_per_run", self.gpus_per_run, float)
        if self.gpus_per_run < 0:
            raise UsageError(f"gpus_per_run: {self.gpus_per_run}; accepted: 0 or more")
        _check_seeds(self.seeds)
        for name in self.settings:
            check_choice("settings", name, [n for n in RunConfig.names() if n not in SET_BY_EXPERIMENTS])
        for name, model in self.other_models.items():
            check_choice("other_models", name, paper.OTHER_MODELS)
            RunConfig(task="rte", model=model)
        object.__setattr__(self, "grids", {name: _grid(name, values) for name, values in self.grids.items()})
        for task, rate in product(self.all_tasks, {self.learning_rate, *self.grid("learning_rate")}):
            self.run(task, "debiased", 0, learning_rate=rate)  # refuses what RunConfig refuses

    @property
    def all_tasks(self) -> tuple[str, ...]:
        """Those of Sections 5 and 6: `tasks`, then `more_tasks`, each once."""
        return tuple(dict.fromkeys((*self.tasks, *self.more_tasks)))

    def count(self, name: str) -> int:
        """Runs for each cell of an experiment (a key of SEEDS)."""
        return self.seeds.get(name, SEEDS[name])

    def grid(self, name: str) -> tuple[Any, ...]:
        """The values that a search tries (a key of GRIDS)."""
        return self.grids.get(name, GRIDS[name])

    def run(self, task: str, recipe: str, seed: int, **changes: Any) -> RunConfig:
        """One run of this study; both its seeds are `seed`, as in the paper's ordinary runs (Appendix B)."""
        check_choice("recipe", recipe, RECIPES)
        base = {"model": self.model, "learning_rate": self.learning_rate, "data": self.data.get(task, "")}
        seeds = {"init_seed": seed, "data_seed": seed}
        return RunConfig(task=task, **{**base, **seeds, **self.settings, **RECIPES[recipe], **changes})


def _check_seeds(seeds: dict[str, int]) -> None:
    for name, value in seeds.items():
        check_choice("seeds", name, SEEDS)
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST_SEEDS:
            raise UsageError(f"seeds.{name}: {shown(value)}; accepted: a whole number, 1 or more, to {MOST_SEEDS:,}")


def _grid(name: str, values: Any) -> tuple[float, ...]:
    check_choice("grids", name, GRIDS)
    kind: Any = int if name in COUNTS else int | float
    if not isinstance(values, list | tuple) or not values:
        raise UsageError(f"grids.{name}: {shown(values)}; accepted: a list with one entry or more")
    for value in values:
        if isinstance(value, bool) or not isinstance(value, kind):
            raise UsageError(f"grids.{name}: {shown(value)}; accepted: {'whole ' if kind is int else ''}numbers")
        fields = {"distance_layers": "reinit_layers", "randomness_layers": "reinit_layers"}
        field_name = fields.get(name, name.removeprefix("llrd_"))
        RunConfig(task="rte", **{field_name: value})  # refuses what is out of range
    return tuple(values)


def root() -> Path:
    """The project's folder: the nearest one above the working directory with `studies/`, else the checkout's."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "studies").is_dir():
            return folder
    return Path(__file__).resolve().parent.parent


def available() -> dict[str, Path]:
    """Studies by name."""
    return {path.stem: path for path in sorted((root() / "studies").glob("*.toml"))}


def load(name: str) -> Study:
    """A study by name, or by the path of its TOML file.

    Raises:
        UsageError: unknown study or key, wrong type, unreadable TOML; the file is named.
    """
    path = Path(name)
    if path.suffix != ".toml":
        check_choice("study", name, available())
        path = available()[name]
    if path.stem.strip(".") == "":  # its runs would lie in the folder above the results
        raise UsageError(f"study: {shown(name)}; accepted: a file whose name has more than dots")
    if not os.path.isfile(path):  # unlike Path's, no error for a name that no file can have
        raise UsageError(f"study: no file {shown(name)}; accepted: a .toml file or one of {', '.join(available())}")
    try:
        values = tomllib.loads(read_text(path))
    except (OSError, ValueError, RecursionError) as error:  # tomllib's own errors are ValueErrors
        raise UsageError(f"study: {str(path)!r} is not TOML ({error}); accepted: a TOML file") from error
    try:
        return _from_toml(path, values)
    except UsageError as error:
        raise UsageError(f"{path.name}: {error}") from error


def _from_toml(path: Path, values: dict[str, Any]) -> Study:
    fields = {f.name: f for f in dataclasses.fields(Study) if f.name != "name"}
    for key in values:
        check_choice("key", key, fields)
    for key, entry in fields.items():
        required = entry.default is dataclasses.MISSING and entry.default_factory is dataclasses.MISSING
        if required and key not in values:
            raise UsageError(f"{key}: missing; accepted: {', '.join(fields)}")
        kind = {"tasks": list, "more_tasks": list}.get(key, get_origin(entry.type) or entry.type)
        accepted = (int, float) if kind is float else kind
        if key in values and (not isinstance(values[key], accepted) or isinstance(values[key], bool)):
            raise UsageError(f"{key}: {shown(values[key])}; accepted: a {kind.__name__}")
    own = {name: _own(path.parent, name, table) for name, table in values.pop("data", {}).items()}
    lists = {key: tuple(values.pop(key)) for key in ("tasks", "more_tasks") if key in values}
    return Study(name=path.stem, data=own, **lists, **values)


def _own(folder: Path, name: str, table: dict[str, Any]) -> str:
    accepted = ("train", "validation", "test", "text", "label", "metric")
    if not isinstance(table, dict):
        raise UsageError(f"data.{name}: {shown(table)}; accepted: a section with {', '.join(accepted)}")
    for key, value in table.items():
        check_choice(f"key of data.{name}", key, accepted)
        texts = value if key == "text" and isinstance(value, list) else [value]
        if not all(isinstance(text, str) for text in texts):
            raise UsageError(
                f"data.{name}.{key}: {shown(value)}; accepted: a str{', or a list of' if key == 'text' else ''}"
            )
    for key in ("train", "validation", "text", "label", "metric"):
        if key not in table:
            raise UsageError(f"data.{name}: {key!r} is missing; accepted: {', '.join(accepted)}")
    files = {p: _inside(folder, f"data.{name}.{p}", table[p]) for p in ("train", "validation", "test") if p in table}
    text = [table["text"]] if isinstance(table["text"], str) else table["text"]
    return own_files.own_data(files, text, table["label"], table["metric"])


def _inside(folder: Path, key: str, name: str) -> Path:
    """A file that a study names: a study may come from a stranger, so it must lie in the study's folder in the end."""
    try:
        inside = not Path(name).is_absolute() and (folder / name).resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError):  # a NUL, or links in a circle
        inside = False
    if not inside:
        raise UsageError(f"{key}: {name!r}; accepted: a file in the study's folder, by a relative path")
    return folder / name
