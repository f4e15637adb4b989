"""The starter corpus on the Python that runs the tests."""

import sysconfig
from pathlib import Path

import pytest

from constellation.curricula import starter
from constellation.curricula.corpus import Corpus
from constellation.curricula.prepare import PrepareConfig, prepare
from constellation.errors import CorpusError

DOMAINS = (
    "charmaps",
    "docstrings",
    "licences",
    "markup",
    "network",
    "numbers",
    "reference",
    "testing",
)


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return starter.starter_corpus()


def test_it_has_eight_domains_of_real_size_on_this_machine(corpus: Corpus) -> None:
    assert corpus.domains == DOMAINS
    for name in DOMAINS:
        size = sum(len(d.text.encode()) for d in corpus.documents if d.domain == name)
        assert size >= starter.DOMAIN_BYTES_MIN


def test_no_source_feeds_two_domains(corpus: Corpus) -> None:
    by_source: dict[str, str] = {}
    for document in corpus.documents:
        file = document.source.removesuffix(":docs")
        assert by_source.setdefault(file, document.domain) == document.domain


def test_it_splits_into_train_dev_and_test_for_every_domain(corpus: Corpus) -> None:
    prepared = prepare(corpus, PrepareConfig(domain_bytes_max=100_000))
    for name in ("train", "dev", "test"):
        assert {d.domain for d in prepared.of_split(name)} == set(DOMAINS)


def test_a_python_without_its_library_gets_a_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    with pytest.raises(CorpusError, match=r"standard library.*corpus\.paths"):
        starter.starter_corpus()


def test_a_python_with_too_little_of_a_domain_gets_a_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "encodings").mkdir()
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    with pytest.raises(CorpusError, match=r"charmaps 0,.*network 0.*corpus\.paths"):
        starter.starter_corpus()
