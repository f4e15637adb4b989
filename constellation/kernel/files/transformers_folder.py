"""Import and verify the files of a model folder that `save_pretrained` wrote.

An imported model is those files with `hugging_face.json`, written last, which holds their sha256: a
folder with a matching set is whole, anything else is refused. Only safetensors are taken for
weights. Neither torch nor `transformers` is needed here: the registry checks folders by this file.
"""

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from constellation.atomic_files import write_whole
from constellation.errors import ArtifactError

CONFIG_FILE: Final = "config.json"
TOKENIZER_FILE: Final = "tokenizer.json"
WEIGHTS_FILE: Final = "model.safetensors"
INDEX_FILE: Final = "model.safetensors.index.json"
TOKENIZER_CONFIG_FILE: Final = "tokenizer_config.json"
TEMPLATE_FILE: Final = "chat_template.jinja"
OPTIONAL_FILES: Final = ("generation_config.json", TOKENIZER_CONFIG_FILE, TEMPLATE_FILE)
RECORD_FILE: Final = "hugging_face.json"
"""Name of the file, in an imported model's folder, with the sha256 of the other files."""
FORMAT: Final = 1
"""Version of that file's layout."""

_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt")
_TELLING = ("*.safetensors", TOKENIZER_FILE, *_PICKLED)
"""Names of files that lie beside a model's configuration and in hardly any other folder."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelFiles:
    """Hashes that identify an imported model."""

    tokenizer_hash: str
    """sha256 (hex) of `tokenizer.json`."""
    weights_hash: str
    """sha256 (hex) over names and sha256 of the files of weights."""


def is_model(folder: Path) -> bool:
    """Return whether a folder looks like one that `save_pretrained` wrote, complete or not."""
    if (folder / "kernel.json").exists() or not (folder / CONFIG_FILE).is_file():
        return False
    return any(path for pattern in _TELLING for path in folder.glob(pattern))


def is_imported(folder: Path) -> bool:
    """Return whether a folder among the artifacts holds an imported model as a kernel."""
    return (folder / RECORD_FILE).is_file()


def needed_files(folder: Path) -> tuple[str, ...]:
    """Return the names of the files that make the model: weights first, then the others.

    Raises:
        ArtifactError: One is missing, or there are no weights in safetensors.
    """
    names = [*_weight_names(folder), CONFIG_FILE, TOKENIZER_FILE]
    for name in names:
        if not (folder / name).is_file():
            raise ArtifactError(folder, f"it has no {name}; give the whole folder of a model")
    return (*names, *(name for name in OPTIONAL_FILES if (folder / name).is_file()))


def import_model(source: Path, target: Path) -> ModelFiles:
    """Copy a model's files and write down what they are; the record comes last.

    Args:
        source: Where `save_pretrained` wrote.
        target: Made if it is missing; what it held of a model before is replaced.

    Raises:
        ArtifactError: A file is missing, or there are no weights in safetensors.
    """
    names = needed_files(source)
    target.mkdir(parents=True, exist_ok=True)
    (target / RECORD_FILE).unlink(missing_ok=True)
    for name in names:
        shutil.copyfile(source / name, target / name)
    hashes = {name: file_sha256(target / name) for name in names}
    record = {"format": FORMAT, "sha256": hashes}
    write_whole(target / RECORD_FILE, json.dumps(record, indent=2).encode() + b"\n")
    return _identity(hashes)


def check_model(folder: Path) -> ModelFiles:
    """Return the identity of an imported model whose files are all what they were.

    Raises:
        ArtifactError: A file is missing or was changed.
    """
    hashes = _recorded(folder / RECORD_FILE)
    if set(hashes) != set(needed_files(folder)):
        raise ArtifactError(folder, f"its files are not those of {RECORD_FILE}; add it again")
    for name, known in hashes.items():
        if file_sha256(folder / name) != known:
            raise ArtifactError(
                folder / name, f"its sha256 is not the one in {RECORD_FILE}; add the kernel again"
            )
    return _identity(hashes)


def recorded_names(folder: Path) -> tuple[str, ...]:
    """Return the names of an imported model's files, without the record itself.

    Raises:
        ArtifactError: The record is damaged, or names files outside the folder.
    """
    names = tuple(_recorded(folder / RECORD_FILE))
    if any(Path(name).name != name for name in names):
        raise ArtifactError(folder / RECORD_FILE, "it does not name files of its folder")
    return names


def read_json(path: Path) -> dict[str, Any]:
    """Return a file that holds a JSON object.

    Raises:
        ArtifactError: It cannot be read, or holds something else.
    """
    try:
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise ArtifactError(path, f"it cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ArtifactError(path, f"it is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ArtifactError(path, "it holds no JSON object")
    return value


def _weight_names(folder: Path) -> list[str]:
    if (folder / WEIGHTS_FILE).is_file():
        return [WEIGHTS_FILE]
    if (folder / INDEX_FILE).is_file():
        return [*_shards(folder / INDEX_FILE), INDEX_FILE]
    if any(path for pattern in _PICKLED for path in folder.glob(pattern)):
        raise ArtifactError(
            folder, "its weights are pickled, which may run code; save them as safetensors"
        )
    raise ArtifactError(folder, f"it has no {WEIGHTS_FILE}; give the whole folder of a model")


def _shards(index: Path) -> list[str]:
    weight_map = read_json(index).get("weight_map")
    names = sorted(set(_texts(weight_map))) if isinstance(weight_map, dict) else []
    # A name that leads elsewhere would be copied from there.
    if not names or any(Path(name).name != name or name.startswith(".") for name in names):
        raise ArtifactError(index, "its weight_map does not name files of the folder")
    return names


def _texts(values: Mapping[str, object]) -> Iterable[str]:
    return (value for value in values.values() if isinstance(value, str))


def _recorded(path: Path) -> dict[str, str]:
    record = read_json(path)
    hashes = record.get("sha256")
    if record.get("format") != FORMAT or not isinstance(hashes, dict):
        raise ArtifactError(path, f"it must hold format {FORMAT} and sha256; add the kernel again")
    return {str(name): str(value) for name, value in hashes.items()}


def _identity(hashes: Mapping[str, str]) -> ModelFiles:
    weights = sorted((name, value) for name, value in hashes.items() if name.endswith("tensors"))
    listed = "".join(f"{name} {value}\n" for name, value in weights)
    return ModelFiles(
        tokenizer_hash=hashes[TOKENIZER_FILE],
        weights_hash=hashlib.sha256(listed.encode()).hexdigest(),
    )


def file_sha256(path: Path) -> str:
    """Return the sha256 (hex) of a file; ArtifactError when it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ArtifactError(path, f"it cannot be read: {error.strerror}") from error
