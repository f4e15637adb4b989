"""`POST /v1/route` decides, explains, and asks no kernel."""

from typing import Any

import pytest

from constellation.records import Mode, RoutingOptions, Rule
from tests.wire.fakes import NAMES
from tests.wire.http.doors import Door


def options_of(door: Door) -> RoutingOptions:
    options = door.router.calls[-1][2]
    assert options is not None
    return options


def test_a_route_names_kernels_distances_and_the_tokens_that_decided(door: Door) -> None:
    answer = door.call("POST", "/v1/route", {"input": "a b"})
    assert answer.status == 200
    assert answer.headers["cache-control"] == "no-store"
    route = answer.body
    assert (route["kernel"], route["reason"], route["margin"]) == ("python", "nearest", 0.25)
    assert [choice["kernel"] for choice in route["choices"]] == [*NAMES]
    assert route["choices"][0].keys() == {
        "kernel", "seat", "distance", "weight", "radius", "basin",
    }  # fmt: skip
    assert route["influences"] == [{"text": "gather", "position": 3, "shift": 0.125}]
    assert door.router.calls[-1][0] == "a b"
    assert options_of(door) == RoutingOptions(explain=True)


def test_all_options_reach_the_router(door: Door) -> None:
    given = {"rule": "geodesic", "mode": "mixture", "top_k": 2, "kernel": "law", "refuse": 0.05}
    left_out = {"without": ["poetry", "poetry"]}
    assert door.call("POST", "/v1/route", {"input": "a", **given, **left_out}).status == 200
    assert options_of(door) == RoutingOptions(
        rule=Rule.GEODESIC,
        mode=Mode.MIXTURE,
        top_k=2,
        kernel="law",
        refuse=0.05,
        without=("poetry",),
        explain=True,
    )


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no input": ({}, "input"),
    "a number": ({"input": 1}, "input"),
    "empty name": ({"input": "a", "without": [""]}, "without"),
    "no list": ({"input": "a", "without": "law"}, "without"),
    "too many": ({"input": "a", "without": ["law"] * 241}, "without"),
    "rule": ({"input": "a", "rule": "fast"}, "rule"),
    "share": ({"input": "a", "refuse": 0.9}, "refuse"),
    "unknown": ({"input": "a", "explain": True}, "explain"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_refused_by_name(door: Door, case: str) -> None:
    body, field = WRONG[case]
    answer = door.call("POST", "/v1/route", body)
    assert answer.status == 400
    assert answer.body["error"]["param"].partition("[")[0] == field


def test_an_empty_text_has_no_route(door: Door) -> None:
    answer = door.call("POST", "/v1/route", {"input": ""})
    assert answer.body["error"]["constellation"]["error"] == "InvalidPrompt"


def test_an_unknown_kernel_is_answered_with_those_that_there_are(door: Door) -> None:
    answer = door.call("POST", "/v1/route", {"input": "a", "kernel": "nobody"})
    assert answer.status == 404
    assert answer.body["error"]["constellation"]["error"] == "UnknownKernel"
