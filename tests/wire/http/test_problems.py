"""Every error has an HTTP status and OpenAI's error object."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from constellation import errors
from constellation.wire import error_status
from constellation.wire.http.error_replies import http_status, problem
from tests.error_examples import EXAMPLES

STATUSES: dict[type[errors.ConstellationError], int] = {
    errors.InvalidRequest: 400,
    errors.InvalidPrompt: 400,
    errors.InvalidBasin: 400,
    errors.Unauthenticated: 401,
    errors.UnknownKernel: 404,
    errors.ReloadRefused: 409,
    errors.MessageTooLarge: 413,
    errors.OutOfDomain: 422,
    errors.Overloaded: 429,
    errors.Cancelled: 499,
    errors.InternalError: 500,
    errors.KernelUnavailable: 503,
    errors.ServiceUnavailable: 503,
    errors.DeadlineExceeded: 504,
}


@pytest.mark.parametrize(("kind", "code"), STATUSES.items(), ids=str)
def test_every_class_has_its_status(kind: type[errors.ConstellationError], code: int) -> None:
    assert http_status(kind) == code


@pytest.mark.slow
@pytest.mark.parametrize("kind", error_status.STATUS_OF, ids=lambda kind: kind.__name__)
@given(data=st.data())
def test_every_error_can_be_told(kind: type[errors.ConstellationError], data: Any) -> None:
    error = data.draw(EXAMPLES[kind])
    said = problem(error)
    content = json.loads(json.dumps(said.content))["error"]
    assert 400 <= said.status <= 504
    assert set(content) == {"message", "type", "param", "code", "constellation"}
    assert isinstance(content["message"], str)
    assert content["constellation"]["error"] == kind.__name__


def test_an_overloaded_server_says_when_to_come_back() -> None:
    said = problem(errors.Overloaded("the router", depth=3, retry_after_s=1.25))
    assert said.headers == {"Retry-After": "2", "retry-after-ms": "1250"}
    assert said.content["error"]["code"] == "rate_limit_exceeded"


def test_codes_that_clients_look_at_are_theirs() -> None:
    long = errors.InvalidPrompt(length=200, limit=127)
    unknown = errors.UnknownKernel("x", ["y"])
    assert problem(long).content["error"]["code"] == "context_length_exceeded"
    assert problem(errors.InvalidPrompt(length=0, limit=9)).content["error"]["code"] is None
    assert problem(unknown).content["error"]["code"] == "model_not_found"
    assert problem(unknown).content["error"]["param"] == "model"
    assert problem(errors.Unauthenticated()).content["error"]["code"] == "invalid_api_key"
