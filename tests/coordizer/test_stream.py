from hypothesis import given
from hypothesis import strategies as st

from constellation.coordizer.coordizer import Coordizer
from constellation.coordizer.text_stream import TextStream


@given(data=st.binary(max_size=40) | st.text(max_size=20).map(str.encode))
def test_the_pieces_of_a_stream_join_to_the_whole_text(coordizer: Coordizer, data: bytes) -> None:
    ids = coordizer.encode(data)
    stream = TextStream(coordizer.token_bytes)
    pieces = [stream.feed(int(token_id)) for token_id in ids]
    assert "".join(pieces) + stream.flush() == coordizer.decode_text(ids)


def test_half_a_character_waits_for_its_other_half(coordizer: Coordizer) -> None:
    first, *middle, last = "\U0001f980".encode()
    stream = TextStream(coordizer.token_bytes)
    ids = [int(coordizer.encode(bytes([byte]))[0]) for byte in (first, *middle, last)]
    assert [stream.feed(token_id) for token_id in ids] == ["", "", "", "\U0001f980"]
    assert stream.flush() == ""


def test_a_broken_character_comes_out_replaced_at_the_end(coordizer: Coordizer) -> None:
    stream = TextStream(coordizer.token_bytes)
    for token_id in coordizer.encode(b"ab\xe2\x82"):
        stream.feed(int(token_id))
    assert stream.flush() == "\ufffd"


def test_the_end_token_adds_no_text(coordizer: Coordizer) -> None:
    assert TextStream(coordizer.token_bytes).feed(coordizer.end_id) == ""
