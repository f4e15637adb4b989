"""Load causal models of the `transformers` library from local folders.

`transformers` is optional and imported when a function needs the library. Nothing is ever fetched:
a folder holds the model, or the folder is refused.
"""

import importlib
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer

from constellation.errors import ArtifactError, ConfigError
from constellation.extras import how_to_install


def load_model(folder: Path | str, *, dtype: torch.dtype = torch.float32) -> Any:
    """Read a causal language model (`transformers.PreTrainedModel`), in evaluation mode.

    Raises:
        ArtifactError: The folder is missing or holds no such model.
        ConfigError: `transformers` is not installed.
    """
    transformers = _library("transformers")
    _check_folder(folder, "config.json")
    try:
        model = transformers.AutoModelForCausalLM.from_pretrained(
            str(folder), local_files_only=True, dtype=dtype, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ArtifactError(folder, f"it holds no causal language model: {error}") from error
    return model.eval()


def load_tokenizer(folder: Path | str) -> Any:
    """Read the folder's tokenizer (`transformers.PreTrainedTokenizerBase`).

    Raises:
        ArtifactError: The folder has none.
        ConfigError: `transformers` is not installed.
    """
    transformers = _library("transformers")
    _check_folder(folder, "tokenizer_config.json")
    try:
        return transformers.AutoTokenizer.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError) as error:
        raise ArtifactError(folder, f"its tokenizer cannot be read: {error}") from error


def read_tokenizer(folder: Path | str) -> Tokenizer:
    """Read the folder's `tokenizer.json`, without `transformers`.

    Raises:
        ArtifactError: It is missing or damaged.
    """
    _check_folder(folder, "tokenizer.json")
    path = Path(folder) / "tokenizer.json"
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises no narrower class
        raise ArtifactError(path, f"it cannot be read: {error}") from error


def _check_folder(folder: Path | str, name: str) -> None:
    # Before the library looks: for it, a name that is no folder is one to fetch.
    if not (Path(folder) / name).is_file():
        raise ArtifactError(folder, f"it has no {name}; give the local folder of a model")


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ConfigError(f"this needs the package {name}; {how_to_install('hf')}") from error
