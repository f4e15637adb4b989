"""Releases of small files for tests, and what must be true of a store whatever happened to it."""

import hashlib
from pathlib import Path

from constellation.releases.blobs import BlobWriter
from constellation.releases.manifest import Blob, Draft, Engine, KernelFiles, Release
from constellation.releases.release_folder import LOCK_FILE
from constellation.releases.store import ReleaseStore

BASE = "b" * 64


def blob_of(content: bytes) -> Blob:
    """Return what a file of this content is called."""
    return Blob(sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))


class Unwritten:
    """Makes drafts whose files lie nowhere."""

    def put_bytes(self, content: bytes) -> Blob:
        return blob_of(content)


def draft(put: BlobWriter | Unwritten, mark: str = "first", *, parent: int | None = None) -> Draft:
    """Return a draft with a kernel of each kind; one file of each differs with `mark`."""

    def blob(name: str) -> Blob:
        return put.put_bytes(f"{name} of {mark}".encode())

    def common(name: str) -> Blob:
        return put.put_bytes(f"{name} of all".encode() * 50)

    return Draft(
        change=f"made {mark}",
        parent=parent,
        coordizer={"meta.json": blob("meta"), "vocab.json": common("vocab")},
        table=blob("table"),
        kernels=(
            KernelFiles(
                name="verse",
                engine=Engine.ADAPTER,
                files={"adapter.safetensors": blob("adapter")},
                base=BASE,
                domain=common("verse domain"),
            ),
            KernelFiles(
                name="law",
                engine=Engine.DECODER,
                files={"weights.safetensors": blob("weights"), "kernel.json": common("kernel")},
                domain=blob("law domain"),
            ),
            KernelFiles(
                name="talk",
                engine=Engine.MODEL,
                files={"hugging_face.json": common("record"), "onnx/model.json": common("inner")},
                domain=common("talk domain"),
            ),
        ),
        bases={BASE: {"weights.safetensors": common("base"), "kernel.json": common("kernel")}},
        options={"seed": 1, "smoothing": 0.5, "basins_max": (1, 2), "nothing": None, "on": True},
    )


def write(store: ReleaseStore, mark: str = "first", *, parent: int | None = None) -> Release:
    """Put the files of a draft and write its release."""
    with store.adding() as put:
        return store.write(draft(put, mark, parent=parent))


def check_whole(store: ReleaseStore, version: int) -> Path:
    """Read all of a release; return its folder, which has exactly its files."""
    release = store.read(version)
    for blob in release.blobs():
        store.blobs.verify(blob)
    folder = store.folder(version)
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert found == set(release.files())
    for path, blob in release.files().items():
        assert blob_of((folder / path).read_bytes()) == blob
    return folder


def files_in(folder: Path) -> set[str]:
    """Return the paths of all files in a folder, relative to it, without the lock of the views."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != LOCK_FILE)
    return {path.relative_to(folder).as_posix() for path in files}


def expected_files(store: ReleaseStore, *versions: int) -> set[str]:
    """Return what a store has that holds these releases, without views, and nothing else."""
    releases = [store.read(version) for version in versions]
    blobs = {f"blobs/sha256/{blob.sha256}" for each in releases for blob in each.blobs()}
    return {"current", "releases/.lock", *blobs} | {f"releases/{v}.msgpack" for v in versions}
