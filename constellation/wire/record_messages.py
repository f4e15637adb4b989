"""Records <-> protobuf messages whose fields have the same names.

A field whose form differs is given by the caller. What an answer holds many times (choices of a
route, log-probabilities, pieces) is written out in `convert`, which is faster.
"""

from dataclasses import fields
from functools import cache
from typing import Any, TypeVar

from google.protobuf.message import Message

MessageT = TypeVar("MessageT", bound=Message)
RecordT = TypeVar("RecordT")

_PLAIN = (str, bytes, int, float)


def to_message(kind: type[MessageT], *records: Any, **given: Any) -> MessageT:
    """Return a message with the values of records; None leaves a field unset.

    Args:
        kind: The message's class.
        records: Dataclasses; of a field that several have, the last one counts.
        given: Values of fields that the records lack or hold in another form.
    """
    values = dict(given)
    for record in records:
        for name, _ in _shared_fields(kind, type(record), *given):  # type: ignore[arg-type]
            values[name] = getattr(record, name)
    message: MessageT = kind(**values)
    return message


def from_message(message: Message, kind: type[RecordT], **given: Any) -> RecordT:
    """Return a record with the values of a message; a field that is not set is None.

    Args:
        message: The message; repeated fields become tuples.
        kind: The record's class, a dataclass.
        given: Values of fields that the message lacks or holds in another form.
    """
    values = dict(given)
    for name, may_be_unset in _shared_fields(type(message), kind, *given):  # type: ignore[arg-type]
        if may_be_unset and not message.HasField(name):
            values[name] = None
        else:
            value = getattr(message, name)
            values[name] = value if isinstance(value, _PLAIN) else tuple(value)
    return kind(**values)


@cache  # mypy takes no class for hashable, hence the two comments above
def _shared_fields(
    message: type[Message], record: type, *given: str
) -> tuple[tuple[str, bool], ...]:
    """Return (name, whether a message may leave it unset) of the fields that both have."""
    known = message.DESCRIPTOR.fields_by_name
    names = (field.name for field in fields(record) if field.name not in given)
    return tuple((name, known[name].has_presence) for name in names if name in known)
