"""Kernels whose vocabulary is not the coordizer's: how a folder shows that, and what is said of it.

Such a kernel is reached by text. Nothing compares it token by token with other kernels. Neither
torch nor `transformers` is needed here.
"""

from pathlib import Path
from typing import Final

from constellation.errors import ArtifactError
from constellation.kernel.files.peft_folder import check_peft, is_peft
from constellation.kernel.files.symbol_vocabulary import SYMBOLS_FILE, has_symbols, read_symbols
from constellation.kernel.files.transformers_folder import (
    check_model,
    file_sha256,
    is_imported,
    read_json,
)

MODEL_VOCABULARY: Final = "hugging face"
"""Name of the vocabulary of a model of `transformers`."""


def has_own_vocabulary(folder: Path) -> bool:
    """Return whether the kernel in a folder writes in another vocabulary than the coordizer's."""
    return is_imported(folder) or is_peft(folder) or has_symbols(folder)


def why_apart(folder: Path) -> str:
    """Return why a kernel with its own vocabulary is left out where tokens are compared."""
    if is_imported(folder):
        return "a Hugging Face model, with tokens of its own"
    if is_peft(folder):
        return "an adapter over a Hugging Face model, with its tokens"
    return "a kernel with a vocabulary of symbols, its own"


def check_own_vocabulary(folder: Path) -> str:
    """Return the hash of the weights of such a kernel, whose files are whole.

    Raises:
        ArtifactError: A file is missing or damaged, or kernel and vocabulary do not belong
            together.
    """
    if is_imported(folder):
        return check_model(folder).weights_hash
    if is_peft(folder):
        return check_peft(folder).weights_hash
    described = read_json(folder / "kernel.json")
    check_symbols(folder, str(described.get("tokenizer_hash")))
    weights = folder / "weights.safetensors"
    found = file_sha256(weights)
    if found != described.get("weights_sha256"):
        raise ArtifactError(weights, "its sha256 is not the one in kernel.json; copy both again")
    return found


def check_symbols(folder: Path, tokenizer_hash: str) -> None:
    """See that `symbols.json` is the vocabulary that the kernel was trained with.

    Raises:
        ArtifactError: It is missing, damaged, or another one.
    """
    if read_symbols(folder).sha256() != tokenizer_hash:
        raise ArtifactError(folder, f"{SYMBOLS_FILE} is not the one the kernel was trained with")
