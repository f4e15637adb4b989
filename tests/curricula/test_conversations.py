"""Conversations: what is read, what is named as wrong, what the limits drop."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from constellation.coordizer.coordizer import Coordizer
from constellation.coordizer.training import train_coordizer
from constellation.curricula import conversations as module
from constellation.curricula.conversation_checks import (
    AlignmentCheck,
    PhiCheck,
    check_conversations,
    conversation_phi,
    mismatched_distance,
    prompt_reply_distance,
)
from constellation.curricula.conversations import (
    Conversation,
    Message,
    read_conversations,
    write_conversations,
)
from constellation.curricula.corpus import read_corpus
from constellation.errors import ConfigError, CorpusError
from constellation.geometry import distance
from constellation.kernel.files.checkpoint import LoadedKernel
from constellation.kernel.network.config import KernelConfig
from constellation.kernel.network.decoder import Decoder
from constellation.kernel.observables.phi import phi_integration

SEA = "the ships sail over the waves of the sea and the wind fills the sails of the ships "
SKY = "bright stars and planets shine behind dark clouds while comets cross the night sky "


def said(*contents: str, system: str | None = None, line: int = 1) -> Conversation:
    turns = [
        Message(role=("user", "assistant")[place % 2], content=content)
        for place, content in enumerate(contents)
    ]
    first = [] if system is None else [Message(role="system", content=system)]
    return Conversation(messages=(*first, *turns), line=line)


def numbered(pairs: Sequence[tuple[str, str]]) -> list[Conversation]:
    return [said(*pair, line=line) for line, pair in enumerate(pairs, start=1)]


def written(path: Path, *lines: object) -> Path:
    rows = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    path.write_bytes(b"\n".join(rows) + b"\n")
    return path


def entry(*contents: str, **more: object) -> dict[str, object]:
    roles = ("user", "assistant")
    messages = [{"role": roles[n % 2], "content": text} for n, text in enumerate(contents)]
    return {"messages": messages, **more}


@pytest.fixture(scope="module")
def coordizer() -> Coordizer:
    texts = [SEA * n for n in (2, 3, 4)] + [SKY * n for n in (2, 3, 4)]
    return train_coordizer(texts, ["sea"] * 3 + ["sky"] * 3, vocab_size=300, anchored=True)


@pytest.fixture(scope="module")
def kernel(coordizer: Coordizer) -> LoadedKernel:
    config = KernelConfig(
        vocab_size=coordizer.vocab_size,
        width=32,
        num_layers=1,
        num_heads=2,
        mlp_width=32,
        context=256,
        init_std=0.2,
    )
    return LoadedKernel(
        decoder=Decoder(config),
        config=config,
        tokenizer_hash=coordizer.tokenizer_hash,
        weights_hash="",
        facts={},
    )


def test_what_is_written_is_read_again_and_is_a_corpus_too(tmp_path: Path) -> None:
    talks = [
        said("héllo", "hi", "and\nyou?", "well", system="be kind"),
        Conversation(messages=said("a", "b").messages, line=2, domain="small"),
    ]
    write_conversations(tmp_path / "talk.jsonl", talks)
    assert list(read_conversations(tmp_path / "talk.jsonl").conversations) == talks
    documents = read_corpus(tmp_path / "talk.jsonl").documents
    assert [document.text for document in documents] == [
        "be kind\nhéllo\nhi\nand\nyou?\nwell\n",
        "a\nb\n",
    ]
    assert [document.domain for document in documents] == ["talk", "small"]


def test_pairs_leave_the_system_message_out() -> None:
    assert list(said("a", "b", "c", "d", system="s").pairs) == [("a", "b"), ("c", "d")]


BAD: list[tuple[object, str]] = [
    (b"{", "not JSON"),
    (b"\xff\xfe{}", "not UTF-8 at byte 0"),
    (b"[" * 100_000, "not JSON"),
    (b'{"messages": [], "id": ' + b"1" * 5000 + b"}", "not JSON: an integer of too many digits"),
    ([1], 'no "messages" entry'),
    ({"text": "plain"}, 'no "messages" entry'),
    ({"messages": []}, "does not end with a reply"),
    ({"messages": ["hi"]}, "message 1 has the role None"),
    ({"messages": [{"role": "tool", "content": "x"}]}, "role 'tool'; allowed: system, user"),
    (entry("hi", "  "), "message 2 has no content"),
    ({"messages": [{"role": "user", "content": 3}]}, "message 1 has no content"),
    (entry("hi"), "does not end with a reply"),
    (entry("hi", "yes", "and"), "does not end with a reply"),
    ({"messages": [{"role": "assistant", "content": "x"}]}, "message 1 is the assistant's"),
    (
        {"messages": [*entry("a", "b")["messages"], {"role": "assistant", "content": "c"}]},  # type: ignore[misc]
        "message 3 is the assistant's; it is the user's turn",
    ),
    (
        {"messages": [{"role": "system", "content": "s"}, {"role": "system", "content": "s"}]},
        "message 2 is the system's",
    ),
    (b'{"messages": [{"role": "user", "content": "\\ud800"}]}', "lone surrogate"),
]


@pytest.mark.parametrize(("line", "reason"), BAD)
def test_a_bad_line_is_named_and_skipped(tmp_path: Path, line: object, reason: str) -> None:
    path = written(tmp_path / "t.jsonl", entry("a", "b"), b"", line, entry("c", "d"))
    read = read_conversations(path)
    assert [talk.line for talk in read.conversations] == [1, 4]
    assert [bad.source for bad in read.skipped] == ["line 3"]
    assert reason in read.skipped[0].reason


def test_a_byte_order_mark_before_the_first_conversation_is_no_text(tmp_path: Path) -> None:
    path = written(tmp_path / "t.jsonl", entry("a", "b"), entry("c", "d"))
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    read = read_conversations(path)
    assert [talk.line for talk in read.conversations] == [1, 2]
    assert not read.skipped


def test_a_line_that_is_too_long_is_one_bad_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LINE_BYTES_MAX", 100)
    path = written(tmp_path / "t.jsonl", entry("a" * 1000, "b"), entry("c", "d"))
    read = read_conversations(path)
    assert [talk.line for talk in read.conversations] == [2]
    assert "over the limit of 100 bytes" in read.skipped[0].reason


def test_bad_lines_are_bounded(tmp_path: Path) -> None:
    path = written(tmp_path / "t.jsonl", b"{", b"{", b"{", entry("a", "b"))
    assert len(read_conversations(path, skips_max=3).skipped) == 3
    with pytest.raises(CorpusError, match=r"limit of 2 bad lines, the first is line 1"):
        read_conversations(path, skips_max=2)


def test_a_file_without_conversations_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="cannot be read"):
        read_conversations(tmp_path / "gone.jsonl")
    with pytest.raises(CorpusError, match="no conversation; line 1: not JSON"):
        read_conversations(written(tmp_path / "t.jsonl", b"{"))


def test_a_place_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(CorpusError, match="cannot be written"):
        write_conversations(tmp_path / "folder", [said("a", "b")])
    assert list(tmp_path.iterdir()) == [tmp_path / "folder"]


def test_copies_are_dropped_once_each() -> None:
    talks = numbered([("a", "b"), ("a", "c"), ("a", "b"), ("a", "b")])
    checked = check_conversations(talks)
    assert [talk.line for talk in checked.kept] == [1, 2]
    assert [(one.line, one.reason, one.detail) for one in checked.dropped] == [
        (3, "duplicate", "the same as line 1"),
        (4, "duplicate", "the same as line 1"),
    ]


def test_replies_of_another_domain_lie_too_far(coordizer: Coordizer) -> None:
    matched = [(SEA * (n + 1), SEA) if n % 2 else (SKY * (n + 1), SKY) for n in range(8)]
    talks = numbered([*matched, (SEA * 9, SKY), (SKY * 9, SEA)])
    checked = check_conversations(talks, alignment=AlignmentCheck(coordizer=coordizer))
    assert [talk.line for talk in checked.kept] == list(range(1, 9))
    assert [(one.line, one.reason) for one in checked.dropped] == [
        (9, "basin distance"),
        (10, "basin distance"),
    ]
    assert checked.distance_max == checked.distance_null == mismatched_distance(talks, coordizer)
    all_of_them = AlignmentCheck(coordizer=coordizer, distance_max=math.pi)
    assert len(check_conversations(talks, alignment=all_of_them).kept) == 10


def test_the_distance_is_the_mean_over_the_pairs(coordizer: Coordizer) -> None:
    def basin(text: str) -> object:
        return coordizer.basin(coordizer.encode(text.strip()))

    far = float(distance(basin(SEA), basin(SKY)))
    assert far > 0.1
    assert prompt_reply_distance(said(SEA, SKY, SEA, SEA), coordizer) == pytest.approx(far / 2)
    assert prompt_reply_distance(said(SEA, SEA), coordizer) == 0


def test_few_conversations_need_a_limit(coordizer: Coordizer) -> None:
    with pytest.raises(ConfigError, match="2 conversations are too few to derive a limit"):
        check_conversations(
            numbered([(SEA, SEA), (SKY, SKY)]), alignment=AlignmentCheck(coordizer=coordizer)
        )


def test_conversations_under_the_least_phi_are_dropped(
    coordizer: Coordizer, kernel: LoadedKernel
) -> None:
    talks = numbered([(SEA * 20, SKY * 20), (SKY * 30, SKY * 30), ("a", "b")])
    values = [conversation_phi(talk, kernel, coordizer) for talk in talks]
    assert values[2] is None
    known = [value for value in values if value is not None]
    between = sum(known) / 2
    assert min(known) < between < max(known)
    check = PhiCheck(kernel=kernel, coordizer=coordizer, phi_min=between)
    checked = check_conversations(talks, phi=check)
    assert [talk.line for talk in checked.kept] == [1 + values.index(max(known))]
    assert {one.line: one.reason for one in checked.dropped} == {
        1 + values.index(min(known)): "phi",
        3: "too short for phi",
    }
    lenient = PhiCheck(kernel=kernel, coordizer=coordizer, phi_min=0.0, keep_short=True)
    assert len(check_conversations(talks, phi=lenient).kept) == 3


def test_phi_is_the_mean_over_whole_windows(coordizer: Coordizer, kernel: LoadedKernel) -> None:
    talk = said(SEA * 40, SKY * 40)
    ids = torch.tensor(coordizer.encode(talk.text).tolist())
    with torch.inference_mode():
        expected = [
            phi_integration(kernel.decoder.hidden(ids[None, at : at + 256])[0]).value or 0.0
            for at in range(0, len(ids) - 255, 256)
        ][:4]
    assert len(expected) >= 2
    value = conversation_phi(talk, kernel, coordizer)
    assert value == pytest.approx(sum(expected) / len(expected))


def test_checks_that_cannot_be_made_are_refused(coordizer: Coordizer, kernel: LoadedKernel) -> None:
    with pytest.raises(ConfigError, match="phi_min"):
        PhiCheck(kernel=kernel, coordizer=coordizer, phi_min=1.0)
    with pytest.raises(ConfigError, match="distance_max"):
        AlignmentCheck(coordizer=coordizer, distance_max=-0.1)
    short = KernelConfig.from_dict({**kernel.config.to_dict(), "context": 128})
    for changes, message in (
        ({"tokenizer_hash": "00"}, "another coordizer"),
        ({"config": short}, "needs a context of 256"),
    ):
        values = {name: getattr(kernel, name) for name in kernel.__slots__} | changes
        with pytest.raises(ConfigError, match=message):
            PhiCheck(kernel=LoadedKernel(**values), coordizer=coordizer, phi_min=0.1)
