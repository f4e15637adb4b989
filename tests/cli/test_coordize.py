"""`coordize`: train, encode, inspect, without a running constellation."""

import json
from pathlib import Path

import numpy as np
import pytest

from constellation.coordizer.coordizer import Coordizer
from tests.cli.conftest import Run


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Return a folder with two domains."""
    for name, words in {"sea": "waves and ships on the water ", "sky": "stars and clouds "}.items():
        (tmp_path / "corpus" / name).mkdir(parents=True)
        for number in range(4):
            text = words * (20 + number)
            (tmp_path / "corpus" / name / f"{number}.txt").write_text(text)
    return tmp_path / "corpus"


def test_a_coordizer_is_trained_and_used(run: Run, corpus: Path, tmp_path: Path) -> None:
    trained = json.loads(run("coordize", "train", corpus, "c", "--vocab", 280, "--json").stdout)
    assert trained["fit"] == "anchored"
    assert trained["domains"] == ["sea", "sky"]
    assert 257 <= trained["vocab_size"] <= 280
    encoded = json.loads(run("coordize", "encode", "ships", "--coordizer", "c", "--json").stdout)
    coordizer = Coordizer.load(tmp_path / "c")
    assert encoded["tokens"] == coordizer.encode("ships").tolist()
    assert "".join(encoded["pieces"]) == "ships"
    assert np.allclose(encoded["basin"], coordizer.basin(coordizer.encode("ships")))
    inspected = json.loads(run("coordize", "inspect", "c", "--json").stdout)
    assert inspected["hash"] == coordizer.hash == trained["hash"]
    assert inspected["statistics"] == trained["statistics"]
    measured = json.loads(
        run("coordize", "inspect", "c", "--corpus", corpus / "sea", "--json").stdout
    )
    assert measured["statistics"]["num_texts"] == 4
    assert measured["statistics"]["roundtrip_accuracy"] == 1


def test_free_coordinates_and_phi_merges_are_flags(run: Run, corpus: Path) -> None:
    flags = ("--free", "--criterion", "phi", "--vocab", 262, "--json")
    facts = json.loads(run("coordize", "train", corpus, "c", *flags).stdout)
    assert (facts["fit"], facts["criterion"], facts["domains"]) == ("free", "phi", [])


def test_the_facts_are_readable(run: Run, artifacts: Path) -> None:
    result = run("coordize", "inspect", artifacts / "coordizer")
    assert "criterion" in result.stdout
    assert Coordizer.load(artifacts / "coordizer").tokenizer_hash in result.stdout
    shown = run("coordize", "encode", "import ssl", "--artifacts", artifacts).stdout
    assert "' ssl'" in shown
    assert "tokens · basin" in shown


def test_a_missing_corpus_and_a_missing_coordizer_are_error_lines(run: Run) -> None:
    assert "no such file or folder" in run("coordize", "train", "nowhere", "c").stderr
    result = run("coordize", "inspect", "nowhere")
    assert result.exit_code == 1
    assert "meta.json: is missing" in result.stderr
