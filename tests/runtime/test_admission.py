"""Who starts, who waits, who is refused: arrivals and departures in, decisions compared."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from constellation.errors import ConfigError, Overloaded
from constellation.runtime.admission import Admission

EVENTS = st.lists(st.tuples(st.booleans(), st.integers(0, 30)), max_size=80)
"""Arrivals (True), and departures of whoever stands at a place among those inside."""


def admission(*, slots: int = 1, queue_max: int = 1) -> Admission:
    return Admission("the desk", slots=slots, queue_max=queue_max)


@given(EVENTS, st.integers(1, 4), st.integers(0, 4))
def test_limits_hold_and_the_line_moves_in_order_whatever_happens(
    events: list[tuple[bool, int]], slots: int, queue_max: int
) -> None:
    """Compared with a plain model: running, a line, and no free slot while somebody waits."""
    desk = admission(slots=slots, queue_max=queue_max)
    running: set[int] = set()
    line: list[int] = []
    for ticket, (arrives, place) in enumerate(events):
        if arrives and len(running) == slots and len(line) == queue_max:
            with pytest.raises(Overloaded):
                desk.arrive(ticket, now_s=float(ticket))
        elif arrives:
            started = desk.arrive(ticket, now_s=float(ticket))
            assert started == (len(running) < slots)
            running.add(ticket) if started else line.append(ticket)
        elif running or line:
            inside = [*sorted(running), *line]
            leaver = inside[place % len(inside)]
            successor = desk.leave(leaver, now_s=float(ticket))
            assert successor == (line[0] if leaver in running and line else None)
            running.discard(leaver)
            if leaver in line:
                line.remove(leaver)
            if isinstance(successor, int):
                running.add(line.pop(0))
        assert (desk.num_running, desk.depth) == (len(running), len(line))
        assert desk.num_running == slots or desk.depth == 0


def test_a_refusal_names_the_desk_the_depth_and_when_to_come_back() -> None:
    desk = admission(slots=2, queue_max=1)
    for ticket in "abc":
        desk.arrive(ticket, now_s=0.0)
    with pytest.raises(Overloaded, match="the desk has 3 requests waiting") as caught:
        desk.arrive("d", now_s=0.0)
    assert caught.value.depth == 3
    assert caught.value.retry_after_s == desk.retry_after_s() > 0


def test_without_a_line_the_next_one_is_refused_at_once() -> None:
    desk = admission(slots=1, queue_max=0)
    assert desk.arrive("a", now_s=0.0)
    with pytest.raises(Overloaded):
        desk.arrive("b", now_s=0.0)


def test_one_that_gives_up_waiting_frees_no_slot() -> None:
    desk = admission()
    desk.arrive("a", now_s=0.0)
    desk.arrive("b", now_s=0.0)
    assert desk.leave("b", now_s=1.0) is None
    assert (desk.num_running, desk.depth) == (1, 0)


def test_slow_service_makes_the_time_to_wait_longer() -> None:
    quick, slow = admission(), admission()
    for desk, seconds in ((quick, 0.1), (slow, 10.0)):
        for ticket in range(20):
            desk.arrive(ticket, now_s=ticket * 20.0)
            desk.leave(ticket, now_s=ticket * 20.0 + seconds)
    assert quick.retry_after_s() == pytest.approx(0.1)
    assert 5 < slow.retry_after_s() < 10


def test_nobody_is_sent_back_at_once() -> None:
    desk = admission(slots=1)
    for ticket in range(200):
        desk.arrive(ticket, now_s=0.0)
        desk.leave(ticket, now_s=0.0)
    assert desk.retry_after_s() == 0.01


@pytest.mark.parametrize(("slots", "queue_max"), [(0, 1), (1, -1)])
def test_limits_that_make_no_sense_are_refused(slots: int, queue_max: int) -> None:
    with pytest.raises(ConfigError, match="slots >= 1"):
        admission(slots=slots, queue_max=queue_max)


# --- turns ----------------------------------------------------------------------------------------

VISITS = st.lists(st.tuples(st.sampled_from(["arrive", "leave", "give up"]), st.integers(0, 30)))
"""What happens, and which client (three of them) or who of those inside it happens to."""


@given(VISITS, st.integers(1, 3), st.integers(1, 6))
def test_nobody_is_served_twice_while_another_client_waits(
    visits: list[tuple[str, int]], slots: int, queue_max: int
) -> None:
    """And within a client the oldest goes first, whoever arrives, leaves or gives up."""
    desk = admission(slots=slots, queue_max=queue_max)
    waiting: dict[int, str] = {}  # ticket -> client, oldest first
    running: list[int] = []
    served_since: dict[str, set[str]] = {}  # client -> who was served since it began to wait
    for ticket, (event, number) in enumerate(visits):
        client = "xyz"[number % 3]
        if event == "arrive":
            displaced = desk.make_room(client)
            if displaced is not None:
                assert isinstance(displaced, int)
                waiting.pop(displaced)
            if len(running) == slots and len(waiting) == queue_max:
                with pytest.raises(Overloaded):
                    desk.arrive(ticket, now_s=0.0, client=client)
            elif desk.arrive(ticket, now_s=0.0, client=client):
                running.append(ticket)
            else:
                waiting[ticket] = client
        elif event == "leave" and running:
            successor = desk.leave(running.pop(number % len(running)), now_s=0.0)
            assert (successor is None) == (not waiting)
            if isinstance(successor, int):
                own = waiting.pop(successor)
                assert own not in waiting.values() or successor < min(
                    other for other, whose in waiting.items() if whose == own
                )
                for other in set(waiting.values()) - {own}:
                    assert own not in served_since[other]
                    served_since[other].add(own)
                served_since[own] = set()
                running.append(successor)
        elif event == "give up" and waiting:
            assert desk.leave(list(waiting)[number % len(waiting)], now_s=0.0) is None
            waiting.pop(list(waiting)[number % len(waiting)])
        for name in "xyz":
            if name not in waiting.values():
                served_since.pop(name, None)
            else:
                served_since.setdefault(name, set())
        assert (desk.num_running, desk.depth) == (len(running), len(waiting))


def test_a_hundred_requests_of_one_hold_up_anothers_by_one_turn() -> None:
    desk = admission(slots=1, queue_max=200)
    for ticket in range(101):
        desk.arrive(ticket, now_s=0.0, client="busy")
    desk.arrive("only", now_s=0.0, client="modest")
    assert [desk.leave(0, now_s=1.0), desk.leave(1, now_s=2.0)] == [1, "only"]


def test_a_full_queue_has_room_for_whoever_waits_with_less() -> None:
    desk = admission(slots=1, queue_max=4)
    for ticket in range(5):
        assert desk.make_room("busy") is None
        desk.arrive(ticket, now_s=0.0, client="busy")
    assert desk.make_room("busy") is None  # and "busy" itself is refused
    assert desk.make_room("modest") == 4
    desk.arrive("first", now_s=0.0, client="modest")
    assert desk.make_room("modest") == 3
    desk.arrive("second", now_s=0.0, client="modest")
    assert desk.make_room("modest") is None  # two each
    assert desk.leave(4, now_s=0.0) is None  # it was refused, and has nothing to give up
    assert (desk.num_running, desk.depth) == (1, 4)
