"""Records <-> protobuf messages whose fields have the same names.

For replies that are read once in a while: a field with a name of its own is named by the caller.
What travels with every answer is written out in `convert`, which is faster.
"""

from dataclasses import fields
from typing import Any, TypeVar

from google.protobuf.message import Message

MessageT = TypeVar("MessageT", bound=Message)
RecordT = TypeVar("RecordT")


def to_message(kind: type[MessageT], *records: Any, **given: Any) -> MessageT:
    """Return a message with the values of records; None leaves a field unset.

    Args:
        kind: The message's class.
        records: Dataclasses; of a field that several have, the last one counts.
        given: Values of fields that the records lack or hold in another form.
    """
    known = kind.DESCRIPTOR.fields_by_name
    values = {
        field.name: getattr(record, field.name)
        for record in records
        for field in fields(record)
        if field.name in known and field.name not in given
    }
    message: MessageT = kind(**values, **given)
    return message


def from_message(message: Message, kind: type[RecordT], **given: Any) -> RecordT:
    """Return a record with the values of a message; a field that is not set is None.

    Args:
        message: The message; repeated fields become tuples.
        kind: The record's class, a dataclass.
        given: Values of fields that the message lacks or holds in another form.
    """
    values = dict(given)
    for field in fields(kind):  # type: ignore[arg-type]
        known = message.DESCRIPTOR.fields_by_name.get(field.name)
        if known is not None and field.name not in given:
            if known.has_presence and not message.HasField(field.name):
                values[field.name] = None
                continue
            value = getattr(message, field.name)
            plain = isinstance(value, str | bytes | int | float)
            values[field.name] = value if plain else tuple(value)
    return kind(**values)
