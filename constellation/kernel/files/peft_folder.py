"""The folder of a LoRA adapter that `peft` wrote, as a kernel: its files, its base, its identity.

    kernels/NAME/   adapter_config.json and adapter_model.safetensors as `peft` wrote them, and
                    peft.json, written last: their hashes, and that of the base
    bases/HASH/     the base, a model of `transformers`

The base lies once for all adapters over it, under the hash of its weights. Neither torch nor `peft`
is needed here: the registry checks folders by this file.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from constellation.atomic_files import write_whole
from constellation.errors import ArtifactError
from constellation.kernel.files.transformers_folder import check_model, file_sha256, read_json

CONFIG_FILE: Final = "adapter_config.json"
WEIGHTS_FILE: Final = "adapter_model.safetensors"
RECORD_FILE: Final = "peft.json"
"""In the folder of an adapter that was imported: the sha256 of its files, and its base."""
FILES: Final = (CONFIG_FILE, WEIGHTS_FILE)
FORMAT: Final = 1
"""Version of that file's layout."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PeftFiles:
    """The identity of an adapter."""

    base_hash: str
    """Hash of the weights of its base."""
    base_folder: Path
    weights_hash: str
    """sha256 (hex) of the adapter's weights, which belong to that base alone."""
    tokenizer_hash: str
    """Of the base."""


def is_peft(folder: Path) -> bool:
    """Return whether a folder among the artifacts holds such an adapter as a kernel."""
    return (folder / RECORD_FILE).is_file()


def is_peft_source(folder: Path) -> bool:
    """Return whether `peft` wrote a folder: an adapter that may be imported."""
    return all((folder / name).is_file() for name in FILES)


def base_of_source(folder: Path) -> Path:
    """Return where the base of an adapter lies: by its record, or by what `peft` wrote down.

    Raises:
        ArtifactError: The configuration names no folder of this machine, or the record is damaged.
    """
    if is_peft(folder):
        return check_peft(folder).base_folder
    named = read_json(folder / CONFIG_FILE).get("base_model_name_or_path")
    for place in (Path(str(named)), folder / str(named)):
        if isinstance(named, str) and named and place.is_dir():
            return place
    raise ArtifactError(
        folder / CONFIG_FILE,
        f"its base_model_name_or_path is {named!r}; give the path of a folder with the base model",
    )


def has_base(folder: Path) -> bool:
    """Return whether the base of an adapter lies on this machine."""
    try:
        base_of_source(folder)
    except ArtifactError:
        return False
    return True


def import_peft(source: Path, target: Path, *, base_hash: str) -> None:
    """Copy an adapter's files and write down what they are; the record comes last.

    The base, of that hash, lies in `../../bases/HASH` of the target.

    Raises:
        OSError: A file cannot be read or written.
    """
    target.mkdir(parents=True, exist_ok=True)
    (target / RECORD_FILE).unlink(missing_ok=True)
    for name in FILES:
        shutil.copyfile(source / name, target / name)
    hashes = {name: file_sha256(target / name) for name in FILES}
    record = {"format": FORMAT, "base": base_hash, "sha256": hashes}
    write_whole(target / RECORD_FILE, json.dumps(record, indent=2).encode() + b"\n")


def check_peft(folder: Path) -> PeftFiles:
    """Return the identity of an adapter whose files, and whose base's, are what they were.

    Raises:
        ArtifactError: A file is missing or was changed, or the base is another one.
    """
    record = read_json(folder / RECORD_FILE)
    hashes, base = record.get("sha256"), record.get("base")
    if record.get("format") != FORMAT or not isinstance(hashes, dict) or not isinstance(base, str):
        raise ArtifactError(folder / RECORD_FILE, f"it must hold format {FORMAT}, base and sha256")
    if set(hashes) != set(FILES) or Path(base).name != base:
        raise ArtifactError(folder / RECORD_FILE, "it does not name the files of an adapter")
    for name in FILES:
        if file_sha256(folder / name) != hashes[name]:
            raise ArtifactError(
                folder / name, f"its sha256 is not the one in {RECORD_FILE}; add the kernel again"
            )
    base_folder = folder.resolve().parents[1] / "bases" / base
    found = check_model(base_folder)
    if found.weights_hash != base:
        raise ArtifactError(base_folder, "holds another model than the adapter's base")
    return PeftFiles(
        base_hash=base,
        base_folder=base_folder,
        weights_hash=hashes[WEIGHTS_FILE],
        tokenizer_hash=found.tokenizer_hash,
    )
