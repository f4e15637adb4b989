"""Queries of a file: every text that a router accepts, by its line; what is none is named."""

import json
from pathlib import Path

import pytest

from constellation.errors import CorpusError
from constellation.releases.query_file import TEXT_BYTES_MAX, Query, read_queries
from constellation.wire import convert


def texts(path: Path) -> list[tuple[int, str | None]]:
    return [(query.line, query.text) for query in read_queries(path)]


def test_a_line_is_a_text(tmp_path: Path) -> None:
    path = tmp_path / "queries.txt"
    path.write_bytes('one\r\n\n  two \n{"prompt": 1}\n\nnaïve 日本'.encode())
    assert texts(path) == [
        (1, "one"),
        (2, None),
        (3, "  two "),
        (4, '{"prompt": 1}'),
        (5, None),
        (6, "naïve 日本"),
    ]


@pytest.mark.parametrize("name", ["queries.jsonl", "queries.NDJSON"])
def test_a_record_has_its_text_under_prompt_or_text(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    records = [{"prompt": "one\ntwo", "text": "other"}, {"text": "three", "id": 3}, {"text": ""}]
    lines = [json.dumps(record) for record in records]
    path.write_text("\n".join([lines[0], "", *lines[1:], '"\\ud800"']), encoding="utf-8")
    with pytest.raises(CorpusError, match="line 5 has no text under prompt or text"):
        texts(path)
    path.write_text("\n".join([lines[0], "", *lines[1:], '{"text": "\\ud800"}']), encoding="utf-8")
    assert texts(path) == [(1, "one\ntwo"), (2, None), (3, "three"), (4, None), (5, None)]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("no record", "line 2 is not JSON"),
        ("[" * 100_000, "line 2 is not JSON"),
        ("[]", "line 2 has no text under prompt or text"),
        ('{"query": "x"}', "line 2 has no text under prompt or text"),
        ('{"prompt": 3}', "line 2 has no text under prompt or text"),
    ],
)
def test_a_line_that_is_no_record_is_named(tmp_path: Path, line: str, told: str) -> None:
    path = tmp_path / "queries.jsonl"
    path.write_text(f'{{"text": "one"}}\n{line}\n', encoding="utf-8")
    with pytest.raises(CorpusError, match=told):
        texts(path)


def test_a_line_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    path = tmp_path / "queries.txt"
    path.write_bytes(b"one\nab\xff\n")
    with pytest.raises(CorpusError, match="line 2 is not UTF-8 at byte 2"):
        texts(path)


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"gone\.txt: cannot be read: No such file"):
        texts(tmp_path / "gone.txt")


def test_a_text_that_no_router_reads_is_passed_over(tmp_path: Path) -> None:
    assert convert.TEXT_BYTES_MAX == TEXT_BYTES_MAX
    path = tmp_path / "queries.txt"
    longest = b"x" * TEXT_BYTES_MAX
    path.write_bytes(b"\n".join([b"one", longest, longest + b"x", longest * 20, b"two"]))
    assert list(read_queries(path)) == [
        Query(line=1, text="one"),
        Query(line=2, text=longest.decode()),
        Query(line=3, text=None),
        Query(line=4, text=None),
        Query(line=5, text="two"),
    ]
