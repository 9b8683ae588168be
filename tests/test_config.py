"""fewft.config: bad values are refused before anything runs, and the id is that of the settings and nothing else."""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest

from fewft import own_files
from fewft.config import RunConfig, UsageError, check_choice

NAN = float("nan")
# every default as it is today, written out
PINNED = {
    "model": "bert-large-uncased", "data": "", "num_hidden_layers": 0, "init_seed": 0, "data_seed": 0,
    "learning_rate": 2e-5, "num_train_epochs": 3, "max_steps": 0, "train_batch_size": 32, "max_seq_length": 128,
    "warmup_ratio": 0.1, "weight_decay": 0.0, "max_grad_norm": 1.0, "correct_bias": True, "adam_beta1": 0.9,
    "adam_beta2": 0.999, "adam_epsilon": 1e-8, "precision": "fp32", "num_evals": 10,
    "warmup_steps": 0, "reinit_layers": -1, "mixout_prob": 0.0, "layerwise_lr_decay": 1.0, "prior_weight_decay": 0.0,
    "intermediate_task": "", "num_distances": 25,
}  # fmt: skip


# --- values -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "value", "accepted"),
    [
        ("learning_rate", -1e-5, "above 0"),
        ("learning_rate", 0, "above 0"),
        ("learning_rate", NAN, "a finite number"),
        ("learning_rate", float("inf"), "a finite number"),
        ("learning_rate", "2e-5", "float"),
        ("learning_rate", True, "float"),
        ("num_train_epochs", True, "int"),
        ("num_train_epochs", 3.0, "int"),
        ("correct_bias", 1, "bool"),
        ("task", 3, "str"),
        ("precision", "fp8", "bf16, fp16, fp32"),
        ("warmup_ratio", 1, "at least 0 and below 1"),
        ("warmup_ratio", -0.1, "at least 0 and below 1"),
        ("adam_beta2", 1.0, "at least 0 and below 1"),
        ("weight_decay", -0.01, "at least 0"),
        ("prior_weight_decay", -0.01, "at least 0"),
        ("mixout_prob", 1.0, "at least 0 and below 1"),
        ("layerwise_lr_decay", 0.0, "above 0 and at most 1"),
        ("layerwise_lr_decay", 1.1, "above 0 and at most 1"),
        ("reinit_layers", -2, "at least -1"),
        ("num_distances", -1, "at least 0"),
        ("init_seed", -1, "at least 0"),
        ("train_batch_size", 0, "above 0"),
        ("num_evals", 0, "above 0"),
        ("max_seq_length", 7, "at least 8"),
        ("num_train_epochs", 0, "above 0"),
    ],
)
def test_a_bad_value_is_refused_with_its_name_and_what_is_accepted(name: str, value: Any, accepted: str) -> None:
    said = re.escape(str(value) if isinstance(value, int | float) else repr(value))
    with pytest.raises(UsageError, match=rf"{name}: .*{said}.*accepted: .*{accepted}"):
        RunConfig(**({"task": "rte"} | {name: value}))


def test_from_dict_is_the_inverse_and_refuses_unknown_fields() -> None:
    config = RunConfig(task="rte", learning_rate=1e-4, correct_bias=False)
    assert RunConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    with pytest.raises(UsageError, match=r"setting: 'learning_rat' .*'learning_rate'.*accepted: .*warmup_ratio"):
        RunConfig.from_dict({"task": "rte", "learning_rat": 1e-4})
    with pytest.raises(UsageError, match="task: missing"):
        RunConfig.from_dict({})


def test_check_choice_names_the_nearest_only_where_one_is_near() -> None:
    check_choice("task", "rte", ["rte"])
    with pytest.raises(UsageError, match=re.escape("task: 'xyz' is not known; accepted: cola, rte")):
        check_choice("task", "xyz", ["rte", "cola"])


# --- the id -------------------------------------------------------------------------------------------------------
def other(field: dataclasses.Field) -> Any:
    """A valid value that is not the default."""
    values = {"task": "mrpc", "precision": "bf16", "data": '{"sha256": {}}', "model": "random:bert"}
    values["intermediate_task"] = "mnli"
    return values.get(field.name, {bool: False, int: 11, float: 0.25}.get(field.type))


def test_ids_differ_when_any_field_differs() -> None:
    base = RunConfig(task="rte")
    changed = [dataclasses.replace(base, **{f.name: other(f)}) for f in dataclasses.fields(RunConfig)]
    assert len({config.run_id for config in (base, *changed)}) == 1 + len(dataclasses.fields(RunConfig))


def test_equal_configs_have_equal_ids() -> None:
    assert RunConfig(task="rte", max_grad_norm=2).run_id == RunConfig(task="rte", max_grad_norm=2.0).run_id
    assert RunConfig(task="rte", learning_rate=2e-5) == RunConfig(task="rte")


def test_the_id_and_the_defaults_are_those_of_the_stored_runs() -> None:
    why = "a default or the id's recipe changed: raise CONFIG_VERSION, or stored runs will pass for what they are not"
    assert RunConfig(task="rte").run_id == "36aba09125ea346a", why
    assert RunConfig(task="rte", **PINNED).run_id == "36aba09125ea346a", why
    assert (
        RunConfig(task="cola-1k", learning_rate=1e-4, init_seed=1, correct_bias=False).run_id == "cf795f268df9fc81"
    ), why


def test_own_files_count_by_content_not_by_place(tmp_path: Path) -> None:
    def run_id(folder: str, content: str) -> str:
        (tmp_path / folder).mkdir()
        files = {part: tmp_path / folder / f"{part}.csv" for part in ("train", "validation")}
        for file in files.values():
            file.write_text(content)
        return RunConfig(task="mine", data=own_files.own_data(files, ["a"], "y", "accuracy")).run_id

    assert run_id("here", "a,y\nx,1\n") == run_id("there", "a,y\nx,1\n") != run_id("changed", "a,y\nx,0\n")


def test_the_intermediate_run_is_plain_and_serves_every_seed() -> None:
    assert RunConfig(task="rte").intermediate() is None
    run = RunConfig(
        task="rte", model="m", learning_rate=1e-4, init_seed=3, data_seed=4, correct_bias=False, max_steps=400,
        reinit_layers=2, mixout_prob=0.5, layerwise_lr_decay=0.9, weight_decay=0.1, prior_weight_decay=0.1,
        intermediate_task="mnli", num_train_epochs=0, warmup_steps=7, train_batch_size=16,
    )  # fmt: skip
    first = RunConfig(task="mnli", model="m", learning_rate=1e-4, correct_bias=False, train_batch_size=16)
    assert run.intermediate() == first and first.intermediate() is None


def test_steps_count_the_short_last_batch() -> None:
    assert RunConfig(task="rte").num_steps(2490) == 3 * 78  # RTE: 77 batches of 32, and one of 26
    assert RunConfig(task="rte", num_train_epochs=1).num_steps(64) == 2
    assert RunConfig(task="rte", max_steps=500).num_steps(2490) == 500


# --- messages and values that no model, file or person can take ---------------------------------------------------
def test_a_message_is_one_short_line_with_both_ends() -> None:
    said = str(UsageError(f"label: {'x' * 10**6}\n\x1b[2J\ufeff\ud800; accepted: yes"))
    assert said.isprintable() and len(said) <= 1000 and said.startswith("label: x") and said.endswith("accepted: yes")
    assert r"\n\x1b[2J\ufeff\ud800" in said
    assert str(UsageError(said)) == said


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"learning_rate": 10**400}, "learning_rate: 1000.*has 1329 bits; accepted: a number of at most 63"),
        ({"init_seed": 2**63}, "init_seed: 9223372036854775808 has 64 bits"),
        ({"max_steps": 10**5000}, "max_steps: a int too large to be shown has 16610 bits"),
        ({"model": "a\0b"}, r"model: 'a.x00b'; accepted: text without control characters"),
        ({"task": [10**5000]}, "task: a list too large to be shown is a list; accepted: str"),
        ({"data": "[1]"}, "data: .*accepted: what own_files.own_data gives"),
        ({"data": '{"a": {"b": {}}}'}, "data: .*accepted: what own_files.own_data gives"),
        ({"data": "[" * 100_000}, "data: .*is not JSON .maximum recursion"),
    ],
)
def test_what_neither_torch_nor_parquet_holds_is_refused(values: dict[str, Any], match: str) -> None:
    with pytest.raises(UsageError, match=match):
        RunConfig.from_dict({"task": "rte", **values})


def test_the_largest_seed_is_accepted() -> None:
    assert RunConfig(task="rte", init_seed=2**63 - 1).init_seed == 2**63 - 1
