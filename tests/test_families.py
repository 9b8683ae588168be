"""Blocks, Re-init, rates, mixout and batches of each family, against rules by parameter name; what is refused, and why."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import transformers
from torch import Tensor, nn

from fewft import models, parts, sources
from fewft.batching import Encoded, Piece, make_pieces
from fewft.config import RunConfig, UsageError
from fewft.mixout import draw_masks
from fewft.optim import make_optimizer


@dataclass(frozen=True)
class Family:
    """What is known of a family's model with three blocks; patterns are of parameter names, from their first letter."""

    blocks: tuple[str, ...]  # classes, bottom first
    stacks: tuple[str, ...]  # where the blocks are, `#` for the number; Re-init draws those of the last
    head: str
    linears: int
    pooler: str = "-"
    behind: str = "-"  # a norm behind the last block
    token_types: bool = True
    packed: bool = False


def bert_like(blocks: str, stack: str, linears: int = 3 * 6 + 2, head: str = r"classifier\.", **more: Any) -> Family:
    return Family((blocks,) * 3, (stack,), head, linears, **more)


FAMILIES = {
    "bert": bert_like("BertLayer", r"bert\.encoder\.layer\.#\.", pooler=r"bert\.pooler\.", packed=True),
    "roberta": bert_like("RobertaLayer", r"roberta\.encoder\.layer\.#\.", packed=True),
    "electra": bert_like("ElectraLayer", r"electra\.encoder\.layer\.#\.", 3 * 6 + 1 + 2, packed=True),
    "distilbert": bert_like(
        "TransformerBlock", r"distilbert\.transformer\.layer\.#\.", head=r"(pre_)?classifier\.", token_types=False,
        packed=True,
    ),
    "mpnet": bert_like("MPNetLayer", r"mpnet\.encoder\.layer\.#\.", token_types=False),
    "albert": Family(
        ("AlbertLayerGroup",), (r"albert\.encoder\.albert_layer_groups\.#\.",), r"classifier\.", 6 + 1 + 2,
        pooler=r"albert\.pooler\.", packed=True,
    ),
    "modernbert": bert_like(
        "ModernBertEncoderLayer", r"model\.layers\.#\.", 3 * 4 + 2, pooler=r"head\.", behind=r"model\.final_norm\.",
        token_types=False,
    ),
    "deberta-v2": bert_like("DebertaV2Layer", r"deberta\.encoder\.layer\.#\.", head=r"(pooler|classifier)\."),
    "xlnet": bert_like("XLNetLayer", r"transformer\.layer\.#\.", 3 * 2 + 2, head=r"(sequence_summary|logits_proj)\."),
    "bart": Family(
        ("BartEncoderLayer",) * 3 + ("BartDecoderLayer",) * 3,
        (r"model\.encoder\.layers\.#\.", r"model\.decoder\.layers\.#\."), r"classification_head\.",
        3 * 6 + 3 * 10 + 2, token_types=False,
    ),
}  # fmt: skip
each_family = pytest.mark.parametrize("family", FAMILIES)


@pytest.fixture(autouse=True, scope="module")
def shaken_weights() -> Iterator[None]:
    """Pre-trained weights that look so: no bias is 0, no norm's weight 1, before anything is drawn anew."""
    torch.set_num_threads(1)
    read = models._read

    def shaken(*arguments: Any) -> nn.Module:
        model, stream = read(*arguments), torch.Generator().manual_seed(9)
        with torch.no_grad():
            for p in model.parameters():
                p.add_(torch.randn(p.shape, generator=stream), alpha=0.05)
        return model

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "_read", shaken)
        yield


def load(family: str, **settings: Any) -> models.Encoder:
    name = f"random:{family}-tiny" if family in FAMILIES else family
    return models.load(RunConfig(task="rte", model=name, **settings), 2)


def values(family: str, **settings: Any) -> dict[str, Tensor]:
    return {name: p.detach() for name, p in load(family, **settings).model.named_parameters()}


def place(pattern: str, name: str) -> int | None:
    """Number of the block that a parameter belongs to."""
    found = re.match(pattern.replace("#", r"(\d+)"), name)
    return int(found[1]) if found else None


def depth(about: Family, name: str) -> int:
    """How far below the head."""
    if re.match(f"{about.head}|{about.pooler}|{about.behind}", name):
        return 0
    each = len(about.blocks) // len(about.stacks)
    for stack, pattern in enumerate(about.stacks):
        number = place(pattern, name)
        if number is not None:
            return len(about.blocks) - stack * each - number
    return len(about.blocks) + 1


@each_family
def test_blocks(family: str) -> None:
    about, encoder = FAMILIES[family], load(family)
    found = parts.all_blocks(encoder.model)
    assert tuple(type(block).__name__ for block in found) == about.blocks
    top = list(parts.encoder_blocks(encoder.model)[1])
    assert [id(b) for b in top] == [id(b) for b in found[-len(found) // len(about.stacks) :]]
    assert encoder.packed is about.packed and encoder.pad_left is (family == "xlnet")


@each_family
def test_reinit_draws_the_pooler_and_the_top_blocks_alone(family: str) -> None:
    about, plain = FAMILIES[family], values(family)
    smaller: dict[str, Tensor] = {}
    for layers in (0,) if family == "albert" else (0, 1, 2):
        drawn = values(family, reinit_layers=layers)
        assert drawn.keys() == plain.keys()
        changed = {name for name in plain if not torch.equal(plain[name], drawn[name])}
        tops = {name for name in plain if (place(about.stacks[-1], name) or 0) >= 3 - layers}
        assert changed == tops | {name for name in plain if re.match(about.pooler, name)}
        assert bool(changed) is (layers > 0 or about.pooler != "-")
        assert all(torch.equal(drawn[name], smaller[name]) for name in smaller), "a smaller L draws the same"
        smaller = {name: drawn[name] for name in changed}
    check_fresh(smaller)


def check_fresh(drawn: dict[str, Tensor]) -> None:
    """Zeros, ones, or N(0, 0.02^2) to within five standard errors."""
    for name, value in drawn.items():
        raw = re.search(r"rel_attn\.(r_._bias|seg_embed|[qkvor])$", name)
        if name.endswith("bias") and not raw:
            assert not value.any(), name
        elif value.ndim == 1:
            assert "norm" in name.lower() and bool((value == 1).all()), name
        else:
            assert raw or name.endswith("weight"), name
            assert abs(value.std().item() / 0.02 - 1) < 5 / (2 * value.numel()) ** 0.5, name
            assert abs(value.mean().item()) < 5 * 0.02 / value.numel() ** 0.5, name


def test_reinit_draws_all_of_xlnets_attention() -> None:
    plain, drawn = values("xlnet"), values("xlnet", reinit_layers=1)
    own = ("q", "k", "v", "o", "r", "r_w_bias", "r_r_bias", "r_s_bias", "seg_embed")
    names = [f"transformer.layer.2.rel_attn.{name}" for name in own]
    assert not any(torch.equal(plain[name], drawn[name]) for name in names)
    check_fresh({name: drawn[name] for name in names})


@each_family
def test_head_is_the_same_with_reinit_and_another_for_another_seed(family: str) -> None:
    most = 0 if family == "albert" else 2
    runs = [values(family), values(family, reinit_layers=most), values(family, init_seed=1)]
    heads = [{n: v for n, v in run.items() if re.match(FAMILIES[family].head, n)} for run in runs]
    assert len(heads[0]) >= 2
    check_fresh(heads[0])
    for name, value in heads[0].items():
        assert torch.equal(value, heads[1][name])
        assert torch.equal(value, heads[2][name]) is name.endswith("bias")


@pytest.mark.parametrize(
    ("family", "layers", "message"),
    [
        ("albert", 1, r"AlbertForSequenceClassification's blocks share their weights.*; accepted: -1 to 0$"),
        ("bert", 4, r"reinit_layers: 4 for 'random:bert-tiny'; accepted: -1 to 3$"),
        ("bart", 4, r"reinit_layers: 4 for 'random:bart-tiny'; accepted: -1 to 3$"),
    ],
)
def test_more_blocks_than_can_be_drawn_are_refused(family: str, layers: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load(family, reinit_layers=layers)


@each_family
def test_each_parameter_has_its_blocks_rate_once(family: str) -> None:
    about, model = FAMILIES[family], load(family).model
    config = RunConfig(task="rte", learning_rate=1e-3, layerwise_lr_decay=0.9)
    optimizer = make_optimizer(model.named_parameters(), config, parts.depths(model))
    assert sorted(id(p) for g in optimizer.param_groups for p in g["params"]) == sorted(map(id, model.parameters()))
    rates = {id(p): g["lr"] for g in optimizer.param_groups for p in g["params"]}
    depths = {name: depth(about, name) for name, _ in model.named_parameters()}
    assert set(depths.values()) == set(range(len(about.blocks) + 2))
    expected = {name: pytest.approx(1e-3 * 0.9**below, rel=1e-12) for name, below in depths.items()}
    assert {name: rates[id(p)] for name, p in model.named_parameters()} == expected


# --- batches and steps --------------------------------------------------------------------------------------------


def random_data(family: str) -> Encoded:
    """One sequence is longer than ModernBERT's local window; BART's head looks for the end token, 102."""
    rng, lengths = np.random.default_rng(1), (7, 3, 150, 12, 40, 5)
    ids = [np.append(rng.integers(2000, 3000, n - 1), 102) for n in lengths]
    types = [(np.arange(n) > n // 2).astype(np.int64) for n in lengths] if FAMILIES[family].token_types else None
    return Encoded(ids, types, torch.as_tensor(rng.integers(0, 2, len(ids))))


def pieces(encoder: models.Encoder, data: Encoded) -> list[Piece]:
    return make_pieces(
        data, range(len(data)), packed=encoder.packed, pad_id=encoder.tokenizer.pad_token_id, device=torch.device("cpu"),
        first_position=encoder.first_position, pad_left=encoder.pad_left,
    )  # fmt: skip


def logits(encoder: models.Encoder, data: Encoded) -> Tensor:
    parts = pieces(encoder, data)
    out = torch.cat([encoder.model(**p.inputs).logits for p in parts])
    return out[torch.cat([p.index for p in parts]).argsort()]


@each_family
@torch.no_grad()
def test_batches_give_the_models_own_outputs(family: str) -> None:
    """Next to one sequence at a time, without padding, through transformers' model as it is."""
    encoder, data = load(family), random_data(family)
    plain = models.pretrained(f"random:{family}-tiny", 0, 2).model.eval()
    plain.load_state_dict(encoder.model.state_dict())
    rows = [{"input_ids": torch.as_tensor(ids)[None]} for ids in data.input_ids]
    for row, types in zip(rows, data.token_type_ids or (), strict=bool(data.token_type_ids)):
        row["token_type_ids"] = torch.as_tensor(types)[None]
    alone = torch.cat([plain(**row).logits for row in rows])
    encoder.model.eval()
    found = logits(encoder, data)
    assert alone.std(0).min() > 1e-3, "the sequences must not look alike"
    torch.testing.assert_close(found, alone, rtol=0, atol=2e-5)
    if family == "modernbert":
        assert "sliding_attention" in plain.config.layer_types and max(data.lengths) > plain.config.local_attention


@torch.no_grad()
def test_xlnets_padding_comes_first() -> None:
    encoder, data = load("xlnet"), random_data("xlnet")
    for piece in pieces(encoder, data):
        ids, mask = piece.inputs["input_ids"], piece.inputs["attention_mask"]
        lengths = data.lengths[piece.index.numpy()]
        assert mask.tolist() == [[0] * (ids.shape[1] - n) + [1] * n for n in lengths.tolist()]
        assert ids[:, -1].tolist() == [102] * len(lengths) and not ids[mask == 0].any()


@each_family
def test_mixout_takes_the_place_of_all_dropout(family: str) -> None:
    data, encoder, dropped = random_data(family), load(family, mixout_prob=0.5), load(family)
    linears = [m for m in encoder.model.modules() if isinstance(m, nn.Linear)]
    assert len(encoder.mixed) == len(linears) == FAMILIES[family].linears
    assert {id(m) for m in linears} == {id(m) for m in encoder.mixed}
    with torch.no_grad():
        for layer in encoder.mixed:  # else start and weight are the same
            layer.weight.add_(torch.randn(layer.weight.shape, generator=torch.Generator().manual_seed(1)), alpha=0.05)
    torch.manual_seed(0)
    draw_masks(encoder.mixed)
    first, again = (logits(mode(encoder), data) for mode in (training, training))
    assert torch.equal(first, again)
    loss_falls_in_one_step(encoder, data)
    draw_masks(encoder.mixed)
    assert not torch.allclose(logits(encoder, data), first, atol=1e-3)
    plain = [logits(training(dropped), data) for _ in range(2)]
    assert torch.equal(*plain) is (family == "modernbert")  # which has none


def training(encoder: models.Encoder) -> models.Encoder:
    encoder.model.train()
    return encoder


def loss_falls_in_one_step(encoder: models.Encoder, data: Encoded) -> None:
    config = RunConfig(task="rte", learning_rate=1e-4)
    optimizer = make_optimizer(encoder.model.named_parameters(), config)
    losses = [F.cross_entropy(logits(encoder, data), data.labels)]
    losses[0].backward()
    optimizer.step()
    losses.append(F.cross_entropy(logits(encoder, data), data.labels))
    assert losses[1] < losses[0]


# --- not in the list ----------------------------------------------------------------------------------------------

SIZES: dict[str, Any] = {
    "vocab_size": 30522, "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 32,
    "max_position_embeddings": 140, "pad_token_id": 0, "type_vocab_size": 2,
}  # fmt: skip


@lru_cache
def built(kind: str) -> nn.Module:
    sizes = {
        "xlm": {"vocab_size": 99, "emb_dim": 16, "n_layers": 3, "n_heads": 2},
        "funnel": {"vocab_size": 99, "block_sizes": [2, 2], "d_model": 16, "n_head": 2, "d_head": 8, "d_inner": 32},
        "canine": {**SIZES, "num_hash_buckets": 64},
        "convbert": {**SIZES, "embedding_size": 16},
        "roformer": {**SIZES, "embedding_size": 16},
    }
    config = transformers.AutoConfig.for_model(kind, **sizes.get(kind, SIZES))
    return transformers.AutoModelForSequenceClassification.from_config(config)


@pytest.fixture
def saved(tmp_path: Path) -> Callable[[str], str]:
    """A folder with a small model of a kind."""

    def save(kind: str) -> str:
        built(kind).save_pretrained(tmp_path)
        sources.load_tokenizer("random:bert-tiny").save_pretrained(tmp_path)
        return str(tmp_path)

    return save


@pytest.mark.parametrize(
    ("kind", "block", "packed"), [("camembert", "CamembertLayer", True), ("roformer", "RoFormerLayer", False)]
)
def test_an_ordinary_stack_of_another_architecture_will_do(
    kind: str, block: str, packed: bool, saved: Callable[[str], str]
) -> None:
    about = bert_like(block, rf"{'roberta' if kind == 'camembert' else kind}\.encoder\.layer\.#\.")
    folder = saved(kind)
    encoder, plain, drawn = load(folder), values(folder), values(folder, reinit_layers=2)
    assert [type(b).__name__ for b in parts.all_blocks(encoder.model)] == [block] * 3 and encoder.packed is packed
    changed = {name for name in plain if not torch.equal(plain[name], drawn[name])}
    assert changed == {name for name in plain if (place(about.stacks[0], name) or 0) >= 1}
    check_fresh({name: drawn[name] for name in changed})
    assert parts.depths(encoder.model) == {name: depth(about, name) for name in plain}


@pytest.mark.parametrize(
    ("kind", "name", "found"),
    [
        ("xlm", "XLM", "attentions, ffns"),
        ("funnel", "Funnel", "encoder.blocks.0, encoder.blocks.1"),
        ("canine", "Canine", "initial_char_encoder.layer, encoder.layer, final_char_encoder.layer"),
    ],
)
def test_other_forms_are_refused_with_what_was_looked_for(kind: str, name: str, found: str) -> None:
    with pytest.raises(UsageError) as error:
        parts.all_blocks(built(kind))
    assert str(error.value) == (
        f"model: {name}ForSequenceClassification has these lists of blocks: {found}; accepted: one list of Transformer "
        "blocks of one class below the encoder (one each in encoder and decoder)"
    )


def test_a_model_without_the_stack_is_refused_when_it_is_loaded(saved: Callable[[str], str]) -> None:
    with pytest.raises(UsageError, match="XLMForSequenceClassification has these lists of blocks: attentions, ffns"):
        load(saved("xlm"))


def test_parameters_of_which_no_start_is_known_are_refused(saved: Callable[[str], str]) -> None:
    folder = saved("convbert")
    assert len(parts.all_blocks(load(folder, reinit_layers=0).model)) == 3
    with pytest.raises(UsageError, match=r"no start is known for SeparableConv1D \(bias\); accepted: Linear, Emb"):
        load(folder, reinit_layers=1)
