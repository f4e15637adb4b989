"""Finding files: links are followed once, and nothing is passed over without a name."""

import os
from pathlib import Path

import pytest

from constellation.curricula.corpus import read_corpus
from constellation.curricula.file_search import find_files
from constellation.curricula.reading_report import reading_lines
from constellation.errors import CorpusError


def write(path: Path, content: str = "text") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def names(root: Path) -> list[str]:
    return [file.name for file in find_files([root]).files]


def test_a_domain_whose_folder_is_a_link_is_read(tmp_path: Path) -> None:
    write(tmp_path / "data" / "three" / "deep" / "a.txt", "elsewhere")
    write(tmp_path / "corpus" / "one" / "b.txt", "here")
    (tmp_path / "corpus" / "three").symlink_to(tmp_path / "data" / "three")
    found = {d.source: d.domain for d in read_corpus(tmp_path / "corpus").documents}
    assert found == {"one/b.txt": "one", "three/deep/a.txt": "three"}


def test_links_that_form_a_loop_end_and_are_named(tmp_path: Path) -> None:
    write(tmp_path / "a" / "x.txt")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "self").symlink_to(tmp_path / "self")
    (tmp_path / "twice").symlink_to(tmp_path / "a")
    found = find_files([tmp_path])
    assert [file.name for file in found.files] == ["a/x.txt"]
    told = {each.source: each.reason for each in found.passed_over}
    assert set(told) == {"a/up", "self", "twice"}
    assert "the same folder as a, which is read once" in told["twice"]
    assert "a link that leads nowhere" in told["self"]


def test_a_folder_of_its_own_goes_before_a_link_to_it(tmp_path: Path) -> None:
    write(tmp_path / "b" / "x.txt")
    (tmp_path / "a").symlink_to(tmp_path / "b")
    assert names(tmp_path) == ["b/x.txt"]


def test_broken_links_pipes_and_hidden_names_are_named(tmp_path: Path) -> None:
    write(tmp_path / "x.txt")
    write(tmp_path / ".git" / "config")
    write(tmp_path / "d" / ".DS_Store")
    (tmp_path / "gone.txt").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.txt")
    found = find_files([tmp_path])
    assert [file.name for file in found.files] == ["x.txt"]
    assert [each.source for each in found.passed_over] == ["gone.txt", "pipe.txt"]
    assert sorted(found.hidden) == [".git", "d/.DS_Store"]


def test_a_name_that_is_not_utf_8_is_read_and_written_so_that_it_can_be(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path)
    with open(folder + b"/th\xe9y.txt", "wb") as file:
        file.write(b"coffee")
    os.mkdir(folder + b"/th\xe9")
    with open(folder + b"/th\xe9/a.txt", "wb") as file:
        file.write(b"tea")
    corpus = read_corpus(tmp_path)
    assert [(d.text, d.source) for d in corpus.documents] == [
        ("tea", r"th\xe9/a.txt"),
        ("coffee", r"th\xe9y.txt"),
    ]
    assert corpus.domains == ("th-xe9", "th-xe9y")
    told = r"names that are not UTF-8, so written like this: th\xe9/a.txt, th\xe9y.txt"
    assert told in reading_lines(corpus)


def test_files_come_in_the_order_of_their_names_part_by_part(tmp_path: Path) -> None:
    for name in ("b/a.txt", "b.txt", "a/z.txt", "a-b/c.txt"):
        write(tmp_path / name)
    assert names(tmp_path) == ["a/z.txt", "a-b/c.txt", "b/a.txt", "b.txt"]


def test_a_missing_root_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no such file or folder"):
        find_files([tmp_path / "gone"])
