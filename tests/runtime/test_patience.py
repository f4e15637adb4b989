"""When a silent process is restarted, and that a late answer saves the process."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from constellation.errors import ConfigError
from constellation.runtime.patience import Patience


def patience() -> Patience:
    return Patience(base_s=6.0, max_s=60.0, start_s=20.0)


def silent_until_restart(made: Patience, begin_s: float) -> float:
    """Return the seconds of silence after which the process is restarted."""
    now_s = begin_s
    made.silent(now_s=now_s)
    while not made.is_over(now_s=now_s):
        now_s += 1.0
        made.silent(now_s=now_s)
    made.restarted(now_s=now_s)
    return now_s - begin_s


def test_the_patience_doubles_with_every_restart_in_vain_up_to_its_limit() -> None:
    made, now_s, waited = patience(), 0.0, []
    for _ in range(6):
        waited.append(silent_until_restart(made, now_s))
        now_s += waited[-1]
    assert waited == [6.0, 32.0, 44.0, 68.0, 80.0, 80.0]  # with 20 s for each start


def test_an_answer_that_comes_late_restores_the_patience() -> None:
    made = patience()
    assert silent_until_restart(made, 0.0) == 6.0
    made.answered()
    assert not made.is_over(now_s=1000.0)
    assert silent_until_restart(made, 1000.0) == 6.0


def test_silence_is_new_once() -> None:
    made = patience()
    assert [made.silent(now_s=float(n)) for n in range(3)] == [True, False, False]
    made.answered()
    assert made.silent(now_s=9.0)


@given(st.lists(st.booleans(), max_size=200))
def test_restarts_are_bounded_however_a_process_answers(answers: list[bool]) -> None:
    """And a process that answers at least every five seconds is never restarted."""
    made, restarts, silence, longest = patience(), 0, 0, 0
    for second, answered in enumerate(answers):
        if answered:
            made.answered()
            silence = 0
        else:
            made.silent(now_s=float(second))
            silence += 1
        longest = max(longest, silence)
        if made.is_over(now_s=float(second)):
            made.restarted(now_s=float(second))
            restarts += 1
    assert restarts <= len(answers) / 6
    assert longest > 6 or not restarts


@pytest.mark.parametrize("limits", [(0.0, 1.0, 0.0), (2.0, 1.0, 0.0), (1.0, 1.0, -1.0)])
def test_a_patience_that_makes_no_sense_is_refused(limits: tuple[float, float, float]) -> None:
    with pytest.raises(ConfigError, match="base_s"):
        Patience(*limits)
