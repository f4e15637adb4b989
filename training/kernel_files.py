"""Find and remove the files that this project wrote into a kernel's folder, and no others."""

from pathlib import Path
from typing import Final

from constellation.errors import ArtifactError
from constellation.kernel.adapters.adapter_file import ADAPTER_FILE
from constellation.kernel.files.checkpoint import KERNEL_FILE, WEIGHTS_FILE
from constellation.kernel.files.peft_folder import FILES as PEFT_FILES
from constellation.kernel.files.peft_folder import RECORD_FILE as PEFT_RECORD
from constellation.kernel.files.peft_folder import is_peft
from constellation.kernel.files.prompt_format import PROMPT_FILE
from constellation.kernel.files.symbol_vocabulary import SYMBOLS_FILE
from constellation.kernel.files.transformers_folder import RECORD_FILE, is_imported, recorded_names

TRAINED_FILES: Final = (KERNEL_FILE, WEIGHTS_FILE, ADAPTER_FILE, SYMBOLS_FILE, PROMPT_FILE)
"""Names of the files that training writes into a kernel's folder; some may be absent."""


def has_kernel(folder: Path) -> bool:
    """Return whether a folder holds a kernel of any kind, complete or not."""
    return bool(trained_files(folder)) or is_imported(folder) or is_peft(folder)


def names_in(folder: Path) -> list[str]:
    """Return the names of a folder's entries, sorted; none when the folder does not exist."""
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def trained_files(folder: Path) -> list[Path]:
    """Return the existing files of a trained kernel."""
    return [folder / name for name in TRAINED_FILES if (folder / name).is_file()]


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    """Return inode and time of each file of a kernel; both change when it is written again."""
    states = {path.name: path.stat() for path in trained_files(folder)}
    return {name: (state.st_ino, state.st_mtime_ns) for name, state in states.items()}


def remove_kernel(folder: Path) -> None:
    """Remove a kernel's files, and the folder if it is then empty.

    Raises:
        OSError: A file cannot be removed.
    """
    imported: tuple[str, ...] = (PEFT_RECORD, *PEFT_FILES) if is_peft(folder) else ()
    if is_imported(folder):
        try:
            imported = recorded_names(folder)
        except ArtifactError:  # the record is damaged, so nobody knows which files it meant
            imported = ()
    for name in (*imported, RECORD_FILE, *TRAINED_FILES):
        (folder / name).unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
