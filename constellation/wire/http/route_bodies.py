"""Requests of `POST /v1/route`, which decides on a route and asks no kernel."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from constellation.records import Mode, RoutingOptions, Rule
from constellation.wire import convert
from constellation.wire.http.bodies import Prompt
from constellation.wire.http.body_model import Body, integer, number, text

KERNELS_MAX = 240
"""Kernels that a request may leave out: as many as a constellation has seats."""

KernelName = Annotated[str, text()]


class RouteRequest(Body):
    """A request to /v1/route."""

    input: Prompt
    rule: Annotated[Rule | None, Field(strict=False, description=" or ".join(Rule))] = None
    mode: Annotated[Mode | None, Field(strict=False, description=", ".join(Mode))] = None
    top_k: Annotated[int | None, integer(1, KERNELS_MAX)] = None
    kernel: Annotated[str | None, text()] = None
    without: Annotated[
        list[KernelName] | None,
        Field(
            max_length=KERNELS_MAX,
            fail_fast=True,
            description=f"a list of 0 to {KERNELS_MAX} names of kernels",
        ),
    ] = None
    refuse: Annotated[float | None, number(0.002, 0.5)] = None


def route_request(body: Mapping[str, Any]) -> tuple[str, RoutingOptions]:
    """Return the text of a request, and how to route the text.

    Raises:
        InvalidRequest, InvalidPrompt: A field holds what the field may not hold.
    """
    asked = RouteRequest.read(body)
    options = asked.model_dump(exclude_none=True, exclude={"input", "without"})
    if asked.without:
        options["without"] = tuple(dict.fromkeys(asked.without))
    prompt = convert.check_text("input", asked.input)
    return prompt, RoutingOptions(explain=True, **options)
