"""Messages that no client would send, and some that it almost would, for any RPC of ours.

Made from the descriptors, so that a new RPC or field is covered without a line here. Drawn from a
plain generator, so that 10^5 of them take seconds and a seed repeats them.
"""

import random
from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor import (
    Descriptor,
    FieldDescriptor,
    MethodDescriptor,
    ServiceDescriptor,
)
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

_WHOLE = (0, 1, 2, 7, 64, 255, 4096, 2**31 - 1)
_NUMBERS = (0.0, -0.0, 0.5, 1.0, 2.0, -1.0, 1e-320, 1e308, float("nan"), float("inf"))
_TEXTS = ("", "a", "a b", "nobody", "\0", "\u202e", "\u00e9" * 50, "../x", "x" * 5000)

_INTEGERS = frozenset(
    getattr(FieldDescriptor, f"CPPTYPE_{name}") for name in ("INT32", "UINT32", "INT64", "UINT64")
)
_SIGNED = frozenset((FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_INT64))
_REALS = frozenset((FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE))

TOKENS_MAX = "tokens_max"
"""Always set, to a few: what is fuzzed is the reading, not the patience."""


def strange_calls(
    services: tuple[ServiceDescriptor, ...], seed: int, count: int
) -> Iterator[tuple[MethodDescriptor, bytes]]:
    """Yield `count` RPCs with what to send them: noise, strange fields, and damaged bytes.

    RPCs whose requests have no field come up as seldom as one call in a hundred, since there is
    little to get wrong, and with them `Change`, which takes its time.
    """
    chance = random.Random(seed)
    everything = [method for service in services for method in service.methods]
    seldom = [each for each in everything if not each.input_type.fields or each.name == "Change"]
    methods = [method for method in everything if method not in seldom]
    for _ in range(count):
        method = chance.choice(seldom if seldom and chance.random() < 0.01 else methods)
        kind = chance.random()
        if kind < 0.1:
            yield method, chance.randbytes(chance.randrange(60))
            continue
        data = _message(chance, method.input_type, depth=4).SerializeToString()
        yield method, _damaged(chance, data) if kind < 0.4 else data


def _message(chance: random.Random, descriptor: Descriptor, *, depth: int) -> Message:
    message: Message = GetMessageClass(descriptor)()
    for field in descriptor.fields:
        if field.name == TOKENS_MAX:
            setattr(message, field.name, chance.choice((1, 2, 3)))
        elif field.message_type is not None:
            _fill_messages(chance, message, field, depth)
        elif chance.random() < 0.5:
            _fill_values(chance, message, field)
    return message


def _fill_messages(
    chance: random.Random, message: Message, field: FieldDescriptor, depth: int
) -> None:
    kind = field.message_type
    # `sampling` holds the limit on tokens, so that one comes along wherever it can.
    if depth == 0 or (chance.random() < 0.4 and TOKENS_MAX not in kind.fields_by_name):
        return
    if kind.GetOptions().map_entry:
        key, value = kind.fields_by_name["key"], kind.fields_by_name["value"]
        if value.message_type is None:
            for _ in range(chance.randrange(3)):
                getattr(message, field.name)[_value(chance, key)] = _value(chance, value)
    elif _is_repeated(message, field):
        for _ in range(chance.randrange(3)):
            getattr(message, field.name).append(_message(chance, kind, depth=depth - 1))
    else:
        getattr(message, field.name).CopyFrom(_message(chance, kind, depth=depth - 1))


def _fill_values(chance: random.Random, message: Message, field: FieldDescriptor) -> None:
    if _is_repeated(message, field):
        values = [_value(chance, field) for _ in range(chance.choice((0, 1, 2, 63, 64, 65)))]
        getattr(message, field.name).extend(values)
    else:
        setattr(message, field.name, _value(chance, field))


def _is_repeated(message: Message, field: FieldDescriptor) -> bool:
    # `label` is going away in protobuf, `is_repeated` is not there yet in the oldest we take.
    return hasattr(getattr(message, field.name), "extend")


def _value(chance: random.Random, field: FieldDescriptor) -> Any:
    kind = field.cpp_type
    if kind in _INTEGERS:
        return chance.choice(_WHOLE) * (chance.choice((1, -1)) if kind in _SIGNED else 1)
    if kind in _REALS:
        number = chance.choice(_NUMBERS)
        # What a float cannot hold would be refused here, not there.
        too_large = kind == FieldDescriptor.CPPTYPE_FLOAT and number == 1e308
        return 0.25 if too_large else number
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        return chance.random() < 0.5
    if kind == FieldDescriptor.CPPTYPE_ENUM:
        return chance.choice((0, 1, 2, 3, 99))
    text = chance.choice(_TEXTS)
    return text.encode() if field.type == FieldDescriptor.TYPE_BYTES else text


def _damaged(chance: random.Random, data: bytes) -> bytes:
    if not data:
        return data
    place = chance.randrange(len(data))
    if chance.random() < 0.3:
        return data[:place]
    return data[:place] + chance.randbytes(chance.randrange(3)) + data[place + 1 :]
