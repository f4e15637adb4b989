"""LC-B: worked examples, laws for all values, and inputs that must be refused."""

import random
import struct
import unicodedata
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from constellation.curricula.hlx.lc_binary import canonical, decode, encode, same_value
from constellation.curricula.hlx.lc_binary_encoder import uleb
from constellation.curricula.hlx.values import DEPTH_MAX, SIZE_MAX, Handle, contract_view
from constellation.errors import HlxError
from tests.curricula.hlx.random_values import values
from tests.curricula.hlx.worked_examples import EXAMPLES, Example


@pytest.mark.parametrize("each", EXAMPLES, ids=lambda each: each.english)
def test_the_worked_examples_are_the_published_bytes(each: Example) -> None:
    data = bytes.fromhex(each.binary)
    assert encode(each.value) == data
    assert same_value(decode(data), each.value)


@pytest.mark.parametrize(
    ("value", "data"),
    [
        ({}, "07 08"),
        (42, "01 2a"),
        (-1, "01 ff ff ff ff ff ff ff ff ff 01"),
        (Handle("&h_ast"), "09 06 26 68 5f 61 73 74"),
        ({0: 123, 1: "hello"}, "07 00 01 7b 01 03 05 68 65 6c 6c 6f 08"),
        ({800: None}, "07 a0 06 00 08"),
        (2**63 - 1, "01 ff ff ff ff ff ff ff ff 7f"),
        (-(2**63), "01 80 80 80 80 80 80 80 80 80 01"),
        (-0.0, "02 00 00 00 00 00 00 00 00"),
        ("a\r\nb\rc", "03 05 61 0a 62 0a 63"),
        ("e\u0301", "03 02 c3 a9"),
    ],
)
def test_further_vectors(value: Any, data: str) -> None:
    assert encode(value).hex(" ") == data
    assert encode(decode(bytes.fromhex(data))).hex(" ") == data


REFUSED = [
    ("", "E_LC_DECODE", 0),
    ("01 aa 00", "E_OVERLONG", 1),
    ("01 ff ff ff ff ff ff ff ff ff 02", "E_LC_DECODE", 1),
    ("01 80 80 80 80 80 80 80 80 80 80 01", "E_LC_DECODE", 1),
    ("07 01 00 00 00 08", "E_FIELD_ORDER", 3),
    ("07 00 00 00 00 08", "E_FIELD_ORDER", 3),
    ("07 88 00 00 08", "E_OVERLONG", 1),
    ("07 ff ff ff ff ff ff ff ff ff 01 00 08", "E_FIELD_ORDER", 1),
    ("05 01 2a", "E_LC_DECODE", 3),
    ("07", "E_LC_DECODE", 1),
    ("06", "E_LC_DECODE", 0),
    ("08", "E_LC_DECODE", 0),
    ("0c", "E_LC_DECODE", 0),
    ("02 7f f8 00 00 00 00 00 00", "E_FLOAT_SPECIAL", 1),
    ("02 ff f0 00 00 00 00 00 00", "E_FLOAT_SPECIAL", 1),
    ("02 80 00 00 00 00 00 00 00", "E_FLOAT_SPECIAL", 1),
    ("02 00", "E_LC_DECODE", 2),
    ("03 02 61", "E_LC_DECODE", 3),
    ("03 01 ff", "E_LC_DECODE", 1),
    ("03 03 65 cc 81", "E_LC_DECODE", 1),
    ("03 01 0d", "E_LC_DECODE", 1),
    ("03 ff ff ff ff ff ff ff ff ff 01", "E_LC_DECODE", 11),
    ("09 03 26 68 5f", "E_HANDLE_FORMAT", 1),
    ("09 04 26 68 5f e9", "E_HANDLE_FORMAT", 1),
    ("07 0e 00 01 7b 08", "E_FIELD_ORDER", 3),
    ("00 00", "E_TRAILING", 1),
]


@pytest.mark.parametrize(("data", "code", "position"), REFUSED)
def test_what_is_no_value_is_refused_with_its_place(data: str, code: str, position: int) -> None:
    with pytest.raises(HlxError) as caught:
        decode(bytes.fromhex(data))
    assert (caught.value.code, caught.value.position) == (code, position)
    assert str(caught.value).startswith(f"{code} at byte {position}: expected ")


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (2**63, "E_LC_ENCODE"),
        (float("nan"), "E_FLOAT_SPECIAL"),
        (float("-inf"), "E_FLOAT_SPECIAL"),
        ({8: 1}, "E_FIELD_RESERVED"),
        ({-1: 1}, "E_LC_ENCODE"),
        ({True: 1}, "E_LC_ENCODE"),
        ({0: 1, "a": 2}, "E_LC_ENCODE"),
        ({"a": 2, 0: 1}, "E_LC_ENCODE"),
        ({"a b": 1}, "E_LC_ENCODE"),
        ({"é": 1}, "E_LC_ENCODE"),
        ({"a\n": 1}, "E_LC_ENCODE"),
        ("\ud800", "E_LC_ENCODE"),
        ({1, 2}, "E_LC_ENCODE"),
        (bytearray(b"x"), "E_LC_ENCODE"),
        ("x" * SIZE_MAX, "E_SIZE_EXCEEDED"),
    ],
)
def test_what_is_outside_of_the_model_is_not_encoded(value: Any, code: str) -> None:
    with pytest.raises(HlxError) as caught:
        encode(value)
    assert caught.value.code == code


@given(values)
@example({3: {0: 0, 1: ()}})
@example({3: {0: 0, 1: ({2: {0: 0, 1: "a", 2: 5}}, {2: {0: 1, 1: "b", 2: 5}})}})
@example({3: {0: 0, 1: ({2: {0: 0, 1: "b", 2: 5}}, {2: {0: 1, 1: "a", 2: 5}})}})
@example({3: {0: 0, 1: ({2: {0: 0, 1: "a", 2: 5, 3: 6}},)}})
def test_a_value_comes_back_and_has_one_byte_string(value: Any) -> None:
    data = encode(value)
    back = decode(data)
    assert encode(back) == data
    assert same_value(canonical(back), value)


def test_a_literal_of_the_lowered_shape_is_the_named_object() -> None:
    literal = {3: {0: 0, 1: ({2: {0: 0, 1: "a", 2: 5}}, {2: {0: 1, 1: "b", 2: None}})}}
    assert canonical(literal) == {"a": 5, "b": None}
    assert encode(literal) == encode({"b": None, "a": 5})


@pytest.mark.parametrize(
    "literal",
    [
        {3: {0: 0, 1: ()}},
        {3: {0: False, 1: ({2: {0: 0, 1: "a", 2: 5}},)}},
        {3: {0: 0, 1: ({2: {0: 1, 1: "a", 2: 5}},)}},
        {3: {0: 0, 1: ({2: {0: 0, 1: "a b", 2: 5}},)}},
        {3: {0: 0, 1: ({2: {0: 0, 1: "a", 2: 5}},), 2: 0}},
    ],
)
def test_an_almost_lowered_shape_stays_a_record(literal: Any) -> None:
    assert same_value(literal, canonical(literal))
    assert canonical(literal) == literal


def test_kinds_are_distinct() -> None:
    different = [1, 1.0, True, "1", b"1", Handle("&h_1"), "&h_1", (1,), {0: 1}, {"a": 1}, None]
    assert len({encode(value) for value in different}) == len(different)


def test_contracts_are_a_view() -> None:
    view = contract_view({14: {0: 42}})
    assert view is not None
    assert (view.id, view.fields) == (14, {0: 42})
    assert contract_view({14: {}}) is not None
    for other in ({0: {0: 1}}, {14: 1}, {14: {"a": 1}}, {14: {0: 1}, 15: {0: 1}}, {}, {"a": {}}):
        assert contract_view(other) is None


def nested(levels: int) -> Any:
    value: Any = ()
    for _ in range(levels - 1):
        value = (value,)
    return value


def test_depth_is_limited_on_both_ways() -> None:
    data = encode(nested(DEPTH_MAX))
    assert encode(decode(data)) == data
    for call in (
        lambda: encode(nested(DEPTH_MAX + 1)),
        lambda: decode(b"\x05" * (DEPTH_MAX + 1)),
        lambda: decode(b"\x05" * SIZE_MAX),
        lambda: decode(b"\x07\x00" * 1_000),
        lambda: decode(b"\x07\x02\x07\x00\x01\x00\x01\x03\x01a\x02" * 1_000),
    ):
        with pytest.raises(HlxError, match="E_DEPTH_EXCEEDED"):
            call()


def test_a_named_object_counts_as_the_five_levels_of_its_binary_form() -> None:
    value: Any = nested(DEPTH_MAX - 60)
    for _ in range(12):
        value = {"a": value}
    assert encode(decode(encode(value))) == encode(value)
    with pytest.raises(HlxError, match="E_DEPTH_EXCEEDED"):
        encode((value,))


def test_size_is_limited_before_cost() -> None:
    value: Any = ("x" * 100,)
    for _ in range(60):
        value = (value, value)
    with pytest.raises(HlxError, match="E_SIZE_EXCEEDED"):
        encode(value)
    with pytest.raises(HlxError, match="E_SIZE_EXCEEDED"):
        decode(b"\x00" * (SIZE_MAX + 1))


def is_value_or_refused(data: bytes) -> bool:
    try:
        value = decode(data)
    except HlxError:
        return False
    assert encode(value) == data
    return True


@given(st.binary(max_size=24))
def test_random_bytes_are_canonical_or_refused(data: bytes) -> None:
    is_value_or_refused(data)


def test_changed_encodings_are_canonical_or_refused() -> None:
    generator = random.Random(0)
    originals = [bytearray.fromhex(each.binary) for each in EXAMPLES]
    accepted = 0
    for _ in range(5_000):
        data = bytearray(generator.choice(originals))
        for _ in range(generator.randint(1, 3)):
            place = generator.randrange(len(data))
            data[place] = generator.choice([generator.randrange(12), generator.randrange(256)])
        accepted += is_value_or_refused(bytes(data))
    assert 0 < accepted < 5_000


@given(st.integers(0, 2**64 - 1))
def test_uleb_is_the_shortest_form(number: int) -> None:
    data = uleb(number)
    assert len(data) == max(1, -(-number.bit_length() // 7))
    assert decode(b"\x01" + data) == (number if number < 2**63 else number - 2**64)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_are_big_endian_doubles(number: float) -> None:
    assert encode(number) == b"\x02" + struct.pack(">d", number + 0.0)


@given(st.text(max_size=12))
def test_texts_are_stored_in_nfc_with_lf(text: str) -> None:
    back = decode(encode(text))
    assert isinstance(back, str)
    assert back == unicodedata.normalize("NFC", back)
    assert "\r" not in back
