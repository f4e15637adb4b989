"""Text that does not fit into memory: the same files to the bit, by way of files and processes."""

import hashlib
import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from constellation.coordizer.training import train_coordizer
from constellation.curricula.corpus import read_corpus
from constellation.curricula.corpus_store import load_prepared
from constellation.curricula.documents import Document
from constellation.curricula.prepare import prepare
from constellation.curricula.prepared_corpus import documents_of
from constellation.curricula.text_room import check_room, forecast_text
from constellation.errors import ConfigError, CorpusError, TrainingError
from tests.curricula.large_text import write_text
from training import text_preparation
from training.evaluation.held_out_sample import sample_evenly
from training.progress.events import Event, Notice
from training.progress.text_progress import TextProgress
from training.recipe import CoordizerSection
from training.recipe_corpus import CorpusSection
from training.text_amount import check_num_domains
from training.text_preparation import make_corpus, make_text_files, text_forecast
from training.text_process import OnStep, run_apart
from training.token_files import StreamDocuments, load_tokens, read_documents, write_tokens

SECTION = CoordizerSection(vocab_size=500)

CORPUS = "a35cf2036db1f148865982dadfdd89a9eba142bf110dcea9221ecc3461199576"
TOKENS = "c2dbf22d3a7bd5e03b557682d43b76bd1a74a36e33942b2f3e797280bd61acf9"
"""Digests of the files that version 0.1.0, which kept all text in memory, made of this text."""


def digest(folder: Path) -> str:
    found = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        found.update(path.name.encode() + path.read_bytes())
    return found.hexdigest()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    write_text(folder / "text")
    make_corpus(CorpusSection(paths=(folder / "text",)), folder / "corpus", seed=0)
    make_text_files(SECTION, folder / "corpus", folder / "coordizer", folder / "tokens", 0)
    return folder


def test_corpus_and_tokens_are_those_of_version_0_1(made: Path) -> None:
    assert digest(made / "corpus") == CORPUS
    assert digest(made / "tokens") == TOKENS


def test_the_coordizer_fitted_to_files_is_the_one_fitted_in_memory(made: Path) -> None:
    corpus = load_prepared(made / "corpus")
    trained = train_coordizer(
        [document.text for document in corpus.train],
        [document.domain for document in corpus.train],
        vocab_size=500,
        anchored=True,
        seed=0,
    )
    trained.save(made / "memory")
    names = {path.name for path in (made / "memory").iterdir()} - {"meta.json"}
    assert names
    for name in names:
        data = (made / "memory" / name).read_bytes()
        assert (made / "coordizer" / name).read_bytes() == data, name
    fitted = type(trained).load(made / "coordizer")
    assert fitted.provenance.corpus_sha256 == trained.provenance.corpus_sha256
    assert fitted.provenance.statistics == trained.provenance.statistics


def test_text_prepared_in_memory_is_the_same(made: Path) -> None:
    assert load_prepared(made / "corpus") == prepare(read_corpus(made / "text"))


def test_a_stored_corpus_is_read_by_place_and_by_domain(made: Path) -> None:
    train = load_prepared(made / "corpus").train
    documents = list(train)
    assert train[-1] == documents[-1]
    assert list(train[3:40:7]) == documents[3:40:7]
    wanted = [document for document in documents if document.domain == "two"]
    assert list(documents_of(train, "two")) == wanted


@pytest.mark.slow
def test_a_process_of_its_own_makes_the_same_files(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_preparation, "APART_BYTES_MIN", 1)
    steps: list[str] = []
    make_corpus(
        CorpusSection(paths=(made / "text",)),
        tmp_path / "corpus",
        seed=0,
        on_step=lambda what, done, total: steps.append(what),
    )
    make_text_files(SECTION, tmp_path / "corpus", tmp_path / "coordizer", tmp_path / "tokens", 0)
    assert digest(tmp_path / "corpus") == CORPUS
    assert digest(tmp_path / "tokens") == TOKENS
    assert steps


def refuse(*, on_step: OnStep) -> None:
    raise CorpusError("there", "is no text")


def die(*, on_step: OnStep) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("work", "error", "said"),
    [(refuse, CorpusError, "is no text"), (die, TrainingError, "code -9")],
)
def test_errors_and_the_death_of_the_process_are_typed(
    work: Callable[..., None], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        run_apart(work, on_step=lambda what, done, total: None)


def test_a_refused_corpus_leaves_the_corpus_before_it(made: Path, tmp_path: Path) -> None:
    section = CorpusSection(paths=(made / "text",))
    make_corpus(section, tmp_path / "corpus", seed=0)
    (tmp_path / "text" / "a").mkdir(parents=True)
    (tmp_path / "text" / "a" / "b.txt").write_text("little\n")
    with pytest.raises(CorpusError):
        make_corpus(CorpusSection(paths=(tmp_path / "text",)), tmp_path / "corpus", seed=0)
    assert digest(tmp_path / "corpus") == CORPUS
    assert sorted(path.name for path in tmp_path.iterdir()) == ["corpus", "text"]


def test_a_token_file_is_the_array_that_numpy_writes_and_gives_its_documents_back(
    tmp_path: Path,
) -> None:
    documents = [np.arange(1, n + 1, dtype=np.int32) for n in (3, 0, 5, 1)]
    path = write_tokens(tmp_path / "a.npy", documents, 0)
    np.save(tmp_path / "b.npy", np.array([0, 1, 2, 3, 0, 0, 1, 2, 3, 4, 5, 0, 1, 0], np.int32))
    assert path.read_bytes() == (tmp_path / "b.npy").read_bytes()
    for found in (list(read_documents(path, 0)), list(StreamDocuments.of(path, 0))):
        assert [each.tolist() for each in found] == [each.tolist() for each in documents]
    mapped = load_tokens(path, vocab_size=6)
    write_tokens(path, documents[:1], 0)
    assert len(mapped) == 14, "a mapped file is replaced, not changed"


def test_more_domains_than_kernels_are_refused() -> None:
    check_num_domains(240)
    with pytest.raises(ConfigError, match=r"has 241 domains.*table holds 240.*corpus.merge"):
        check_num_domains(241)


def test_text_without_room_on_the_disk_is_refused_beforehand(tmp_path: Path) -> None:
    check_room(forecast_text({"a": 1000}), tmp_path)
    with pytest.raises(CorpusError, match=r"needs .* of disk, and .* are free; .*--out"):
        check_room(forecast_text({"a": 10**15, "b.gz": 1}), tmp_path)


def test_the_forecast_grows_with_the_text_and_leaves_out_files_that_are_not_read(
    made: Path,
) -> None:
    whole = text_forecast(CorpusSection(paths=(made / "text",)))
    small = text_forecast(CorpusSection(paths=(made / "text",), file_bytes_max=2000))
    assert 0 < small.text_bytes < whole.text_bytes
    assert small.num_files < whole.num_files == 154
    assert 0 < small.seconds < whole.seconds
    one, two = forecast_text({"a.txt": 10**9}), forecast_text({"a.txt": 10**9, "b.gz": 10**8})
    assert (two.text_bytes, two.disk_bytes > one.disk_bytes) == (14 * 10**8, True)


def test_progress_is_reported_every_few_seconds_and_not_for_small_text() -> None:
    told: list[Event] = []
    now = [0.0]
    progress = TextProgress(told.append, clock=lambda: now[0])
    for second in range(25):
        now[0] = second
        progress("read text", second * 10**6, 10**8)
    assert told == [
        Notice(text="read text: 10 of 100 MB"),
        Notice(text="read text: 20 of 100 MB"),
    ]


def test_held_out_documents_are_sampled_evenly_where_a_domain_has_very_many() -> None:
    documents = [Document(text=str(n), domain="ab"[n % 5 == 0], source="s") for n in range(1000)]
    assert sample_evenly(documents) is documents
    chosen = sample_evenly(documents, 300)
    numbers = {name: [int(d.text) for d in chosen if d.domain == name] for name in "ab"}
    assert len(numbers["a"]) == 300
    assert numbers["b"] == list(range(0, 1000, 5))
    assert max(np.diff(numbers["a"])) <= 5
