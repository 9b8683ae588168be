"""fewft.costs: FLOPs as torch counts them, steps and tokens as a run has them, sizes and shapes without a network."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig

from fewft import costs, inventory, models, own_files
from fewft.config import RunConfig, UsageError
from fewft.train import fine_tune

TINY = RunConfig(task="bundled:acceptability", model="random:bert-tiny", num_train_epochs=1)
Run = Callable[..., dict[str, Any]]


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Data from the hub, and nothing read before."""
    monkeypatch.delenv("FEWFT_GLUE_DIR", raising=False)
    for cached in (costs._sizes, costs._shape):
        cached.cache_clear()
    yield
    for cached in (costs._sizes, costs._shape):
        cached.cache_clear()


# --- FLOPs --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("model", ["random:bert-tiny", "random:roberta-tiny"])
@pytest.mark.parametrize("blocks", [0, 2])
def test_flops_are_those_that_torch_counts(model: str, blocks: int) -> None:
    made = models.pretrained(model, blocks, 2).model
    made.config._attn_implementation = "eager"  # plain products
    shape, ids = costs.shape_of(replace(TINY, model=model, num_hidden_layers=blocks)), torch.full((4, 40), 7)
    with FlopCounterMode(display=False) as forward, torch.no_grad():
        made(input_ids=ids)
    with FlopCounterMode(display=False) as training:
        made(input_ids=ids).logits.sum().backward()
    counted = costs.forward_flops(shape, ids.numel(), ids.shape[1])
    assert forward.get_total_flops() == pytest.approx(counted, rel=0.003)  # more by the head
    assert training.get_total_flops() == pytest.approx(costs.TRAINING * counted, rel=0.003)


def test_a_step_of_bert_large_on_rte() -> None:
    config = RunConfig(task="rte")
    length = costs.sizes_of("rte", "", 128).lengths[0]
    work = costs.TRAINING * costs.forward_flops(costs.shape_of(config), 32 * length, length)
    assert work == pytest.approx(3.9e12, rel=0.01)


@pytest.mark.parametrize("changes", [{}, {"max_steps": 13, "num_evals": 3, "num_hidden_layers": 1}])
def test_a_runs_cost_is_what_it_then_does(changes: dict[str, int]) -> None:
    config = replace(TINY, **changes)
    found, done = costs.cost(config), fine_tune(config, device="cpu")
    assert found.steps == len(done.train_loss) == (13 if "max_steps" in changes else 10)
    assert found.tokens == pytest.approx(done.tokens, rel=0.02 if "max_steps" in changes else 1e-3)
    shape, sizes = costs.shape_of(config), costs.sizes_of(config.task, "", 128)
    means, trained = sizes.lengths, done.tokens / sizes.lengths[0]
    examples = (3 * trained, len(done.eval_steps) * 120, 2 * 120)
    expected = sum(costs.forward_flops(shape, n * m, m) for n, m in zip(examples, means, strict=True))
    assert found.flops == pytest.approx(expected, rel=0.02)


def test_costs_add_up() -> None:
    assert costs.Cost(1, 2, 3.0) + costs.Cost(10, 20, 30.0) == costs.Cost(11, 22, 33.0)


# --- data sets ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("task", "counts"),
    [
        ("rte", (2490, 138, 139)),
        ("mrpc", (3668, 203, 205)),
        ("mnli", (392702 - 999, 999, 9815)),
        ("qqp", (363846 - 1000, 1000, 40430)),
        ("qnli", (104743 - 1000, 1000, 5463)),
        ("mnli-1k", (999, 999, 9815)),
        ("sst2-1k", (1000, 1000, 872)),
    ],
)
def test_a_samples_counts_make_way_for_the_hubs(
    task: str, counts: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub, row = costs.sizes_of(task, "", 128), inventory.stored().loc[task]
    assert hub.examples == counts and hub.lengths[0] == row.mean_tokens_train
    sample = task.startswith(("mnli", "qqp", "qnli"))
    assert ("the counts are the hub's" in hub.assumed) == sample
    monkeypatch.setenv("FEWFT_GLUE_DIR", "a folder")
    folder = costs.sizes_of(task, "", 128)
    assert folder.examples == (row.num_train, row.num_validation, row.num_test)
    assert ("the counts are those of a sample" in folder.assumed) == sample


def test_what_the_table_lacks_is_read_from_the_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stored = costs.sizes_of("bundled:entailment", "", 128)
    costs._sizes.cache_clear()
    monkeypatch.setattr(inventory, "stored", lambda: pd.DataFrame())
    assert costs.sizes_of("bundled:entailment", "", 128) == stored
    for part, text in (("train", "so it is"), ("validation", "no")):
        (tmp_path / f"{part}.csv").write_text(f"text,y\n{text},a\n{text},b\n{text},a\n{text},b\n")
    own = own_files.own_data({p: tmp_path / f"{p}.csv" for p in ("train", "validation")}, ["text"], "y", "accuracy")
    assert costs.sizes_of("mine", own, 128) == costs.Sizes((4, 2, 2), (5.0, 3.0, 3.0))
    with pytest.raises(UsageError, match="task: 'nosuch'"):
        costs.sizes_of("nosuch", "", 128)


def test_shorter_inputs_cost_less(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, cut = (costs.sizes_of("bundled:entailment", "", n).lengths[0] for n in (128, 20))
    assert 15 < cut < 20 < whole
    assert costs.sizes_of("rte", "", 16).lengths == (16, 16, 16)  # the hub is not asked


# --- models -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("model", "blocks", "width"),
    [
        ("bert-large-uncased", 24, 1024),
        ("google/electra-large-discriminator", 24, 1024),
        ("FacebookAI/roberta-base", 12, 768),
        ("someone/a-model", 12, 768),
    ],
)
def test_a_model_that_is_not_here_is_counted_by_its_name(
    model: str, blocks: int, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(costs, "_stored_config", lambda _: None)
    config = RunConfig(task="rte", model=model)
    shape = costs.shape_of(config)
    assert (shape.weights, shape.mixing) == (12 * blocks * width**2, blocks * width)
    assert costs.shape_of(replace(config, num_hidden_layers=3)).weights == 12 * 3 * width**2
    said = f"{model}: not on this machine, so by its name counted as {blocks} blocks of width {width}"
    assert costs.assumptions([config, replace(config, task="cola")]) == [said]


def test_a_model_that_is_not_here_is_not_looked_for_on_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: pytest.fail("asked the network"))
    assert costs.shape_of(RunConfig(task="rte", model="nobody/not-a-model-large")).width == 1024


@pytest.mark.parametrize(
    ("family", "weights", "mixing"),
    [
        ("xlnet", 24 * 12 * 1024**2, 24 * 1024),
        ("distilbert", 6 * 12 * 768**2, 6 * 768),
        ("bart", (12 * 12 + 12 * 16) * 1024**2, 36 * 1024),
    ],
)
def test_a_model_on_this_machine_is_read(family: str, weights: int, mixing: int, tmp_path: Path) -> None:
    AutoConfig.for_model(family).save_pretrained(tmp_path)
    shape = costs.shape_of(RunConfig(task="rte", model=str(tmp_path)))
    assert (shape.weights, shape.mixing, shape.assumed) == (weights, mixing, "")
    assert costs.shape_of(RunConfig(task="rte", model="bundled:minilm")).weights == 6 * 12 * 384**2
