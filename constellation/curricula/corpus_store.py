"""Write and read a prepared corpus: a JSON-lines file per split, and a manifest with digests."""

import json
from pathlib import Path

from constellation.curricula.prepared_corpus import PreparedCorpus
from constellation.curricula.prepared_files import MANIFEST, DocumentFile, SplitWriter
from constellation.curricula.split import SPLITS
from constellation.errors import ArtifactError

__all__ = ["MANIFEST", "load_prepared", "save_prepared"]


def save_prepared(folder: Path, corpus: PreparedCorpus) -> None:
    """Write the splits and then the manifest, which holds their sha256."""
    folder.mkdir(parents=True, exist_ok=True)
    with SplitWriter(folder) as writer:
        for name in SPLITS:
            for document in corpus.of_split(name):
                writer.write(name, document)
        writer.finish(corpus.manifest)


def load_prepared(folder: Path) -> PreparedCorpus:
    """Check a prepared corpus against its manifest; its documents are read when they are needed.

    Raises:
        ArtifactError: A file is missing or damaged, or a split differs from the manifest's sha256.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        expected = {name: manifest["splits"][name]["sha256"] for name in SPLITS}
        splits = {name: DocumentFile(folder / f"{name}.jsonl") for name in SPLITS}
    except OSError as error:
        raise ArtifactError(folder, f"cannot be read: {error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(folder, f"is damaged ({error}); prepare the corpus again") from error
    for name in SPLITS:
        if splits[name].described["sha256"] != expected[name]:
            raise ArtifactError(folder / f"{name}.jsonl", "does not match the manifest's sha256")
    return PreparedCorpus(**splits, manifest=manifest)
