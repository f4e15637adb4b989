"""Who is up, who is lost, who must be restarted: events in, commands compared."""

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
    assert made.timed_out("k", now_s=4.0) == [Restart("k", "missed 3 heartbeats")]
    assert (made.members["k"].state, made.members["k"].endpoint) == (State.STARTING, None)


def test_an_answer_in_between_starts_the_count_anew() -> None:
    made = supervisor()
    up(made)
    for now_s in range(10):
        assert made.timed_out("k", now_s=float(now_s)) == []
        assert made.timed_out("k", now_s=float(now_s)) == []
        made.answered("k")


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


EVENTS = st.lists(
    st.sampled_from(["announced", "answered", "refused", "timed_out", "overdue"]), max_size=60
)


@given(EVENTS, st.integers(1, 5))
def test_up_means_an_address_and_starting_means_none(events: list[str], misses_max: int) -> None:
    """And nobody who is up is ever one timeout past the limit."""
    made = supervisor(misses_max=misses_max)
    for second, event in enumerate(events):
        now_s = second * 10.0
        if event == "announced":
            made.announced("k", endpoint=f"127.0.0.1:{second}", pid=second + 1, now_s=now_s)
        elif event == "answered":
            made.answered("k")
        elif event == "refused":
            made.refused("k", made.members["k"].endpoint or AT, now_s=now_s)
        elif event == "timed_out":
            made.timed_out("k", now_s=now_s)
        else:
            made.overdue(now_s=now_s)
        member = made.members["k"]
        assert (member.endpoint is not None) == (member.state is State.UP)
        assert member.state is State.STARTING or member.misses < misses_max


@pytest.mark.parametrize(
    "changes", [{"misses_max": 0}, {"start_s": 0.0}, {"start_s": 400.0}, {"start_s": float("nan")}]
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
