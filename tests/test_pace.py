"""fewft.pace: the rate that hours are counted with is that of stored runs, or of steps done now."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

from fewft import costs, environment, pace, worker
from fewft.config import RunConfig

TINY = RunConfig(task="bundled:acceptability", model="random:bert-tiny", num_train_epochs=1)
Run = Callable[..., dict[str, Any]]


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Data from the hub, and no shape that was made up is kept."""
    monkeypatch.delenv("FEWFT_GLUE_DIR", raising=False)
    yield
    costs._shape.cache_clear()


@pytest.fixture
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "cores", lambda: 2)
    monkeypatch.setattr(environment, "pick_device", lambda _: torch.device("cpu"))
    monkeypatch.setattr(environment, "environment", lambda _: {"device": "this CPU"})


def test_the_rate_is_that_of_the_runs_stored_here(two_cores: None, stored_run: Run) -> None:
    found = costs.cost(TINY)
    here = {"device": "this CPU", "seconds": 2.0, "tokens": found.tokens}
    records = [
        stored_run(TINY, **here), stored_run(TINY, **here | {"seconds": 6.0, "tokens": found.tokens / 2}),  # a sample
        stored_run(TINY, **here | {"device": "a GPU"}), stored_run(TINY, **here | {"status": "diverged"}),
    ]  # fmt: skip
    rate = pace.rate([TINY], json.loads(json.dumps(records)))
    assert rate.flops == pytest.approx(2 * 1.5 * found.flops / 8)
    assert rate.source.startswith("this CPU, 2 worker processes; measured in 2 stored runs of this study")


def test_without_stored_runs_the_rate_is_measured(two_cores: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "TRY_SECONDS", 0.0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    rate = pace.rate([replace(TINY, intermediate_task="mnli")], [])
    assert rate.flops > 1e6
    assert rate.source.endswith(
        "measured in 3 fp32 training steps of random:bert-tiny on bundled:acceptability just now"
    )
    assert torch.get_num_threads() == threads and torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(("model", "size"), [("bert-large-uncased", "large"), ("random:bert-base", "base")])
def test_a_model_that_cannot_be_tried_here_has_a_stand_in(
    model: str, size: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(costs, "_stored_config", lambda _: None)
    costs._shape.cache_clear()
    monkeypatch.setattr(pace, "_weights_are_here", lambda name: name.startswith("random:"))
    tried, counted = pace._trial(RunConfig(task="rte", model=model), cuda=False)
    assert (tried.model, tried.task) == (f"random:bert-{size}", "bundled:entailment")
    assert (tried.num_hidden_layers, counted.num_hidden_layers) == (pace.TRY_BLOCKS, pace.TRY_BLOCKS - 1)
    tried, counted = pace._trial(RunConfig(task="rte", model=model), cuda=True)
    assert tried.num_hidden_layers == 0 and costs.shape_of(tried) == costs.shape_of(counted)
    own = replace(TINY, num_hidden_layers=2, learning_rate=1.0)
    assert pace._trial(own, cuda=False)[0].task == TINY.task
