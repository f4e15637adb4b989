"""When a call is tried again: the pure policy, and both clients obeying it."""

import math
import threading
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from constellation import errors
from constellation.client import RetryPolicy, Timeouts
from constellation.client.retries import Attempts
from constellation.errors import ConfigError, DeadlineExceeded, Overloaded, ServiceUnavailable
from tests.client.conftest import QUICK, MakeClient
from tests.error_examples import EXAMPLES, tree
from tests.wire.fakes import Served

LOST = errors.KernelUnavailable("law", "its process is gone")
DOWN = ServiceUnavailable("h:1", "refused")
draws = st.floats(0, 1, exclude_max=True)


def attempts(
    policy: RetryPolicy | None = None, *, connect_s: float = 10, deadline_s: float = 100
) -> Attempts:
    return Attempts(policy or RetryPolicy(), connect_s, deadline_s)


@given(draws, st.integers(1, 5000))
def test_a_pause_is_drawn_below_a_doubling_ceiling(draw: float, num_failed: int) -> None:
    policy = RetryPolicy(delay_first_s=0.25, delay_max_s=2)
    ceiling = min(2, 0.25 * 2 ** min(num_failed - 1, 3))
    assert policy.delay_s(num_failed, draw) == draw * ceiling


@pytest.mark.parametrize("kind", EXAMPLES, ids=lambda kind: kind.__name__)
@given(data=st.data())
@settings(max_examples=3)
def test_only_failures_that_a_repeat_may_cure_are_tried_again(
    kind: type[errors.ConstellationError], data: st.DataObject
) -> None:
    error = data.draw(EXAMPLES[kind])
    tries = attempts(deadline_s=10_000)
    if kind.retryable and kind is not DeadlineExceeded:
        assert tries.pause_s(error, now_s=0, draw=0.5) > 0
    else:
        with pytest.raises(kind) as caught:
            tries.pause_s(error, now_s=0, draw=0.5)
        assert caught.value is error


def test_the_examples_cover_the_tree() -> None:
    assert set(EXAMPLES) == set(tree())


@given(st.integers(1, 50))
def test_attempts_max_counts_the_first_try_too(attempts_max: int) -> None:
    tries = attempts(RetryPolicy(attempts_max=attempts_max))
    for _ in range(attempts_max - 1):
        tries.pause_s(LOST, now_s=0, draw=0)
    with pytest.raises(errors.KernelUnavailable):
        tries.pause_s(LOST, now_s=0, draw=0)


@given(st.lists(draws, max_size=500))
def test_a_full_service_is_asked_until_the_deadline_less_and_less_often(drawn: list[float]) -> None:
    tries, now_s = attempts(RetryPolicy(attempts_max=2), deadline_s=120), 0.0
    error = Overloaded("q", depth=1, retry_after_s=0.01)
    for count, draw in enumerate(drawn):
        try:
            pause = tries.pause_s(error, now_s=now_s, draw=draw)
        except Overloaded:
            assert now_s > 120 - 4.01
            break
        assert pause == 0.01 + draw * min(4, 0.1 * 2 ** min(count, 9))
        now_s += pause


def test_one_try_is_one_try_also_with_a_full_service() -> None:
    with pytest.raises(Overloaded):
        attempts(RetryPolicy(attempts_max=1)).pause_s(
            Overloaded("q", depth=1, retry_after_s=0.01), now_s=0, draw=0
        )


@given(draws, st.floats(0, 20), st.floats(0, 20))
def test_no_pause_reaches_the_deadline(draw: float, now_s: float, deadline_s: float) -> None:
    tries = attempts(deadline_s=deadline_s)
    try:
        pause = tries.pause_s(LOST, now_s=now_s, draw=draw)
    except errors.KernelUnavailable:
        return
    assert now_s + pause < deadline_s


@given(draws, st.floats(0, 50))
def test_an_overloaded_service_is_left_alone_for_as_long_as_it_asks(
    draw: float, retry_after_s: float
) -> None:
    error = Overloaded("q", depth=1, retry_after_s=retry_after_s)
    pause = attempts().pause_s(error, now_s=0, draw=draw)
    assert retry_after_s <= pause < retry_after_s + 0.1 + 1e-9


def test_a_wait_that_would_outlast_the_deadline_is_not_begun() -> None:
    error = Overloaded("q", depth=1, retry_after_s=5)
    with pytest.raises(Overloaded):
        attempts(deadline_s=5).pause_s(error, now_s=0, draw=0)


def test_an_unreachable_service_is_given_up_after_connect_s() -> None:
    tries = attempts(connect_s=3)
    tries.pause_s(DOWN, now_s=1, draw=0)
    tries.pause_s(DOWN, now_s=3.875, draw=0)
    with pytest.raises(ServiceUnavailable):
        tries.pause_s(DOWN, now_s=4, draw=0)


def test_an_answer_in_between_starts_the_wait_for_a_connection_anew() -> None:
    tries = attempts(connect_s=3)
    tries.pause_s(DOWN, now_s=1, draw=0)
    tries.pause_s(LOST, now_s=3, draw=0)
    assert tries.pause_s(DOWN, now_s=5, draw=0) == 0


@given(st.lists(draws, min_size=23, max_size=23))
@settings(max_examples=30)
def test_the_default_policy_does_not_give_up_on_time_before_the_tries_are_used(
    drawn: list[float],
) -> None:
    tries, now_s = attempts(), 0.0
    for draw in drawn:
        now_s += tries.pause_s(DOWN, now_s=now_s, draw=draw)
    assert now_s < 10


def test_the_default_pauses_ride_out_a_restart_of_two_seconds() -> None:
    """In the mean they last over 5 s; even with every draw at 0.2 they last over 2 s."""
    for draw, least in ((0.5, 5), (0.2, 2)):
        policy = RetryPolicy()
        total = sum(policy.delay_s(count, draw) for count in range(1, policy.attempts_max))
        assert total > least


def test_time_left_is_counted_to_the_deadline() -> None:
    tries = attempts(deadline_s=100)
    assert tries.remaining_s(60) == 40
    with pytest.raises(DeadlineExceeded):
        tries.remaining_s(100)


@pytest.mark.parametrize(
    "options",
    [
        {"attempts_max": 0},
        {"delay_first_s": 0},
        {"delay_first_s": 2, "delay_max_s": 1},
        {"delay_max_s": math.inf},
        {"delay_max_s": math.nan},
        {"delay_full_max_s": 0},
        {"delay_full_max_s": math.inf},
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        RetryPolicy(**options)


@pytest.mark.parametrize("name", ["connect_s", "request_s", "lookup_s"])
@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, 3601])
def test_a_timeout_out_of_range_is_refused(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=name):
        Timeouts(**{name: value})


RETRYABLE = [LOST, DOWN, Overloaded("q", depth=1, retry_after_s=0.001)]


@pytest.mark.parametrize("call", ["ask", "route", "score", "basin"])
@pytest.mark.parametrize("failure", RETRYABLE, ids=lambda failure: type(failure).__name__)
def test_failures_before_the_first_token_do_not_show(
    served: Served, stars: Any, call: str, failure: errors.RequestError
) -> None:
    served.router.failures.extend([failure] * 3)
    assert getattr(stars, call)("a") is not None
    assert len(served.router.calls) == 4


def test_a_kernel_that_dies_before_its_first_token_does_not_show(
    served: Served, stars: Any
) -> None:
    served.router.failure_after = (0, LOST)
    reply = stars.ask("one two")
    assert reply.text == "one two"
    assert reply.route.kernel == "python"
    assert len(served.router.calls) == 2


@pytest.mark.parametrize("failure", RETRYABLE, ids=lambda failure: type(failure).__name__)
def test_after_the_first_token_a_failure_is_raised_and_nothing_is_repeated(
    served: Served, stars: Any, failure: errors.RequestError
) -> None:
    served.router.failure_after = (1, failure)
    texts: list[str] = []
    with pytest.raises(type(failure)), stars.stream("one two three") as stream:
        texts.extend(piece.text for piece in stream)
    assert len(served.router.calls) == 1
    with pytest.raises(errors.InternalError):
        stream.reply()


def test_when_the_tries_are_used_up_the_last_error_is_raised(served: Served, stars: Any) -> None:
    served.router.failures.extend([LOST] * 9)
    with pytest.raises(errors.KernelUnavailable):
        stars.ask("a")
    assert len(served.router.calls) == QUICK.attempts_max


def test_a_final_error_is_not_tried_again(served: Served, stars: Any) -> None:
    served.router.failures.append(errors.InternalError("id"))
    with pytest.raises(errors.InternalError):
        stars.ask("a")
    assert len(served.router.calls) == 1


def test_the_pauses_are_drawn_from_the_given_chance_and_time_from_the_given_clock(
    served: Served, make_client: MakeClient
) -> None:
    drawn: list[float] = []

    def draw() -> float:
        drawn.append(0.0)
        return 0.0

    stars = make_client(served.endpoint, now_s=lambda: 7.0, draw=draw)
    served.router.failures.extend([LOST] * 2)
    stars.ask("a", timeout_s=9)
    assert len(drawn) == 2
    assert served.router.timeouts[-1] == pytest.approx(9, abs=0.5)


@pytest.mark.slow
def test_a_router_that_restarts_on_its_port_does_not_show(
    served: Served, make_client: MakeClient
) -> None:
    stars = make_client(served.endpoint, retries=RetryPolicy())
    assert stars.ask("before").text == "before"
    served.stop()
    again = threading.Timer(0.2, served.start_again)
    again.start()
    assert stars.ask("after").text == "after"
    assert stars.status().router_pid == 12
    again.join()


def test_a_router_that_never_answers_is_a_typed_error_with_its_address(
    served: Served, make_client: MakeClient
) -> None:
    served.stop()
    stars = make_client(served.endpoint, timeouts=Timeouts(connect_s=0.05), retries=RetryPolicy())
    for call in (stars.ask, stars.route):
        with pytest.raises(ServiceUnavailable) as caught:
            call("a")
        assert caught.value.endpoint == served.endpoint
        assert served.endpoint in str(caught.value)


def test_a_server_that_dies_in_the_middle_of_an_answer_is_a_typed_error(
    served: Served, stars: Any
) -> None:
    served.soon(served.router.hold.clear)
    stream = stars.stream("first second")
    next(stream)
    served.stop()
    with pytest.raises(ServiceUnavailable):
        next(stream)
