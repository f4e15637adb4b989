"""What people are told of a corpus: what was read, what was not, and why."""

import json
from pathlib import Path

from constellation.curricula.corpus import ReadLimits, read_corpus
from constellation.curricula.prepare import PrepareConfig, prepare
from constellation.curricula.reading_report import LISTED_MAX, corpus_lines, in_units, reading_lines


def write(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def folder_with_everything(root: Path) -> Path:
    for domain in ("law", "C++", "spare"):
        for number in range(6):
            words = " ".join(f"{domain}{number}word{i}" for i in range(60))
            write(root / domain / f"{number}.txt", words)
    write(root / "law" / "copy.txt", " ".join(f"law0word{i}" for i in range(60)))
    write(root / "law" / "picture.png", b"\x89PNG")
    write(root / "law" / "lib.so", b"\x00")
    write(root / "law" / "old.txt", b"na\xefve")
    write(root / "law" / "noise.txt", "\x01\x02\n")
    write(root / "law" / ".DS_Store", "x")
    write(root / "law" / "data.jsonl", json.dumps({"text": "\ud83d"}))
    (root / "law" / "gone").symlink_to(root / "nowhere")
    return root


def test_every_way_of_not_being_read_has_a_line(tmp_path: Path) -> None:
    corpus = read_corpus(folder_with_everything(tmp_path), ReadLimits())
    merged = corpus.merged({"law": ["law"], "c-plus-plus": ["c-plus-plus"]})
    prepared = prepare(merged, PrepareConfig(domain_bytes_max=3000))
    lines = corpus_lines(prepared.manifest)
    assert lines[0].startswith("read: 21 files, ")
    assert lines[1] == "not read, since they hold no text: 1 .png, 1 .so"
    assert lines[2] == (
        "not read, 2 files or records: law/data.jsonl:1 (holds half a character (a lone "
        "surrogate)), law/old.txt (5 bytes, not UTF-8 at byte 2)"
    )
    assert lines[3].startswith("passed over: law/gone (a link that leads nowhere")
    assert lines[4] == "hidden, so not read: law/.DS_Store"
    assert lines[5] == "names of domains: 'C++' is called c-plus-plus"
    assert lines[6] == "left out, since corpus.merge does not name them: spare (6 documents)"
    assert lines[7] == "left out, documents: 1 empty after cleaning, 1 copies"
    assert lines[8].startswith("left out by corpus.domain_bytes_max = 3,000: ")
    assert "law" in lines[8]
    assert lines[9].startswith("prepared: ")
    assert len(lines) == 10
    # What the lines shorten, the manifest has in full, and a manifest is JSON.
    assert json.loads(json.dumps(prepared.manifest)) == prepared.manifest


def test_a_clean_corpus_takes_two_lines_and_one_from_elsewhere_one(tmp_path: Path) -> None:
    for number in range(6):
        write(tmp_path / "law" / f"{number}.txt", " ".join(f"{number}w{i}" for i in range(60)))
    corpus = read_corpus(tmp_path)
    assert len(corpus_lines(prepare(corpus).manifest)) == 2
    assert reading_lines(corpus) == ["read: 6 files, 1.7 kB, 6 documents"]
    manifest = dict(prepare(corpus).manifest)
    assert len(corpus_lines({"splits": manifest["splits"]})) == 1


def test_long_lists_are_cut_and_counted(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", "fine")
    write(tmp_path / "b.jsonl", "broken\n" * (LISTED_MAX + 3))
    told = reading_lines(read_corpus(tmp_path))[1]
    assert told.startswith(f"not read, {LISTED_MAX + 3} files or records: b.jsonl:1 (not JSON")
    assert told.endswith(" and 3 more")


def test_sizes_have_units() -> None:
    assert [in_units(n) for n in (0, 999, 1000, 4500, 280_000_000, 6_800_000_000)] == [
        "0 bytes",
        "999 bytes",
        "1.0 kB",
        "4.5 kB",
        "280.0 MB",
        "6.8 GB",
    ]
