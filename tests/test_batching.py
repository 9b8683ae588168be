"""Packed rows and micro-batches against the plain padded model: same outputs, same gradients, no mixing."""

import copy
import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewft import batching, models, sources
from fewft.batching import Encoded, Piece, evaluation_batches, make_pieces, packed_attention
from fewft.config import RunConfig

CPU = torch.device("cpu")
LENGTHS = {
    "one": [7],
    "fewer than groups": [5, 9, 2],
    "all equal": [6] * 32,
    "a batch": np.random.default_rng(0).integers(1, 40, 32).tolist(),
}


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


def random_data(lengths: Sequence[int], labels: int = 2) -> Encoded:
    """Token ids that are neither padding nor unknown to any tokenizer; the first one names the example."""
    rng = np.random.default_rng(1)
    ids = [np.concatenate([[1000 + i], rng.integers(2000, 3000, n - 1)]) for i, n in enumerate(lengths)]
    types = [(np.arange(n) > n // 2).astype(np.int64) for n in lengths]
    return Encoded(ids, types, torch.as_tensor(rng.integers(0, labels, len(lengths))))


def cut(
    data: Encoded, batch: Sequence[int], packed: bool, first_position: int = 0, pad_left: bool = False
) -> list[Piece]:
    return make_pieces(
        data, batch, packed=packed, pad_id=0, first_position=first_position, device=CPU, pad_left=pad_left
    )


def logits(encoder: models.Encoder, data: Encoded, batch: Sequence[int]) -> Tensor:
    """In the order of `batch`."""
    pieces = cut(data, batch, encoder.packed, encoder.first_position, encoder.pad_left)
    out = torch.cat([encoder.model(**usable(encoder.model, p)).logits for p in pieces])
    return out[torch.cat([p.index for p in pieces]).argsort()]


def usable(model: nn.Module, piece: Piece) -> dict[str, object]:
    """Without token types where the family has none; its tokenizer would give none."""
    kinds = getattr(model.config, "type_vocab_size", 0) and model.config.model_type not in sources.NO_SEGMENTS
    return {k: v for k, v in piece.inputs.items() if kinds or k != "token_type_ids"}


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS.keys())
@pytest.mark.parametrize("scaling", [None, 0.3])
def test_packed_attention_is_attention_within_each_sequence(lengths: list[int], scaling: float | None) -> None:
    layout = cut(random_data(lengths), range(len(lengths)), packed=True)[0].inputs["layout"]
    stream = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, 4, sum(lengths), 8, generator=stream, dtype=torch.float64) for _ in range(3))
    found, _ = packed_attention(nn.Identity(), q, k, v, None, scaling=scaling, layout=layout)
    rows, start = [], 0
    for length in sorted(lengths):
        one = slice(start, start + length)
        weights = (q[0, :, one] @ k[0, :, one].transpose(1, 2) * (scaling or 1 / math.sqrt(8))).softmax(-1)
        rows.append((weights @ v[0, :, one]).transpose(0, 1))
        start += length
    torch.testing.assert_close(found[0], torch.cat(rows), rtol=1e-12, atol=1e-12)


def test_dropout_in_packed_attention_has_the_right_rate_and_scale() -> None:
    rate, lengths = 0.1, [60, 64] * 8
    layout = cut(random_data(lengths), range(16), packed=True)[0].inputs["layout"]
    tokens = sum(lengths)
    column = torch.cat([torch.arange(n) for n in sorted(lengths)])
    value = F.one_hot(column, 64).float().expand(1, 4, tokens, 64)  # outputs are the attention weights themselves
    zeros = torch.zeros(1, 4, tokens, 64)
    torch.manual_seed(0)
    out, _ = packed_attention(nn.Identity(), zeros, zeros, value, None, dropout=rate, layout=layout)
    weights = torch.cat([out[0, : 60 * 8, :, :60].flatten(), out[0, 60 * 8 :].flatten()])
    kept = weights > 0
    noise = math.sqrt(rate * (1 - rate) / weights.numel())
    assert abs((~kept).double().mean().item() - rate) < 4 * noise
    scales = torch.cat([torch.full((60 * 8 * 4 * 60,), 1 / 60), torch.full((64 * 8 * 4 * 64,), 1 / 64)]) / (1 - rate)
    torch.testing.assert_close(weights[kept], scales[kept])
    assert not out[0, : 60 * 8, :, 60:].any()


@pytest.mark.parametrize("family", sources.RANDOM_FAMILIES)
def test_gradients_are_as_exact_as_padded_ones(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dropout off; of packed rows, or of four micro-batches, next to those of the whole padded batch."""
    name, data = f"random:{family}-tiny", random_data(LENGTHS["a batch"])
    if family == "bart":  # its head reads the end token's state
        data = dataclasses.replace(data, input_ids=[np.append(ids, 102) for ids in data.input_ids])
    packed = models.load(RunConfig(task="rte", model=name), 2)
    assert packed.packed is (family in ("bert", "roberta", "electra", "distilbert", "albert"))
    padded = models.pretrained(name, 0, 2).model
    padded.load_state_dict(packed.model.state_dict())
    exact = copy.deepcopy(padded).double()
    flat = {}
    for kind, model in (("packed", packed.model), ("padded", padded), ("exact", exact)):
        encoder = dataclasses.replace(packed, model=model.eval(), packed=kind == "packed" and packed.packed)
        monkeypatch.setattr(batching, "MICRO_BATCHES", 4 if kind == "packed" else 1)
        F.cross_entropy(logits(encoder, data, range(32)), data.labels).backward()
        flat[kind] = torch.cat([p.grad.double().flatten() for p in model.parameters() if p.grad is not None])
    error = {kind: (flat[kind] - flat["exact"]).norm() / flat["exact"].norm() for kind in ("packed", "padded")}
    assert error["packed"] < 1.5 * error["padded"] < 1e-5


@pytest.mark.parametrize("name", ["random:bert-tiny", "random:roberta-tiny", "random:mpnet-tiny"])
@torch.no_grad()
def test_outputs_do_not_depend_on_the_rest_of_the_batch(name: str) -> None:
    encoder, data = models.load(RunConfig(task="rte", model=name), 2), random_data(LENGTHS["a batch"])
    encoder.model.eval()
    for parameter in encoder.model.parameters():  # larger than at the start, so that a mixed-up token is seen
        parameter.mul_(3)
    together = logits(encoder, data, range(32))
    alone = torch.cat([logits(encoder, data, [i]) for i in range(32)])
    shuffled = np.random.default_rng(2).permutation(32)[:20]
    assert together.std(0).min() > 1e-2
    torch.testing.assert_close(alone, together, rtol=0, atol=1e-5)
    torch.testing.assert_close(logits(encoder, data, shuffled), together[shuffled], rtol=0, atol=1e-5)


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS.keys())
@pytest.mark.parametrize("packed", [True, False])
def test_index_says_which_example_an_output_is_for(lengths: list[int], packed: bool) -> None:
    data = random_data(lengths)
    batch = np.random.default_rng(3).permutation(len(lengths))
    pieces = cut(data, batch, packed)
    for piece in pieces:
        ids = piece.inputs["input_ids"]
        first = ids[0, piece.inputs["layout"].first] if packed else ids[:, 0]
        assert first.tolist() == [1000 + batch[i] for i in piece.index]
    assert sorted(i for p in pieces for i in p.index.tolist()) == list(range(len(lengths)))
    assert sum(p.tokens for p in pieces) == sum(lengths)
    assert len(pieces) == (1 if packed else min(len(lengths), batching.MICRO_BATCHES))


def test_evaluation_batches_hold_every_example_once() -> None:
    lengths = np.random.default_rng(4).integers(1, 129, 200)
    batches = list(evaluation_batches(random_data(lengths), 500))
    assert sorted(np.concatenate(batches)) == list(range(200))
    assert max(lengths[b].sum() for b in batches) < 500 + 128
    assert np.all(np.diff(lengths[np.concatenate(batches)]) >= 0)
