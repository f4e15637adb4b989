"""`data prepare|validate`: counts, reasons, exit codes."""

import json
from pathlib import Path

import pytest

from constellation.coordizer.coordizer import Coordizer
from constellation.curricula.conversation_checks import prompt_reply_distance
from constellation.curricula.conversations import read_conversations
from constellation.curricula.corpus import read_corpus
from tests.cli.conftest import Run
from tests.support.artifacts import PROMPTS


def talk(*contents: str) -> str:
    roles = ("user", "assistant")
    messages = [{"role": roles[n % 2], "content": text} for n, text in enumerate(contents)]
    return json.dumps({"messages": messages})


@pytest.fixture
def talks(tmp_path: Path) -> Path:
    lines = [talk(text * n, text) for text in PROMPTS.values() for n in (1, 2, 3)]
    lines += [lines[0], "{", talk(PROMPTS["mail"], PROMPTS["numbers"])]
    (tmp_path / "talk.jsonl").write_text("\n".join(lines) + "\n")
    return tmp_path / "talk.jsonl"


def test_validate_counts_and_fails_on_a_bad_line(run: Run, talks: Path) -> None:
    result = run("data", "validate", talks, "--json")
    assert result.exit_code == 1
    facts = json.loads(result.stdout)
    assert (facts["num_conversations"], facts["num_messages"]) == (11, 22)
    assert facts["roles"] == {"assistant": 11, "user": 11}
    assert facts["num_duplicates"] == 1
    assert [line.split(":")[0] for line in facts["bad_lines"]] == ["line 11"]
    assert "line 11: not JSON" in run("data", "validate", talks).stdout
    run("data", "prepare", talks, "clean.jsonl")
    assert run("data", "validate", "clean.jsonl").exit_code == 0


def test_prepare_drops_copies_and_what_lies_too_far(
    run: Run, talks: Path, tmp_path: Path, artifacts: Path
) -> None:
    folder = artifacts / "coordizer"
    flags = ("--check-basin-alignment", "--coordizer", folder, "--json")
    unlike = read_conversations(talks).conversations[-1]
    limit = prompt_reply_distance(unlike, Coordizer.load(folder)) - 1e-6
    given = ("--distance-max", limit, *flags)
    facts = json.loads(run("data", "prepare", talks, "clean.jsonl", *given).stdout)
    assert facts["num_read"] == 11
    assert facts["dropped"] == {"basin distance": 1, "duplicate": 1}
    assert facts["dropped_lines"][-1].startswith("line 12: basin distance")
    assert len(read_conversations(tmp_path / "clean.jsonl").conversations) == facts["num_kept"] == 9
    facts = json.loads(run("data", "prepare", talks, "clean.jsonl", *flags).stdout)
    assert facts["distance_max"] == facts["distance_null"] > 0
    assert facts["num_kept"] == 10 - facts["dropped"].get("basin distance", 0)


def test_prepare_says_why_a_check_cannot_be_made(
    run: Run, talks: Path, tmp_path: Path, artifacts: Path
) -> None:
    kernel, coordizer = artifacts / "kernels" / "mail", artifacts / "coordizer"
    for flags, message in (
        (("--min-phi", 0.1), "give --coordizer"),
        (("--min-phi", 0.1, "--coordizer", coordizer), "give --kernel"),
        # The kernels of these artifacts read 128 tokens.
        (("--min-phi", 0.1, "--coordizer", coordizer, "--kernel", kernel), "context of 256"),
        (("--distance-max", 1.0), "belong to"),
        (("--keep-short",), "belong to"),
    ):
        result = run("data", "prepare", talks, "clean.jsonl", *flags)
        assert result.exit_code == 2
        assert message in result.stderr
    assert not (tmp_path / "clean.jsonl").exists()


def test_too_many_bad_lines_stop_the_reading(run: Run, talks: Path) -> None:
    result = run("data", "prepare", talks, "clean.jsonl", "--skips-max", 0)
    assert result.exit_code == 1
    assert "limit of 0 bad lines" in result.stderr


def test_a_teacher_writes_a_corpus(run: Run, tmp_path: Path, artifacts: Path) -> None:
    (tmp_path / "prompts.txt").write_text("import ssl\n\ndef mean(\n", encoding="utf-8")
    teacher = artifacts / "kernels" / "network"
    flags = ("--coordizer", artifacts / "coordizer", "--tokens-max", 5, "--seed", 3, "--json")
    facts = json.loads(run("data", "generate", teacher, "prompts.txt", "t.jsonl", *flags).stdout)
    texts = [document.text for document in read_corpus(tmp_path / "t.jsonl").documents]
    assert facts["num_texts"] == len(texts) == 2
    assert facts["num_bytes"] == sum(len(text.encode()) for text in texts)
    assert texts[0].startswith("import ssl")
    assert texts[1].startswith("def mean(")
    run("data", "generate", teacher, "prompts.txt", "again.jsonl", *flags)
    assert (tmp_path / "again.jsonl").read_bytes() == (tmp_path / "t.jsonl").read_bytes()


def test_a_teacher_needs_prompts_and_its_coordizer(
    run: Run, tmp_path: Path, artifacts: Path
) -> None:
    teacher = artifacts / "kernels" / "network"
    for content, message in ((b"\n \n", "no prompt"), (b"\xff", "not UTF-8"), (b"x", "coordizer")):
        (tmp_path / "p.txt").write_bytes(content)
        result = run("data", "generate", teacher, "p.txt", "t.jsonl")
        assert result.exit_code in (1, 2)
        assert message in result.stderr
    assert "cannot be read" in run("data", "generate", teacher, "gone.txt", "t.jsonl").stderr
    assert not (tmp_path / "t.jsonl").exists()
