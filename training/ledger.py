"""Record which parts of a run are finished and still valid, so that they are not repeated.

A part is valid when its inputs hash to what they did and every file it wrote still does.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from training.json_files import write_json
from training.progress.events import OnEvent, PartFinished, PartStarted

LEDGER = "ledger.json"


class Ledger:
    """The finished parts of one run, with hashes of their inputs and output files."""

    def __init__(self, out: Path, on_event: OnEvent) -> None:
        """Read the ledger of `out`; with a missing or damaged ledger no part counts as finished."""
        self._out = out
        self._on_event = on_event
        self._entries: dict[str, dict[str, Any]] = _read_ledger(out / LEDGER)
        self.seconds: dict[str, float] = {}
        """Part -> seconds it took in this run; 0 when it was skipped."""

    def run(
        self, name: str, inputs: Mapping[str, object], work: Callable[[], Iterable[Path]]
    ) -> bool:
        """Run a part unless it is finished with the same inputs and its files are intact.

        Args:
            name: Name of the part.
            inputs: JSON values that decide the part's result.
            work: Runs the part; returns the files or folders it wrote, inside the run's folder.

        Returns:
            Whether the work was done now (False: skipped).
        """
        key = hash_of(inputs)
        if self._is_valid(name, key):
            self.seconds[name] = 0.0
            self._on_event(PartFinished(part=name, seconds=0.0, skipped=True))
            return False
        self._on_event(PartStarted(part=name))
        started_s = time.perf_counter()
        outputs = self._hashes(work())
        seconds = round(time.perf_counter() - started_s, 3)
        self.seconds[name] = seconds
        self._entries[name] = {"inputs": key, "outputs": outputs, "seconds": seconds}
        write_json(self._out / LEDGER, self._entries)
        self._on_event(PartFinished(part=name, seconds=seconds, skipped=False))
        return True

    def amend(self, name: str, written: Iterable[Path]) -> None:
        """Record a finished part's files as they are now, after a change that keeps them valid."""
        self._entries[name]["outputs"] = self._hashes(written)
        write_json(self._out / LEDGER, self._entries)

    def output_hash(self, *names: str, under: str = "") -> str:
        """Return one hash over the files of finished parts, for parts that depend on them.

        Args:
            names: Names of the parts.
            under: Prefix of the paths, within the run's folder, of the files that count.
        """
        return hash_of(
            {
                path: sha
                for name in names
                for path, sha in self._outputs(name).items()
                if path.startswith(under)
            }
        )

    def folders(self, name: str, *, under: str) -> set[str]:
        """Return the names of the folders in `under` that a part wrote when it last ran."""
        if name not in self._entries:
            return set()
        inside = (
            path.removeprefix(under) for path in self._outputs(name) if path.startswith(under)
        )
        return {path.partition("/")[0] for path in inside}

    def _outputs(self, name: str) -> dict[str, str]:
        outputs: dict[str, str] = self._entries[name]["outputs"]
        return outputs

    def last_seconds(self) -> dict[str, float]:
        """Return how many seconds each part took when it last ran."""
        return {name: float(entry["seconds"]) for name, entry in self._entries.items()}

    def _is_valid(self, name: str, key: str) -> bool:
        entry = self._entries.get(name)
        if entry is None or entry["inputs"] != key:
            return False
        return all(
            (self._out / path).is_file() and file_sha256(self._out / path) == digest
            for path, digest in self._outputs(name).items()
        )

    def _hashes(self, written: Iterable[Path]) -> dict[str, str]:
        files: list[Path] = []
        for path in written:
            inside = (file for file in path.rglob("*") if file.is_file())
            files += sorted(inside) if path.is_dir() else [path]
        return {path.relative_to(self._out).as_posix(): file_sha256(path) for path in files}


def hash_of(values: Mapping[str, object]) -> str:
    """Return the sha256 (hex) of JSON values; the order of keys does not matter."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """Return the sha256 (hex) of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_ledger(path: Path) -> dict[str, dict[str, Any]]:
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    wanted = {"inputs", "outputs", "seconds"}
    if not isinstance(entries, dict):
        return {}
    return {
        name: entry
        for name, entry in entries.items()
        if isinstance(entry, dict) and set(entry) == wanted
    }
