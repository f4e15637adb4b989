"""Ensembles and predictions as messages: nothing is lost, and what is out of range is refused."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from constellation.errors import InternalError, InvalidRequest
from constellation.records import Choice, Mode, Route, Rule
from constellation.v1 import common_pb2, kernel_pb2
from constellation.wire.ensembles import (
    Ensemble,
    Member,
    Predicted,
    Renewal,
    ensemble_from_message,
    ensemble_of,
    ensemble_to_message,
    predicted_from_message,
    predicted_to_message,
)
from constellation.wire.table_file import pack_table
from tests.wire.fakes import NAMES, make_table

TABLE = make_table()
MEMBERS = tuple(
    Member(kernel=name, endpoint=f"127.0.0.1:{7000 + index}", weight=weight)
    for index, (name, weight) in enumerate(zip(NAMES, (0.5, 0.25, 0.25), strict=True))
)
RENEWAL = Renewal(table=TABLE, rule=Rule.GEODESIC, phi_weighting=True)


def message(**changes: object) -> kernel_pb2.Ensemble:
    ensemble = Ensemble(mode=Mode.MIXTURE, members=MEMBERS, renewal=RENEWAL)
    return ensemble_to_message(replace(ensemble, **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", [Mode.MIXTURE, Mode.POSTERIOR])
@pytest.mark.parametrize("renewal", [None, RENEWAL])
def test_an_ensemble_survives_the_way_through_a_message(
    mode: Mode, renewal: Renewal | None
) -> None:
    back = ensemble_from_message(message(mode=mode, renewal=renewal), leader="poetry")
    assert (back.mode, back.members) == (mode, MEMBERS)
    assert (back.renewal is None) == (renewal is None)
    if back.renewal is not None:
        assert (back.renewal.rule, back.renewal.phi_weighting) == (Rule.GEODESIC, True)
        assert pack_table(back.renewal.table) == pack_table(TABLE)


def damaged(data: bytes) -> kernel_pb2.Ensemble:
    made = message()
    made.renewal.table = data
    return made


WRONG = {
    "one alone": (message(members=(replace(MEMBERS[0], weight=1.0),)), "members"),
    "without the leader": (message(members=MEMBERS[1:]), "members"),
    "twice the same": (message(members=(MEMBERS[0], MEMBERS[0])), "members"),
    "weights of another sum": (
        message(members=(*MEMBERS[:2], replace(MEMBERS[2], weight=0.5))),
        "weight",
    ),
    "a weight below zero": (
        message(
            members=(
                replace(MEMBERS[0], weight=-0.5),
                replace(MEMBERS[1], weight=1.25),
                MEMBERS[2],
            )
        ),
        "weight",
    ),
    "no weight": (
        message(members=(*MEMBERS[:2], replace(MEMBERS[2], weight=float("nan")))),
        "weight",
    ),
    "a damaged table": (damaged(pack_table(TABLE)[:-1]), "table"),
    "a table of others": (damaged(pack_table(replace(TABLE, sites=TABLE.sites[:2]))), "table"),
    "too large a table": (damaged(bytes(2**20 + 1)), "table"),
    "no mode": (kernel_pb2.Ensemble(members=message().members), "mode"),
    "one kernel's mode": (
        kernel_pb2.Ensemble(mode=common_pb2.MODE_NEAREST, members=message().members),
        "mode",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_ensemble_is_refused_by_the_field(name: str) -> None:
    wrong, field = WRONG[name]
    with pytest.raises(InvalidRequest) as caught:
        ensemble_from_message(wrong, leader=NAMES[0])
    assert caught.value.field.endswith(field)


def a_route(mode: Mode, num: int = 3) -> Route:
    choices = tuple(
        Choice(kernel=name, seat=None, distance=0.1, weight=weight, radius=1.0)
        for name, weight in zip(NAMES[:num], (0.75, 0.25, 0.0), strict=False)
    )
    return Route(
        choices=choices,
        kernel=NAMES[0],
        reason="nearest",
        rule=Rule.GEODESIC,
        mode=mode,
        margin=0.1,
        out_of_domain=False,
        no_evidence=False,
        num_tokens=3,
        table_version=5,
    )


def test_the_top_k_of_a_route_answer_together() -> None:
    terms = {"top_k": 2, "rule": Rule.BEARING, "phi_weighting": False, "follows_text": True}
    made = ensemble_of(a_route(Mode.MIXTURE), TABLE, **terms)  # type: ignore[arg-type]
    assert made is not None
    assert [(each.kernel, each.weight) for each in made.members] == [
        (NAMES[0], 0.75),
        (NAMES[1], 0.25),
    ]
    assert made.renewal is not None
    assert made.renewal.table.sites == TABLE.sites[:2]
    assert made.renewal.rule is Rule.BEARING  # before any fallback
    posterior = ensemble_of(a_route(Mode.POSTERIOR), TABLE, **terms)  # type: ignore[arg-type]
    assert posterior is not None
    assert posterior.renewal is None


@pytest.mark.parametrize(("mode", "num"), [(Mode.NEAREST, 3), (Mode.MIXTURE, 1)])
def test_one_kernel_is_no_ensemble(mode: Mode, num: int) -> None:
    assert (
        ensemble_of(
            a_route(mode, num),
            TABLE,
            top_k=2,
            rule=Rule.BEARING,
            phi_weighting=True,
            follows_text=True,
        )
        is None
    )


@given(
    st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=40),
    st.lists(st.floats(0, 2**20, width=32), max_size=20),
)
def test_a_prediction_survives_bit_for_bit(logits: list[float], nats: list[float]) -> None:
    logits_V = np.array(logits, dtype=np.float32)
    sent = predicted_to_message(Predicted(logits_V, nats))
    back = predicted_from_message(sent, vocab_size=len(logits))
    assert back.logits_V.tobytes() == logits_V.tobytes()
    assert list(back.prompt_nats) == nats
    with pytest.raises(InternalError):
        predicted_from_message(sent, vocab_size=len(logits) + 1)
