"""A folder of version 0.1.0 becomes a release: the same bits, or nothing and a way out."""

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgpack
import pytest

from constellation.coordizer.coordizer import Coordizer
from constellation.errors import (
    ArtifactError,
    ConfigError,
    IncompatibleKernels,
    TrainingError,
)
from constellation.kernel.files.checkpoint import load_kernel, save_kernel
from constellation.releases.store import ReleaseStore
from constellation.wire.run_lock import owned
from constellation.wire.table_file import load_table, pack_table
from constellation.wire.table_v010 import unlearned_sources
from tests.training.served import back, bits, content, forget, leave, record, release, sites, table
from tests.training.test_again import nobody, spawn
from tests.training.test_growth import (
    STOCKS,
    alone,
    artifacts,
    files,
    forge,
    join,
    recipe,
    write,
)
from tests.training.test_pipeline import text
from training.ledger import LEDGER
from training.migration import adopt
from training.new_kernel import train_new
from training.pipeline import train
from training.recipe import Recipe

pytestmark = pytest.mark.slow


__all__ = ["artifacts", "forge", "text"]  # fixtures

FORMER = {"routing": {"basins_max": 1}}
"""What is set in a recipe where version 0.1.0 had nothing to set."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("old")
    for domain, stock in STOCKS.items():
        write(folder / "text" / domain, stock)
    return train(recipe_of(folder / "out"), folder / "out", trainer=alone).out


def recipe_of(trained: Path) -> Recipe:
    branch = {"steps": 30, "batch_size": 2, "learning_rate": 1e-2, "replay_share": 0.2}
    return recipe(trained.parent / "text", branch_stage=branch, **FORMER)


def write_table(
    path: Path, names: Sequence[str], unlearned: Mapping[str, Sequence[str]] | None = None
) -> None:
    """Write a table as version 0.1.0 did: sites of these kernels, with what they had unlearned."""
    made = load_table(path.parents[2] / "table.msgpack" if path.name != "table.msgpack" else path)
    site = made.sites[0]
    known = {each.name: each for each in made.sites}
    added = tuple(known.get(name, replace(site, name=name)) for name in names)
    envelope = msgpack.unpackb(pack_table(replace(made, sites=added, refusal=None)))
    inner: dict[str, Any] = msgpack.unpackb(envelope["content"])
    for each in inner["sites"]:
        each["unlearned"] = list((unlearned or {}).get(each["name"], ()))
    packed = msgpack.packb(inner)
    digest = hashlib.sha256(packed).digest()
    path.write_bytes(msgpack.packb({"schema": 1, "sha256": digest, "content": packed}))


def as_before(artifacts: Path, *names: str, **unlearned: Sequence[str]) -> None:
    """Leave in a folder what version 0.1.0 would have: a table, and no release or record of text.

    Args:
        artifacts: The run's folder.
        names: Kernels of the table beside the run's own.
        unlearned: Kernel -> sources that it had unlearned.
    """
    for path in ("releases", "blobs", "domains", "texts"):
        shutil.rmtree(artifacts / path, ignore_errors=True)
    (artifacts / "current").unlink()
    ledger = json.loads((artifacts / LEDGER).read_text())
    del ledger["release"]
    (artifacts / LEDGER).write_text(json.dumps(ledger))
    write_table(artifacts / "table.msgpack", [*sorted(STOCKS), *names], unlearned)


def test_a_run_without_guests_keeps_every_bit(artifacts: Path) -> None:
    served, placed = release(artifacts), {name: bits(artifacts, name) for name in STOCKS}
    own = load_table(artifacts / "table.msgpack")
    as_before(artifacts)
    before = files(artifacts)
    done = adopt(artifacts)
    assert done.release == 1
    assert done.kernels == tuple(sorted(STOCKS))
    after = files(artifacts)
    assert {path: after[path] for path in before} == before, "what was there is what it was"
    assert {name: bits(artifacts, name) for name in STOCKS} == placed
    again = table(artifacts)
    assert (again.coordizer_hash, again.temperatures) == (own.coordizer_hash, own.temperatures)
    assert {name: site.radii for name, site in sites(artifacts).items()} == {
        site.name: site.radii for site in own.sites
    }
    view = ReleaseStore(artifacts).current_folder()
    assert Coordizer.load(view / "coordizer").hash == own.coordizer_hash
    assert release(artifacts).content_sha256 == served.content_sha256, "as a training publishes it"


def test_a_run_that_was_taken_over_is_not_trained_again(artifacts: Path, trained: Path) -> None:
    as_before(artifacts)
    adopt(artifacts)
    before = release(artifacts)
    train(recipe_of(trained), artifacts, trainer=nobody)
    assert release(artifacts) == before


def test_kernels_that_had_joined_are_served_as_if_they_had_joined_the_release(
    artifacts: Path, forge: Path
) -> None:
    new = train_new(artifacts, "forge", forge, trainer=alone)
    join(artifacts, new, None)
    wanted = content(artifacts)
    as_before(artifacts, "forge")
    assert adopt(artifacts).kernels == ("bake", "forge", "sea", "stars")
    assert content(artifacts) == wanted
    leave(artifacts, "forge")
    assert sorted(sites(artifacts)) == sorted(STOCKS)
    back(artifacts, "forge")
    assert content(artifacts) == wanted


def test_what_was_unlearned_stays_unlearned(artifacts: Path, forge: Path) -> None:
    join(artifacts, train_new(artifacts, "forge", forge, trainer=alone), None)
    gone = {name: record(artifacts, name).train.sources[0] for name in ("sea", "forge")}
    for name, source in gone.items():
        forget(artifacts, name, source)
    wanted = content(artifacts)
    as_before(artifacts, "forge", **{name: [source] for name, source in gone.items()})
    assert unlearned_sources(artifacts / "table.msgpack")["sea"] == (gone["sea"],)
    adopt(artifacts)
    assert content(artifacts) == wanted


def test_a_kernel_that_had_left_comes_back_with_what_it_had_unlearned(
    artifacts: Path, forge: Path
) -> None:
    join(artifacts, train_new(artifacts, "forge", forge, trainer=alone), None)
    source = record(artifacts, "forge").train.sources[0]
    forget(artifacts, "forge", source)
    wanted = content(artifacts)
    as_before(artifacts)
    write_table(artifacts / "kernels/forge/site.msgpack", ["forge"], {"forge": [source]})
    adopt(artifacts)
    assert sorted(sites(artifacts)) == sorted(STOCKS)
    back(artifacts, "forge")
    assert content(artifacts) == wanted


def test_kernels_without_text_are_named_before_anything_is_written(artifacts: Path) -> None:
    spawn(artifacts, "sea", "shore")
    as_before(artifacts, "shore", "stray")
    for name, parent in (("shore", "sea\n"), ("stray", "")):
        folder = shutil.copytree(artifacts / "kernels" / "sea", artifacts / "kernels" / name)
        if parent:
            (folder / "spawned_from").write_text(parent)
    before = files(artifacts)
    told = r"no text of its own for: shore \(spawned from sea\), stray; .*--without shore --without"
    with pytest.raises(ConfigError, match=told):
        adopt(artifacts)
    assert files(artifacts) == before
    assert not (artifacts / "current").exists()
    done = adopt(artifacts, without=("stray", "shore"))
    assert (done.kernels, done.without) == (tuple(sorted(STOCKS)), ("shore", "stray"))
    assert sorted(sites(artifacts)) == sorted(STOCKS)
    assert load_kernel(artifacts / "kernels" / "shore").facts["steps"] == 30


def test_a_training_that_would_lose_what_joined_is_refused_before_the_first_step(
    artifacts: Path, trained: Path, forge: Path
) -> None:
    train_new(artifacts, "forge", forge, trainer=alone)
    source = record(artifacts, "sea").train.sources[0]
    as_before(artifacts, "forge", sea=[source])
    before = files(artifacts)
    told = r"lose the kernels .*\(forge\) and what was unlearned of sea; .*releases adopt"
    with pytest.raises(ConfigError, match=told):
        train(recipe_of(trained), artifacts, trainer=nobody)
    assert files(artifacts) == before
    whole = (artifacts / "table.msgpack").read_bytes()
    (artifacts / "table.msgpack").write_bytes(whole[:-7])
    with pytest.raises(ArtifactError, match=r"table\.msgpack"):
        train(recipe_of(trained), artifacts, trainer=nobody)
    (artifacts / "table.msgpack").write_bytes(whole)
    assert files(artifacts) == before
    adopt(artifacts)
    train(recipe_of(trained), artifacts, trainer=nobody)
    assert "forge" in sites(artifacts)
    assert record(artifacts, "sea").unlearned == (source,)


def test_a_training_of_a_folder_with_nothing_to_lose_makes_its_first_release(
    artifacts: Path, trained: Path
) -> None:
    served = content(artifacts)
    as_before(artifacts)
    train(recipe_of(trained), artifacts, trainer=nobody)
    assert content(artifacts) == served
    assert release(artifacts).version == 1


def test_what_cannot_be_taken_over_is_refused_and_leaves_nothing_behind(
    artifacts: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"has releases already \(1\).*rollback"):
        adopt(artifacts)
    (tmp_path / "empty").mkdir()
    for folder, told in (("nowhere", "is no folder"), ("empty", r"table\.msgpack: is not there")):
        with pytest.raises(ArtifactError, match=told):
            adopt(tmp_path / folder)
    assert list((tmp_path / "empty").iterdir()) == []
    as_before(artifacts)
    before = files(artifacts)
    with pytest.raises(ConfigError, match="no kernel 'forge' to leave out; it has: bake, sea"):
        adopt(artifacts, without=("forge",))
    with pytest.raises(ConfigError, match="no kernel would be left"):
        adopt(artifacts, without=tuple(STOCKS))
    with owned(artifacts, "a training", TrainingError), pytest.raises(TrainingError):
        adopt(artifacts)
    assert files(artifacts) == before


@pytest.mark.parametrize("damaged", ["kernels/sea/weights.safetensors", "table.msgpack"])
def test_damage_is_named_before_anything_is_written(artifacts: Path, damaged: str) -> None:
    as_before(artifacts)
    path = artifacts / damaged
    path.write_bytes(path.read_bytes()[:-7])
    before = files(artifacts)
    with pytest.raises(ArtifactError, match=damaged):
        adopt(artifacts)
    assert files(artifacts) == before


def test_a_kernel_of_another_vocabulary_is_not_taken_over(artifacts: Path) -> None:
    as_before(artifacts)
    folder = artifacts / "kernels" / "sea"
    loaded = load_kernel(folder)
    save_kernel(folder, loaded.decoder, tokenizer_hash="0" * 64, facts=loaded.facts)
    with pytest.raises(IncompatibleKernels, match="sea"):
        adopt(artifacts)
    assert not (artifacts / "releases").exists()


def test_a_run_of_one_kernel_for_all_text_keeps_its_coordinates(text: Path, tmp_path: Path) -> None:
    stage = {"steps": 6, "batch_size": 4, "learning_rate": 1e-2, "warmup_steps": 2}
    wanted = recipe(text, mode="synchronized", seed_stage=stage, branch_stage=None, **FORMER)
    out = train(wanted, tmp_path / "out", trainer=alone).out
    served = release(out)
    as_before(out)
    write_table(out / "table.msgpack", ["tiny"])
    assert adopt(out).kernels == ("tiny",)
    assert release(out).content_sha256 == served.content_sha256
