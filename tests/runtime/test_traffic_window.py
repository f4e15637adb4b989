"""The window of the last minute: what it counts, forgets, and how its quantiles are read."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from constellation.records import WINDOW_S, Durations, SecondCount, Traffic, bin_of
from constellation.runtime.traffic_window import TrafficWindow


def test_a_window_without_requests_has_no_quantiles() -> None:
    traffic = TrafficWindow().traffic(now_s=5.0)
    assert traffic == Traffic()
    assert traffic.latency.quantiles() is None
    assert len(traffic.seconds) == WINDOW_S


def test_every_kind_of_end_counts_as_a_request_and_as_what_it_is() -> None:
    window = TrafficWindow()
    window.answered(0.5, now_s=10.0)
    window.answered(0.5, now_s=10.9)
    window.failed(now_s=11.0)
    window.refused(now_s=11.0)
    window.refused(now_s=11.5)
    window.cancelled(now_s=12.0)
    window.wrote(7, now_s=12.0)
    window.began(0.1, now_s=12.0)
    traffic = window.traffic(now_s=13.0)
    assert (traffic.requests, traffic.failed, traffic.refused, traffic.tokens) == (6, 1, 2, 7)
    assert sum(traffic.latency.counts.values()) == 2
    assert sum(traffic.first_token.counts.values()) == 1
    assert [each.requests for each in traffic.seconds[-3:]] == [2, 3, 1]
    assert traffic.seconds[-1] == SecondCount(requests=1, tokens=7)


def test_the_second_that_is_not_over_does_not_count_yet() -> None:
    window = TrafficWindow()
    window.failed(now_s=20.25)
    assert window.traffic(now_s=20.75).requests == 0
    assert window.traffic(now_s=21.0).requests == 1


def test_a_minute_later_nothing_is_left() -> None:
    window = TrafficWindow()
    window.answered(1.0, now_s=0.0)
    assert window.traffic(now_s=60.9).requests == 1
    assert window.traffic(now_s=61.0) == Traffic()


@given(st.lists(st.floats(0, 200), max_size=60), st.integers(0, 250))
def test_exactly_the_requests_of_the_last_whole_seconds_are_counted(
    times_s: list[float], now_s: int
) -> None:
    window = TrafficWindow()
    for each in sorted(each for each in times_s if each < now_s):
        window.refused(now_s=each)
    expected = sum(now_s - WINDOW_S <= int(each) < now_s for each in times_s)
    assert window.traffic(now_s=float(now_s)).requests == expected


def test_what_was_read_within_a_second_does_not_hide_what_ends_in_it() -> None:
    window = TrafficWindow()
    for number in range(1, 5):
        assert window.traffic(now_s=float(number)).requests == number - 1
        window.failed(now_s=number + 0.5)
        assert window.traffic(now_s=number + 0.75).requests == number - 1


def test_memory_stays_the_same_however_many_requests_come() -> None:
    window, draw = TrafficWindow(), random.Random(0)
    for number in range(20_000):
        window.answered(10 ** draw.uniform(-9, 9), now_s=number / 50)
    assert len(window._buckets) == WINDOW_S + 1
    assert all(len(bucket.latency) <= 432 for bucket in window._buckets)


def test_quantiles_are_those_of_the_durations_to_the_width_of_half_a_bin() -> None:
    draw = random.Random(1)
    seconds = sorted(10 ** draw.uniform(-4, 3) for _ in range(1_000))
    window = TrafficWindow()
    for each in seconds:
        window.answered(each, now_s=1.0)
    found = window.traffic(now_s=2.0).latency.quantiles()
    assert found is not None
    for value, rank in ((found.p50, 500), (found.p95, 950), (found.p99, 990)):
        assert value == pytest.approx(seconds[rank - 1], rel=0.023)


def test_one_request_is_all_three_quantiles() -> None:
    found = Durations(counts={bin_of(0.25): 1}).quantiles()
    assert found is not None
    assert found.p50 == found.p95 == found.p99 == pytest.approx(0.25, rel=0.023)


def test_counts_of_two_routers_add_up_to_those_of_one() -> None:
    apart, both = (TrafficWindow(), TrafficWindow()), TrafficWindow()
    for number in range(200):
        seconds, now_s = 0.001 * (number + 1), number / 10
        for window in (apart[number % 2], both):
            window.answered(seconds, now_s=now_s)
            window.began(seconds / 2, now_s=now_s)
            window.wrote(number, now_s=now_s)
    one, two = (window.traffic(now_s=30.0) for window in apart)
    assert one.plus(two) == both.traffic(now_s=30.0)
    assert one.plus(two).latency.quantiles() == both.traffic(now_s=30.0).latency.quantiles()


def test_durations_beyond_the_scale_are_counted_at_its_ends() -> None:
    assert bin_of(0.0) == bin_of(1e-9) == -224
    assert bin_of(1e9) == 207
