"""Write and read a prepared corpus: a JSON-lines file per split, and a manifest with digests."""

import json
from dataclasses import asdict
from pathlib import Path

from constellation.curricula.documents import Document
from constellation.curricula.prepare import PreparedCorpus, describe
from constellation.curricula.split import SPLITS
from constellation.errors import ArtifactError

MANIFEST = "manifest.json"


def save_prepared(folder: Path, corpus: PreparedCorpus) -> None:
    """Write the splits and then the manifest, which holds their sha256."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)
    for name in SPLITS:
        lines = (json.dumps(asdict(document)) + "\n" for document in corpus.of_split(name))
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    manifest = json.dumps(corpus.manifest, indent=2, sort_keys=True)
    (folder / MANIFEST).write_text(manifest + "\n", encoding="utf-8")


def load_prepared(folder: Path) -> PreparedCorpus:
    """Read a prepared corpus and check it against its manifest.

    Raises:
        ArtifactError: A file is missing or damaged, or a split differs from the manifest's sha256.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        splits = {name: _read(folder / f"{name}.jsonl") for name in SPLITS}
        expected = {name: manifest["splits"][name]["sha256"] for name in SPLITS}
    except OSError as error:
        raise ArtifactError(folder, f"cannot be read: {error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(folder, f"is damaged ({error}); prepare the corpus again") from error
    for name in SPLITS:
        if describe(splits[name])["sha256"] != expected[name]:
            raise ArtifactError(folder / f"{name}.jsonl", "does not match the manifest's sha256")
    return PreparedCorpus(**splits, manifest=manifest)


def _read(path: Path) -> tuple[Document, ...]:
    lines = path.read_text(encoding="utf-8").split("\n")
    return tuple(Document(**json.loads(line)) for line in lines if line)
