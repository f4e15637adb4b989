"""Make the prepared corpus, the coordizer and the token files that a recipe asks for."""

import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from time import perf_counter

import numpy as np

from constellation.coordizer.blocks import NUM_OUTCOMES, outcomes_for
from constellation.coordizer.coordinates import fit_anchored_files
from constellation.coordizer.coordizer import Coordizer
from constellation.coordizer.encoding import Encoder
from constellation.coordizer.training import (
    CorpusDigest,
    assemble,
    statistics_step,
    train_vocabulary,
    with_statistics,
)
from constellation.coordizer.vocabulary import END_ID, Vocabulary
from constellation.curricula.corpus import CorpusFiles, Document
from constellation.curricula.corpus_store import load_prepared, save_prepared
from constellation.curricula.domain_discovery import discover_domains
from constellation.curricula.file_search import find_files, readable
from constellation.curricula.prepare import PrepareConfig, prepare, prepare_files
from constellation.curricula.prepared_corpus import OneDomain, PreparedCorpus
from constellation.curricula.prepared_files import DocumentFile, describe
from constellation.curricula.split import SPLITS, SplitConfig
from constellation.curricula.starter import starter_corpus
from constellation.curricula.text_room import TextForecast, check_room, forecast_text
from constellation.errors import CorpusError
from constellation.records import TokenArray
from training.recipe import CoordizerSection
from training.recipe_corpus import CorpusSection
from training.runs.training_plan import SEED
from training.text_process import OnStep, no_step, run_apart
from training.text_replay import sample_replay
from training.token_files import StreamDocuments, TokenFileWriter, read_documents, write_tokens

MERGE_BYTES_MAX = 256 * 2**20
"""Most bytes of text that merges are learned from; of more text, documents at even steps. The
trainer of merges keeps all different words in memory."""

APART_BYTES_MIN = 64 * 2**20
"""Bytes of text from which on text is prepared in a process of its own."""

_STEP_DOCUMENTS = 1024
"""Documents between two reports of progress."""

_SLAB_DOCUMENTS = 256
"""Documents encoded at once."""

_CACHE_BYTES_MAX = 24 * 2**20
"""Bytes of words whose tokens are remembered while a corpus is encoded; takes about 200 MB."""


def corpus_inputs(section: CorpusSection, *, seed: int) -> dict[str, object]:
    """Return the values that decide the corpus: the settings, and the state of its files."""
    files = [
        [readable(str(file.path)), file.size_bytes, file.changed_ns]
        for file in find_files(section.paths).files
    ]
    decides = {"seed": seed} if section.discover_domains else {}
    # The starter corpus is this Python's own text.
    return {
        "settings": section.model_dump(mode="json"),
        "files": files,
        "python": sys.version,
        **decides,
    }


def make_corpus(
    section: CorpusSection,
    folder: Path,
    *,
    seed: int,
    domains_min: int = 2,
    check: Callable[[PreparedCorpus], None] | None = None,
    on_step: OnStep = no_step,
) -> PreparedCorpus:
    """Read and prepare the corpus, and store it in `folder`.

    Args:
        section: Which text.
        folder: For the corpus; a corpus that is there is replaced at the end.
        seed: Seed of the discovery of domains.
        domains_min: Least domains.
        check: Called with the corpus before it replaces another; raises when it cannot be used.
        on_step: Called with the bytes read so far, and the bytes of all files.

    Raises:
        CorpusError: The text is missing, empty, too damaged, or has too few domains, or the disk
            has too little room for preparing it.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = folder.with_name(f".{folder.name}-part")
    shutil.rmtree(fresh, ignore_errors=True)  # of a run that was killed
    try:
        forecast = text_forecast(section)
        check_room(forecast, folder.parent)
        if forecast.text_bytes >= APART_BYTES_MIN:
            run_apart(prepare_corpus, section, fresh, seed, on_step=on_step)
        else:
            prepare_corpus(section, fresh, seed, on_step=on_step)
        prepared = load_prepared(fresh)
        if len(prepared.domains) < domains_min:
            raise CorpusError(
                ", ".join(map(str, section.paths)) or "starter corpus",
                f"a constellation needs two domains or more, found {list(prepared.domains)}; "
                "put each domain's text in a sub-folder of its own",
            )
        if check is not None:
            check(prepared)
        shutil.rmtree(folder, ignore_errors=True)
        fresh.rename(folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return load_prepared(folder)


def prepare_corpus(section: CorpusSection, folder: Path, seed: int, *, on_step: OnStep) -> None:
    """Read and prepare the corpus as `make_corpus` does, without checks of the result."""
    config = PrepareConfig(
        domain_bytes_max=section.domain_bytes_max,
        split=SplitConfig(dev_share=section.dev_share, test_share=section.test_share),
    )
    if section.paths:
        files = CorpusFiles(
            section.paths, section.limits, on_read=lambda *bytes_: on_step("read text", *bytes_)
        )
        prepare_files(files, folder, config, merge=section.merge)
    else:
        corpus = starter_corpus()
        corpus = corpus.merged(section.merge) if section.merge else corpus
        save_prepared(folder, prepare(corpus, config))
    if section.discover_domains is not None:
        prepared = discover_domains(
            load_prepared(folder), num_domains=section.discover_domains, seed=seed
        )
        save_prepared(folder, prepared)


def text_forecast(section: CorpusSection) -> TextForecast:
    """Return what preparing the text will take, from the sizes of its files."""
    files = find_files(section.paths).files
    limit = section.file_bytes_max
    return forecast_text({file.name: file.size_bytes for file in files if file.size_bytes <= limit})


def as_one_domain(corpus: PreparedCorpus, name: str) -> PreparedCorpus:
    """Return the corpus with all its text in one domain, from which a single kernel learns."""
    splits = {part: OneDomain(corpus.of_split(part), name) for part in SPLITS}
    return PreparedCorpus(**splits, manifest=corpus.manifest)


def make_text_files(
    section: CoordizerSection,
    corpus: Path,
    folder: Path,
    tokens: Path,
    seed: int,
    *,
    on_step: OnStep = no_step,
) -> list[Path]:
    """Make the coordizer and the token files of a stored corpus; return the token files.

    The arguments are those of `make_coordizer`, with the folder of the corpus.
    """
    train = corpus / "train.jsonl"
    if train.stat().st_size >= APART_BYTES_MIN:
        return run_apart(_make_text_files, section, corpus, folder, tokens, seed, on_step=on_step)
    return _make_text_files(section, corpus, folder, tokens, seed, on_step=on_step)


def _make_text_files(
    section: CoordizerSection,
    corpus: Path,
    folder: Path,
    tokens: Path,
    seed: int,
    *,
    on_step: OnStep,
) -> list[Path]:
    prepared = load_prepared(corpus)
    return make_coordizer(section, prepared, folder, tokens, seed=seed, on_step=on_step)[1]


def make_coordizer(
    section: CoordizerSection,
    corpus: PreparedCorpus,
    folder: Path,
    tokens: Path,
    *,
    seed: int,
    on_step: OnStep = no_step,
) -> tuple[Coordizer, list[Path]]:
    """Train the coordizer on the training text, anchored to the domains, and write token files.

    The text is encoded once: the coordinates are fitted to the token files.

    Args:
        section: Size of the vocabulary, and how merges are chosen.
        corpus: The text.
        folder: For the coordizer.
        tokens: Folder for the token files.
        seed: Seed of the coordinates.
        on_step: Called with documents done and to do.

    Returns:
        The coordizer, and the token files as `make_tokens` names them.
    """
    start_s = perf_counter()
    digest = CorpusDigest()
    vocabulary = train_vocabulary(
        _for_merges(corpus.train, digest, on_step),
        vocab_size=section.vocab_size,
        criterion=section.criterion,
    )
    merged_s = perf_counter()
    written = make_tokens(corpus, vocabulary, tokens, on_step=on_step)
    coordinates = fit_anchored_files(
        lambda name: read_documents(tokens / f"{name}.train.npy", END_ID),
        corpus.domains,
        vocab_size=len(vocabulary.tokens),
        num_outcomes=outcomes_for(len(corpus.domains), NUM_OUTCOMES),
        seed=seed,
        folder=tokens,
    )
    provenance = digest.provenance(
        seed=seed, seconds_merges=merged_s - start_s, seconds_fit=perf_counter() - merged_s
    )
    sample = corpus.train[:: statistics_step(len(corpus.train))]
    coordizer = with_statistics(
        assemble(vocabulary, coordinates, provenance), [document.text for document in sample]
    )
    coordizer.save(folder)
    return coordizer, written


def _for_merges(
    documents: Sequence[Document], digest: CorpusDigest, on_step: OnStep
) -> Iterator[str]:
    """Yield the texts that merges are learned from, and add all documents to a digest."""
    described = documents.described if isinstance(documents, DocumentFile) else describe(documents)
    num_bytes = described["num_bytes"]
    assert isinstance(num_bytes, int)
    step = max(1, -(-num_bytes // MERGE_BYTES_MAX))
    for number, document in enumerate(documents):
        digest.add(document.text, document.domain)
        if number % _STEP_DOCUMENTS == 0:
            on_step("learn merges, document", number, len(documents))
        if number % step == 0:
            yield document.text


def make_tokens(
    corpus: PreparedCorpus, vocabulary: Vocabulary, folder: Path, *, on_step: OnStep = no_step
) -> list[Path]:
    """Write one token stream per domain, and one of all domains for the seed, for train and dev.

    Returns:
        The files, named `DOMAIN.SPLIT.npy`, int32.
    """
    folder.mkdir(parents=True, exist_ok=True)
    encoder = Encoder(vocabulary, cache_bytes_max=_CACHE_BYTES_MAX)
    written: list[Path] = []
    for split in ("train", "dev"):
        paths = {name: folder / f"{name}.{split}.npy" for name in (SEED, *corpus.domains)}
        with ExitStack() as stack:
            writers = {
                name: stack.enter_context(TokenFileWriter(path, END_ID))
                for name, path in paths.items()
            }
            documents = corpus.of_split(split)
            for number, (domain, ids) in enumerate(_encoded(documents, encoder)):
                if number % _STEP_DOCUMENTS == 0:
                    on_step(f"write tokens of {split}, document", number, len(documents))
                for name in {SEED, domain} & writers.keys():
                    writers[name].write(ids)
        written += paths.values()
    return written


def _encoded(documents: Iterable[Document], encoder: Encoder) -> Iterator[tuple[str, TokenArray]]:
    """Yield the domain and the tokens of each document, encoded a few hundred at a time."""
    rest = iter(documents)
    while slab := list(islice(rest, _SLAB_DOCUMENTS)):
        tokens = encoder.encode_batch([document.text for document in slab])
        yield from zip((document.domain for document in slab), tokens, strict=True)


def make_replay(corpus: PreparedCorpus, folder: Path, share: float) -> list[Path]:
    """Write a token stream of other domains' training text for every domain.

    Args:
        corpus: Text with its domains.
        folder: With the token files of the text; for the new files.
        share: Share of a branch's tokens that come from other domains, in (0, 1).

    Returns:
        The files, named `DOMAIN.replay.npy`, int32.
    """
    documents = StreamDocuments.of(folder / f"{SEED}.train.npy", END_ID)
    domains = np.asarray([document.domain for document in corpus.train])
    written = []
    for name in corpus.domains:
        own = documents.chosen(domains == name)
        replay = sample_replay(
            documents.chosen(domains != name),
            own_tokens=sum(map(len, own)),
            share=share,
            name=name,
        )
        written.append(write_tokens(folder / f"{name}.replay.npy", replay, END_ID))
    return written


def bytes_per_token(documents: Iterable[Document], num_tokens: int) -> float:
    """Return the mean bytes of a token over these documents."""
    return sum(len(document.text.encode()) for document in documents) / max(1, num_tokens)
