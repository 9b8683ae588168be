"""The loop of Section 3: its seeds, steps, evaluations and best checkpoint, and runs that diverge."""

import dataclasses
import json
import math
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import nn

from fewft import batching, models, train
from fewft.config import RunConfig, UsageError
from fewft.metrics import score
from fewft.train import RunResult, example_losses, fine_tune, pick_device

TASK = "bundled:similarity"
TIMES = ("seconds", "train_seconds", "started")
NAN = math.nan


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


def config(**changes: Any) -> RunConfig:
    base = {"task": TASK, "model": "random:bert-tiny", "max_steps": 6, "num_evals": 2, "learning_rate": 1e-3}
    return RunConfig(**{**base, **changes})


@lru_cache
def run(**changes: Any) -> RunResult:
    return fine_tune(config(**changes), device="cpu")


def same(result: RunResult) -> str:
    """All that may not differ between two runs of one config."""
    return json.dumps({k: v for k, v in result.record().items() if k not in TIMES})


class Spy(train.Trainer):
    """Measures the test set at every evaluation, with weights copied then, and keeps the final weights."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        Spy.test_scores, Spy.model, Spy.planned = {}, self.model, getattr(Spy, "planned", {})

    def evaluate(self, step: int) -> None:
        real, train.score = train.score, lambda *_: Spy.planned[step]
        try:
            super().evaluate(step)
        finally:
            train.score = real
        Spy.test_scores[step] = score(self.data.metric, self.logits("test"), self.data.test.labels)


def test_same_config_same_record_whatever_the_global_seed() -> None:
    torch.manual_seed(123)
    state = torch.get_rng_state()
    again = fine_tune(config(), device="cpu")
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(321)
    assert same(again) == same(run())


@pytest.mark.parametrize("seed", ["init_seed", "data_seed"])
def test_each_seed_matters(seed: str) -> None:
    other = run(**{seed: 1})
    assert other.train_loss != run().train_loss
    assert other.data_digest == run().data_digest


@pytest.mark.parametrize(
    ("changes", "steps"),
    [
        ({"max_steps": 6, "num_evals": 2}, [3, 6]),
        ({"max_steps": 7, "num_evals": 3}, [2, 4, 6, 7]),
        ({"max_steps": 3, "num_evals": 10}, [1, 2, 3]),
        ({"max_steps": 0, "num_train_epochs": 2, "train_batch_size": 150, "num_evals": 2}, [3, 6]),
    ],
)
def test_steps_and_evaluations(changes: dict[str, int], steps: list[int]) -> None:
    result = run(**changes)
    assert result.eval_steps == steps and len(result.val_scores) == len(steps)
    assert len(result.train_loss) == result.num_steps == steps[-1]
    assert all(math.isfinite(x) for x in result.train_loss) and result.status == "ok"


def test_an_epoch_is_every_example_once() -> None:
    """The last batch of an epoch is short, none is dropped, and the order differs between epochs."""
    batches = [b for _, b in zip(range(8), train.batches(100, config(train_batch_size=30)), strict=False)]
    assert [len(b) for b in batches] == [30, 30, 30, 10] * 2
    first, second = np.concatenate(batches[:4]), np.concatenate(batches[4:])
    assert sorted(first) == sorted(second) == list(range(100)) and list(first) != list(second)
    encoded = train._encoded(TASK, "", "random:bert-tiny", 128, "train")
    two_epochs = run(max_steps=0, num_train_epochs=2, train_batch_size=150, num_evals=2)
    assert two_epochs.tokens == 2 * encoded.lengths.sum()


@pytest.mark.parametrize(
    ("planned", "best"),
    [
        ([0.5, 0.5, 0.4], 1),  # strictly better replaces, equal does not
        ([NAN, 0.3, 0.3], 2),
        ([0.1, 0.2, 0.3], 3),
        ([NAN, NAN, NAN], 0),
    ],
)
def test_best_checkpoint_is_the_one_that_is_tested(
    planned: list[float], best: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "Trainer", Spy)
    monkeypatch.setattr(Spy, "planned", dict(enumerate(planned, 1)), raising=False)
    result = fine_tune(config(max_steps=3, num_evals=3, learning_rate=0.01, warmup_ratio=0.0), device="cpu")
    assert len(set(Spy.test_scores.values())) == 3  # the checkpoints differ
    assert result.best_step == best and result.test_last == Spy.test_scores[3]
    expected = [Spy.test_scores[best], planned[best - 1]] if best else [NAN, NAN]
    np.testing.assert_equal([result.test_best, result.best_val], expected)
    assert result.degenerate is not (result.test_best > result.majority_test)


def test_a_loss_that_is_not_finite_is_a_result() -> None:
    result = run(task="bundled:acceptability", learning_rate=1e30, warmup_ratio=0.0)
    assert (result.status, result.reason) == ("diverged", "loss not finite at step 2")
    assert [math.isfinite(x) for x in result.train_loss] == [True, False, False]  # seen at the evaluation
    assert result.eval_steps == [] and result.best_step == 0 and result.degenerate
    assert math.isnan(result.test_best) and math.isnan(result.test_last)


def test_a_late_divergence_keeps_the_best_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "linear_schedule", lambda step, *_: 1.0 if step < 3 else 1e33)
    result = fine_tune(config(), device="cpu")
    assert (result.status, result.reason) == ("diverged", "loss not finite at step 5")
    assert result.eval_steps == [3] and result.best_step == 3 and len(result.train_loss) == 6
    assert math.isfinite(result.test_best) and math.isnan(result.test_last)


def test_training_lowers_the_loss() -> None:
    losses = run(max_steps=20).train_loss
    assert np.mean(losses[-5:]) < 0.85 * np.mean(losses[:3])


def test_weight_decay_shrinks_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    norms = {}
    monkeypatch.setattr(train, "Trainer", Spy)
    monkeypatch.setattr(Spy, "planned", {3: 0.0, 6: 1.0}, raising=False)
    for decay in (0.0, 5.0):
        fine_tune(config(weight_decay=decay), device="cpu")
        norms[decay] = nn.utils.parameters_to_vector(Spy.model.bert.encoder.parameters()).double().norm().item()
    assert 0.9 < norms[5.0] / norms[0.0] < 0.9999


@pytest.mark.parametrize("outputs", [1, 2, 3])
def test_loss_of_each_example(outputs: int) -> None:
    logits = torch.tensor([[0.5, -1.0, 2.0], [0.0, 3.0, 1.0]])[:, :outputs]
    if outputs == 1:
        assert example_losses(logits, torch.tensor([2.0, -1.0])).tolist() == pytest.approx([1.5**2, 1.0])
    else:
        expected = [math.log(sum(math.exp(x - row[0]) for x in row)) for row in logits.tolist()]
        assert example_losses(logits, torch.tensor([0, 0])).tolist() == pytest.approx(expected)


def without_dropout(monkeypatch: pytest.MonkeyPatch, *, packed: bool) -> None:
    """Let `fine_tune` get its model with dropout off, and for packed=False without packed rows."""
    load = models.load

    def changed(config: RunConfig, num_labels: int, used: torch.Tensor | None, start: None = None) -> models.Encoder:
        encoder = load(config, num_labels, used if packed else None, start)
        model = encoder.model
        if not packed:
            model = models.pretrained(config.model, 0, num_labels).model
            model.load_state_dict(encoder.model.state_dict())
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        return dataclasses.replace(encoder, model=model, packed=packed)

    monkeypatch.setattr(models, "load", changed)


def test_loop_equals_a_plain_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Padded batches, torch's AdamW, transformers' schedule; a large epsilon lets the size of gradients matter."""
    settings = config(adam_epsilon=1e-3, max_grad_norm=0.5, warmup_ratio=0.4)
    monkeypatch.setattr(batching, "MICRO_BATCHES", 1)
    with monkeypatch.context() as patch:
        without_dropout(patch, packed=False)
        model = models.load(settings, 1, None).model.eval()
    data = train._encoded(TASK, "", settings.model, 128, "train")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, eps=1e-3, weight_decay=0.0)
    schedule = transformers.get_linear_schedule_with_warmup(optimizer, 2, 6)
    losses = []
    for _, batch in zip(range(6), train.batches(len(data), settings), strict=False):
        (piece,) = batching.make_pieces(
            data, batch, packed=False, pad_id=0, first_position=0, device=pick_device("cpu")
        )
        loss = nn.functional.mse_loss(model(**piece.inputs).logits[:, 0], data.labels[batch][piece.index])
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        schedule.step()
    without_dropout(monkeypatch, packed=True)
    np.testing.assert_allclose(fine_tune(settings, device="cpu").train_loss, losses, rtol=1e-5)


@pytest.mark.parametrize("model", ["random:bert-tiny", "random:mpnet-tiny"])
def test_packed_rows_and_micro_batches_train_alike(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    results = []
    for packed, parts in ((model == "random:bert-tiny", 1), (False, 4)):
        with monkeypatch.context() as patch:
            patch.setattr(batching, "MICRO_BATCHES", parts)
            without_dropout(patch, packed=packed)
            settings = config(model=model, task="bundled:entailment", max_steps=40, num_evals=1, max_grad_norm=0.1)
            results.append(fine_tune(settings, device="cpu"))
    first, second = results
    assert first.packed is (model == "random:bert-tiny") and not second.packed and first.tokens == second.tokens
    np.testing.assert_allclose(first.train_loss, second.train_loss, rtol=0, atol=1e-5)
    assert np.ptp(first.train_loss) > 1e-3


def test_bf16_on_the_cpu_is_close_to_fp32() -> None:
    half = run(precision="bf16")
    assert half.status == "ok" and half.train_loss != run().train_loss
    np.testing.assert_allclose(half.train_loss, run().train_loss, rtol=0.02)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("correct_bias", [True, False])
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 0.01), ("bf16", 0.05), ("fp16", 0.05)])
def test_precisions_on_cuda(
    precision: str, tolerance: float, correct_bias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against fp32 on the CPU, with dropout off; fp16 may skip a first step for its loss scale."""
    without_dropout(monkeypatch, packed=True)
    settings = {"correct_bias": correct_bias, "learning_rate": 1e-4}
    state = torch.cuda.get_rng_state()
    on_cuda = fine_tune(config(precision=precision, **settings), device="cuda")
    assert torch.equal(torch.cuda.get_rng_state(), state)
    on_cpu = fine_tune(config(**settings), device="cpu")
    assert on_cuda.status == "ok" and on_cuda.environment["device"] == torch.cuda.get_device_name()
    np.testing.assert_allclose(on_cuda.train_loss, on_cpu.train_loss, rtol=tolerance)


@pytest.mark.parametrize("device", ["tpu", "cuda:99", ""])
def test_devices_that_are_not_here_are_refused(device: str) -> None:
    with pytest.raises(UsageError, match=f"device: {device!r} is not here; accepted: auto, cpu"):
        pick_device(device)
    assert pick_device("cpu") == torch.device("cpu")


def test_record_is_one_flat_row() -> None:
    record, settings = run().record(), config()
    assert record["run_id"] == settings.run_id
    assert {k: record[k] for k in settings.to_dict()} == settings.to_dict()
    assert record["torch_version"] == torch.__version__ and record["threads"] == 1
    assert json.loads(json.dumps(record)) == record
    assert record["seconds"] >= record["train_seconds"] > 0 and record["metric"] == "spearman"
    assert not any(isinstance(value, dict) for value in record.values())
