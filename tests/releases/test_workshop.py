"""What training left becomes a release: every file that serving reads, and none of the others."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from constellation.errors import ArtifactError
from constellation.kernel.adapters.adapter_file import read_adapter, save_adapter
from constellation.kernel.adapters.attach import attach
from constellation.kernel.adapters.base_location import relocated
from constellation.kernel.adapters.kernel_folder import open_kernel
from constellation.kernel.adapters.lora import LoraConfig
from constellation.kernel.files.checkpoint import load_kernel
from constellation.kernel.files.transformers_folder import check_model, import_model
from constellation.releases.manifest import Engine
from constellation.releases.store import ReleaseStore
from tests.releases.conftest import publish
from tests.releases.drafts import check_whole, files_in
from tests.support import hugging_face


def test_the_folder_of_a_release_is_what_serving_reads_of_a_workshop(
    store: ReleaseStore, workshop: Path
) -> None:
    (workshop / "kernels/left/").mkdir()
    (workshop / "kernels/left/kernel.json").write_text("{}", encoding="utf-8")
    (workshop / "kernels/mail/site.msgpack").write_bytes(b"of a kernel that was removed")
    before = {path: (workshop / path).read_bytes() for path in files_in(workshop)}
    release = publish(store, workshop)
    folder = check_whole(store, release.version)
    read = {"weights.safetensors", "kernel.json"}
    names = ("mail", "network", "numbers")
    assert files_in(folder) == {
        "table.msgpack",
        *(f"coordizer/{path.name}" for path in (workshop / "coordizer").iterdir()),
        *(f"kernels/{name}/{file}" for name in names for file in read),
        *(f"domains/{name}.msgpack" for name in names),
    }
    for path in files_in(folder):
        if not path.startswith("domains/"):
            assert (folder / path).read_bytes() == before[path]
    assert (folder / "domains/mail.msgpack").read_bytes() == b"text of mail"
    assert {path: (workshop / path).read_bytes() for path in files_in(workshop)} == before


def test_the_same_workshop_makes_the_same_release_and_no_file_twice(
    store: ReleaseStore, workshop: Path
) -> None:
    first = publish(store, workshop)
    blobs = files_in(store.blobs.folder)
    again = publish(store, workshop, "made again")
    assert again.version == 2
    assert again.content_sha256 == first.content_sha256
    assert files_in(store.blobs.folder) == blobs


def test_a_folder_without_releases_has_no_current_one(workshop: Path) -> None:
    assert ReleaseStore(workshop).current() is None
    assert ReleaseStore(workshop).versions() == ()


def test_a_store_may_lie_in_the_workshop_itself(workshop: Path) -> None:
    store = ReleaseStore(workshop)
    release = publish(store, workshop)
    store.switch(release.version)
    check_whole(store, release.version)


# --- adapters -----------------------------------------------------------------------------------


def adapt(workshop: Path, name: str, base_folder: Path) -> str:
    """Put an adapter over a base in a kernel's place; return the hash of the base."""
    base = load_kernel(base_folder)
    adapted = attach(base.decoder, LoraConfig(rank=2))
    generator = torch.Generator().manual_seed(3)
    adapted.load(
        {
            key: torch.randn(value.shape, generator=generator)
            for key, value in adapted.state().items()
        }
    )
    shutil.rmtree(workshop / "kernels" / name)
    save_adapter(workshop / "kernels" / name, adapted, base=base, base_folder=base_folder)
    return base.weights_hash


@pytest.mark.parametrize("place", ["seed", "kernels/mail", "bases/HASH"])
def test_an_adapter_finds_its_base_in_the_folder_of_a_release(
    store: ReleaseStore, workshop: Path, place: str
) -> None:
    """Wherever it lay, and although the workshop is gone."""
    base_hash = load_kernel(workshop / "kernels/mail").weights_hash
    base_folder = workshop / place.replace("HASH", base_hash)
    if not base_folder.exists():
        shutil.copytree(workshop / "kernels/mail", base_folder)
    for name in ("network", "numbers"):
        assert adapt(workshop, name, base_folder) == base_hash
    tokens = torch.arange(12)[None] % 1024
    told = open_kernel(workshop / "kernels/network").decoder(tokens)
    written = (workshop / "kernels/network/adapter.safetensors").read_bytes()
    release = publish(store, workshop)
    folder = check_whole(store, release.version)
    shutil.rmtree(workshop)
    engines = {kernel.name: (kernel.engine, kernel.base) for kernel in release.kernels}
    assert engines == {
        "mail": (Engine.DECODER, None),
        "network": (Engine.ADAPTER, base_hash),
        "numbers": (Engine.ADAPTER, base_hash),
    }
    assert list(release.bases) == [base_hash]
    assert torch.equal(open_kernel(folder / "kernels/network").decoder(tokens), told)
    stored = read_adapter(folder / "kernels/network")
    assert (stored.base, stored.base_hash) == (f"../../bases/{base_hash}", base_hash)
    if place == "bases/HASH":
        assert (folder / "kernels/network/adapter.safetensors").read_bytes() == written


def test_saying_where_a_base_lies_changes_no_number_and_is_the_same_every_time(
    workshop: Path,
) -> None:
    adapt(workshop, "network", workshop / "kernels/mail")
    path = workshop / "kernels/network/adapter.safetensors"
    content = path.read_bytes()
    before = read_adapter(path)
    moved = relocated(content, "a much longer way/to/the base", source=path)
    assert relocated(content, "a much longer way/to/the base", source=path) == moved
    assert relocated(moved, "a much longer way/to/the base", source=path) == moved
    assert relocated(content, before.base, source=path) == content
    path = path.with_name("moved.safetensors")  # what was read is mapped from the first
    path.write_bytes(moved)
    after = read_adapter(path)
    assert after.base == "a much longer way/to/the base"
    assert (after.config, after.base_hash, after.facts) == (
        before.config,
        before.base_hash,
        before.facts,
    )
    assert after.state.keys() == before.state.keys()
    for name, tensor in before.state.items():
        assert torch.equal(after.state[name], tensor)
    with safe_open(path, framework="pt") as file:
        assert file.metadata()["base"] == after.base


@pytest.mark.parametrize(
    "content", [b"", b"\xff" * 8, b"\2\0\0\0\0\0\0\0{}", b'\x14\0\0\0\0\0\0\0{"__metadata__": {}}']
)
def test_what_is_no_adapter_cannot_be_relocated(content: bytes) -> None:
    with pytest.raises(ArtifactError, match="adapter"):
        relocated(content, "base", source="adapter")


# --- models -------------------------------------------------------------------------------------


def test_a_model_of_transformers_comes_with_all_of_its_files(
    store: ReleaseStore, workshop: Path, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    hugging_face.build_model(model, hugging_face.llama)
    shutil.rmtree(workshop / "kernels/network")
    identity = import_model(model, workshop / "kernels/network")
    (workshop / "kernels/network/notes.txt").write_text("of nobody", encoding="utf-8")
    release = publish(store, workshop)
    folder = check_whole(store, release.version)
    shutil.rmtree(workshop)
    assert release.kernels[1].engine is Engine.MODEL
    assert check_model(folder / "kernels/network") == identity
    assert "notes.txt" not in release.kernels[1].files


# --- refusals -----------------------------------------------------------------------------------


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))


SPOILED: list[tuple[Any, str]] = [
    (lambda w: _flip(w / "kernels/mail/weights.safetensors"), r"weights\.safetensors: its sha256"),
    (lambda w: (w / "kernels/mail/weights.safetensors").unlink(), "cannot be read"),
    (lambda w: shutil.rmtree(w / "kernels/numbers"), "numbers.*cannot be read"),
    (lambda w: (w / "kernels/mail/kernel.json").write_text("[]"), "it holds no JSON object"),
    (lambda w: (w / "kernels/mail/kernel.json").write_text("{"), "it is not JSON"),
    (lambda w: _flip(w / "coordizer/counts.npy"), r"counts\.npy"),
]


@pytest.mark.parametrize(("spoil", "told"), SPOILED)
def test_a_workshop_that_is_damaged_makes_no_release(
    store: ReleaseStore, workshop: Path, spoil: Any, told: str
) -> None:
    spoil(workshop)
    with pytest.raises(ArtifactError, match=told):
        publish(store, workshop)
    assert store.versions() == ()


def test_an_adapter_over_another_base_than_it_was_trained_on_makes_no_release(
    store: ReleaseStore, workshop: Path
) -> None:
    adapt(workshop, "network", workshop / "kernels/mail")
    for file in ("weights.safetensors", "kernel.json"):
        shutil.copy(workshop / "kernels/numbers" / file, workshop / "kernels/mail" / file)
    with pytest.raises(ArtifactError, match=r"its sha256 is not the one in adapter\.safetensors"):
        publish(store, workshop)


def test_a_model_that_was_changed_makes_no_release(
    store: ReleaseStore, workshop: Path, tmp_path: Path
) -> None:
    hugging_face.build_model(tmp_path / "model", hugging_face.gpt2)
    shutil.rmtree(workshop / "kernels/network")
    import_model(tmp_path / "model", workshop / "kernels/network")
    _flip(workshop / "kernels/network/model.safetensors")
    with pytest.raises(ArtifactError, match=r"its sha256 is not the one in hugging_face\.json"):
        publish(store, workshop)


def test_what_a_kernel_says_of_itself_is_kept(store: ReleaseStore, workshop: Path) -> None:
    release = publish(store, workshop)
    folder = store.folder(release.version)
    for kernel in release.kernels:
        said = json.loads((folder / "kernels" / kernel.name / "kernel.json").read_bytes())
        assert said["weights_sha256"] == kernel.files["weights.safetensors"].sha256
