"""Preparing: cleaning, de-duplication, the split, the manifest, the folder it is kept in."""

import dataclasses
import hashlib
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from constellation.curricula.chunks import chunk
from constellation.curricula.corpus import Corpus, Document
from constellation.curricula.corpus_store import load_prepared, save_prepared
from constellation.curricula.deduplication import deduplicate
from constellation.curricula.prepare import PrepareConfig, PreparedCorpus, prepare
from constellation.curricula.split import SPLITS, SplitConfig, split
from constellation.curricula.text_cleaning import clean
from constellation.errors import ArtifactError, ConfigError, CorpusError

lined_text = st.text(alphabet="ab \t\r\n\x00\x0cé", max_size=300)


def words(seed: int, count: int) -> str:
    """Return random words, eight to a line, with a blank line now and then."""
    source = random.Random(seed)
    parts = ["".join(source.choices("abcdefghij", k=5)) for _ in range(count)]
    lines = [" ".join(parts[i : i + 8]) for i in range(0, count, 8)]
    return "\n".join(line + ("\n" if i % 5 == 4 else "") for i, line in enumerate(lines)) + "\n"


def document(seed: int, *, domain: str = "d", count: int = 400) -> Document:
    return Document(text=words(seed, count), domain=domain, source=f"{domain}/{seed}.txt")


def corpus(num_documents: int = 40, domains: tuple[str, ...] = ("x", "y")) -> Corpus:
    return Corpus(
        documents=tuple(
            document(i * len(domains) + j, domain=name)
            for i in range(num_documents)
            for j, name in enumerate(domains)
        )
    )


@given(lined_text)
def test_cleaning_twice_changes_nothing_more(text: str) -> None:
    once = clean(text)
    assert clean(once) == once
    assert "\r" not in once
    assert "\x00" not in once
    assert not any(line != line.rstrip(" \t") for line in once.split("\n"))


def test_cleaning_looks_at_every_blank_of_a_long_run_once() -> None:
    """A pattern that began anew at every blank took 2.5 hours for a million of them."""
    run = " " * 1_000_000
    assert clean(f"a{run}b{run}\n{run}") == f"a{run}b\n"


def test_cleaning_keeps_indentation_and_two_blank_lines() -> None:
    assert clean("a:\r\n\tb  \r\n\n\n\n\nc") == "a:\n\tb\n\n\nc\n"
    assert clean(" \n\x00\n") == ""


@given(lined_text, st.integers(1, 20), st.integers(0, 40))
def test_pieces_join_back_to_the_text_and_respect_the_limit(
    text: str, chars_min: int, more: int
) -> None:
    pieces = chunk(text, chars_min=chars_min, chars_max=chars_min + more)
    assert "".join(pieces) == text
    assert all(1 <= len(piece) <= chars_min + more for piece in pieces)


def test_a_piece_ends_before_a_top_level_definition_not_inside_one() -> None:
    functions = [f"def f{i}():\n    x = {i}\n\n    return x\n\n\n" for i in range(9)]
    pieces = chunk("".join(functions), chars_min=60, chars_max=200)
    assert len(pieces) > 2
    assert all(piece.startswith("def ") for piece in pieces)


def test_copies_near_copies_and_repeated_paragraphs_are_kept_once() -> None:
    base = words(1, 400)
    swapped = base.replace("a", "z", 3)
    notice = words(2, 60).replace("\n\n", "\n")
    texts = [base, base, swapped, words(3, 400), notice + "\n" + words(4, 80), notice]
    documents = [Document(text=t, domain="d", source=str(i)) for i, t in enumerate(texts)]
    result = deduplicate(documents)
    assert [d.source for d in result.documents] == ["0", "3", "4"]
    assert (result.num_exact, result.num_near, result.num_paragraphs) == (1, 1, 1)


def test_texts_that_share_half_of_their_words_are_not_copies() -> None:
    shared = words(1, 200)
    documents = [
        Document(text=shared + "\n" + words(seed, 200), domain="d", source=str(seed))
        for seed in (2, 3)
    ]
    assert deduplicate(documents, paragraph_chars_min=10**6).num_near == 0


@pytest.mark.parametrize("seed", range(5))
def test_no_source_and_no_text_lies_in_two_splits(seed: int) -> None:
    documents = [document(1000 * seed + i, count=50 + 40 * i) for i in range(30)]
    documents.append(document(1000 * seed + 99, count=8000))  # long enough to be cut
    prepared = prepare(Corpus(documents=tuple(documents)))
    for get in (lambda d: d.source, lambda d: d.text):
        seen = [{get(d) for d in prepared.of_split(name)} for name in SPLITS]
        assert not seen[0] & seen[1] | seen[0] & seen[2] | seen[1] & seen[2]
    joined = "".join(sorted(d.text for name in SPLITS for d in prepared.of_split(name)))
    original = "".join(sorted(piece for d in documents for piece in chunk(clean(d.text))))
    assert sorted(joined) == sorted(original)


def test_the_split_does_not_depend_on_order_or_on_other_domains() -> None:
    documents = [document(i) for i in range(30)]
    others = [document(500 + i, domain="other") for i in range(9)]
    shuffled = random.Random(0).sample(documents, len(documents))
    first = split(documents, SplitConfig())
    second = split(others + shuffled, SplitConfig())
    for name in SPLITS:
        assert {d.source for d in first[name]} == {
            d.source for d in second[name] if d.domain == "d"
        }


def test_documents_of_one_source_lie_in_one_split_unless_the_source_dominates() -> None:
    few = [
        dataclasses.replace(document(3 * i + j), source=f"book {i}")
        for i in range(40)
        for j in range(3)
    ]
    shares = split(few, SplitConfig())
    places = {(d.source, name) for name, documents in shares.items() for d in documents}
    assert len(places) == 40
    most = [dataclasses.replace(document(i, count=20), source="dump") for i in range(60)]
    dominant = split(most, SplitConfig())
    assert all(dominant.values())
    sources = [d.source for documents in dominant.values() for d in documents]
    assert sorted(sources) == sorted(f"dump#{i}" for i in range(60))


def test_each_split_has_about_its_share_of_the_text() -> None:
    documents = [document(i, count=200 + 10 * (i % 7)) for i in range(200)]
    shares = split(documents, SplitConfig(dev_share=0.2, test_share=0.1))
    total = sum(len(d.text) for d in documents)
    size = {name: sum(len(d.text) for d in shares[name]) / total for name in SPLITS}
    assert size["dev"] == pytest.approx(0.2, abs=0.01)
    assert size["test"] == pytest.approx(0.1, abs=0.01)


def test_a_domain_of_one_long_book_still_has_held_out_text() -> None:
    (book,) = [document(1, count=20_000)]
    shares = split([book], SplitConfig())
    assert all(shares[name] for name in SPLITS)
    assert "".join(sorted("".join(d.text for n in SPLITS for d in shares[n]))) == "".join(
        sorted(book.text)
    )


def test_three_documents_give_one_to_each_split_and_two_are_too_few() -> None:
    documents = [document(i, count=40) for i in range(3)]
    assert [len(split(documents, SplitConfig())[name]) for name in SPLITS] == [1, 1, 1]
    with pytest.raises(CorpusError, match="2 documents"):
        split(documents[:2], SplitConfig())


def test_preparing_twice_gives_the_same_and_the_manifest_counts_right() -> None:
    first, second = prepare(corpus()), prepare(corpus())
    assert first == second
    splits = first.manifest["splits"]
    assert isinstance(splits, dict)
    for name in SPLITS:
        documents = first.of_split(name)
        assert splits[name]["num_documents"] == len(documents)
        assert splits[name]["num_bytes"] == sum(len(d.text.encode()) for d in documents)
        assert set(splits[name]["domains"]) == {"x", "y"}
    assert first.domains == ("x", "y")


def test_the_manifest_changes_with_the_text() -> None:
    changed = corpus().documents
    changed = (dataclasses.replace(changed[0], text=changed[0].text + "more\n"), *changed[1:])
    assert prepare(corpus()).manifest != prepare(Corpus(documents=changed)).manifest


def test_the_cap_holds_for_every_domain() -> None:
    prepared = prepare(corpus(), PrepareConfig(domain_bytes_max=30_000))
    for name in ("x", "y"):
        size = sum(
            len(d.text.encode()) for s in SPLITS for d in prepared.of_split(s) if d.domain == name
        )
        assert 20_000 < size <= 30_000


def test_a_corpus_of_control_characters_is_refused() -> None:
    empty = Corpus(documents=(Document(text="\x00\x01\n", domain="d", source="s"),))
    with pytest.raises(CorpusError, match="no text is left"):
        prepare(empty)


@pytest.mark.parametrize(
    "settings",
    [
        {"domain_bytes_max": 0},
        {"similarity_max": 0.0},
        {"chunk_chars_min": 10, "chunk_chars_max": 9},
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(ConfigError):
        PrepareConfig(**settings)  # type: ignore[arg-type]
    with pytest.raises(ConfigError):
        SplitConfig(dev_share=0.5, test_share=0.5)


@pytest.fixture
def kept(tmp_path: Path) -> tuple[Path, PreparedCorpus]:
    prepared = prepare(corpus())
    save_prepared(tmp_path / "corpus", prepared)
    return tmp_path / "corpus", prepared


def test_a_kept_corpus_comes_back_equal(kept: tuple[Path, PreparedCorpus]) -> None:
    assert load_prepared(kept[0]) == kept[1]


@pytest.mark.parametrize("damage", ["text", "json", "missing", "manifest"])
def test_a_damaged_folder_is_refused(kept: tuple[Path, PreparedCorpus], damage: str) -> None:
    folder, _ = kept
    train = folder / "train.jsonl"
    if damage == "text":
        train.write_text(train.read_text().replace("a", "b", 9))
    elif damage == "json":
        train.write_text(train.read_text()[:-20])
    elif damage == "missing":
        train.unlink()
    else:
        (folder / "manifest.json").write_text("[]")
    with pytest.raises(ArtifactError):
        load_prepared(folder)


def test_the_digest_tells_documents_apart_that_join_to_the_same_text() -> None:
    from constellation.curricula.prepare import describe

    one = [Document(text="ab", domain="d", source="s"), Document(text="c", domain="d", source="s")]
    two = [Document(text="a", domain="d", source="s"), Document(text="bc", domain="d", source="s")]
    assert describe(one)["sha256"] != describe(two)["sha256"]
    assert describe([])["sha256"] == hashlib.sha256().hexdigest()
