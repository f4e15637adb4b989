import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from constellation.coordizer.coordizer import Coordizer
from constellation.errors import ArtifactError
from tests.coordizer.corpora import DOCUMENTS


@pytest.fixture
def folder(coordizer: Coordizer, tmp_path: Path) -> Path:
    coordizer.save(tmp_path / "coordizer")
    return tmp_path / "coordizer"


def test_a_loaded_coordizer_is_the_saved_one(coordizer: Coordizer, folder: Path) -> None:
    loaded = Coordizer.load(folder)
    assert (loaded.hash, loaded.tokenizer_hash) == (coordizer.hash, coordizer.tokenizer_hash)
    assert loaded.provenance == coordizer.provenance
    assert loaded.vocabulary == coordizer.vocabulary
    assert loaded.coordinates.blocks == coordizer.coordinates.blocks
    assert np.array_equal(loaded.coordinates.counts_VK, coordizer.coordinates.counts_VK)
    assert np.array_equal(loaded.coordinates.conditional(), loaded.conditional_VK)
    for document in DOCUMENTS:
        ids = loaded.encode(document)
        assert np.array_equal(ids, coordizer.encode(document))
        assert np.array_equal(loaded.basin(ids), coordizer.basin(ids))


def test_meta_names_the_convention_and_the_files(folder: Path, coordizer: Coordizer) -> None:
    meta = json.loads((folder / "meta.json").read_text())
    assert meta["fisher_rao_radius"] == 2
    assert meta["fit"] == "anchored"
    assert set(meta["files"]) == {path.name for path in folder.iterdir()} - {"meta.json"}
    assert meta["provenance"]["corpus_bytes"] == sum(len(text.encode()) for text in DOCUMENTS)


def test_the_library_reads_tokenizer_json_and_agrees(folder: Path, coordizer: Coordizer) -> None:
    plain = Tokenizer.from_file(str(folder / "tokenizer.json"))
    for document in DOCUMENTS:
        encoding = plain.encode(document)
        assert encoding.ids == coordizer.encode(document).tolist()
        assert plain.decode(encoding.ids) == document


def test_saving_again_replaces_the_folder_and_leaves_nothing_beside_it(
    folder: Path, coordizer: Coordizer
) -> None:
    (folder / "stray").write_text("old")
    coordizer.save(folder)
    assert [path.name for path in folder.parent.iterdir()] == ["coordizer"]
    assert not (folder / "stray").exists()
    assert Coordizer.load(folder).hash == coordizer.hash


def test_a_save_that_fails_leaves_the_old_folder(
    folder: Path, coordizer: Coordizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(*_: object) -> int:
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full_disk)
        with pytest.raises(OSError, match="no space left"):
            coordizer.save(folder)
    assert [path.name for path in folder.parent.iterdir()] == ["coordizer"]
    assert Coordizer.load(folder).hash == coordizer.hash


FILES = ["vocab.json", "merge_rules.json", "basin_coords.npy", "counts.npy", "tokenizer.json"]


@pytest.mark.parametrize("name", [*FILES, "meta.json"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ArtifactError, match=rf"{name}: is missing") as caught:
        Coordizer.load(folder)
    assert caught.value.path == str(folder / name)


@pytest.mark.parametrize("name", FILES)
def test_one_changed_bit_is_found(folder: Path, name: str) -> None:
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(ArtifactError, match=rf"{name}: does not have the sha256"):
        Coordizer.load(folder)


def change_meta(folder: Path, change: Callable[[dict], object]) -> None:
    meta = json.loads((folder / "meta.json").read_text())
    change(meta)
    (folder / "meta.json").write_text(json.dumps(meta))


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("format", "other", "format is 'other'"),
        ("version", 99, "version is 99; this version reads 1"),
        ("fisher_rao_radius", 1, "fisher_rao_radius is 1; this version reads 2"),
        ("vocab_size", 7, "vocab_size and num_outcomes are 7"),
        ("background", [0.7, 0.7], "vocab_size and num_outcomes"),
    ],
)
def test_meta_that_does_not_fit_is_refused(
    folder: Path, key: str, value: object, reason: str
) -> None:
    change_meta(folder, lambda meta: meta.update({key: value}))
    with pytest.raises(ArtifactError, match=rf"meta\.json: .*{reason}"):
        Coordizer.load(folder)


def test_a_background_off_the_simplex_is_refused(folder: Path) -> None:
    change_meta(folder, lambda meta: meta["background"].__setitem__(0, 0.9))
    with pytest.raises(ArtifactError, match=r"meta\.json: a basin has"):
        Coordizer.load(folder)


def test_meta_that_is_not_json_or_lacks_a_key_is_refused(folder: Path) -> None:
    change_meta(folder, lambda meta: meta.pop("blocks"))
    with pytest.raises(ArtifactError, match=r"meta\.json: lacks blocks"):
        Coordizer.load(folder)
    (folder / "meta.json").write_text("{")
    with pytest.raises(ArtifactError, match=r"meta\.json: is not JSON"):
        Coordizer.load(folder)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (lambda array: array[:-1], "holds float32 of shape"),
        (lambda array: array.astype(np.float64), "holds float64"),
        (lambda array: array * 1.01, "must sum to 1"),
        (lambda array: np.where(array == array.max(), np.nan, array), "must be finite"),
        (lambda array: np.where(array == array.max(), -array, array), "must be >= 0"),
    ],
)
def test_coordinates_that_are_no_coordinates_are_refused_even_with_a_right_hash(
    folder: Path, wrong: Callable[[np.ndarray], np.ndarray], reason: str
) -> None:
    rewrite(folder, "basin_coords.npy", wrong)
    with pytest.raises(ArtifactError, match=rf"basin_coords\.npy: .*{reason}"):
        Coordizer.load(folder)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (lambda array: array[:, :-1], "holds float64 of shape"),
        (lambda array: array - 1, "must be finite and >= 0"),
        (lambda array: array + np.inf, "must be finite and >= 0"),
    ],
)
def test_counts_that_are_no_counts_are_refused(
    folder: Path, wrong: Callable[[np.ndarray], np.ndarray], reason: str
) -> None:
    rewrite(folder, "counts.npy", wrong)
    with pytest.raises(ArtifactError, match=rf"counts\.npy: .*{reason}"):
        Coordizer.load(folder)


def rewrite(folder: Path, name: str, wrong: Callable[[np.ndarray], np.ndarray]) -> None:
    buffer = io.BytesIO()
    np.save(buffer, wrong(np.load(folder / name)))
    set_file(folder, name, buffer.getvalue())


def set_file(folder: Path, name: str, data: bytes) -> None:
    """Change a file and its hash in `meta.json` alike."""
    (folder / name).write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    change_meta(folder, lambda meta: meta["files"].update({name: digest}))


def test_an_array_file_that_is_no_array_is_refused(folder: Path) -> None:
    set_file(folder, "counts.npy", b"not an array")
    with pytest.raises(ArtifactError, match=r"counts\.npy: is not an array"):
        Coordizer.load(folder)


def test_a_vocabulary_with_a_gap_is_refused(folder: Path) -> None:
    data = (folder / "vocab.json").read_text().replace(":399}", ":400}").encode()
    set_file(folder, "vocab.json", data)
    with pytest.raises(ArtifactError, match=r"vocab\.json: ids must run"):
        Coordizer.load(folder)
