"""Log-probabilities of tokens that hold parts of characters, and where they begin in the text."""

import codecs

from hypothesis import given
from hypothesis import strategies as st

from constellation.records import (
    Alternative,
    Finish,
    FinishReason,
    Mode,
    Piece,
    Route,
    Rule,
    TokenLogprob,
)
from constellation.wire.http.logprobs import Offsets, token_name
from constellation.wire.http.openai_replies import Writer


def tokens(*texts: bytes, top: tuple[bytes, ...] = ()) -> tuple[TokenLogprob, ...]:
    others = tuple(
        Alternative(token=90 + index, text=text, logprob=-1.0 - index)
        for index, text in enumerate(top)
    )
    return tuple(
        TokenLogprob(token=index, text=text, logprob=-0.5, top=others)
        for index, text in enumerate(texts)
    )


def offsets_of(*texts: bytes) -> list[int]:
    offsets = Offsets()
    return [offsets.take(text) for text in texts]


def character_of_byte(data: bytes) -> list[int]:
    """Return for every byte which character of the decoded text it went into; the slow way."""
    decoded = data.decode(errors="replace")
    places, position = [], 0
    for index, character in enumerate(decoded):
        whole = character.encode()
        if data[position : position + len(whole)] == whole:
            length = len(whole)
        else:  # U+FFFD for the longest beginning of a character that lies here
            length = _broken_length(data[position:])
        places += [index] * length
        position += length
    assert position == len(data)
    return places


def _broken_length(data: bytes) -> int:
    """Return how many bytes one U+FFFD stands for at the beginning of `data`."""
    for length in range(1, len(data)):
        rest = data[length:].decode(errors="replace")
        if "\ufffd" + rest == data.decode(errors="replace") and not _goes_on(data, length):
            return length
    return len(data)


def _goes_on(data: bytes, length: int) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")(errors="strict")
    try:
        decoder.decode(data[: length + 1])
    except UnicodeDecodeError:
        return False
    return True


@given(st.lists(st.one_of(st.binary(max_size=4), st.text(max_size=3).map(str.encode)), max_size=9))
def test_a_token_begins_at_the_character_that_holds_its_first_byte(texts: list[bytes]) -> None:
    places = character_of_byte(b"".join(texts))
    begins = 0
    for text, offset in zip(texts, offsets_of(*texts), strict=True):
        if text:
            assert offset == places[begins]
        begins += len(text)


def test_parts_of_one_character_have_its_index() -> None:
    smile = "😀".encode()
    parts = [smile[:1], smile[1:2], smile[2:]]
    assert offsets_of(b"x ", *parts, b"y", b"") == [0, 2, 2, 2, 3, 4]


def test_a_token_after_a_broken_character_begins_behind_it() -> None:
    assert offsets_of(b"\xf0\x9f", b"a", b"b") == [0, 1, 2]


def test_bytes_that_are_no_character_are_spelled_out_as_openai_does() -> None:
    assert token_name(b"\xf0\x9f") == r"bytes:\xf0\x9f"
    assert token_name("é".encode()) == "é"


def writer() -> Writer:
    return Writer(id="cmpl-1", created_s=1, model="constellation", is_chat=False)


def piece(text: str, logprobs: tuple[TokenLogprob, ...], *, ends: bool) -> Piece:
    finish = Finish(reason=FinishReason.STOP, num_prompt_tokens=1, num_tokens=3, elapsed_s=0.1)
    return Piece(
        text=text,
        num_tokens=len(logprobs),
        logprobs=logprobs,
        finish=finish if ends else None,
    )


ROUTE = Route(
    choices=(),
    kernel="python",
    reason="nearest",
    rule=Rule.BEARING,
    mode=Mode.NEAREST,
    margin=0.0,
    out_of_domain=False,
    no_evidence=False,
    num_tokens=1,
    table_version=5,
)


def test_no_alternative_overwrites_another() -> None:
    """Tokens without text and halves of characters have the same text, and other names."""
    likely = (b"\xf0", b"\xe6", b"a", b"", b"", rb"bytes:\xf0")
    said = writer().whole(ROUTE, piece("�", tokens(b"\xf0", top=likely), ends=True))
    named = said["choices"][0]["logprobs"]["top_logprobs"][0]
    assert list(named.values()) == [-1.0, -2.0, -3.0, -4.0, -5.0, -6.0]
    assert list(named)[:4] == [r"bytes:\xf0", r"bytes:\xe6", "a", ""]


def test_offsets_index_the_text_also_where_a_stop_string_cut_it() -> None:
    logprobs = tokens(b"one", b" E", b"N", b"D")
    said = writer().whole(ROUTE, piece("one ", logprobs, ends=True))
    assert said["choices"][0]["logprobs"]["text_offset"] == [0, 3, 4, 4]


def test_offsets_go_on_from_chunk_to_chunk_and_each_chunk_has_the_fingerprint() -> None:
    smile = "😀".encode()
    writing = writer()
    chunks = [
        writing.chunk(ROUTE, piece("a", tokens(b"a"), ends=False)),
        writing.chunk(None, piece("😀", tokens(smile[:2], smile[2:]), ends=False)),
        writing.chunk(None, piece("b", tokens(b"b"), ends=True)),
    ]
    offsets = [chunk["choices"][0]["logprobs"]["text_offset"] for chunk in chunks]
    assert offsets == [[0], [1, 1], [2]]
    finish = piece("", (), ends=True).finish
    assert finish is not None
    chunks.append(writing.last_chunk(finish))
    assert {chunk["system_fingerprint"] for chunk in chunks} == {"table-5"}
