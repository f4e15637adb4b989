"""What one client may ask for: requests in, refusals compared with plain counting."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from constellation.errors import ConfigError, Overloaded
from constellation.runtime import rate_limits
from constellation.runtime.rate_limits import ClientLimits

ARRIVALS = st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 0.5)), max_size=60)
"""Who, and how many seconds after the one before."""


@given(ARRIVALS, st.sampled_from([0.5, 1.0, 3.0]))
def test_in_any_stretch_of_time_a_client_begins_no_more_than_its_rate(
    arrivals: list[tuple[str, float]], rate: float
) -> None:
    desk, now_s = ClientLimits(rate=rate), 0.0
    begun: dict[str, list[float]] = {"a": [], "b": []}
    for client, pause_s in arrivals:
        now_s += pause_s
        try:
            desk.begin(client, now_s=now_s)
        except Overloaded as error:
            wait_s = error.retry_after_s
            assert 0 < wait_s <= 1 / rate + 1e-6
            assert begun[client]  # nobody is refused who has not begun before
        else:
            begun[client].append(now_s)
            desk.end(client, now_s=now_s)
    for times in begun.values():
        for first in range(len(times)):
            for last in range(first, len(times)):
                allowed = max(1.0, rate) + rate * (times[last] - times[first])
                assert last - first + 1 <= allowed + 1e-6


def test_one_that_waits_as_long_as_it_is_told_may_begin() -> None:
    desk = ClientLimits(rate=2.0)
    for _ in range(2):
        desk.begin("a", now_s=0.0)
    with pytest.raises(Overloaded, match="2 a second") as caught:
        desk.begin("a", now_s=0.1)
    desk.begin("b", now_s=0.1)  # others are no business of theirs
    desk.begin("a", now_s=0.1 + caught.value.retry_after_s + 1e-9)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.booleans()), max_size=60), st.integers(1, 3))
def test_a_client_has_no_more_under_way_than_it_may(
    events: list[tuple[str, bool]], requests_max: int
) -> None:
    desk, running = ClientLimits(requests_max=requests_max), {"a": 0, "b": 0}
    for client, arrives in events:
        if arrives and running[client] == requests_max:
            with pytest.raises(Overloaded, match="at a time"):
                desk.begin(client, now_s=0.0)
        elif arrives:
            desk.begin(client, now_s=0.0)
            running[client] += 1
        elif running[client]:
            desk.end(client, now_s=0.0)
            running[client] -= 1
    assert len(desk) == sum(number > 0 for number in running.values())


def test_without_limits_nothing_is_counted() -> None:
    desk = ClientLimits()
    for _ in range(1000):
        desk.begin("a", now_s=0.0)
    desk.end("a", now_s=0.0)
    assert len(desk) == 0
    assert not desk.are_on


def test_however_many_clients_come_few_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limits, "CLIENTS_MAX", 10)
    desk = ClientLimits(rate=1.0)
    for number in range(100):
        desk.begin(f"client {number}", now_s=0.0)
        desk.end(f"client {number}", now_s=0.0)
    assert len(desk) == 10
    desk.end("client 3", now_s=0.0)  # forgotten meanwhile
    with pytest.raises(Overloaded):
        desk.begin("client 99", now_s=0.0)


@pytest.mark.parametrize("given", [{"requests_max": 0}, {"rate": 0.0}, {"rate": float("nan")}])
def test_limits_that_let_nobody_in_are_refused(given: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="allowed"):
        ClientLimits(**given)  # type: ignore[arg-type]
