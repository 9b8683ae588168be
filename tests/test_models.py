"""Where models come from, what is refused, and whose seed the head has."""

from pathlib import Path

import huggingface_hub.constants
import pytest
import torch

from fewft import models, parts
from fewft.batching import make_pieces
from fewft.config import RunConfig, UsageError
from fewft.splits import Split

TINY = "random:bert-tiny"


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


def load(model: str = TINY, num_labels: int = 2, **settings: int) -> models.Encoder:
    return models.load(RunConfig(task="rte", model=model, **settings), num_labels)


def head(encoder: models.Encoder) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for part in parts.head(encoder.model) for p in part.parameters()])


@torch.no_grad()
def outputs(encoder: models.Encoder) -> torch.Tensor:
    data = models.encode(encoder.tokenizer, Split(("a dog", "two cats in a house"), None, torch.zeros(2).numpy()), 32)
    (piece,) = make_pieces(
        data, [0, 1], packed=True, pad_id=0, first_position=encoder.first_position, device=torch.device("cpu")
    )
    return encoder.model.eval()(**piece.inputs).logits[:, 0]


def test_bundled_model_keeps_its_bottom_blocks() -> None:
    whole, cut = load("bundled:minilm"), load("bundled:minilm", num_hidden_layers=2)
    assert whole.packed and cut.packed
    blocks, kept = (parts.encoder_blocks(e.model)[1] for e in (whole, cut))
    assert (len(blocks), len(kept)) == (6, 2)
    full = whole.model.state_dict()
    assert all(torch.equal(value, full[name]) for name, value in cut.model.state_dict().items())
    with pytest.raises(UsageError, match="num_hidden_layers: 7 for 'bundled:minilm'; accepted: 0 to 6"):
        load("bundled:minilm", num_hidden_layers=7)


def test_unsafe_weights_are_refused(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(UsageError, match="has no .safetensors file; accepted: weights in safetensors"):
        load(str(tmp_path))


@pytest.mark.parametrize("num_labels", [2, 3])
def test_a_saved_folder_gives_the_same_outputs(tmp_path: Path, num_labels: int) -> None:
    """Also where the folder's own head has another size: the head is drawn anew anyway."""
    template = models.pretrained(TINY, 0, 2)
    template.model.save_pretrained(tmp_path)
    template.tokenizer.save_pretrained(tmp_path)
    saved, original = load(str(tmp_path), num_labels), load(TINY, num_labels)
    assert saved.packed
    assert torch.equal(outputs(saved), outputs(original))


@pytest.mark.parametrize(
    ("name", "accepted"),
    [
        ("bundled:minilml", "did you mean 'bundled:minilm'"),
        ("random:bert-tinny", "did you mean 'random:bert-tiny'.*random:roberta-large"),
        ("random:", "accepted: random:albert-base"),
        ("nobody/nothing", "a hub id, a folder, bundled:NAME or random:NAME"),
    ],
)
def test_unknown_models_are_refused(name: str, accepted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UsageError, match=f"model: {name!r}.*{accepted}"):
        load(name)


def test_head_comes_from_the_initialisation_seed_alone() -> None:
    first = head(load(init_seed=3))
    torch.manual_seed(99)
    assert torch.equal(first, head(load(init_seed=3, data_seed=7)))
    assert not torch.equal(first, head(load(init_seed=4)))
    assert first.std().item() == pytest.approx(0.02, rel=0.2)


@pytest.mark.parametrize("num_labels", [1, 2, 3])
@pytest.mark.parametrize(
    ("family", "packed"), [("bert", True), ("roberta", True), ("electra", True), ("distilbert", True), ("mpnet", False)]
)
def test_families(family: str, packed: bool, num_labels: int) -> None:
    encoder = load(f"random:{family}-tiny", num_labels)
    assert encoder.packed is packed and encoder.shortcut is packed
    assert encoder.first_position == (1 if family in ("roberta", "mpnet") else 0) or not packed
    assert len(parts.encoder_blocks(encoder.model)[1]) == 3
    sizes = [p.shape[0] for part in parts.head(encoder.model) for p in part.parameters()]
    assert sizes[-2:] == [num_labels, num_labels]


def test_random_weights_are_the_same_in_every_process() -> None:
    first = load().model.state_dict()
    torch.manual_seed(5)
    assert all(torch.equal(value, first[name]) for name, value in load().model.state_dict().items())


def test_an_encoder_without_its_weights_is_refused(tmp_path: Path) -> None:
    whole = load()
    whole.tokenizer.save_pretrained(tmp_path)
    states = {name: w for name, w in whole.model.state_dict().items() if "layer.1." not in name}
    whole.model.save_pretrained(tmp_path, state_dict=states)
    with pytest.raises(UsageError, match="no fitting weights for 'bert.encoder.layer.1"):
        load(str(tmp_path))


def test_a_checkpoint_without_pooler_gets_one_from_the_initialisation_seed(tmp_path: Path) -> None:
    """As part of the head: Re-init of the pooler alone then changes nothing."""
    whole = load()
    whole.tokenizer.save_pretrained(tmp_path)
    states = {name: w for name, w in whole.model.state_dict().items() if ".pooler." not in name}
    whole.model.save_pretrained(tmp_path, state_dict=states)
    first, again, other = (
        load(str(tmp_path), init_seed=s, reinit_layers=n).model for s, n in ((1, -1), (1, 0), (2, -1))
    )
    weights = [m.bert.pooler.dense.weight for m in (first, again, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
    assert weights[0].std().item() == pytest.approx(0.02, rel=0.1)
    assert all(torch.equal(p, q) for p, q in zip(first.parameters(), again.parameters(), strict=True))


def test_a_model_of_few_positions_is_tried_within_them(tmp_path: Path) -> None:
    whole = load()
    whole.tokenizer.save_pretrained(tmp_path)
    config = whole.model.config
    config.max_position_embeddings = 40
    type(whole.model)(config).save_pretrained(tmp_path)
    assert load(str(tmp_path)).packed
