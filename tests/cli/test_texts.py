"""Commands that read text say what they did not read."""

from pathlib import Path

from tests.cli.conftest import Run


def test_what_is_not_read_is_a_line_and_a_clean_folder_none(run: Run, tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.mkdir()
    (text / "a.txt").write_text("waves and ships sail " * 40)
    clean = run("coordize", "train", text, tmp_path / "one", "--vocab", 300)
    assert clean.exit_code == 0
    assert "read" not in clean.stderr
    (text / "lib.so").write_bytes(b"\x00")
    (text / "b.jsonl").write_text('{"text": "\\ud83d"}\n')
    told = run("coordize", "train", text, tmp_path / "two", "--vocab", 300)
    assert told.exit_code == 0
    assert "not read, since they hold no text: 1 .so" in told.stderr
    assert "b.jsonl:1 (holds half a character (a lone surrogate))" in told.stderr
