"""Take what training left in an artifacts folder into a store, as a draft of a release.

An artifacts folder is a workshop: it holds corpora, checkpoints, and files of kernels that are in
no table any more. Taken are the files that serving reads of the kernels that the table names, each
checked against the hash that was written down with it. The workshop is read and not written.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from constellation.coordizer.artifacts import FILES, META
from constellation.coordizer.coordizer import Coordizer
from constellation.errors import ArtifactError
from constellation.kernel.adapters.files import (
    ADAPTER_FILE,
    base_folder_of,
    is_adapter,
    read_adapter,
)
from constellation.kernel.adapters.relocation import relocated
from constellation.kernel.checkpoint import KERNEL_FILE, WEIGHTS_FILE
from constellation.kernel.hugging_face.files import (
    RECORD_FILE,
    check_model,
    is_imported,
    recorded_names,
)
from constellation.releases.blobs import BlobWriter
from constellation.releases.canonical import Plain
from constellation.releases.manifest import TABLE_PATH, Blob, Draft, Engine, KernelFiles
from constellation.wire.table_file import load_table

_Bases = dict[str, dict[str, Blob]]


def draft_from_workshop(
    artifacts: Path,
    put: BlobWriter,
    domains: Mapping[str, bytes],
    *,
    change: str,
    parent: int | None,
    options: Mapping[str, Plain] | None = None,
) -> Draft:
    """Put the files of an artifacts folder into a store; return the release that they make.

    An adapter's file says in the release that its base lies under the base's hash, wherever
    training had it; all other files are copied as they are.

    Args:
        artifacts: Folder that training wrote, with `table.msgpack`; nobody writes to it meanwhile.
        put: Of the store, whose `adding` is open until the release is written.
        domains: Kernel's name -> the record of its text, for every kernel of the table.
        change: One line for people.
        parent: Release that is served now; None when none is.
        options: How coordinates and table were made.

    Raises:
        ArtifactError: A file is missing or damaged, files do not belong together, or the record of
            a kernel's text is missing.
        OSError: The store cannot be written to.
    """
    table = load_table(artifacts / TABLE_PATH)
    names = [site.name for site in table.sites]
    if missing := sorted(set(names) - set(domains)):
        raise ArtifactError(
            artifacts,
            f"there is no record of the text of {', '.join(missing)}; train again to make it",
        )
    coordizer = Coordizer.load(artifacts / "coordizer")
    if table.coordizer_hash != coordizer.hash:
        raise ArtifactError(
            artifacts / TABLE_PATH, "was made with another coordizer than the one beside it"
        )
    bases: _Bases = {}
    kernels = [
        _kernel(artifacts / "kernels" / name, put, put.put_bytes(domains[name]), bases)
        for name in names
    ]
    return Draft(
        change=change,
        parent=parent,
        coordizer=_coordizer(artifacts / "coordizer", put),
        table=put.put_file(artifacts / TABLE_PATH),
        kernels=tuple(kernels),
        bases=bases,
        options=options or {},
    )


def _coordizer(folder: Path, put: BlobWriter) -> dict[str, Blob]:
    files = {name: put.put_file(folder / name) for name in (*FILES, META)}
    hashes = _json(folder / META)["files"]
    for name in FILES:
        _check(folder / name, files[name], hashes[name], META)
    return files


def _kernel(folder: Path, put: BlobWriter, domain: Blob, bases: _Bases) -> KernelFiles:
    base: str | None = None
    if is_imported(folder):
        engine, files = Engine.MODEL, _model(folder, put)
    elif is_adapter(folder):
        engine = Engine.ADAPTER
        base, files = _adapter(folder, put, bases)
    else:
        engine, files = Engine.DECODER, _whole(folder, put)
    return KernelFiles(name=folder.name, engine=engine, files=files, base=base, domain=domain)


def _whole(folder: Path, put: BlobWriter) -> dict[str, Blob]:
    files = {name: put.put_file(folder / name) for name in (WEIGHTS_FILE, KERNEL_FILE)}
    known = _json(folder / KERNEL_FILE).get("weights_sha256")
    _check(folder / WEIGHTS_FILE, files[WEIGHTS_FILE], known, KERNEL_FILE)
    return files


def _model(folder: Path, put: BlobWriter) -> dict[str, Blob]:
    check_model(folder)
    return {name: put.put_file(folder / name) for name in (*recorded_names(folder), RECORD_FILE)}


def _adapter(folder: Path, put: BlobWriter, bases: _Bases) -> tuple[str, dict[str, Blob]]:
    stored, base_folder = read_adapter(folder), base_folder_of(folder)
    if stored.base_hash not in bases:
        bases[stored.base_hash] = _whole(base_folder, put)
    weights = bases[stored.base_hash][WEIGHTS_FILE]
    _check(base_folder / WEIGHTS_FILE, weights, stored.base_hash, ADAPTER_FILE)
    path = folder / ADAPTER_FILE
    content = relocated(path.read_bytes(), f"../../bases/{stored.base_hash}", source=path)
    return stored.base_hash, {ADAPTER_FILE: put.put_bytes(content)}


def _check(path: Path, blob: Blob, known: object, where: str) -> None:
    if blob.sha256 != known:
        raise ArtifactError(path, f"its sha256 is not the one in {where}; make the two again")


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise ArtifactError(path, f"it cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ArtifactError(path, f"it is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ArtifactError(path, "it holds no JSON object")
    return value
