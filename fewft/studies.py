"""A study: which model, data and sizes the paper is re-done with, read from a TOML file."""

import dataclasses
import tomllib
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from fewft import tasks
from fewft.config import RunConfig, UsageError, check_choice

RECIPES: dict[str, dict[str, Any]] = {  # the paper's arms: RunConfig fields on top of the study's settings
    "debiased": {"correct_bias": True},
    "bertadam": {"correct_bias": False},
}
SET_BY_EXPERIMENTS = ("task", "model", "data", "init_seed", "data_seed", "learning_rate", *RECIPES["debiased"])


@dataclass(frozen=True, kw_only=True)
class Study:
    """One way to re-do the paper; every key of the TOML file is a field here.

    Raises:
        UsageError: an unknown task, a number out of range.
    """

    name: str  # also the name of its results
    description: str  # a sentence for the book
    model: str  # as RunConfig.model
    tasks: tuple[str, ...]  # in the order of the figures
    seeds: int  # runs per task and arm
    learning_rate: float  # of every experiment but the search
    search_learning_rates: tuple[float, ...]  # of the learning-rate search
    search_seeds: int  # runs per task, arm and rate of the search
    settings: dict[str, Any] = field(default_factory=dict)  # other RunConfig fields, for every run
    data: dict[str, str] = field(default_factory=dict)  # own tasks: name -> RunConfig.data

    def __post_init__(self) -> None:
        for task in self.tasks:
            check_choice("task", task, [*tasks.names(), *self.data])
        for name in ("seeds", "search_seeds"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name}: {getattr(self, name)}; accepted: 1 or more")
        for name in self.settings:
            accepted = [f.name for f in dataclasses.fields(RunConfig) if f.name not in SET_BY_EXPERIMENTS]
            check_choice("settings", name, accepted)
        if not self.tasks or not self.search_learning_rates:
            raise UsageError("tasks, search_learning_rates: an empty list; accepted: one entry or more")
        for task, rate in product(self.tasks, (self.learning_rate, *self.search_learning_rates)):
            self.run(task, "debiased", 0, learning_rate=rate)

    def run(self, task: str, recipe: str, seed: int, **changes: Any) -> RunConfig:
        """One run of this study; both its seeds are `seed`, as in the paper's ordinary runs (Appendix B)."""
        check_choice("recipe", recipe, RECIPES)
        base = {"model": self.model, "learning_rate": self.learning_rate, "data": self.data.get(task, "")}
        seeds = {"init_seed": seed, "data_seed": seed}
        return RunConfig(task=task, **{**base, **seeds, **self.settings, **RECIPES[recipe], **changes})


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
        UsageError: unknown study or key, wrong type, unreadable TOML.
    """
    path = Path(name)
    if path.suffix != ".toml":
        check_choice("study", name, available())
        path = available()[name]
    if not path.is_file():
        raise UsageError(f"study: no file {name!r}; accepted: a .toml file or one of {', '.join(available())}")
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeError) as error:
        raise UsageError(f"study: {str(path)!r} is not TOML ({error}); accepted: a TOML file") from error
    return _from_toml(path, values)


def _from_toml(path: Path, values: dict[str, Any]) -> Study:
    fields = {f.name: f for f in dataclasses.fields(Study) if f.name != "name"}
    for key in values:
        check_choice(f"key of {path.name}", key, fields)
    for key, entry in fields.items():
        if entry.default_factory is dataclasses.MISSING and key not in values:
            raise UsageError(f"{key}: missing in {str(path)!r}; accepted: {', '.join(fields)}")
        kind = {"tasks": list, "search_learning_rates": list, "settings": dict, "data": dict}.get(key, entry.type)
        accepted = (int, float) if kind is float else kind
        if key in values and (not isinstance(values[key], accepted) or isinstance(values[key], bool)):
            raise UsageError(f"{key}: {values[key]!r} in {path.name}; accepted: a {kind.__name__}")
    own = {name: _own(path.parent, name, table) for name, table in values.pop("data", {}).items()}
    lists = {key: tuple(values.pop(key)) for key in ("tasks", "search_learning_rates")}
    return Study(name=path.stem, data=own, **lists, **values)


def _own(folder: Path, name: str, table: dict[str, Any]) -> str:
    accepted = ("train", "validation", "test", "text", "label", "metric")
    if not isinstance(table, dict):
        raise UsageError(f"data.{name}: {table!r}; accepted: a section with {', '.join(accepted)}")
    for key, value in table.items():
        check_choice(f"key of data.{name}", key, accepted)
        texts = value if key == "text" and isinstance(value, list) else [value]
        if not all(isinstance(text, str) for text in texts):
            raise UsageError(
                f"data.{name}.{key}: {value!r}; accepted: a str{', or a list of' if key == 'text' else ''}"
            )
    for key in ("train", "validation", "text", "label", "metric"):
        if key not in table:
            raise UsageError(f"data.{name}: {key!r} is missing; accepted: {', '.join(accepted)}")
    files = {part: folder / table[part] for part in ("train", "validation", "test") if part in table}
    text = [table["text"]] if isinstance(table["text"], str) else table["text"]
    return tasks.own_data(files, text, table["label"], table["metric"])
