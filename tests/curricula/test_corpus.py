"""Reading: what a folder means, and what happens to text that cannot be read."""

import json
import sys
from io import BytesIO
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from constellation.curricula.corpus import ReadLimits, read_corpus
from constellation.curricula.corpus_checks import balance, validate
from constellation.errors import ConfigError, CorpusError


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_sub_folders_name_domains_and_single_files_name_their_own(tmp_path: Path) -> None:
    write(tmp_path / "law" / "deep" / "a.txt", "statute")
    write(tmp_path / "law" / "b.md", "# clause")
    write(tmp_path / "poems.txt", "verse")
    found = {d.source: d.domain for d in read_corpus(tmp_path).documents}
    assert found == {"law/deep/a.txt": "law", "law/b.md": "law", "poems.txt": "poems"}


def test_a_list_of_files_makes_one_domain_per_file(tmp_path: Path) -> None:
    paths = [write(tmp_path / "b.txt", "two"), write(tmp_path / "a.py", "x = 1")]
    corpus = read_corpus(paths)
    assert corpus.domains == ("a", "b")
    assert [d.text for d in corpus.documents] == ["two", "x = 1"]


def test_files_of_unknown_kind_and_hidden_files_are_passed_over(tmp_path: Path) -> None:
    write(tmp_path / "d" / "a.txt", "seen")
    write(tmp_path / "d" / "image.png", b"\x89PNG")
    write(tmp_path / ".git" / "b.txt", "hidden")
    assert [d.text for d in read_corpus(tmp_path).documents] == ["seen"]


def test_domain_names_become_names_that_kernels_may_have(tmp_path: Path) -> None:
    write(tmp_path / "My Notes (2024)" / "a.txt", "one")
    write(tmp_path / "été" / "b.txt", "two")
    corpus = read_corpus(tmp_path)
    assert corpus.domains == ("ete", "my-notes-2024")
    assert corpus.reading is not None
    assert corpus.reading.names == {"My Notes (2024)": "my-notes-2024", "été": "ete"}


def test_different_domains_stay_apart_wherever_their_names_come_from(tmp_path: Path) -> None:
    for folder in ("C", "C++", "C#", "中文", "हिन्दी", "Law"):
        write(tmp_path / folder / "a.txt", folder)
    write(tmp_path / "b.jsonl", json.dumps({"text": "x", "metadata": {"domain": "law"}}))
    domains = read_corpus(tmp_path).domains
    assert len(domains) == 7
    assert {"c", "c-plus-plus", "c-sharp", "law"} < set(domains)


def test_json_lines_give_a_document_per_line_and_metadata_may_name_the_domain(
    tmp_path: Path,
) -> None:
    lines = [
        {"text": "one", "metadata": {"domain": "x"}},
        {"text": "two", "metadata": {}},
        {"text": "three"},
    ]
    write(tmp_path / "data.jsonl", "\n".join(map(json.dumps, lines)) + "\n\n")
    found = [(d.text, d.domain, d.source) for d in read_corpus(tmp_path).documents]
    assert found == [
        ("one", "x", "data.jsonl:1"),
        ("two", "data", "data.jsonl:2"),
        ("three", "data", "data.jsonl:3"),
    ]


def test_a_record_that_names_its_source_keeps_the_name_and_the_place_in_the_source(
    tmp_path: Path,
) -> None:
    lines = [
        {"text": "one", "domain": "law", "source": "act1.txt", "part": 2},
        {"text": "two", "source": 7, "part": "x"},
        {"text": "three", "source": "", "part": -1},
    ]
    write(tmp_path / "train.jsonl", "\n".join(map(json.dumps, lines)))
    found = [(d.text, d.source, d.part) for d in read_corpus(tmp_path).documents]
    assert found == [
        ("one", "act1.txt", 2),
        ("two", "train.jsonl:2", 0),
        ("three", "train.jsonl:3", 0),
    ]


def test_html_gives_its_visible_text(tmp_path: Path) -> None:
    page = "<html><style>p{}</style><p>Fish &amp; chips</p><script>var x;</script><p>Tea</p>"
    write(tmp_path / "menu.html", page)
    (document,) = read_corpus(tmp_path).documents
    assert document.text.split("\n") == ["", "Fish & chips", "", "Tea", ""]


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", b"\xef\xbb\xbfhello")
    write(tmp_path / "b.jsonl", b'\xef\xbb\xbf{"text": "first record"}\n{"text": "second"}')
    texts = [document.text for document in read_corpus(tmp_path).documents]
    assert texts == ["hello", "first record", "second"]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("bad.txt", b"tea\xe9", "not UTF-8 at byte 3"),
        ("bad.jsonl", b'{"text": "a"', "not JSON"),
        ("bad.jsonl", b'["text"]', 'no "text" entry'),
        ("bad.jsonl", b'{"text": 3}', 'no "text" entry'),
        ("bad.jsonl", b'{"text": "\xff"}', "not UTF-8"),
        ("bad.jsonl", b"[" * 100_000, "not JSON"),
        ("bad.jsonl", rb'{"text": "\ud83d"}', "half a character"),
        ("bad.jsonl", rb'{"text": "a", "source": "\ud83d"}', "half a character"),
        ("bad.jsonl", rb'{"text": "a", "metadata": {"domain": "\ud83d"}}', "half a character"),
        ("bad.jsonl", rb'{"text": "a\u0000b"}', "NUL"),
        (
            "bad.jsonl",
            b'{"text": "a", "id": ' + b"1" * 5000 + b"}",
            "not JSON: an integer of too many digits",
        ),
        ("bad.jsonl", b'{"text": NaN}', 'no "text" entry'),
        ("bad.txt", b" \n\t", "empty text"),
    ],
)
def test_a_bad_record_is_named_and_skipped(
    tmp_path: Path, name: str, content: bytes, reason: str
) -> None:
    write(tmp_path / "good.txt", "fine")
    write(tmp_path / name, content)
    corpus = read_corpus(tmp_path)
    assert [d.text for d in corpus.documents] == ["fine"]
    (skip,) = corpus.skipped
    assert skip.source.startswith(name)
    assert reason in skip.reason


def test_a_file_over_the_size_limit_is_skipped(tmp_path: Path) -> None:
    write(tmp_path / "small.txt", "ok")
    write(tmp_path / "big.txt", "x" * 101)
    corpus = read_corpus(tmp_path, ReadLimits(file_bytes_max=100))
    assert [skip.source for skip in corpus.skipped] == ["big.txt"]


def test_unread_bytes_over_the_limit_stop_the_reading_and_name_file_reason_and_key(
    tmp_path: Path,
) -> None:
    write(tmp_path / "small.txt", "x" * 900)
    write(tmp_path / "big.txt", "y" * 1100)
    strict = ReadLimits(file_bytes_max=1000, unread_share_max=0.01)
    told = (
        r"55\.0% .* over the limit of 1\.0%: big\.txt \(1\.1 kB\): over the limit of corpus\.file"
    )
    with pytest.raises(CorpusError, match=told):
        read_corpus(tmp_path, strict)
    allowed = ReadLimits(file_bytes_max=1000, unread_share_max=0.6)
    reading = read_corpus(tmp_path, allowed).reading
    assert reading is not None
    assert reading.unread == {"big.txt": 1100}
    assert (reading.num_files, reading.num_bytes) == (1, 900)
    assert len(read_corpus(tmp_path, ReadLimits(unread_share_max=0)).documents) == 2


def test_files_too_large_are_refused_before_any_file_is_read(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", b"not UTF-8 \xff, which reading would name")
    write(tmp_path / "big.txt", "y" * 1100)
    with pytest.raises(CorpusError, match=r"over the limit of 1\.0%: big\.txt [^;]*; mend"):
        read_corpus(tmp_path, ReadLimits(file_bytes_max=1000, unread_share_max=0.01))


def test_a_damaged_file_counts_as_unread_and_a_picture_does_not(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", "x" * 1000)
    write(tmp_path / "b.png", b"\x89PNG\r\n\x1a\n" * 10_000)
    strict = ReadLimits(unread_share_max=0.01, file_bytes_max=5000)
    assert len(read_corpus(tmp_path, strict).documents) == 1
    write(tmp_path / "latin.txt", b"na\xefve " * 10)
    with pytest.raises(CorpusError, match=r"latin\.txt \(60 bytes\): not UTF-8 at byte 2"):
        read_corpus(tmp_path, strict)


def test_more_bad_records_than_the_limit_stop_the_reading(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", "fine")
    write(tmp_path / "data.jsonl", "\n".join(["broken"] * 4))
    assert len(read_corpus(tmp_path, ReadLimits(skips_max=4)).skipped) == 4
    with pytest.raises(CorpusError, match=r"data\.jsonl:4.*limit of 3.*data\.jsonl:1"):
        read_corpus(tmp_path, ReadLimits(skips_max=3))


def test_a_missing_folder_and_one_without_text_are_errors(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no such file or folder"):
        read_corpus(tmp_path / "nowhere")
    with pytest.raises(CorpusError, match="no readable text"):
        read_corpus(tmp_path)
    with pytest.raises(CorpusError, match="no path"):
        read_corpus([])
    with pytest.raises(ConfigError):
        ReadLimits(skips_max=-1)


def test_a_pdf_without_pypdf_is_named_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pypdf", None)
    write(tmp_path / "a.pdf", b"%PDF-1.4")
    write(tmp_path / "b.txt", "fine")
    (skip,) = read_corpus(tmp_path).skipped
    assert "pip install pypdf" in skip.reason


def test_a_pdf_is_read_page_by_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class DamagedPdfError(Exception):
        pass

    def reader(file: BytesIO) -> SimpleNamespace:
        if b"broken" in file.read():
            raise DamagedPdfError("no trailer")
        pages = [SimpleNamespace(extract_text=lambda t=t: t) for t in ("first", "second")]
        return SimpleNamespace(pages=pages)

    fake = ModuleType("pypdf")
    fake.PdfReader = reader  # type: ignore[attr-defined]
    fake.errors = SimpleNamespace(PyPdfError=DamagedPdfError)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pypdf", fake)
    write(tmp_path / "a.pdf", b"%PDF-1.4")
    write(tmp_path / "b.pdf", b"broken")
    corpus = read_corpus(tmp_path)
    assert [d.text for d in corpus.documents] == ["first\n\nsecond"]
    assert [s.reason for s in corpus.skipped] == ["damaged PDF: no trailer"]


def test_the_report_names_what_a_person_should_look_at(tmp_path: Path) -> None:
    write(tmp_path / "a" / "fine.txt", "x" * 3000)
    write(tmp_path / "b" / "huge.txt", "y" * (2**20 + 1))
    write(tmp_path / "b" / "damaged.txt", "na\ufffdve tea\ufffd")
    write(tmp_path / "b" / "latin.txt", b"na\xefve")
    report = validate(read_corpus(tmp_path))
    assert report.num_documents == 3
    assert report.bytes_by_domain == {"a": 3000, "b": 2**20 + 1 + 14}
    assert report.huge == ("b/huge.txt",)
    assert report.damaged == ("b/damaged.txt",)
    assert report.skipped == ("b/latin.txt: not UTF-8 at byte 2",)
    assert report.problems == 3
    assert 0 < report.balance < 0.1


def test_balance_is_one_for_equal_domains_and_zero_when_one_has_all() -> None:
    assert balance([5, 5, 5]) == pytest.approx(1.0)
    assert balance([7, 0]) == 0.0
    assert balance([7]) == balance([]) == balance([0, 0]) == 1.0
    assert balance([9, 1]) == pytest.approx(0.468996, abs=1e-6)


def test_domains_are_merged_under_new_names_and_the_rest_is_left_out(tmp_path: Path) -> None:
    for name in ("law", "verse", "notes", "code"):
        write(tmp_path / name / "a.txt", name)
    corpus = read_corpus(tmp_path)
    merged = corpus.merged({"prose": ["verse", "notes"], "rules": ["law"]})
    assert {d.text: d.domain for d in merged.documents} == {
        "verse": "prose",
        "notes": "prose",
        "law": "rules",
    }
    with pytest.raises(CorpusError, match="no domain 'poems'"):
        corpus.merged({"prose": ["poems"]})
    with pytest.raises(CorpusError, match="merged into two"):
        corpus.merged({"prose": ["law"], "rules": ["law"]})
