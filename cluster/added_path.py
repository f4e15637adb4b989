"""Find out what the path given to `add` is: a finished kernel, an adapter, a model or plain text.

Unknown content is not assumed to be text: model weights and their side files are refused with a
message that names the file and the way out.
"""

from enum import StrEnum
from pathlib import Path
from typing import Final

from constellation.errors import ArtifactError, ConfigError, CorpusError
from constellation.kernel.adapters.adapter_file import is_adapter
from constellation.kernel.files.checkpoint import KERNEL_FILE
from constellation.kernel.files.peft_folder import has_base, is_peft_source
from constellation.kernel.files.transformers_folder import is_model

PEFT_FILE: Final = "adapter_config.json"
_GGUF_MAGIC: Final = b"GGUF"
_WEIGHTS: Final = (
    ".bin", ".ckpt", ".ggml", ".gguf", ".h5", ".npz", ".onnx", ".pt", ".pth", ".safetensors",
    ".tflite",
)  # fmt: skip
_OF_A_MODEL: Final = (
    "*.ckpt", "*.ggml", "*.onnx", "*.pt", "*.pth", "*.safetensors", "pytorch_model*.bin",
    "tokenizer.json", "tokenizer.model", "tokenizer_config.json",
)  # fmt: skip
"""Names of files that belong to a model's folder and never occur in a folder of text."""


class Arrival(StrEnum):
    """Kinds of content at a path from which a kernel can be made."""

    KERNEL = "a finished kernel"
    ADAPTER = "an adapter with its base"
    MODEL = "a Hugging Face model"
    TEXT = "text"


def arrival_at(path: Path) -> Arrival:
    """Return which kind of content a path holds.

    Raises:
        CorpusError: The path does not exist.
        ArtifactError: The content can neither be served nor read as text: an adapter of
            peft, a GGUF file, weights without their configuration, a file of a model's folder.
    """
    arrival = _kind(path)
    home = path.parent
    if path.is_file() and (_kind_of_folder(home) or (home / PEFT_FILE).exists()):
        raise ArtifactError(
            path, f"is a file of the model in {home}; give the folder {home} instead"
        )
    return arrival


def check_text(path: Path) -> None:
    """Raise unless a path holds plain text, which can serve as the text of a domain.

    Raises:
        CorpusError: The path does not exist.
        ConfigError, ArtifactError: The path holds a kernel, or a model of another kind.
    """
    arrival = _kind(path)
    if arrival is not Arrival.TEXT:
        raise ConfigError(f"--text is {path}, which is {arrival}; give the text of the domain")


def _kind(path: Path) -> Arrival:
    if not path.exists():
        raise CorpusError(path, "no such file or folder")
    if path.is_file():
        _refuse_weights(path)
        return Arrival.TEXT
    known = _kind_of_folder(path)
    if known is None:
        _refuse_unknown_model(path)
    return known or Arrival.TEXT


def _kind_of_folder(path: Path) -> Arrival | None:
    """Return which kind of servable model a folder holds; None for any other folder."""
    if (path / KERNEL_FILE).exists():
        return Arrival.KERNEL
    if is_adapter(path):
        return Arrival.ADAPTER
    if is_peft_source(path) and has_base(path):
        return Arrival.ADAPTER
    if is_model(path) and not (path / PEFT_FILE).exists():
        return Arrival.MODEL
    return None


def _refuse_weights(path: Path) -> None:
    if _is_gguf(path):
        raise ArtifactError(path, _of_gguf())
    if path.suffix.lower() in _WEIGHTS:
        raise ArtifactError(path, "holds weights, not text; give the whole folder of the model")


def _refuse_unknown_model(folder: Path) -> None:
    if (folder / PEFT_FILE).exists():
        raise ArtifactError(
            folder,
            "is an adapter of peft whose adapter_config.json names no folder of a base model; name "
            "the folder there as base_model_name_or_path, or merge the adapter into its base model "
            "(merge_and_unload, then save_pretrained) and add the folder of the merged model",
        )
    files = sorted(path for path in folder.iterdir() if path.is_file())
    if any(map(_is_gguf, files)):
        raise ArtifactError(folder, _of_gguf())
    model_files = [file.name for file in files if any(map(file.match, _OF_A_MODEL))]
    if model_files:
        raise ArtifactError(
            folder,
            f"holds {model_files[0]}, so it is no folder of text; and it is no "
            "model that can be served: a kernel (kernel.json), an adapter of this project "
            "(adapter.safetensors), or a Hugging Face model (config.json, tokenizer.json and "
            "weights in safetensors)",
        )


def _of_gguf() -> str:
    return (
        "is a model in the GGUF format, which is not served; give the Hugging Face folder that it "
        "was made from (config.json, tokenizer.json and weights in safetensors)"
    )


def _is_gguf(file: Path) -> bool:
    if file.suffix.lower() == ".gguf":
        return True
    try:
        with file.open("rb") as opened:
            return opened.read(len(_GGUF_MAGIC)) == _GGUF_MAGIC
    except OSError:
        return False  # who reads it says why it cannot be read
