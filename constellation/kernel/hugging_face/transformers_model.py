"""Load a causal `transformers` model from a folder, completely, safely and without a network.

`transformers` is an optional package, imported when the first such model is read. Nothing is ever
fetched, no code of a folder is run, and weights come from safetensors only.
"""

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from constellation.errors import ArtifactError, ConfigError
from constellation.extras import how_to_install
from constellation.kernel.files.transformers_folder import (
    CONFIG_FILE,
    ModelFiles,
    check_model,
    needed_files,
    read_json,
)
from constellation.kernel.hugging_face.transformers_network import HuggingFaceNetwork, check_network
from constellation.kernel.hugging_face.transformers_products import quicken
from constellation.kernel.hugging_face.transformers_tokens import ModelTokens, read_tokens
from constellation.kernel.network.devices import ON_CPU, ServingDevice, move
from constellation.kernel.writing.fast_products import Weights

_REFUSALS = (
    AttributeError,
    ImportError,
    IndexError,
    KeyError,
    NotImplementedError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""Errors that the library raises for a model, or a use of it, that it does not support."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadedModel:
    """A loaded model with its tokens, ready to generate."""

    name: str
    """Name of its folder."""
    network: HuggingFaceNetwork
    tokens: ModelTokens
    opening_id: int | None
    """Stands before a text whose first token is scored; None: the model has no such token."""
    end_ids: tuple[int, ...]
    """Tokens each of which ends a text; may be empty."""
    num_parameters: int


def load_imported(
    folder: Path, *, weights: Weights | None = None, where: ServingDevice = ON_CPU
) -> tuple[LoadedModel, ModelFiles]:
    """Read a model that was imported as a kernel; arguments and errors as for `open_model`."""
    files = check_model(folder)
    return open_model(folder, weights=weights, where=where), files


def open_model(
    folder: Path, *, weights: Weights | None = None, where: ServingDevice = ON_CPU
) -> LoadedModel:
    """Read a folder that `save_pretrained` wrote, and see that it computes here what it does there.

    Args:
        folder: With configuration, tokenizer and weights.
        weights: How matrices are held, for faster products on a CPU; None: as they were read, in
            float32.
        where: The device. Elsewhere than on a CPU the model is checked in float32 and then held in
            the device's data type, by the products of torch.

    Raises:
        ArtifactError: A file is missing or damaged, or the model is not causal, of an architecture
            that the library does not know, or of one that cannot be driven together.
        ConfigError: `transformers` is not installed.
    """
    transformers = _library()
    needed_files(folder)
    _check_architecture(folder, transformers)
    model = _read(folder, transformers, torch.float32 if where.is_cpu else "auto")
    if not where.is_cpu:
        move(model, where.device, torch.float32)
    network = _network(folder, model)
    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    if not where.is_cpu and where.dtype is not None:
        move(model, where.device, where.dtype)
        network = HuggingFaceNetwork(model, context=network.config.context)
    if where.is_cpu and weights is not None:
        quicken(model, weights)
    end_ids = _named(model, "eos_token_id")
    return LoadedModel(
        name=folder.name,
        network=network,
        tokens=read_tokens(
            folder,
            vocab_size=network.config.vocab_size,
            num_embeddings=network.embedding.shape[0],
        ),
        opening_id=next(iter(_named(model, "bos_token_id") + end_ids), None),
        end_ids=end_ids,
        num_parameters=num_parameters,
    )


def _library() -> Any:
    try:
        transformers = importlib.import_module("transformers")
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"a model of Hugging Face needs the package transformers; {how_to_install('hf')}"
        ) from error
    transformers.utils.logging.disable_progress_bar()
    return transformers


def _check_architecture(folder: Path, transformers: Any) -> None:
    """Raise, before large files are read, for a model that is not a causal language model."""
    described = read_json(folder / CONFIG_FILE)
    named = described.get("architectures") or ["?"]
    causal = transformers.models.auto.modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    if described.get("model_type") not in causal:
        raise ArtifactError(
            folder, f"transformers knows no causal model of type {described.get('model_type')!r}"
        )
    if named[0] != causal[described["model_type"]]:
        raise ArtifactError(
            folder, f"it is a {named[0]}, not a {causal[described['model_type']]}, which is causal"
        )


def _read(folder: Path, transformers: Any, dtype: torch.dtype | str) -> Any:
    try:
        model, found = transformers.AutoModelForCausalLM.from_pretrained(
            str(folder.resolve()),
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=dtype,
            output_loading_info=True,
        )
    except Exception as error:  # whatever a damaged file makes the libraries raise
        raise ArtifactError(folder, f"the model cannot be read: {error}") from error
    # Numbers that were not found would be drawn at random.
    lacking = sorted(map(str, [*found["missing_keys"], *found["mismatched_keys"]]))
    if lacking:
        raise ArtifactError(folder, f"its weights lack, or have of other shape, {lacking[:4]}")
    damaged = [name for name, value in model.named_parameters() if not value.isfinite().all()]
    if damaged:
        raise ArtifactError(folder, f"weights hold NaN or infinity in {damaged[:4]}")
    return model.eval().requires_grad_(False)


def _network(folder: Path, model: Any) -> HuggingFaceNetwork:
    try:
        network = HuggingFaceNetwork(model, context=_context(model.config))
        check_network(network, model)
    except (*_REFUSALS, ConfigError) as error:
        raise ArtifactError(
            folder,
            f"models of type {model.config.model_type!r} cannot be driven with others' texts in "
            f"one batch: {error}",
        ) from error
    return network


def _context(config: Any) -> int:
    """Return the tokens that the model reads as it was trained to, without a window or stretching.

    Within a window every token is visible; beyond it some layers see less than others. Rotary
    places of the kinds "dynamic" and "longrope" change with the longest text of a batch, so a text
    would depend on its company.
    """
    limits = [getattr(config, "max_position_embeddings", None)]
    limits += [getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size")]
    rotary = getattr(config, "rope_parameters", None) or {}
    if rotary.get("rope_type") in ("dynamic", "longrope"):
        limits.append(rotary.get("original_max_position_embeddings"))
    known = [limit for limit in limits if isinstance(limit, int) and limit > 0]
    if limits[0] is None or not known:
        raise ConfigError("its configuration gives no max_position_embeddings")
    return min(known)


def _named(model: Any, name: str) -> tuple[int, ...]:
    """Return the ids of a special token, which may be several, as the model's files give them."""
    for config in (model.generation_config, model.config):
        ids = getattr(config, name, None)
        if ids is not None:
            return (ids,) if isinstance(ids, int) else tuple(ids)
    return ()
