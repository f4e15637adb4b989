"""Reading files by their suffix, and files whose suffix says nothing."""

import gzip
import importlib.util
import json
from pathlib import Path

import pytest

from constellation.curricula.corpus import Corpus, ReadLimits, read_corpus


def read(folder: Path, files: dict[str, bytes], **limits: object) -> Corpus:
    for name, content in {"good.txt": b"fine", **files}.items():
        (folder / name).write_bytes(content)
    return read_corpus(folder, ReadLimits(**limits))  # type: ignore[arg-type]


def texts(corpus: Corpus) -> list[str]:
    return [document.text for document in corpus.documents if document.text != "fine"]


@pytest.mark.parametrize(
    "name", ["README", "ls.1", "run.log", "Perl.pm", "table.csv", "page.svg", "x.unknown"]
)
def test_a_file_of_any_suffix_that_is_text_is_read(tmp_path: Path, name: str) -> None:
    corpus = read(tmp_path, {name: "\x1b[31mété\x1b[0m\tx\n".encode()})
    assert texts(corpus) == ["\x1b[31mété\x1b[0m\tx\n"]
    assert not corpus.skipped


def test_files_that_hold_no_text_are_counted_by_their_suffix(tmp_path: Path) -> None:
    binary = {"a.so": b"\x7fELF\x00", "b.so": b"\x00", "c.png": b"\x89PNG\r\n\x1a\n"}
    corpus = read(tmp_path, {**binary, "core": b"a\x00b", "old.log": b"na\xefve"})
    assert corpus.reading is not None
    assert corpus.reading.not_text == {".so": 2, ".png": 1, "without suffix": 1, ".log": 1}
    assert not corpus.skipped


def test_a_large_file_of_an_unknown_suffix_is_looked_at_before_it_is_called_text(
    tmp_path: Path,
) -> None:
    files = {"a.bin": b"\x00" * 200, "b.log": ("é" * 100).encode()}
    corpus = read(tmp_path, files, file_bytes_max=100)
    assert corpus.reading is not None
    assert corpus.reading.not_text == {".bin": 1}
    assert corpus.reading.unread == {"b.log": 200}


def test_a_packed_file_is_read_as_the_file_in_it(tmp_path: Path) -> None:
    lines = b'{"text": "one"}\n{"text": "two"}'
    packed = {
        "a.jsonl.gz": gzip.compress(lines),
        "b.txt.gz": gzip.compress(b"three"),
        "c.GZ": gzip.compress(b"four"),
        "d.tar.gz": gzip.compress(b"\x00\x01"),
    }
    corpus = read(tmp_path, packed)
    assert texts(corpus) == ["one", "two", "three", "four"]
    assert {d.domain for d in corpus.documents} == {"a", "b", "c", "good"}
    assert corpus.reading is not None
    assert corpus.reading.not_text == {".tar": 1}


def test_a_packed_file_that_is_damaged_or_unpacks_to_too_much_is_named(tmp_path: Path) -> None:
    bomb = gzip.compress(b"a" * 10_000)
    corpus = read(tmp_path, {"a.txt.gz": bomb, "b.txt.gz": bomb[:20]}, file_bytes_max=1000)
    reasons = {skip.source: skip.reason for skip in corpus.skipped}
    assert "over the limit of corpus.file_bytes_max = 1000 bytes" in reasons["a.txt.gz"]
    assert "damaged gzip" in reasons["b.txt.gz"]


def test_a_named_column_of_a_table_gives_a_document_per_row(tmp_path: Path) -> None:
    table = b'id,body\n1,"first, with a comma"\n2,\n3,third\n4\n'
    tabs = b"body\tid\nfourth\t1\n"
    corpus = read(tmp_path, {"a.csv": table, "b.tsv": tabs}, text_column="body")
    assert texts(corpus) == ["first, with a comma", "third", "fourth"]
    assert [skip.source for skip in corpus.skipped] == ["a.csv:2", "a.csv:4"]


def test_a_table_without_the_column_is_named_with_the_columns_that_it_has(tmp_path: Path) -> None:
    corpus = read(tmp_path, {"a.csv": b"id,body\n1,x\n"}, text_column="text")
    (skip,) = corpus.skipped
    assert skip.reason == "no column 'text'; name one by corpus.text_column: id, body"


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("pyarrow") is None, reason="needs pyarrow")
def test_a_parquet_file_gives_a_document_per_row_of_its_column(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"text": ["one", None], "body": ["two", "x"]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"text": [1]}), tmp_path / "b.parquet")
    corpus = read(tmp_path, {"c.parquet": b"PAR1"})
    assert texts(corpus) == ["one"]
    reasons = {skip.source: skip.reason for skip in corpus.skipped}
    assert reasons["b.parquet"] == "the column holds int, not text"
    assert "damaged parquet" in reasons["c.parquet"]
    named = read(tmp_path, {}, text_column="body")
    assert texts(named) == ["two", "x"]


def test_a_notebook_gives_its_cells_without_what_they_printed(tmp_path: Path) -> None:
    cells = [
        {"cell_type": "markdown", "source": ["# Title\n", "words"]},
        {"cell_type": "code", "source": "x = 1", "outputs": [{"text": "noise"}]},
    ]
    notebook = json.dumps({"cells": cells}).encode()
    corpus = read(tmp_path, {"a.ipynb": notebook, "b.ipynb": b"{}", "c.ipynb": b"["})
    assert texts(corpus) == ["# Title\nwords\n\nx = 1"]
    assert [skip.source for skip in corpus.skipped] == ["b.ipynb", "c.ipynb"]


def test_html_that_the_parser_refuses_is_named(tmp_path: Path) -> None:
    corpus = read(tmp_path, {"a.html": b"<p>x</p><![foo[ <b>y"})
    assert len(corpus.documents) + len(corpus.skipped) == 2


@pytest.mark.parametrize("unit", ["<a ", "<!--", "</", "<a b='", "<script></", "&"])
def test_a_page_of_broken_tags_takes_no_time_worth_naming(tmp_path: Path, unit: str) -> None:
    """The parser alone takes minutes for a rest of 64 kB, and more with its square."""
    page = ("<p>seen &amp; kept</p>" + unit * 100_000).encode()
    (document,) = [d for d in read(tmp_path, {"a.html": page}).documents if d.domain == "a"]
    assert "seen & kept" in document.text


def test_a_page_that_ends_inside_a_tag_keeps_its_text(tmp_path: Path) -> None:
    rest = "<div class='x' " + "<b>bold</b> &lt; words " * 100
    corpus = read(tmp_path, {"a.html": b"<p>one</p><!-- " + rest.encode(), "b.html": b"two <a hre"})
    long, short = texts(corpus)
    assert long.split()[:4] == ["one", "bold", "<", "words"]
    assert short.startswith("two")


def test_a_text_file_with_nul_characters_is_named(tmp_path: Path) -> None:
    corpus = read(tmp_path, {"a.txt": "utf-16".encode("utf-16-le")})
    assert [skip.reason for skip in corpus.skipped] == [
        "holds NUL characters, so it is no text, or text in UTF-16"
    ]
