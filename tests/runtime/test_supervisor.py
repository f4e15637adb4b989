"""Who is up, who is lost, who must be restarted: events in, commands compared."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from constellation.errors import ConfigError
from constellation.runtime.supervisor import Restart, State, Supervisor, SupervisorConfig

AT = "127.0.0.1:1"


def supervisor(**changes: float) -> Supervisor:
    """Return one with the single member "k", expected since second 0."""
    made = Supervisor(SupervisorConfig(**{"misses_max": 3, "start_s": 60.0, **changes}))  # type: ignore[arg-type]
    made.expect("k", now_s=0.0)
    return made


def up(made: Supervisor, *, pid: int = 7, now_s: float = 1.0) -> None:
    assert made.announced("k", endpoint=AT, pid=pid, now_s=now_s)


def test_an_announcement_is_news_once() -> None:
    made = supervisor()
    up(made)
    assert made.members["k"].state is State.UP
    assert not made.announced("k", endpoint=AT, pid=7, now_s=2.0)


def test_another_process_or_address_is_news_and_another_process_a_restart() -> None:
    made = supervisor()
    up(made)
    assert made.announced("k", endpoint="127.0.0.1:2", pid=7, now_s=2.0)
    assert made.members["k"].num_restarts == 0
    assert made.announced("k", endpoint="127.0.0.1:3", pid=8, now_s=3.0)
    assert made.members["k"].num_restarts == 1


def test_a_member_that_leaves_is_forgotten_and_never_overdue() -> None:
    made = supervisor()
    made.forget("k")
    made.forget("never there")
    assert made.members == {}
    assert made.overdue(now_s=1000.0) == []


def test_a_member_is_restarted_after_three_timeouts_in_a_row() -> None:
    made = supervisor()
    up(made)
    assert made.timed_out("k", now_s=2.0) == []
    assert made.timed_out("k", now_s=3.0) == []
    assert made.timed_out("k", now_s=4.0) == [Restart("k", "missed 3 heartbeats", pid=7)]
    assert (made.members["k"].state, made.members["k"].endpoint) == (State.STARTING, None)


def test_an_answer_in_between_starts_the_count_anew() -> None:
    made = supervisor()
    up(made)
    for now_s in range(10):
        assert made.timed_out("k", now_s=float(now_s)) == []
        assert made.timed_out("k", now_s=float(now_s)) == []
        made.answered("k", now_s=float(now_s))


def test_a_timeout_of_one_that_is_starting_orders_nothing() -> None:
    made = supervisor()
    assert [made.timed_out("k", now_s=1.0) for _ in range(5)] == [[]] * 5


def test_a_refused_connection_loses_the_member_without_a_restart() -> None:
    """Nobody listens: the process is dead, and Ray starts it again by itself."""
    made = supervisor()
    up(made)
    assert made.refused("k", AT, now_s=2.0)
    assert made.members["k"].state is State.STARTING
    assert not made.refused("k", AT, now_s=3.0)


def test_a_refusal_at_an_address_it_has_left_is_no_loss() -> None:
    made = supervisor()
    up(made)
    assert not made.refused("k", "127.0.0.1:99", now_s=2.0)
    assert made.members["k"].state is State.UP


def test_one_that_never_comes_up_is_restarted_with_growing_patience() -> None:
    made = supervisor(backoff_max_s=200.0)
    restarts = [now_s for now_s in range(1000) if made.overdue(now_s=float(now_s))]
    assert restarts == [60, 180, 380, 580, 780, 980]


def test_coming_up_restores_the_patience() -> None:
    made = supervisor()
    assert made.overdue(now_s=60.0)
    up(made, now_s=70.0)
    assert made.refused("k", AT, now_s=100.0)
    assert made.overdue(now_s=159.0) == []
    assert made.overdue(now_s=160.0) == [Restart("k", "did not come up in 60 s")]


def test_one_that_is_up_is_never_overdue() -> None:
    made = supervisor()
    up(made)
    assert made.overdue(now_s=1e9) == []


def test_a_silent_member_of_which_nothing_is_known_is_unreachable_and_not_restarted() -> None:
    made = supervisor()
    up(made)
    assert [made.unknown("k", now_s=2.0) for _ in range(4)] == [False, False, True, False]
    member = made.members["k"]
    assert (member.state, member.endpoint) == (State.UNREACHABLE, None)
    assert member.last_endpoint == AT
    assert made.overdue(now_s=61.0) == []


def test_an_unreachable_member_is_up_again_after_two_answers_and_counts_no_restart() -> None:
    made = supervisor()
    up(made)
    for _ in range(3):
        made.unknown("k", now_s=2.0)
    assert not made.answered("k", now_s=20.0)
    assert not made.unknown("k", now_s=20.5)  # the two have to come in a row
    assert not made.answered("k", now_s=21.0)
    assert made.answered("k", now_s=21.5)
    member = made.members["k"]
    assert (member.state, member.endpoint, member.num_restarts) == (State.UP, AT, 0)


def test_a_member_that_stays_unreachable_is_restarted_with_growing_patience() -> None:
    made = supervisor(backoff_max_s=200.0)
    up(made, now_s=0.0)
    for _ in range(3):
        made.unknown("k", now_s=0.0)
    restarts = [now_s for now_s in range(700) if made.overdue(now_s=float(now_s))]
    assert restarts == [60, 180, 380, 580]
    assert made.members["k"].last_endpoint == AT  # and is asked further on


def test_an_unreachable_member_whose_process_turns_out_to_be_gone_is_starting() -> None:
    made = supervisor()
    up(made)
    for _ in range(3):
        made.unknown("k", now_s=2.0)
    assert not made.refused("k", AT, now_s=3.0)  # it is out of the table already
    member = made.members["k"]
    assert (member.state, member.last_endpoint) == (State.STARTING, None)


def test_a_member_that_does_no_work_is_restarted_at_once_and_then_after_pauses() -> None:
    """A kernel whose weights are damaged starts, answers, and fails: no loop of restarts."""
    made = supervisor(retry_s=2.0, retry_max_s=30.0)
    restarts = []
    for now_s in range(200):
        if made.members["k"].state is State.STARTING:
            made.announced("k", endpoint=f"h:{now_s}", pid=now_s + 1, now_s=float(now_s))
        ordered = made.idles("k", "writes no token", now_s=float(now_s))
        restarts += [now_s for _ in [*ordered, *made.overdue(now_s=float(now_s))]]
    assert restarts == [0, 4, 12, 28, 58, 88, 118, 148, 178]


def test_a_member_that_does_its_work_again_before_its_restart_is_due_is_not_restarted() -> None:
    made = supervisor()
    up(made, now_s=0.0)
    assert made.idles("k", "writes no token", now_s=1.0)
    assert made.announced("k", endpoint=AT, pid=8, now_s=2.0)
    assert made.idles("k", "writes no token", now_s=2.5) == []
    assert made.members["k"].state is State.UNREACHABLE
    assert [made.answered("k", now_s=3.0) for _ in range(2)] == [False, True]
    assert made.overdue(now_s=1000.0) == []


def test_after_a_calm_the_pauses_begin_anew() -> None:
    made = supervisor(calm_s=100.0)
    up(made, now_s=0.0)
    assert made.idles("k", "why", now_s=0.0)
    made.announced("k", endpoint=AT, pid=8, now_s=1.0)
    assert made.idles("k", "why", now_s=50.0)
    made.announced("k", endpoint=AT, pid=9, now_s=51.0)
    assert made.idles("k", "why", now_s=150.0)
    assert made.members["k"].num_orders == 1


EVENTS = st.lists(
    st.sampled_from(
        ["announced", "answered", "refused", "timed_out", "unknown", "idles", "ended", "overdue"]
    ),
    max_size=80,
)


def play(made: Supervisor, event: str, now_s: float) -> list[Restart]:
    """Have one event happen to the member "k"."""
    member = made.members["k"]
    if event == "announced":
        made.announced("k", endpoint=f"h:{now_s}", pid=int(now_s) + 1, now_s=now_s)
    elif event == "answered":
        made.answered("k", now_s=now_s)
    elif event == "refused":
        made.refused("k", member.last_endpoint or AT, now_s=now_s)
    elif event == "unknown":
        made.unknown("k", now_s=now_s)
    elif event == "idles":
        return made.idles("k", "why", now_s=now_s)
    elif event == "timed_out":
        return made.timed_out("k", now_s=now_s)
    elif event == "ended":
        return made.ended("k", now_s=now_s)
    else:
        return made.overdue(now_s=now_s)
    return []


@given(EVENTS, st.integers(1, 5), st.sampled_from([0.5, 3.0, 10.0]))
def test_up_means_an_address_and_no_other_state_has_one(
    events: list[str], misses_max: int, every_s: float
) -> None:
    """And nobody who is up is ever one timeout past the limit."""
    made = supervisor(misses_max=misses_max)
    for step, event in enumerate(events):
        play(made, event, step * every_s)
        member = made.members["k"]
        assert (member.endpoint is not None) == (member.state is State.UP)
        assert member.state is not State.UNREACHABLE or member.last_endpoint is not None
        assert member.state is not State.STARTING or member.last_endpoint is None
        assert member.state is not State.UP or member.misses < misses_max


@given(EVENTS)
def test_restarts_are_bounded_whatever_happens(events: list[str]) -> None:
    """Of a process that hangs, does no work or ends: two at once, then with growing pauses."""
    made = supervisor(retry_s=2.0, retry_max_s=30.0)
    restarts: list[float] = []
    for step, event in enumerate(events * 4):
        now_s = step * 0.5
        restarts += [now_s for _ in play(made, event, now_s) if event in ("timed_out", "idles")]
    pauses = [later - earlier for earlier, later in pairwise(restarts)]
    assert all(pause >= min(2.0 * 2 ** (n + 1), 30.0) for n, pause in enumerate(pauses))


@given(
    st.lists(st.sampled_from(["answered", "unknown"]), min_size=40, max_size=40),
    st.integers(1, 20),
)
def test_nobody_flaps_during_a_partition_and_nobody_is_restarted(
    beginning: list[str], num_back: int
) -> None:
    """However heartbeats are lost for 20 s, and however many come through."""
    made = supervisor()
    up(made, now_s=0.0)
    changes, state = 0, State.UP
    for step, event in enumerate([*beginning, *["answered"] * (1 + num_back)]):
        assert play(made, event, 1.0 + step * 0.5) == []
        assert made.overdue(now_s=1.0 + step * 0.5) == []
        changes += made.members["k"].state is not state
        state = made.members["k"].state
    assert made.members["k"].num_restarts == 0
    # Three misses make one change, two answers the next.
    assert changes <= 2 * len(beginning) / 5 + 2
    assert state is State.UP


@pytest.mark.parametrize(
    "changes",
    [
        {"misses_max": 0},
        {"answers_min": 0},
        {"start_s": 0.0},
        {"start_s": 400.0},
        {"start_s": float("nan")},
    ],
)
def test_patience_that_makes_no_sense_is_refused(changes: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="misses_max >= 1"):
        SupervisorConfig(**changes)  # type: ignore[arg-type]


def test_a_member_that_could_not_start_is_started_anew_after_pauses_that_double() -> None:
    made = supervisor(retry_s=2.0, retry_max_s=8.0)
    assert made.ended("k", now_s=1.0) == []
    starts = [at for at in range(60) if made.ended("k", now_s=float(at))]
    assert starts == [2, 6, 14, 22, 30, 38, 46, 54]
    up(made, now_s=60.0)
    assert made.ended("k", now_s=1000.0) == []  # it is up
    made.refused("k", AT, now_s=1000.0)
    assert made.ended("k", now_s=1001.0) == []
    assert made.ended("k", now_s=1002.0) == [Restart("k", "ended before it served")]


def test_restarts_are_counted_on_from_what_is_known_of_a_member() -> None:
    made = supervisor()
    made.expect("k", now_s=0.0, pid=7, num_restarts=3)
    up(made, pid=7)
    assert made.members["k"].num_restarts == 3
    made.expect("k", now_s=0.0, pid=7, num_restarts=3)
    up(made, pid=8)  # it was restarted while nobody looked
    assert made.members["k"].num_restarts == 4
