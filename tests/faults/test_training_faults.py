"""Numbers made NaN or infinite at a chosen step, and models with one answer to everything: outcomes, with their step."""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fewft import models, train
from fewft import trainer as loop
from fewft.config import RunConfig
from fewft.outcome import RunResult
from fewft.train import fine_tune
from fewft.trainer import example_losses

STEPS, EVALS = 4, [2, 4]
MODES = {"packed": "random:bert-tiny", "padded": "random:xlnet-tiny", "graph": "random:bert-tiny"}
TASKS = ("bundled:acceptability", "bundled:similarity")
NAN, INF = math.nan, math.inf


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


@dataclass(frozen=True)
class Fault:
    """What becomes `value` in step `at`."""

    what: str
    value: float
    at: int

    @property
    def said(self) -> str:
        """The reason that the run must give."""
        if self.what == "weight" and self.at > STEPS:
            return f"outputs are not finite after step {STEPS}"
        kind = "gradient norm" if "gradient" in self.what else "loss"
        return f"{kind} is {'nan' if self.what == 'weight' else self.value} at step {self.at}"


class Faulty(train.Trainer):
    """Has the fault, and takes GraphStep's way where told to."""

    fault = Fault("nothing", NAN, 0)
    graphs = False

    def __init__(self, config: RunConfig, data: Any, encoder: models.Encoder, *more: Any) -> None:
        super().__init__(config, data, encoder, *more)
        self.graph = self.graph_step(encoder) if self.graphs else None
        self.head = [m for m in self.model.modules() if isinstance(m, nn.Linear)][-1]
        self.rows = self.model.get_input_embeddings()
        target = {"gradient": self.head.weight, "rows' gradient": self.rows.weight}.get(self.fault.what)
        if target is not None:
            target.register_post_accumulate_grad_hook(self.spoil_gradient)

    def due(self, step: int) -> bool:
        return self.fault.at == step

    def spoil_gradient(self, p: nn.Parameter) -> None:
        if self.due(self.done + 1):
            p.grad = p.grad * self.fault.value

    def losses_of(self, logits: Tensor, labels: Tensor) -> Tensor:
        each = example_losses(logits, labels)
        return each + self.fault.value if self.fault.what == "loss" and self.due(self.done + 1) else each

    def step(self, batch: np.ndarray) -> None:
        if self.graph:
            self.graph.example_losses = self.losses_of
        else:
            loop.example_losses = self.losses_of
        try:
            self.spoil_weight(self.done + 1)
            super().step(batch)
        finally:
            loop.example_losses = example_losses
        if self.done == STEPS:
            self.spoil_weight(STEPS + 1)

    @torch.no_grad()
    def spoil_weight(self, step: int) -> None:
        if self.fault.what == "weight" and self.due(step):
            self.head.weight[0, 0] = self.fault.value


Run = Callable[..., RunResult]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    load = models.load
    monkeypatch.setattr(train, "Trainer", Faulty)
    monkeypatch.setitem(loop.DTYPES, "fp32", None)  # GraphStep has only been for half precision

    def trained(mode: str, fault: Fault = Faulty.fault, **changes: Any) -> RunResult:
        monkeypatch.setattr(Faulty, "fault", fault)
        monkeypatch.setattr(Faulty, "graphs", mode == "graph")
        used = 2 if mode == "graph" else 3  # GraphStep's tables are whole
        monkeypatch.setattr(models, "load", lambda *arguments: load(*(*arguments[:used], None, None)[:4]))
        base = {"task": TASKS[0], "model": MODES[mode], "max_steps": STEPS, "num_evals": 2, "learning_rate": 1e-3}
        result = fine_tune(RunConfig(**{**base, **changes}), device="cpu")
        assert result.packed is (mode != "padded")
        return result

    return trained


FAULTS = [("loss", NAN), ("loss", INF), ("gradient", NAN), ("gradient", INF), ("rows' gradient", NAN), ("weight", NAN)]


def test_each_fault_is_an_outcome_with_its_step(run: Run, long: bool, tally: Callable[[str], None]) -> None:
    """The first step, the last one, an evaluation's (2), one between two; a weight also after the last step."""
    cases = [
        (mode, task, Fault(what, value, at))
        for mode, task, (what, value) in itertools.product(MODES, TASKS, FAULTS)
        for at in range(1, STEPS + 1 + (what == "weight"))
    ]
    cases = cases if long else cases[::6]  # each fault at each step, for some model and task
    for mode, task, fault in cases:
        result = run(mode, fault, task=task)
        assert (result.status, result.reason) == ("diverged", fault.said), (mode, task, fault)
        seen = next((step for step in EVALS if step >= fault.at), STEPS)
        assert len(result.train_loss) == seen
        assert result.eval_steps == [step for step in EVALS if step < fault.at]
        assert all(map(math.isfinite, result.val_scores[: min(fault.at, STEPS - 1) // 2]))
        assert math.isnan(result.test_last) and result.collapsed_step == 0
        assert math.isfinite(result.test_best) is (result.best_step > 0) is (fault.at > 2)
    tally(f"training faults: {len(cases)} injected, all recorded as diverged with what and at which step")


def test_the_sparse_gradients_of_a_table_are_seen(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    found, spoil = [], Faulty.spoil_gradient

    def watch(self: Faulty, p: nn.Parameter) -> None:
        found.append(p.grad.is_sparse)
        spoil(self, p)

    monkeypatch.setattr(Faulty, "spoil_gradient", watch)
    assert run("packed", Fault("rows' gradient", NAN, 3)).reason == "gradient norm is nan at step 3"
    assert found == [True] * STEPS


@pytest.mark.parametrize("mode", MODES)
def test_nothing_is_at_fault_in_a_run_without_one(run: Run, mode: str) -> None:
    result = run(mode)
    assert (result.status, result.reason, result.eval_steps) == ("ok", "", EVALS)


@pytest.mark.parametrize("mode", MODES)
def test_a_rate_of_1e30(run: Run, mode: str) -> None:
    """With the first step's loss and gradient finite, its weights are what the second fails on; or the test set."""
    result = run(mode, learning_rate=1e30, warmup_ratio=0.0)
    assert (result.status, result.reason) == ("diverged", "loss is nan at step 2")
    result = run(mode, learning_rate=1e30, warmup_ratio=0.0, max_steps=1)
    assert (result.status, result.reason) == ("diverged", "outputs are not finite after step 1")
    assert len(result.train_loss) == 1 and math.isfinite(result.train_loss[0])


# --- fp16 ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["packed", "graph"])
def test_steps_that_overflow_in_fp16_are_skipped_and_are_no_outcome(
    run: Run, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loss scale of 2^30 is too large for the first steps; each that is skipped halves it."""
    trainers: list[Faulty] = []

    class Scaled(Faulty):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            self.scaler._init_scale = 2.0**30
            trainers.append(self)

    monkeypatch.setattr(train, "Trainer", Scaled)
    result = run(mode, precision="fp16", max_steps=30)
    norms = trainers[0].norms
    skipped = int((~norms.isfinite()).sum())
    assert (result.status, result.reason) == ("ok", "")
    assert 2 <= skipped < 20 and norms[-10:].isfinite().all()
    assert trainers[0].scaler.get_scale() == 2.0 ** (30 - skipped)
    assert result.block_distances[0] == [0.0] * 3 and all(x > 0 for x in result.block_distances[-1])


@pytest.mark.parametrize("mode", ["packed", "graph"])
def test_a_gradient_of_nan_in_fp16_is_skipped_but_a_loss_is_not(run: Run, mode: str) -> None:
    assert run(mode, Fault("gradient", NAN, 3), precision="fp16").status == "ok"
    assert run(mode, Fault("loss", NAN, 3), precision="fp16").reason == "loss is nan at step 3"


# --- models with one answer ---------------------------------------------------------------------------------------


class Collapsing(Faulty):
    """At some evaluations the head's weights are 0; at others each output's mean is taken off, so answers differ."""

    collapsed: tuple[int, ...] = ()

    def evaluate(self, step: int) -> None:
        self.now, kept = step, self.head.weight.detach().clone()
        if step in self.collapsed:
            nn.init.zeros_(self.head.weight)
        super().evaluate(step)
        with torch.no_grad():
            self.head.weight.copy_(kept)

    def logits(self, part: str) -> np.ndarray:
        found = super().logits(part)
        return found if self.now in self.collapsed else found - found.mean(axis=0)


SINCE = {(2, 4, 6): 2, (4, 6): 4, (2, 6): 6, (2, 4): 0}  # of evaluations at 2, 4 and 6: the last unbroken stretch


def test_the_evaluation_since_which_a_model_has_one_answer(
    run: Run, long: bool, tally: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "Trainer", Collapsing)
    cases = [*itertools.product(MODES, TASKS, SINCE)]
    cases = cases if long else cases[::5]
    for mode, task, collapsed in cases:
        monkeypatch.setattr(Collapsing, "collapsed", collapsed)
        result = run(mode, task=task, max_steps=6, num_evals=3)
        assert result.eval_steps == [2, 4, 6] and result.status == "ok"
        assert result.record()["collapsed_step"] == SINCE[collapsed], (mode, task, collapsed)
        for step, value in zip(result.eval_steps, result.val_scores, strict=True):
            assert (value == 0) is (step in collapsed)  # of either metric, for a constant
    tally(f"collapsed models: {len(cases)} made, all recorded with the evaluation since which they are")


def test_a_rate_that_is_too_high_collapses_a_model(run: Run) -> None:
    result = run("packed", learning_rate=0.1, max_steps=6, num_evals=3)
    assert (result.status, result.collapsed_step, result.val_scores) == ("ok", 2, [0.0] * 3)
    assert result.degenerate
