"""Stored files with bytes flipped, cut, added or overwritten: each is found and named, the rest can be read, repair works."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fewft import cli
from fewft.config import RunConfig
from fewft.results import ResultStore

SEED = 7
Run = Callable[..., dict[str, Any]]


def damage(content: bytes, rng: random.Random) -> bytes:
    """Another content: a bit flipped, a byte replaced, the end or a piece cut off, a piece twice, zeros, nothing."""
    place = rng.randrange(len(content))
    end = min(len(content), place + rng.choice((1, 8, 512)))
    flipped = bytes([content[place] ^ 1 << rng.randrange(8)])
    changed = rng.choice(
        (
            content[:place] + flipped + content[place + 1 :],
            content[:place] + rng.randbytes(1) + content[place + 1 :],
            content[:place],
            content[:place] + content[end:],
            content[:end] + content[place:end] + content[end:],
            content[:place] + bytes(end - place) + content[end:],
            content + rng.randbytes(3),
            b"",
        )
    )
    return changed if changed != content else damage(content, rng)


def same(first: dict[str, Any], second: dict[str, Any]) -> bool:
    """Equal where both say something; NaN equals NaN."""
    one, two = ({k: v for k, v in r.items() if v is not None} for r in (first, second))
    return json.dumps(one, sort_keys=True) == json.dumps(two, sort_keys=True)


def filled(folder: Path, stored_run: Run, count: int) -> ResultStore:
    """The first half of the runs collected, the other half in JSON files."""
    store, rng = ResultStore(folder, "s"), random.Random(SEED)
    for number in range(count):
        losses = [rng.random() for _ in range(20)]
        store.add(
            stored_run(RunConfig(task="rte-1k", init_seed=number), train_loss=losses, device="a CPU", seconds=1.0)
        )
        if number == count // 2 - 1:
            store.collect()
    return store


def test_every_damaged_file_is_named_and_the_rest_stays(
    tmp_path: Path, stored_run: Run, long: bool, tally: Callable[[str], None]
) -> None:
    store, rng = filled(tmp_path, stored_run, 8), random.Random(SEED)
    whole, mutations = store.records(), {"json": 0, "parquet": 0}
    files = [*sorted(store.folder.glob("*.json")), store.parquet]
    for _ in range(10_000 if long else 1_000):
        path = rng.choice((files[rng.randrange(4)], store.parquet))
        content = path.read_bytes()
        path.write_bytes(damage(content, rng))
        records, damaged = store.read()
        path.write_bytes(content)
        mutations[path.suffix[1:]] += 1
        assert list(damaged) == [path] and damaged[path], f"seed {SEED}, mutation {mutations}"
        gone = {path.stem} if path.suffix == ".json" else {i for i in whole if i not in {f.stem for f in files[:4]}}
        assert records.keys() == whole.keys() - gone and all(same(records[i], whole[i]) for i in records)
    assert min(mutations.values()) > 100
    tally(f"corruption: {mutations['json']} JSON and {mutations['parquet']} Parquet files damaged, all found, 0 taken")


def test_repair_keeps_only_rows_as_they_were(
    tmp_path: Path, stored_run: Run, long: bool, tally: Callable[[str], None]
) -> None:
    """Of a damaged Parquet file no changed row survives, whatever was hit; its lost ids are named where they can be."""
    rng, kept, count = random.Random(SEED), 0, 1_000 if long else 60
    store = filled(tmp_path, stored_run, 300)
    store.collect()
    whole, content = store.records(), store.parquet.read_bytes()
    for _ in range(count):
        store.parquet.write_bytes(damage(content, rng))
        done = store.repair()
        records = store.records()
        assert list(done.aside) == [store.parquet] and len(records) == done.kept
        assert all(same(records[i], whole[i]) for i in records)
        assert done.lost <= whole.keys() - records.keys()
        kept += done.kept
        shutil.rmtree(store.folder)
    assert 0 < kept < count * len(whole)
    tally(
        f"repair: {count} damaged Parquet files of {len(whole)} runs, {kept / count:.0f} runs kept of each, 0 changed"
    )


def test_status_names_damage_and_repair_does_the_runs_again(tmp_path: Path, stored_run: Run, capsys: Any) -> None:
    study = tmp_path / "tiny.toml"
    study.write_text(
        'description = "tiny"\nmodel = "random:bert-tiny"\ntasks = ["bundled:acceptability"]\nlearning_rate = 1e-3\n'
        "[seeds]\nbias_correction = 2\n[settings]\nmax_steps = 2\nnum_evals = 1\n"
    )
    call = [str(study), "--results", str(tmp_path), "--experiment", "bias_correction", "--device", "cpu"]
    assert cli.main(["run", *call]) == 0
    store = ResultStore(tmp_path, "tiny")
    before = store.records()
    hit = sorted(before)[0]
    store.add(before[hit])
    path = store.folder / f"{hit}.json"
    path.write_bytes(path.read_bytes().replace(b'"status": "ok"', b'"status": "oj"'))
    alien = store.folder / ("0" * 16 + ".json")
    alien.write_text("{}")
    (store.folder / ".x.json.abc.tmp").write_text("cut off")
    capsys.readouterr()
    assert cli.main(["run", *call]) == 2
    assert f"results: {str(alien)!r} is damaged" in capsys.readouterr().err
    assert cli.main(["status", *call]) == 1
    said = capsys.readouterr().out
    assert f"damaged: {path} (its checksum" in said and f"damaged: {alien} (" in said and "ok: 4" in said
    store.parquet.write_bytes(store.parquet.read_bytes()[:-1])
    assert cli.main(["status", *call, "--repair"]) == 0
    said = capsys.readouterr().out
    assert f"in none of these experiments, so not done again: {alien.stem}" in said
    assert "the Parquet file did not tell what it held" in said
    assert cli.main(["run", *call]) == 0
    times = {"seconds", "train_seconds", "started"}
    after = store.records()
    assert after.keys() == before.keys()
    for run_id in before:
        pair = ({k: v for k, v in r[run_id].items() if k not in times} for r in (before, after))
        assert same(*pair)
    assert len(list((store.folder / "damaged").iterdir())) == 3 and not list(store.folder.glob(".*.tmp"))
