"""Prompts: one per line of a text file, whatever wrote the file."""

from pathlib import Path

import pytest

from constellation.curricula.text_files import read_prompts
from constellation.errors import CorpusError


def test_every_line_with_a_visible_character_is_a_prompt(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_bytes("\ufeffone\r\n\n  \ntwo\u2028still two\nthree".encode())
    assert read_prompts(path) == ["one", "two\u2028still two", "three"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"tea\xe9", "not UTF-8 at byte 3"),
        ("tea".encode("utf-16-le"), "NUL characters"),
        (b" \n", "holds no prompt"),
    ],
)
def test_what_holds_no_prompts_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "p.txt").write_bytes(content)
    with pytest.raises(CorpusError, match=reason):
        read_prompts(tmp_path / "p.txt")
    with pytest.raises(CorpusError, match="cannot be read"):
        read_prompts(tmp_path / "gone.txt")
