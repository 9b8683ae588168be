"""Mixout's formula, its expectation and gradient by hand, and how its masks are drawn in training."""

import itertools
import math
from collections import defaultdict
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import transformers
from torch import Tensor, nn

from fewft import batching, models, train
from fewft.config import RunConfig
from fewft.mixout import MixLinear, draw_masks, mix, use_mixout

STEPS = 6


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


def pair(rows: int = 2, columns: int = 3) -> tuple[Tensor, Tensor]:
    """A weight and what it started from."""
    stream = torch.Generator().manual_seed(0)
    weight, start = (torch.randn(rows, columns, generator=stream, dtype=torch.float64) for _ in range(2))
    return weight, start


def test_formula_by_hand() -> None:
    weight = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], dtype=torch.float64)
    start = torch.tensor([[0.5, 1.0, 1.0], [2.0, 2.0, 2.0]], dtype=torch.float64)
    kept = torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64)
    # kept columns: (W - 0.25 W0) / 0.75; the others: (W0 - 0.25 W0) / 0.75 = W0
    expected = [[(1 - 0.125) / 0.75, 1.0, (3 - 0.25) / 0.75], [(4 - 0.5) / 0.75, 2.0, (6 - 0.5) / 0.75]]
    torch.testing.assert_close(mix(weight, start, kept, 0.25), torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("prob", [0.1, 0.5, 0.9])
def test_expectation_over_all_masks_is_the_weight(prob: float) -> None:
    weight, start = pair()
    total = torch.zeros_like(weight)
    for bits in itertools.product((0.0, 1.0), repeat=3):
        share = math.prod(1 - prob if bit else prob for bit in bits)
        total += share * mix(weight, start, torch.tensor(bits, dtype=torch.float64), prob)
    torch.testing.assert_close(total, weight, rtol=1e-13, atol=1e-13)


def test_gradient_by_hand() -> None:
    """That of the formula, 1 / (1 - p) included; none for columns that are at their start."""
    weight, start = pair()
    kept, factor = torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64), torch.arange(1.0, 7.0, dtype=torch.float64)
    weight.requires_grad_()
    (mix(weight, start, kept, 0.2) * factor.view(2, 3)).sum().backward()
    expected = torch.tensor([[1.0, 0.0, 3.0], [4.0, 0.0, 6.0]], dtype=torch.float64) / 0.8
    torch.testing.assert_close(weight.grad, expected, rtol=1e-14, atol=0)


def test_layer_mixes_in_training_only_and_leaves_its_bias_alone() -> None:
    linear = nn.Linear(3, 2).double()
    layer = MixLinear(linear, 0.5)
    assert (
        layer.weight is linear.weight and layer.bias is linear.bias and list(layer.state_dict()) == ["weight", "bias"]
    )
    weight, start = pair()
    with torch.no_grad():
        linear.weight.copy_(weight)
        linear.bias.copy_(torch.tensor([10.0, 20.0]))
        layer.start.copy_(start)
        layer.kept.copy_(torch.tensor([0.0, 1.0, 0.0]))
    x = torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64)
    mixed = start.clone()
    mixed[:, 1] = 2 * weight[:, 1] - start[:, 1]
    torch.testing.assert_close(layer.train()(x), x @ mixed.T + linear.bias)
    assert torch.equal(layer.eval()(x), F.linear(x, weight, linear.bias))
    layer.train()(x).sum().backward()
    assert layer.bias.grad.tolist() == [1.0, 1.0]


def test_share_of_kept_columns() -> None:
    layers = [MixLinear(nn.Linear(5000, 1), 0.3), MixLinear(nn.Linear(3000, 1), 0.3)]
    torch.manual_seed(0)
    kept = []
    for _ in range(2):
        draw_masks(layers)
        kept.append(torch.cat([layer.kept.clone() for layer in layers]))
    both = torch.cat(kept)
    assert set(both.unique().tolist()) == {0.0, 1.0}
    assert abs(both.mean().item() - 0.7) < 4 * math.sqrt(0.7 * 0.3 / len(both))
    assert 0.1 < (kept[0] != kept[1]).float().mean() < 0.9


class Model(nn.Module):
    """With dropout in three ways, as the families have it."""

    def __init__(self) -> None:
        super().__init__()
        self.config = transformers.BertConfig(hidden_dropout_prob=0.1, layer_norm_eps=0.2)
        self.layers = nn.ModuleList([nn.Linear(4, 4, bias=False), nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.1))])
        self.dropout, self.eps = 0.1, 0.2


def test_every_linear_is_mixed_and_every_dropout_off() -> None:
    model = Model()
    names, linears = list(model.state_dict()), [m for m in model.modules() if type(m) is nn.Linear]
    found = use_mixout(model, 0.4)
    assert [layer.prob for layer in found] == [0.4, 0.4] and list(model.state_dict()) == names
    assert {id(layer.weight) for layer in found} == {id(linear.weight) for linear in linears}
    assert [m for m in model.modules() if type(m) is nn.Linear] == []
    assert (model.dropout, model.layers[1][1].p, model.config.hidden_dropout_prob) == (0.0, 0.0, 0.0)
    assert (model.eps, model.config.layer_norm_eps) == (0.2, 0.2)


def test_none_leaves_the_model_as_it_is() -> None:
    model = Model()
    before = list(model.modules())
    assert use_mixout(model, 0.0) == []
    assert all(a is b for a, b in zip(before, model.modules(), strict=True))
    assert (model.dropout, model.layers[1][1].p, model.config.hidden_dropout_prob) == (0.1, 0.1, 0.1)


# --- in training --------------------------------------------------------------------------------------------------


def settings(**changes: Any) -> RunConfig:
    base = {"task": "bundled:acceptability", "model": "random:bert-tiny", "max_steps": STEPS, "learning_rate": 1e-3}
    return RunConfig(**{**base, "num_distances": 0, **changes})


def stepped(config: RunConfig) -> train.Trainer:
    """A run after its last step, with the weights that it has then."""
    trainer = train.prepare(config, device="cpu")
    torch.manual_seed(0)
    for _, batch in zip(range(config.max_steps), batching.batches(len(trainer.labels), config), strict=False):
        trainer.step(batch)
    return trainer


def test_masks_are_drawn_once_a_step_for_all_its_micro_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[int, list[tuple[float, ...]]] = defaultdict(list)
    forward = MixLinear.forward

    def watched(self: MixLinear, input: Tensor) -> Tensor:
        seen[id(self)].append(tuple(self.kept.tolist()))
        return forward(self, input)

    monkeypatch.setattr(MixLinear, "forward", watched)
    stepped(settings(model="random:mpnet-tiny", mixout_prob=0.5, max_steps=3))
    assert len(seen) == 20
    for masks in seen.values():
        assert len(masks) == 3 * 4  # micro-batches
        assert [masks[i : i + 4] for i in (0, 4, 8)] == [[masks[i]] * 4 for i in (0, 4, 8)]
        assert len(set(masks)) == 3
    assert len({masks[0] for masks in seen.values()}) > 10  # each layer has its own


def test_a_column_that_is_never_kept_stays_at_its_start() -> None:
    """So near 1 hardly any weight matrix moves: a share of 1 - p^steps of the columns."""
    prob = 0.98
    trainer = stepped(settings(mixout_prob=prob))
    moved = torch.cat([(layer.weight != layer.start).any(0) for layer in trainer.mixed]).double()
    share = 1 - prob**STEPS
    assert abs(moved.mean().item() - share) < 4 * math.sqrt(share * (1 - share) / len(moved))
    plain = stepped(settings(mixout_prob=1e-30))
    assert torch.cat([(layer.weight != layer.start).any(0) for layer in plain.mixed]).all()


def test_evaluation_uses_the_plain_weights() -> None:
    trainer = stepped(settings(mixout_prob=0.5, max_steps=2))
    found = [trainer.logits("validation")]
    draw_masks(trainer.mixed)
    found.append(trainer.logits("validation"))
    for layer in trainer.mixed:
        layer.kept.fill_(1.0)
        layer.prob = 0.0
    trainer.model.eval = trainer.model.train  # mixed, with all columns kept
    found.append(trainer.logits("validation"))
    assert (found[0] == found[1]).all() and (found[0] == found[2]).all()


def test_what_mixout_goes_back_to_is_after_reinit_and_loading_draws_no_mask() -> None:
    state = torch.get_rng_state()
    encoder = models.load(settings(mixout_prob=0.5, reinit_layers=1), 2)
    assert torch.equal(torch.get_rng_state(), state)
    plain = models.load(settings(reinit_layers=1), 2).model.state_dict()
    mixed = {name: m for name, m in encoder.model.named_modules() if isinstance(m, MixLinear)}
    assert len(mixed) == len(encoder.mixed) == 20
    assert all(torch.equal(m.start, plain[f"{name}.weight"]) for name, m in mixed.items())
