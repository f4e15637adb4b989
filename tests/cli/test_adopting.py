"""`releases adopt`: a folder of version 0.1.0 is taken over, and what it cannot be is said."""

import json
import shutil
from pathlib import Path

import pytest

from constellation.coordizer.coordizer import Coordizer
from constellation.curricula.corpus import Document
from constellation.curricula.corpus_store import save_prepared
from constellation.curricula.prepare import PreparedCorpus, describe
from constellation.releases.store import ReleaseStore
from constellation.wire.table_file import load_table
from tests.cli.conftest import Run
from tests.support.artifacts import MODULES, documents_of, odd

NAMES = sorted(MODULES)


def former(artifacts: Path, tmp_path: Path, *, without_text: str = "") -> Path:
    """Return the folder as version 0.1.0 left it: coordizer, kernels, text and a table."""
    folder = tmp_path / "former"
    view = ReleaseStore(artifacts).current_folder()
    for part in ("coordizer", "kernels"):
        shutil.copytree(view / part, folder / part)
    shutil.copy(view / "table.msgpack", folder)
    documents = {name: documents_of(modules) for name, modules in MODULES.items()}
    train, dev = [], []
    for name, parts in documents.items():
        if name == without_text:
            continue
        halves = ("first half", "second half")
        train += [
            Document(text=parts[row], domain=name, source=halves[row % 4 == 3])
            for row in odd(parts)
        ]
        dev += [Document(text=part, domain=name, source="held out") for part in parts[::2]]
    splits = {"train": tuple(train), "dev": tuple(dev), "test": ()}
    counted = {part: describe(found) for part, found in splits.items()}
    corpus = PreparedCorpus(**splits, manifest={"splits": counted})
    save_prepared(folder / "corpus", corpus)
    return folder


@pytest.mark.slow
def test_a_folder_is_taken_over_by_one_command(run: Run, artifacts: Path, tmp_path: Path) -> None:
    folder = former(artifacts, tmp_path)
    before = load_table(folder / "table.msgpack")
    told = run("releases", "adopt", "--artifacts", folder).stdout
    assert told.startswith("release 1 is current, with the kernels of ")
    assert ", ".join(NAMES) in told
    store = ReleaseStore(folder)
    after = store.table(store.read_current())
    assert after.coordizer_hash == before.coordizer_hash
    assert Coordizer.load(store.current_folder() / "coordizer").hash == before.coordizer_hash
    for old, new in zip(before.sites, after.sites, strict=True):
        assert new.basin_K.tobytes() == old.basin_K.tobytes()
    again = run("releases", "adopt", "--artifacts", folder)
    assert again.exit_code == 2
    assert "has releases already (1)" in again.stderr


@pytest.mark.slow
def test_kernels_without_text_are_left_out_when_that_is_asked_for(
    run: Run, artifacts: Path, tmp_path: Path
) -> None:
    folder = former(artifacts, tmp_path, without_text="numbers")
    refused = run("releases", "adopt", "--artifacts", folder)
    assert refused.exit_code == 2
    assert "keeps no text of its own for: numbers" in refused.stderr
    assert "--without numbers" in refused.stderr
    assert not (folder / "releases").exists()
    flags = ("--without", "numbers", "--artifacts", folder)
    told = json.loads(run("releases", "adopt", *flags, "--json").stdout)
    assert told == {"release": 1, "kernels": ["mail", "network"], "without": ["numbers"]}
    assert "left out" not in run("releases", "list", "--artifacts", folder).stdout
