"""What a part is drawn from anew, in which order, and what is refused."""

import pytest
import torch
import transformers
from torch import nn

from fewft import models, parts
from fewft.config import RunConfig, UsageError
from fewft.reinit import draw_anew, reinitialize

SPREAD = 0.3


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def shaken(module: nn.Module) -> nn.Module:
    """With no parameter where it would start."""
    with torch.no_grad():
        for p in module.parameters():
            p.fill_(7.0)
    return module


def flat(module: nn.Module) -> torch.Tensor:
    return nn.utils.parameters_to_vector(module.parameters()).detach().clone()


def test_each_kind_of_part_has_its_start() -> None:
    norms = [nn.LayerNorm(8), nn.RMSNorm(8), nn.GroupNorm(2, 8), nn.LayerNorm(8, bias=False)]
    module = shaken(nn.ModuleDict({"a": nn.Linear(200, 50), "b": nn.Embedding(50, 200), "c": nn.ModuleList(norms)}))
    draw_anew(module, SPREAD, stream())
    for part in (module["a"], module["b"]):
        assert part.weight.std().item() == pytest.approx(SPREAD, rel=0.03)  # 10,000 draws: four standard errors
        assert abs(part.weight.mean().item()) < 4 * SPREAD / 100
    assert not module["a"].bias.any()
    assert all(bool((norm.weight == 1).all()) for norm in norms)
    assert not any(norm.bias.any() for norm in (norms[0], norms[2]))


def test_the_stream_alone_says_what_is_drawn() -> None:
    modules = [shaken(nn.Linear(4, 4)) for _ in range(3)]
    state = torch.get_rng_state()
    for module, seed in zip(modules, (0, 0, 1), strict=True):
        draw_anew(module, SPREAD, stream(seed))
    assert torch.equal(torch.get_rng_state(), state)
    same, first, other = map(flat, modules)
    assert torch.equal(same, first) and not torch.equal(same, other)


def test_debertas_own_biases_start_at_zero() -> None:
    config = transformers.DebertaConfig(
        vocab_size=9, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        relative_attention=True, pos_att_type=["c2p", "p2c"],
    )  # fmt: skip
    (block,) = parts.all_blocks(shaken(transformers.DebertaForSequenceClassification(config)))
    draw_anew(block, SPREAD, stream())
    attention = block.attention.self
    assert not attention.q_bias.any() and not attention.v_bias.any()
    assert all(not bool((p == 7).any()) for p in block.parameters())


@pytest.mark.parametrize("layers", range(-1, 4))
def test_from_the_top_down_and_the_pooler_first(layers: int) -> None:
    """So that every block's draws are those of a larger L as well."""
    pooler, blocks = shaken(nn.Linear(4, 4)), shaken(nn.ModuleList(nn.Linear(4, 4) for _ in range(3)))
    source = stream()
    before = source.get_state()
    reinitialize(layers, pooler, blocks, SPREAD, source)
    expected, own = [], stream()
    for module in [nn.Linear(4, 4) for _ in range(4)][: layers + 1]:
        module.weight.data = torch.randn(4, 4, generator=own) * SPREAD
        module.bias.data = torch.zeros(4)
        expected.append(flat(module))
    expected += [torch.full((20,), 7.0)] * (3 - layers)
    assert all(torch.equal(flat(m), e) for m, e in zip((pooler, *reversed(blocks)), expected, strict=True))
    assert torch.equal(source.get_state(), before) is (layers < 0)


def test_a_model_need_not_have_a_pooler() -> None:
    with_one, without = (shaken(nn.ModuleList([nn.Linear(4, 4)])) for _ in range(2))
    reinitialize(0, None, with_one, SPREAD, stream())
    assert bool((flat(with_one) == 7).all())
    reinitialize(1, None, without, SPREAD, stream())
    assert not bool((flat(without) == 7).any())


def test_a_part_of_which_no_start_is_known_is_refused() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale, self.shift = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))

    accepted = "Linear, Embedding, normalisation layers, XLNetRelativeAttention, DisentangledSelfAttention"
    with pytest.raises(UsageError, match=rf"no start is known for Odd \(scale, shift\); accepted: {accepted}"):
        draw_anew(nn.Sequential(nn.Linear(2, 2), Odd()), SPREAD, stream())


def test_without_reinit_the_encoder_is_the_pretrained_one() -> None:
    name = "random:bert-tiny"
    found = dict(models.load(RunConfig(task="rte", model=name, reinit_layers=-1), 2).model.named_parameters())
    plain = dict(models.pretrained(name, 0, 2).model.named_parameters())
    assert found.keys() == plain.keys()
    same = {key for key in plain if torch.equal(found[key], plain[key])}
    assert plain.keys() - same == {"classifier.weight"}
