"""Save and load a kernel: a folder with `weights.safetensors` and `kernel.json`.

`kernel.json` holds the configuration, the sha256 of the weights file, the hash of the tokenizer
the kernel was trained with, and facts for people. It is written last: a folder with a matching
pair is whole, anything else is refused.
"""

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from constellation.atomic_files import write_whole
from constellation.errors import ArtifactError, ConfigError, IncompatibleKernels
from constellation.kernel.files.memory_map import map_bytes, mapped_tensors
from constellation.kernel.files.transformers_folder import is_imported
from constellation.kernel.network.config import KernelConfig
from constellation.kernel.network.decoder import Decoder
from constellation.telemetry.process_metrics import WRITE_FAILURES

logger = logging.getLogger(__name__)

WEIGHTS_FILE: Final = "weights.safetensors"
KERNEL_FILE: Final = "kernel.json"
FORMAT: Final = 1
"""Version of the folder's layout."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadedKernel:
    """A kernel read from disk, with its hashes and facts."""

    decoder: Decoder
    """The network in evaluation mode; its parameters take gradients unless they are shared."""
    config: KernelConfig
    tokenizer_hash: str
    """sha256 (hex) of the coordizer whose token ids the kernel uses."""
    weights_hash: str
    """sha256 (hex) of the weights file: the kernel's identity."""
    facts: Mapping[str, object]
    """Facts that the trainer stored: JSON values."""


def save_kernel(
    folder: Path | str, decoder: Decoder, *, tokenizer_hash: str, facts: Mapping[str, object]
) -> str:
    """Write a kernel; each file is replaced atomically, `kernel.json` last.

    A crash between the two leaves a pair that does not match, which `load_kernel` refuses: keep
    checkpoints that must survive in folders of their own.

    Args:
        folder: Made if it is missing.
        decoder: The network; its parameters are copied.
        tokenizer_hash: sha256 (hex) of the coordizer.
        facts: JSON values for people and reports.

    Returns:
        sha256 (hex) of the weights file.

    Raises:
        ArtifactError: If a weight is NaN or infinite; what was in the folder stays.
        ConfigError: If `facts` are not JSON values.
    """
    state = {name: tensor.detach().cpu() for name, tensor in decoder.state_dict().items()}
    _check_finite(Path(folder) / WEIGHTS_FILE, state)
    weights = save({name: tensor.contiguous() for name, tensor in state.items()})
    weights_hash = hashlib.sha256(weights).hexdigest()
    description = {
        "format": FORMAT,
        "config": decoder.config.to_dict(),
        "weights_sha256": weights_hash,
        "tokenizer_hash": tokenizer_hash,
        "facts": dict(facts),
    }
    try:
        text = json.dumps(description, indent=2, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"the facts of a kernel must be JSON values: {error}") from error
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    write_whole(target / WEIGHTS_FILE, weights)
    write_whole(target / KERNEL_FILE, text.encode() + b"\n")
    return weights_hash


def load_kernel(
    folder: Path | str,
    *,
    dtype: torch.dtype | None = None,
    shared: Path | None = None,
    device: torch.device | str = "cpu",
) -> LoadedKernel:
    """Read a whole kernel; `constellation.kernel.adapters.kernel_folder` also reads adapters.

    Args:
        folder: Where `save_kernel` wrote.
        dtype: Of the weights in memory; None keeps the file's. Couplings stay in float32.
        shared: A folder where weights are kept for all processes of a machine, which map them
            (see `constellation.kernel.files.memory_map`): they take no gradients, and a process
            that writes to them dies. Where the folder cannot be written, they are the process's
            own, which is logged. None: they are the caller's own.
        device: Where the weights are used. On another device than the CPU they are this process's
            own and take no gradients, and `shared` has no meaning: they are copied from the file's
            pages to the device, without a copy in this process's memory.

    Raises:
        ArtifactError: If a file is missing or damaged, the two do not belong together, or a weight
            is not finite.
        IncompatibleKernels: If it is a model of `transformers`, which speaks other tokens.
    """
    if is_imported(Path(folder)):
        raise IncompatibleKernels(Path(folder).name)
    description = _read_description(Path(folder) / KERNEL_FILE)
    path = Path(folder) / WEIGHTS_FILE
    device = torch.device(device)
    is_near = device.type == "cpu"
    weights = _read(path) if is_near else map_bytes(path)
    weights_hash = hashlib.sha256(weights).hexdigest()
    if weights_hash != description["weights_sha256"]:
        raise ArtifactError(path, f"its sha256 is not the one in {KERNEL_FILE}; copy both again")
    config = _config(Path(folder) / KERNEL_FILE, description["config"])
    if isinstance(weights, bytes):
        state = None if shared is None else _mapped(shared, weights_hash, weights)
        if state is None:
            state = _tensors(path, weights)
    else:
        state = mapped_tensors(path, weights)
    del weights
    decoder = _assemble(path, config, state, dtype, device)
    return LoadedKernel(
        decoder=decoder.requires_grad_(shared is None and is_near),
        config=config,
        tokenizer_hash=description["tokenizer_hash"],
        weights_hash=weights_hash,
        facts=description["facts"],
    )


def _mapped(shared: Path, weights_hash: str, weights: bytes) -> dict[str, Tensor] | None:
    """Return the tensors of a copy of these bytes under their hash, which is never written to.

    None where the folder cannot hold the copy: a kernel that restarts on a full disk is to answer
    all the same, at the price of memory of its own.
    """
    path = shared / f"{weights_hash}.safetensors"
    try:
        if not path.exists() or path.read_bytes() != weights:  # a power cut may have cut it
            write_whole(path, weights)
        return mapped_tensors(path, map_bytes(path))
    except (OSError, ArtifactError) as error:  # it may be removed before it is mapped
        WRITE_FAILURES.labels("weights").inc()
        facts = {"path": str(path), "reason": str(error)}
        logger.warning("weights are not shared: no copy can be kept", extra=facts)
        return None


def _assemble(
    path: Path,
    config: KernelConfig,
    state: dict[str, Tensor],
    dtype: torch.dtype | None,
    device: torch.device,
) -> Decoder:
    # Unset memory plus `assign` is quick; torch's meta device costs 0.7 s and 60 MiB to import.
    decoder = Decoder(config, seed=None)
    expected = {name: tensor.shape for name, tensor in decoder.state_dict().items()}
    found = {name: tensor.shape for name, tensor in state.items()}
    if expected != found:
        wrong = sorted(set(expected.items()) ^ set(found.items()))[:4]
        raise ArtifactError(path, f"its tensors do not fit the configuration: {wrong}")
    _check_finite(path, state)
    state = {
        name: tensor.to(device, None if name.startswith("coupling.") else dtype)
        for name, tensor in state.items()
    }
    decoder.load_state_dict(state, assign=True)
    return decoder.eval()


def _check_finite(path: Path, state: Mapping[str, Tensor]) -> None:
    damaged = [name for name, tensor in state.items() if not torch.isfinite(tensor).all()]
    if damaged:
        raise ArtifactError(path, f"weights hold NaN or infinity in {damaged[:4]}")


def _tensors(path: Path, weights: bytes) -> dict[str, Tensor]:
    try:
        return load(weights)
    except SafetensorError as error:
        raise ArtifactError(path, f"it is not a safetensors file: {error}") from error


def _config(path: Path, values: dict[str, object]) -> KernelConfig:
    try:
        return KernelConfig.from_dict(values)
    except ConfigError as error:
        raise ArtifactError(path, f"its configuration is refused: {error}") from error


_KINDS: Final = {
    "format": int,
    "config": dict,
    "weights_sha256": str,
    "tokenizer_hash": str,
    "facts": dict,
}


def _read_description(path: Path) -> dict[str, Any]:
    try:
        description = json.loads(_read(path))
    except ValueError as error:
        raise ArtifactError(path, f"it is not JSON: {error}") from error
    if not isinstance(description, dict) or set(description) != set(_KINDS):
        raise ArtifactError(path, f"it must hold exactly {sorted(_KINDS)}")
    for name, kind in _KINDS.items():
        if not isinstance(description[name], kind):
            raise ArtifactError(path, f"its {name!r} is not of kind {kind.__name__}")
    if description["format"] != FORMAT:
        raise ArtifactError(path, f"its format is {description['format']}; this reads {FORMAT}")
    return cast(dict[str, Any], description)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ArtifactError(path, f"it cannot be read: {error.strerror}") from error
