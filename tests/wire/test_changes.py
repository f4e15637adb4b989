"""Changes of what is served: every kind as a message and back, and what is refused at the door."""

from dataclasses import fields, is_dataclass
from typing import get_args

import numpy as np
import pytest

from constellation.errors import InvalidRequest
from constellation.records import (
    Add,
    Change,
    Changed,
    Rebalance,
    Reload,
    Retire,
    RollBack,
    Spawn,
    Unlearn,
)
from constellation.v1 import constellation_pb2
from constellation.wire.change_messages import change_from_message, change_to_message
from constellation.wire.record_messages import from_message, to_message

EXAMPLES = (
    Reload(),
    Add(name="poems"),
    Retire(name="poems"),
    Unlearn(kernel="poems", source="a/b.txt#0"),
    RollBack(),
    RollBack(release=3),
    Rebalance(),
)


def test_every_kind_has_an_example_here_and_a_field_of_the_message() -> None:
    kinds = set(get_args(Change))
    assert {type(each) for each in EXAMPLES} | {Spawn} == kinds
    assert len(constellation_pb2.ChangeRequest.DESCRIPTOR.fields) == len(kinds)
    assert all(is_dataclass(kind) for kind in kinds)


@pytest.mark.parametrize("change", EXAMPLES, ids=repr)
def test_a_change_comes_back_as_it_was_sent(change: Change) -> None:
    data = change_to_message(change).SerializeToString()
    assert change_from_message(constellation_pb2.ChangeRequest.FromString(data)) == change


def test_queries_of_a_spawn_stay_with_the_router() -> None:
    sent = Spawn(parent="law", name="law-2", queries_NK=np.ones((3, 64)))
    came = change_from_message(change_to_message(sent))
    assert isinstance(came, Spawn)
    assert (came.parent, came.name, came.queries_NK) == ("law", "law-2", None)
    assert {field.name for field in fields(Spawn)} == {"parent", "name", "queries_NK"}


def test_a_message_without_a_change_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="change is None; allowed: one of: reload, add"):
        change_from_message(constellation_pb2.ChangeRequest())


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"add": constellation_pb2.AddChange(name="../seed")}, "name"),
        ({"spawn": constellation_pb2.SpawnChange(parent="law", name="")}, "name"),
        ({"unlearn": constellation_pb2.UnlearnChange(kernel="law", source="")}, "source"),
        ({"roll_back": constellation_pb2.RollBackChange(release=0)}, "release"),
    ],
)
def test_what_cannot_be_is_refused_by_name(change: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        change_from_message(constellation_pb2.ChangeRequest(**change))  # type: ignore[arg-type]
    assert caught.value.field == field


def test_what_a_change_has_done_comes_back_as_it_was_sent() -> None:
    done = Changed(release=4, table_version=9, joined=("a",), left=("b",), reloaded=("c", "d"))
    assert from_message(to_message(constellation_pb2.ChangeReply, done), Changed) == done
