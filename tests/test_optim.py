"""Both arms of Section 4 against their definitions, and the schedule against transformers'."""

import math

import numpy as np
import pytest
import torch
import transformers
from torch import nn

from fewft import models, parts, train
from fewft.config import RunConfig
from fewft.optim import PriorDecay, linear_schedule, make_optimizer, set_learning_rate
from fewft.stats import bias_ratio

STEPS = 50


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


def small_model() -> nn.ModuleDict:
    torch.manual_seed(0)
    return nn.ModuleDict({"words": nn.Embedding(7, 5), "layer": nn.Linear(5, 3), "norm": nn.LayerNorm(3)}).double()


def settings(**changes: object) -> RunConfig:
    return RunConfig(**{"task": "rte", "learning_rate": 0.01, "weight_decay": 0.1, **changes})


def gradients() -> list[list[torch.Tensor]]:
    """Of very different sizes, so that epsilon and the second moment matter."""
    stream = torch.Generator().manual_seed(1)
    shapes = [p.shape for p in small_model().parameters()]
    return [
        [torch.randn(s, generator=stream, dtype=torch.float64) * 10.0 ** (i - 4) for i, s in enumerate(shapes)]
        for _ in range(STEPS)
    ]


def trained(optimizer: torch.optim.Optimizer, model: nn.Module, peak: float = 0.01) -> list[torch.Tensor]:
    for step, values in enumerate(gradients()):
        for group in optimizer.param_groups:
            group["lr"] = peak * linear_schedule(step, STEPS, 0.1)
        for parameter, value in zip(model.parameters(), values, strict=True):
            parameter.grad = value.clone()
        optimizer.step()
    return [p.detach() for p in model.parameters()]


@pytest.mark.parametrize("epsilon", [1e-8, 1e-3])
def test_biased_arm_is_adam_without_correction(epsilon: float) -> None:
    model = small_model()
    config = settings(correct_bias=False, adam_epsilon=epsilon)
    found = trained(make_optimizer(model.named_parameters(), config), model)
    for i, (start, end) in enumerate(zip(small_model().parameters(), found, strict=True)):
        p, m, v = start.detach().numpy().copy(), 0.0, 0.0
        for step, values in enumerate(gradients()):
            rate = 0.01 * min(step / 5, (STEPS - step) / 45)
            g = values[i].numpy()
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
            p = p - rate * m / (np.sqrt(v) + epsilon) - rate * (0.1 if p.ndim == 2 else 0.0) * p
        np.testing.assert_allclose(end.numpy(), p, rtol=1e-12, atol=1e-12)


def test_first_biased_step_by_hand() -> None:
    number = nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
    number.grad = torch.tensor([2.0], dtype=torch.float64)
    config = settings(correct_bias=False, learning_rate=0.1)
    make_optimizer([("number", number)], config).step()  # m = 0.2, v = 0.004
    assert number.item() == pytest.approx(1 - 0.1 * 0.2 / (math.sqrt(0.004) + 1e-8), abs=1e-15)


def test_debiased_arm_is_torch_adamw_to_the_bit() -> None:
    ours, theirs = small_model(), small_model()
    optimizer = make_optimizer(ours.named_parameters(), settings())
    matrices, vectors = ([p for p in theirs.parameters() if (p.ndim == 2) is wide] for wide in (True, False))
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    reference = torch.optim.AdamW(groups, lr=0.01, betas=(0.9, 0.999), eps=1e-8, fused=True)
    for a, b in zip(trained(optimizer, ours), trained(reference, theirs), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("correct_bias", [True, False])
def test_only_matrices_are_decayed(correct_bias: bool) -> None:
    model = small_model()
    optimizer = make_optimizer(model.named_parameters(), settings(correct_bias=correct_bias))
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert {n: decay[id(p)] for n, p in model.named_parameters()} == {
        "words.weight": 0.1, "layer.weight": 0.1, "layer.bias": 0.0, "norm.weight": 0.0, "norm.bias": 0.0,
    }  # fmt: skip
    assert {g["betas"] for g in optimizer.param_groups} == {(0.9, 0.999)}


@pytest.mark.parametrize("correct_bias", [True, False])
def test_a_step_that_loss_scaling_skips_does_not_count(correct_bias: bool) -> None:
    """An overflow in fp16 skips a step: the next one is still the first of Algorithm 1."""
    results = []
    for skipped in (0, 2):
        number = nn.Parameter(torch.tensor([1.0]))
        config = settings(correct_bias=correct_bias, learning_rate=0.1)
        optimizer = make_optimizer([("number", number)], config)
        scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
        for value in [math.inf] * skipped + [2.0, 1.0]:
            optimizer.zero_grad()
            scaler.scale((number * value).sum()).backward()
            scaler.unscale_(optimizer)
            scaler.step(optimizer)
            scaler.update()
        results.append(number.item())
    assert results[0] == pytest.approx(results[1], rel=1e-6)
    assert results[0] < 0.9


def test_bias_ratio_is_the_uncorrected_update_of_a_constant_gradient() -> None:
    m = v = 0.0
    ratios = []
    for step in range(1, 10_001):
        m, v = 0.9 * m + 0.1, 0.999 * v + 0.001
        ratios.append(bias_ratio(step, 0.9, 0.999))
        assert ratios[-1] == pytest.approx(m / math.sqrt(v), rel=1e-9)
    assert ratios[0] == pytest.approx(3.1623, abs=5e-5)
    assert ratios[-1] == pytest.approx(1, abs=1e-4)
    assert max(ratios) == ratios[11] == pytest.approx(6.5685, abs=5e-5)


@pytest.mark.parametrize(("total", "ratio"), [(234, 0.1), (10, 0.0), (7, 0.5), (3, 0.1)])
def test_schedule_equals_that_of_transformers(total: int, ratio: float) -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=1.0)
    theirs = transformers.get_linear_schedule_with_warmup(optimizer, int(total * ratio), total)
    for step in range(total):
        assert linear_schedule(step, total, ratio) == pytest.approx(theirs.get_last_lr()[0], abs=1e-15)
        optimizer.step()
        theirs.step()
    assert linear_schedule(total, total, ratio) == 0


WARMUP_STEPS = {  # model and task: steps, and how many of them the rate rises
    "XLNet RTE": (800, 200), "XLNet MRPC": (800, 200), "XLNet STS-B": (3000, 500), "XLNet CoLA": (1200, 120),
    "RoBERTa RTE": (2036, 122), "RoBERTa MRPC": (2296, 137), "RoBERTa STS-B": (3598, 214), "RoBERTa CoLA": (5336, 320),
    "BART RTE": (1018, 61), "BART MRPC": (1148, 68), "BART STS-B": (1799, 107), "BART CoLA": (1334, 80),
}  # fmt: skip


@pytest.mark.parametrize(("total", "warmup"), WARMUP_STEPS.values(), ids=WARMUP_STEPS.keys())
def test_warm_up_of_so_many_steps(total: int, warmup: int) -> None:
    """Table 6; whatever the ratio says."""
    shares = [linear_schedule(step, total, 0.1, warmup) for step in range(total)]
    assert shares == [linear_schedule(step, total, 0.5, warmup) for step in range(total)]
    assert shares.index(1.0) == warmup and shares[:warmup] == [step / warmup for step in range(warmup)]
    assert shares[warmup:] == [(total - step) / (total - warmup) for step in range(warmup, total)]


def test_rates_of_24_blocks() -> None:
    sizes = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 9}
    model = transformers.BertForSequenceClassification(transformers.BertConfig(num_hidden_layers=24, **sizes))
    config = settings(learning_rate=1e-3, layerwise_lr_decay=0.95)
    optimizer = make_optimizer(model.named_parameters(), config, parts.depths(model))
    set_learning_rate(optimizer, 2e-5)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    below = {"bert.embeddings.": 25, "bert.pooler.": 0, "classifier.": 0}
    below |= {f"bert.encoder.layer.{i}.": 24 - i for i in range(24)}
    for name, p in model.named_parameters():
        (depth,) = (d for start, d in below.items() if name.startswith(start))
        assert rates[id(p)] == pytest.approx(2e-5 * 0.95**depth, rel=1e-12)
    assert rates[id(model.bert.embeddings.word_embeddings.weight)] == pytest.approx(5.5478e-6, rel=1e-4)


@pytest.mark.parametrize("decay", [1.0, 0.5])
def test_one_step_of_prior_decay_by_hand(decay: float) -> None:
    """At the scheduled rate and the block's share of it, then Adam from where that led; biases and norms only Adam."""
    model, depths = small_model(), {"words.weight": 2, "layer.weight": 1, "layer.bias": 1, "norm.weight": 0}
    changes = {"weight_decay": 0.0, "prior_weight_decay": 3.0, "layerwise_lr_decay": decay}
    optimizer = make_optimizer(model.named_parameters(), settings(**changes), {**depths, "norm.bias": 0})
    prior, expected = PriorDecay(optimizer, 3.0), {}
    for (name, p), gradient in zip(model.named_parameters(), gradients()[0], strict=True):
        start = p.detach().numpy().copy()
        away, rate = np.linspace(-1, 1, p.numel()).reshape(start.shape), 0.004 * decay ** depths.get(name, 0)
        p.data += torch.as_tensor(away)
        p.grad = gradient.clone()
        pulled = start + away - (rate * 3.0 * away if p.ndim == 2 else 0.0)
        expected[name] = pulled - rate * gradient.numpy() / (np.abs(gradient.numpy()) + 1e-8)  # Adam's first step
    set_learning_rate(optimizer, 0.004)
    prior.apply()
    optimizer.step()
    for name, p in model.named_parameters():
        np.testing.assert_allclose(p.detach().numpy(), expected[name], rtol=1e-12, atol=1e-12)


def test_the_head_decays_toward_its_own_random_start() -> None:
    config = settings(task="bundled:acceptability", model="random:bert-tiny", prior_weight_decay=0.1, reinit_layers=1)
    trainer = train.prepare(config, device="cpu")
    start = {id(p): s for group, starts in trainer.prior.groups for p, s in zip(group["params"], starts, strict=True)}
    named = dict(trainer.model.named_parameters())
    assert start.keys() == {id(p) for p in named.values() if p.ndim >= 2}
    head = models.load(config, 2).model.classifier.weight
    assert head.any() and torch.equal(start[id(named["classifier.weight"])], head)
    assert all(torch.equal(start[id(p)], p) and start[id(p)] is not p for p in named.values() if p.ndim >= 2)
