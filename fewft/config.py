"""One run, fully described: every setting with its default, unit and source, and the id that follows from it."""

import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Iterable
from dataclasses import MISSING, dataclass
from difflib import get_close_matches
from functools import cached_property
from typing import Any

CORE_VERSION = 2  # of the training code: raise it when a change can change results
CONFIG_VERSION = 1  # part of every run_id: raise it when a default or a field's meaning changes
PRECISIONS = ("fp32", "bf16", "fp16")
METHODS = (  # what a section adds to plain fine-tuning
    "reinit_layers", "mixout_prob", "layerwise_lr_decay", "weight_decay", "prior_weight_decay", "intermediate_task",
)  # fmt: skip
LONGEST_MESSAGE, MESSAGE_END = 1000, 300  # characters; of a longer one the middle, with the value in it, is left out
LONGEST_VALUE = 200  # characters of one value in a message
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")  # neither text nor, on a line, readable


class UsageError(ValueError):
    """A wrong call: one sentence, on one line, that names the argument, its value and what is accepted."""

    def __init__(self, message: str) -> None:
        line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in _cut(message))
        super().__init__(_cut(line))


def _cut(text: str) -> str:
    whole = len(text) <= LONGEST_MESSAGE
    return text if whole else f"{text[: LONGEST_MESSAGE - MESSAGE_END - 5]} ... {text[-MESSAGE_END:]}"


def shown(value: object) -> str:
    """A value as messages have it: cut where it is long, and in words where Python cannot write it."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # of a whole number with thousands of digits, of a list in a list in a ...
        return f"a {type(value).__name__} too large to be shown"
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]} ..."


def check_choice(argument: str, value: object, accepted: Iterable[str]) -> None:
    """Refuse a value that is not one of the accepted names.

    Raises:
        UsageError: names the argument, the value, the nearest accepted name and all of them.
    """
    names = sorted(accepted)
    if value not in names:
        near = get_close_matches(value[:LONGEST_VALUE], names, n=1) if isinstance(value, str) else []
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise UsageError(f"{argument}: {shown(value)} is not known{hint}; accepted: {', '.join(names)}")


def names_in(text: str) -> list[str]:
    """The names in a text that separates them by commas, each once."""
    return list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def _setting(default: Any, about: str, source: str) -> Any:
    """A field with its default, its meaning with unit, and where the paper states it."""
    return dataclasses.field(default=default, metadata={"about": about, "source": source})


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """One fine-tuning, fully described; where and how fast it ran is in the result, not here.

    Raises:
        UsageError: a value of the wrong type or out of range, before anything is loaded.

    Paper: Section 3, "Experimental Setup".
    """

    task: str = _setting(MISSING, "one of tasks.names(), or a study's own", "Section 3, Data")
    model: str = _setting("bert-large-uncased", "hub id, folder, bundled:NAME or random:NAME", "Section 3")
    data: str = _setting("", "own files only: JSON of columns and checksums, made by the study", "not in the paper")
    num_hidden_layers: int = _setting(0, "Transformer blocks kept, from the bottom; 0: all", "not in the paper")
    init_seed: int = _setting(0, "draws the head's (and Re-init's) weights", "Appendix B")
    data_seed: int = _setting(0, "draws the order of the examples, and dropout", "Appendix B")
    learning_rate: float = _setting(2e-5, "peak, per step", "Section 3")
    num_train_epochs: int = _setting(3, "passes over the training set", "Section 3")
    max_steps: int = _setting(0, "optimizer steps; 0: as the epochs say", "Section 6")
    train_batch_size: int = _setting(32, "examples", "Section 3")
    max_seq_length: int = _setting(128, "tokens; longer inputs are cut", "released code")
    warmup_ratio: float = _setting(0.1, "share of the steps; then linear decay to 0", "Section 3")
    warmup_steps: int = _setting(0, "optimizer steps, in place of warmup_ratio; 0: as that says", "Table 6")
    weight_decay: float = _setting(0.0, "decoupled, per unit of learning rate", "Section 7")
    max_grad_norm: float = _setting(1.0, "L2 norm of all gradients together", "Section 3")
    correct_bias: bool = _setting(True, "True: debiased Adam, False: BERTAdam", "Section 4")
    adam_beta1: float = _setting(0.9, "decay rate of the first moment, per step", "Algorithm 1")
    adam_beta2: float = _setting(0.999, "decay rate of the second moment, per step", "Algorithm 1")
    adam_epsilon: float = _setting(1e-8, "added to the root of the second moment, in both arms", "Algorithm 1")
    precision: str = _setting("fp32", "fp32, bf16, or fp16 with loss scaling", "Appendix C (the paper: fp16)")
    num_evals: int = _setting(10, "evaluations on the validation set, and one at the end", "Section 3")
    reinit_layers: int = _setting(
        -1, "blocks drawn anew from the top, and the pooler; 0: pooler, -1: none", "Section 5"
    )
    mixout_prob: float = _setting(
        0.0, "probability that an input column of a Linear has its first weights", "Section 7"
    )
    layerwise_lr_decay: float = _setting(1.0, "factor on the rate from each block to the one below", "Section 7")
    prior_weight_decay: float = _setting(0.0, "toward the first weights, per unit of learning rate", "Section 7")
    intermediate_task: str = _setting("", "fine-tuned on first; its encoder goes on, with a fresh head", "Section 7")
    num_distances: int = _setting(25, "times that each block's L2 distance from its start is taken", "Section 5")

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            check_type(field.name, getattr(self, field.name), field.type)
            if field.type is float:
                object.__setattr__(self, field.name, float(getattr(self, field.name)))
        check_choice("precision", self.precision, PRECISIONS)
        positive = ("learning_rate", "train_batch_size", "max_grad_norm", "adam_epsilon", "num_evals")
        for name in positive:
            _check_range(name, getattr(self, name), above=0)
        at_least_0 = ("num_hidden_layers", "init_seed", "data_seed", "num_train_epochs", "max_steps", "warmup_steps")
        for name in (*at_least_0, "weight_decay", "prior_weight_decay", "num_distances"):
            _check_range(name, getattr(self, name), at_least=0)
        for name in ("warmup_ratio", "adam_beta1", "adam_beta2", "mixout_prob"):
            _check_range(name, getattr(self, name), at_least=0, below=1)
        _check_range("layerwise_lr_decay", self.layerwise_lr_decay, above=0, at_most=1)
        _check_range("reinit_layers", self.reinit_layers, at_least=-1)
        _check_data(self.data)
        _check_range("max_seq_length", self.max_seq_length, at_least=8)
        if not self.num_train_epochs and not self.max_steps:
            raise UsageError("num_train_epochs: 0 needs max_steps above 0; accepted: one of the two above 0")

    @cached_property
    def run_id(self) -> str:
        """16 hex digits: the hash of every field that is not at its default, and of CONFIG_VERSION.

        A field added later with a neutral default leaves the ids of earlier runs as they are.
        """
        defaults = {f.name: f.default for f in dataclasses.fields(self)}
        said = {k: v for k, v in self.to_dict().items() if v != defaults[k]}
        if self.data:  # where the files lie does not matter, what is in them does
            said["data"] = {k: v for k, v in json.loads(self.data).items() if k != "files"}
        text = json.dumps({"version": CONFIG_VERSION, **said}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @classmethod
    def names(cls) -> list[str]:
        """All settings."""
        return [f.name for f in dataclasses.fields(cls)]

    def to_dict(self) -> dict[str, Any]:
        """All fields, by name."""
        return {name: getattr(self, name) for name in self.names()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "RunConfig":
        """The inverse of `to_dict`.

        Raises:
            UsageError: an unknown field.
        """
        for name in values:
            check_choice("setting", name, cls.names())
        if "task" not in values:
            raise UsageError("task: missing; accepted: the name of a task")
        return cls(**values)

    def intermediate(self) -> "RunConfig | None":
        """The run on `intermediate_task` that this one starts from, if any: plain fine-tuning for `num_train_epochs`.

        It has the same model, rate and arm, but none of the other methods, and seeds 0: one run serves every seed.

        Paper: Section 7.1, "Transferring via an Intermediate Task".
        """
        if not self.intermediate_task:
            return None
        plain = {f.name: f.default for f in dataclasses.fields(self) if f.name in METHODS}
        changes = {"data": "", "init_seed": 0, "data_seed": 0, "max_steps": 0, "warmup_steps": 0, **plain}
        epochs = self.num_train_epochs or 3
        return dataclasses.replace(self, task=self.intermediate_task, num_train_epochs=epochs, **changes)

    def num_steps(self, num_examples: int) -> int:
        """Optimizer steps for a training set of `num_examples`; the last batch of an epoch may be short."""
        return self.max_steps or self.num_train_epochs * math.ceil(num_examples / self.train_batch_size)


def check_type(name: str, value: object, kind: type) -> None:
    """Refuse a value that is not of a kind: bool, int (of 64 bits), float (finite, or such an int) or str (of text).

    Raises:
        UsageError: names the argument, the value and the kind.
    """
    accepted = (int, float) if kind is float else kind
    if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
        raise UsageError(f"{name}: {shown(value)} is a {type(value).__name__}; accepted: {kind.__name__}")
    if isinstance(value, int) and value.bit_length() > 63:  # neither torch nor Parquet has larger ones
        raise UsageError(f"{name}: {shown(value)} has {value.bit_length()} bits; accepted: a number of at most 63")
    if isinstance(value, float) and not math.isfinite(value):
        raise UsageError(f"{name}: {value!r}; accepted: a finite number")
    if isinstance(value, str) and CONTROL.search(value):
        raise UsageError(f"{name}: {shown(value)}; accepted: text without control characters")


def _check_data(text: str) -> None:
    """Refuse what `run_id` cannot read; `tasks.load` asks for more."""
    try:
        spec = json.loads(text or "{}")
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"data: {shown(text)} is not JSON ({error}); accepted: what own_files.own_data gives"
        ) from None
    values = list(spec.values()) if isinstance(spec, dict) else [None]
    inner = [x for v in values for x in (v.values() if isinstance(v, dict) else v if isinstance(v, list) else [v])]
    if not all(isinstance(x, str) for x in inner):
        raise UsageError(f"data: {shown(text)}; accepted: what own_files.own_data gives")


def _check_range(
    name: str, value: float, *, above: float | None = None, at_least: float | None = None,
    below: float | None = None, at_most: float | None = None,
) -> None:  # fmt: skip
    bounds = {"above": above, "at least": at_least, "below": below, "at most": at_most}
    too_low = (above is not None and value <= above) or (at_least is not None and value < at_least)
    too_high = (below is not None and value >= below) or (at_most is not None and value > at_most)
    if too_low or too_high:
        accepted = " and ".join(f"{word} {bound}" for word, bound in bounds.items() if bound is not None)
        raise UsageError(f"{name}: {value!r} is out of range; accepted: {accepted}")
