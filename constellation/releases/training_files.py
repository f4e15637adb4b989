"""Copy trained kernels and a coordizer from the training folders into the store of releases.

    ARTIFACTS/kernels/NAME/ a whole kernel, an adapter, or a model of `transformers`
    ARTIFACTS/bases/HASH/ bases of adapters; the base of a run's own adapters is its seed kernel

Only the files that a kernel's description names are copied. In the store, an adapter's file is
rewritten to name its base by hash, wherever the base was during training. Nothing here needs torch:
processes of the registry use this file.
"""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from constellation.coordizer.coordizer import Coordizer
from constellation.errors import ArtifactError, IncompatibleKernels
from constellation.kernel.adapters.base_location import adapter_metadata, relocated
from constellation.kernel.files import peft_folder
from constellation.kernel.files.own_vocabulary import check_symbols
from constellation.kernel.files.peft_folder import check_peft, is_peft
from constellation.kernel.files.prompt_format import PROMPT_FILE, read_prompt_format
from constellation.kernel.files.symbol_vocabulary import SYMBOLS_FILE, has_symbols
from constellation.kernel.files.transformers_folder import (
    RECORD_FILE,
    check_model,
    is_imported,
    read_json,
    recorded_names,
)
from constellation.releases.blobs import BlobWriter
from constellation.releases.manifest import Blob, Engine, KernelFiles

KERNEL_FILE: Final = "kernel.json"
WEIGHTS_FILE: Final = "weights.safetensors"
ADAPTER_FILE: Final = "adapter.safetensors"


@dataclass(frozen=True, kw_only=True, slots=True)
class KernelParts:
    """Files of one kernel in the store, with the kernel's type, vocabulary and base."""

    engine: Engine
    """Type of the kernel."""
    files: Mapping[str, Blob]
    """Path in the kernel's folder -> file."""
    tokenizer_hash: str | None
    """sha256 (hex) of the vocabulary it was trained with; None for a kernel with its own."""
    base: str | None = None
    """Hash of the base's weights; None for a kernel without a base."""
    base_files: Mapping[str, Blob] | None = None
    """Path in the base's folder -> file; None for a kernel without a base."""

    @classmethod
    def of(cls, kernel: KernelFiles, bases: Mapping[str, Mapping[str, Blob]]) -> "KernelParts":
        """Return the files of a released kernel, whose vocabulary was checked when it joined."""
        return cls(
            engine=kernel.engine,
            files=kernel.files,
            tokenizer_hash=None,
            base=kernel.base,
            base_files=None if kernel.base is None else bases[kernel.base],
        )

    def check_tokens(self, name: str, tokenizer_hash: str) -> None:
        """Raise an error when the kernel was trained with another vocabulary.

        Raises:
            IncompatibleKernels: The kernel was trained with another vocabulary.
        """
        if self.tokenizer_hash not in (None, tokenizer_hash):
            raise IncompatibleKernels(name)


def kernel_parts(artifacts: Path, name: str, writer: BlobWriter) -> KernelParts:
    """Copy the files of a kernel that training wrote into the store.

    Raises:
        ArtifactError: A file is missing or damaged.
        OSError: The store cannot be written to.
    """
    folder = artifacts / "kernels" / name
    if is_imported(folder):
        check_model(folder)
        names = (*recorded_names(folder), RECORD_FILE)
        files = {each: writer.put_file(folder / each) for each in names}
        return KernelParts(engine=Engine.MODEL, files=files, tokenizer_hash=None)
    if is_peft(folder):
        return _peft(folder, writer)
    if (folder / ADAPTER_FILE).is_file() and not (folder / KERNEL_FILE).exists():
        return _adapter(artifacts, folder, writer)
    files, tokenizer_hash = _whole(folder, writer)
    if read_prompt_format(folder) is not None:
        files[PROMPT_FILE] = writer.put_file(folder / PROMPT_FILE)
    if not has_symbols(folder):
        return KernelParts(engine=Engine.DECODER, files=files, tokenizer_hash=tokenizer_hash)
    check_symbols(folder, tokenizer_hash)
    files[SYMBOLS_FILE] = writer.put_file(folder / SYMBOLS_FILE)
    return KernelParts(engine=Engine.DECODER, files=files, tokenizer_hash=None)


def coordizer_parts(coordizer: Coordizer, writer: BlobWriter) -> dict[str, Blob]:
    """Write the files of a coordizer into the store; return path in its folder -> file.

    Raises:
        OSError: The store cannot be written to.
    """
    with tempfile.TemporaryDirectory() as folder:
        coordizer.save(Path(folder) / "coordizer")
        paths = sorted((Path(folder) / "coordizer").iterdir())
        return {path.name: writer.put_file(path) for path in paths}


def _whole(folder: Path, writer: BlobWriter) -> tuple[dict[str, Blob], str]:
    """Copy a whole kernel; return its files and the hash of its vocabulary."""
    described = read_json(folder / KERNEL_FILE)
    files = {each: writer.put_file(folder / each) for each in (WEIGHTS_FILE, KERNEL_FILE)}
    known, tokenizer_hash = described.get("weights_sha256"), described.get("tokenizer_hash")
    _check(folder / WEIGHTS_FILE, files[WEIGHTS_FILE], known, KERNEL_FILE)
    return files, str(tokenizer_hash)


def _adapter(artifacts: Path, folder: Path, writer: BlobWriter) -> KernelParts:
    """Copy an adapter, and its base from where the adapter says that it lies."""
    path = folder / ADAPTER_FILE
    content = _read(path)
    told = adapter_metadata(content, source=path)
    try:
        base, tokenizer_hash, where = told["base_sha256"], told["tokenizer_hash"], told["base"]
    except KeyError as error:
        raise ArtifactError(path, f"it does not say its {error}") from error
    places = [artifacts / "bases" / base, *([folder / where] if where else [])]
    home = next((place for place in places if (place / KERNEL_FILE).is_file()), None)
    if home is None:
        raise ArtifactError(path, f"its base {base[:12]} is not among {artifacts}")
    base_files, _ = _whole(home, writer)
    _check(home / WEIGHTS_FILE, base_files[WEIGHTS_FILE], base, ADAPTER_FILE)
    moved = relocated(content, f"../../bases/{base}", source=path)
    return KernelParts(
        engine=Engine.ADAPTER,
        files={ADAPTER_FILE: writer.put_bytes(moved)},
        tokenizer_hash=tokenizer_hash,
        base=base,
        base_files=base_files,
    )


def _peft(folder: Path, writer: BlobWriter) -> KernelParts:
    """Copy an adapter that `peft` wrote, and the model that is its base."""
    known = check_peft(folder)
    home = known.base_folder
    base_names = (*recorded_names(home), RECORD_FILE)
    names = (*peft_folder.FILES, peft_folder.RECORD_FILE)
    return KernelParts(
        engine=Engine.ADAPTER,
        files={each: writer.put_file(folder / each) for each in names},
        tokenizer_hash=None,
        base=known.base_hash,
        base_files={each: writer.put_file(home / each) for each in base_names},
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ArtifactError(path, f"it cannot be read as an adapter: {error.strerror}") from error


def _check(path: Path, blob: Blob, known: object, where: str) -> None:
    if blob.sha256 != known:
        raise ArtifactError(path, f"its sha256 is not the one in {where}; make the two again")
