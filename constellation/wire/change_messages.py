"""Convert changes of the served kernels (add, spawn, retire, ...) to and from protobuf messages.

Changes are checked here, where requests enter. A further kind of change needs a record
(`constellation/records/changes.py`), a message of the same fields in the oneof of `ChangeRequest`,
and an entry in `_RECORDS`.
"""

from typing import Final

from constellation.errors import InvalidRequest
from constellation.records import (
    Add,
    Change,
    Rebalance,
    Reload,
    Retire,
    RollBack,
    Spawn,
    Unlearn,
)
from constellation.v1 import constellation_pb2
from constellation.wire.kernel_names import check_kernel_name, check_source_name
from constellation.wire.record_messages import from_message, to_message

_RECORDS: Final[dict[str, type[Change]]] = {
    "reload": Reload,
    "add": Add,
    "spawn": Spawn,
    "retire": Retire,
    "unlearn": Unlearn,
    "roll_back": RollBack,
    "rebalance": Rebalance,
}
"""Field of the message's oneof -> record of the change."""
_KINDS: Final = {record: kind for kind, record in _RECORDS.items()}


def change_from_message(message: constellation_pb2.ChangeRequest) -> Change:
    """Return the change in a message, checked.

    Raises:
        InvalidRequest: The message holds no known change, or a field is out of its range.
    """
    kind = message.WhichOneof("change")
    if kind is None:
        raise InvalidRequest("change", None, f"one of: {', '.join(_RECORDS)}")
    return check_change(from_message(getattr(message, kind), _RECORDS[kind]))


def change_to_message(change: Change) -> constellation_pb2.ChangeRequest:
    """Return a change as a message; what has no field of the message is left out."""
    kind = _KINDS[type(change)]
    inner = type(getattr(constellation_pb2.ChangeRequest(), kind))
    return constellation_pb2.ChangeRequest(**{kind: to_message(inner, change)})


def check_change(change: Change) -> Change:
    """Check the names and numbers of a change, and return it.

    Raises:
        InvalidRequest: A name is not valid for a kernel or source, or a number is out of range.
    """
    match change:
        case Add(name=name) | Spawn(name=name):
            check_kernel_name("name", name)
        case Unlearn(source=source):
            check_source_name("source", source)
        case RollBack(release=release) if release is not None and release < 1:
            raise InvalidRequest("release", release, "1 or more")
    return change
