"""A client sends one id with all tries of a call, and another with the next call."""

from collections.abc import Callable
from typing import Any

import pytest

from constellation.errors import InvalidRequest, KernelUnavailable
from tests.wire.fakes import Served


def ids(served: Served) -> list[str | None]:
    return [caller.request_id for caller in served.router.callers]


@pytest.mark.parametrize("call", ["ask", "stream"])
def test_every_try_of_a_call_has_the_same_id(
    served: Served, make_client: Callable[..., Any], call: str
) -> None:
    stars = make_client(served.endpoint)
    for _ in range(2):
        served.router.failures.extend([KernelUnavailable("python", "it restarts")] * 2)
        answer = getattr(stars, call)("a b")
        assert (answer.text if call == "ask" else "".join(p.text for p in answer)) == "a b"
    first, second = ids(served)[:3], ids(served)[3:]
    assert len(set(first)) == len(set(second)) == 1
    assert first[0] != second[0]
    assert len(first[0] or "") == 24


def test_a_caller_may_choose_the_id(served: Served, make_client: Callable[..., Any]) -> None:
    stars = make_client(served.endpoint)
    stars.ask("a b", request_id="order-7")
    assert ids(served) == ["order-7"]
    with pytest.raises(InvalidRequest, match="request_id"):
        stars.ask("a b", request_id="")
