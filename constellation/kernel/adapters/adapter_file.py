"""Save and load an adapter: one small safetensors file whose metadata name its base.

A folder with such a file and no `kernel.json` is a kernel too: the file says where its base lies,
and `constellation.kernel.adapters.kernel_folder` reads both.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from constellation.atomic_files import write_whole
from constellation.errors import ArtifactError, ConfigError
from constellation.kernel.adapters.attach import Adapted, AdapterConfig, attach
from constellation.kernel.adapters.coordinate import CoordinateConfig
from constellation.kernel.adapters.lora import LoraConfig
from constellation.kernel.files.checkpoint import KERNEL_FILE, LoadedKernel, load_kernel

ADAPTER_FILE: Final = "adapter.safetensors"
FORMAT: Final = "1"
"""Version of the file's metadata."""
_METADATA: Final = {"format", "kind", "config", "base_sha256", "base", "tokenizer_hash", "facts"}
_KINDS: Final[Mapping[str, type[AdapterConfig]]] = {
    kind.kind: kind for kind in (LoraConfig, CoordinateConfig)
}


@dataclass(frozen=True, kw_only=True, slots=True)
class AdapterFile:
    """Contents of an adapter's file."""

    config: AdapterConfig
    """Kind and size of the adapter."""
    base_hash: str
    """sha256 (hex) of the base's weights file."""
    base: str
    """Folder of the base, relative to the adapter's folder; "" when it was not stored."""
    tokenizer_hash: str
    """sha256 (hex) of the coordizer whose token ids the base uses."""
    facts: Mapping[str, object]
    """Facts that the trainer stored: JSON values."""
    state: Mapping[str, Tensor]
    """Tensors of the adapter by name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AdaptedKernel(LoadedKernel):
    """An adapter and its base, loaded as one kernel."""

    base: LoadedKernel
    """The base kernel, whose tensors are shared."""


def save_adapter(
    folder: Path | str,
    adapted: Adapted,
    *,
    base: LoadedKernel,
    base_folder: Path | str | None = None,
    facts: Mapping[str, object] | None = None,
) -> Path:
    """Write an adapter, atomically.

    Args:
        folder: Made if it is missing.
        adapted: Whose own numbers are written; the base's are not.
        base: What it was attached to.
        base_folder: Where the base lies, to be found again by `open_kernel`; stored relative to
            `folder`. None: the reader must bring the base.
        facts: JSON values for people and reports.

    Returns:
        The file.

    Raises:
        ArtifactError: If a number is NaN or infinite; what was in the folder stays.
        ConfigError: If `facts` are not JSON values.
    """
    path = Path(folder) / ADAPTER_FILE
    state = adapted.state()
    _check_finite(path, state)
    try:
        written_facts = json.dumps(dict(facts or {}), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"the facts of an adapter must be JSON values: {error}") from error
    where = "" if base_folder is None else os.path.relpath(base_folder, folder)
    metadata = {
        "format": FORMAT,
        "kind": adapted.config.kind,
        "config": json.dumps(asdict(adapted.config)),
        "base_sha256": base.weights_hash,
        "base": where,
        "tokenizer_hash": base.tokenizer_hash,
        "facts": written_facts,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, save(state, metadata))
    return path


def read_adapter(path: Path | str) -> AdapterFile:
    """Read an adapter's file, or the one in a folder.

    Raises:
        ArtifactError: If it is missing or damaged, or a number is not finite.
    """
    path = _file(path)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise ArtifactError(path, f"it cannot be read as an adapter: {error}") from error
    if set(metadata) != _METADATA or metadata["format"] != FORMAT:
        raise ArtifactError(path, f"its metadata are not those of an adapter of format {FORMAT}")
    _check_finite(path, state)
    return AdapterFile(
        config=_config(path, metadata["kind"], metadata["config"]),
        base_hash=metadata["base_sha256"],
        base=metadata["base"],
        tokenizer_hash=metadata["tokenizer_hash"],
        facts=_json(path, metadata["facts"]),
        state=state,
    )


def load_adapter(path: Path | str, base: LoadedKernel) -> Adapted:
    """Read an adapter and put it on its base, whose weights it shares.

    Raises:
        ArtifactError: If the file is missing or damaged, or belongs to another base.
    """
    path = _file(path)
    return _on_base(path, read_adapter(path), base)


def load_adapted(folder: Path | str, *, base: LoadedKernel | None = None) -> AdaptedKernel:
    """Read an adapter and its base as one kernel, live: what `open_kernel` does with such a folder.

    Args:
        folder: Of the adapter.
        base: Where the base was read before; None reads it, as `load_base` does.

    Returns:
        The adapter's facts, and as `weights_hash` the sha256 of its file, which names the base's.

    Raises:
        ArtifactError: As `open_adapter`.
    """
    path = _file(folder)
    stored = read_adapter(path)
    base = base or load_base(path)
    return AdaptedKernel(
        base=base,
        decoder=_on_base(path, stored, base).decoder,
        config=base.config,
        tokenizer_hash=base.tokenizer_hash,
        weights_hash=hashlib.sha256(path.read_bytes()).hexdigest(),
        facts=stored.facts,
    )


def is_adapter(folder: Path | str) -> bool:
    """Return whether a folder holds an adapter and no whole kernel."""
    return (Path(folder) / ADAPTER_FILE).exists() and not (Path(folder) / KERNEL_FILE).exists()


def open_adapter(folder: Path | str) -> tuple[LoadedKernel, Adapted]:
    """Read an adapter and the base that it names, and put the one on the other.

    Raises:
        ArtifactError: If a file is missing or damaged, the two do not belong together, or the
            adapter does not say where its base lies.
    """
    base = load_base(folder)
    return base, load_adapter(folder, base)


def base_folder_of(path: Path | str) -> Path:
    """Return where an adapter's file, or the one in a folder, says that its base lies.

    Raises:
        ArtifactError: If it is missing or damaged, or does not say so.
    """
    path = _file(path)
    stored = read_adapter(path)
    if not stored.base:
        raise ArtifactError(path, "it does not say where its base lies; load it with the base")
    return path.parent / stored.base


def load_base(
    path: Path | str,
    *,
    shared: Path | None = None,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
) -> LoadedKernel:
    """Read the base that an adapter's file, or the one in a folder, names.

    Other arguments are those of `load_kernel`.

    Raises:
        ArtifactError: As `base_folder_of`, and as `load_kernel`.
    """
    return load_kernel(base_folder_of(path), shared=shared, dtype=dtype, device=device)


def copy_adapter(source: Path | str, folder: Path | str, *, base_folder: Path | str) -> Path:
    """Write an adapter's file to another folder, atomically; return it.

    The copy says where its base lies, in `base_folder`, relative to itself.

    Raises:
        ArtifactError: If it is missing or damaged.
    """
    source, path = _file(source), Path(folder) / ADAPTER_FILE
    stored = read_adapter(source)
    with safe_open(source, framework="pt") as file:
        metadata = file.metadata() | {"base": os.path.relpath(base_folder, folder)}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, save(dict(stored.state), metadata))
    return path


def _on_base(path: Path, stored: AdapterFile, base: LoadedKernel) -> Adapted:
    if stored.base_hash != base.weights_hash:
        raise ArtifactError(
            path,
            f"it belongs to the base {stored.base_hash[:12]}, this one is "
            f"{base.weights_hash[:12]}; load it on the base it was trained on",
        )
    try:
        adapted = attach(base.decoder, stored.config)
        adapted.load(stored.state)
    except ConfigError as error:
        raise ArtifactError(path, str(error)) from error
    return adapted


def _file(path: Path | str) -> Path:
    path = Path(path)
    return path / ADAPTER_FILE if path.is_dir() else path


def _config(path: Path, kind: str, text: str) -> AdapterConfig:
    values = _json(path, text)
    if kind not in _KINDS:
        raise ArtifactError(path, f"its kind is {kind!r}; this reads {sorted(_KINDS)}")
    try:
        if values.get("targets") is not None:
            values["targets"] = tuple(values["targets"])
        return _KINDS[kind](**values)
    except (TypeError, ConfigError) as error:
        raise ArtifactError(path, f"its configuration is refused: {error}") from error


def _json(path: Path, text: str) -> dict[str, Any]:
    try:
        values = json.loads(text)
    except ValueError as error:
        raise ArtifactError(path, f"its metadata are not JSON: {error}") from error
    if not isinstance(values, dict):
        raise ArtifactError(path, "its metadata hold something else than an object")
    return values


def _check_finite(path: Path, state: Mapping[str, Tensor]) -> None:
    damaged = [name for name, tensor in state.items() if not torch.isfinite(tensor).all()]
    if damaged:
        raise ArtifactError(path, f"it holds NaN or infinity in {damaged[:4]}")
