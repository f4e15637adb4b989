"""What `status` shows: 80 columns whatever there is to show, and the urgent things first."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from cluster.cli.router_sums import Sums
from cluster.cli.status_lines import (
    ROWS,
    WIDTH,
    Shown,
    all_lines,
    head_lines,
    kernel_lines,
    one_line,
    problems,
    state_word,
)
from constellation.client import ConstellationStatus, KernelStatus, RouterStatus
from constellation.records import (
    Durations,
    KernelTraining,
    Node,
    NodeState,
    Overview,
    ReplicaHealth,
    SecondCount,
    Traffic,
    TrainingStatus,
    bin_of,
)

NOW_S = 1_790_000_000.0


def kernel(name: str = "python", **changes: Any) -> KernelStatus:
    made = KernelStatus(
        name=name,
        seat=None,
        endpoint="127.0.0.1:1",
        up=True,
        pid=7,
        num_restarts=0,
        num_routed=0,
        phi_gauge=None,
        basin_K=np.ones(1),
        queue_depth=0,
        num_running=0,
        basins_BK=np.ones((1, 1)),
        arrived=None,
        num_held_out=0,
        family=None,
    )
    return replace(made, **changes)


def router(name: str = "router", **changes: Any) -> RouterStatus:
    made = RouterStatus(name=name, endpoint="127.0.0.1:1", up=True, pid=9, num_restarts=0)
    return replace(made, **changes)


def status(*kernels: KernelStatus, **changes: Any) -> ConstellationStatus:
    made = ConstellationStatus(
        kernels=kernels or (kernel(),),
        table_version=3,
        coordizer_hash="ab" * 32,
        router_pid=9,
        registry_pid=8,
        uptime_s=7_300.0,
        load_entropy_ratio=0.5,
        num_unexpected_errors=0,
        routers=(router(),),
        router="router",
    )
    return replace(made, **changes)


def shown(
    *kernels: KernelStatus, unanswered: tuple[str, ...] = (), num_routers: int = 1, **changes: Any
) -> Shown:
    sums = Sums(status=status(*kernels, **changes), num_routers=num_routers, unanswered=unanswered)
    return Shown(sums=sums, endpoint="127.0.0.1:50051", now_s=NOW_S)


def text_of(lines: list[Any]) -> str:
    return "\n".join(line.plain for line in lines)


BUSY = Traffic(
    requests=6_000,
    failed=3,
    refused=30,
    tokens=120_000,
    latency=Durations(counts={bin_of(0.25): 98, bin_of(2.0): 2}),
    first_token=Durations(counts={bin_of(0.02): 10}),
    seconds=(SecondCount(requests=100, tokens=2_000),) * 60,
)


def test_a_kernel_of_several_processes_shows_how_many_are_up_and_why_one_is_missing() -> None:
    one = ReplicaHealth(member="kernel-law", endpoint="127.0.0.1:1", pid=1, num_restarts=0)
    down = ReplicaHealth(member="kernel-law~2", endpoint=None, pid=0, num_restarts=1)
    some = kernel("law", replicas=(one, down))
    full = kernel("math", replicas=(one, one))
    waits = kernel("music", up=False, problem="kernel 'music' needs 4.00 GB on one device")
    sums = Sums(status=status(some, full, waits), num_routers=1)
    assert problems(sums) == [
        "kernel music is down",
        "kernel law is served by too few processes",
        "kernel 'music' needs 4.00 GB on one device",
    ]
    rows = [line.plain.split()[:2] for line in kernel_lines(sums.status.kernels, None)[1:]]
    assert rows == [["music", "down"], ["law", "1/2"], ["math", "2/2"]]


def test_the_first_lines_say_state_release_uptime_and_traffic() -> None:
    overview = Overview(release_since_s=NOW_S - 90_000)
    lines = head_lines(shown(release=4, overview=overview, traffic=BUSY))
    assert lines[0].plain.startswith("serving · release 4 since 20")
    assert lines[0].plain.endswith(" (1 d 1 h) · up 2 h 1 min")
    assert "100 requests/s, 2,000 tokens/s written, 0.05 failed/s, 0.50 refused/s" in text_of(lines)
    assert "latency p50 255 ms, p99 2.04 s; first token p50 20 ms, p99 20 ms" in text_of(lines)


def test_without_traffic_there_are_no_times() -> None:
    assert "latency p50 -, p99 -; first token p50 -, p99 -" in text_of(head_lines(shown()))


def test_what_is_wrong_is_named_and_makes_the_constellation_degraded() -> None:
    down = [kernel(name, up=False, pid=0) for name in ("a", "b", "c", "d", "e")]
    wrong = shown(
        *down,
        kernel("f"),
        registry_pid=0,
        start_problem="no process can be forked",
        routers=(router(), router("router-2", up=False), router("router-3")),
        unanswered=("router-2", "router-3"),
    )
    assert problems(wrong.sums) == [
        "kernels a, b, c and 2 more are down",
        "routers router-2, router-3 are down or not answering",
        "the registry is restarting: nothing that dies now is noticed",
        "no process can be forked",
    ]
    assert state_word(wrong.sums) == "degraded"
    assert "degraded · " in text_of(head_lines(wrong))
    assert "kernels a, b, c and 2 more are down" in text_of(head_lines(wrong))
    assert problems(shown(kernel("a", up=False), kernel("b")).sums) == ["kernel a is down"]


def test_a_constellation_without_a_kernel_that_is_up_is_down() -> None:
    assert state_word(shown(kernel(up=False)).sums) == "down"


def test_a_kernel_has_its_share_its_arrivals_and_its_restarts_in_its_row() -> None:
    lines = kernel_lines(
        [
            kernel("rust", num_routed=300, arrived=0.982, num_restarts=2),
            kernel("sql", num_routed=100, num_running=1, queue_depth=3),
        ],
        None,
    )
    header, busy, other = (line.plain.split() for line in lines)
    assert " ".join(header) == "kernel state running queue requests share arrived restarts"
    assert busy == ["sql", "up", "1", "3", "100", "25.0", "%", "-", "0"]
    assert other == ["rust", "up", "0", "0", "300", "75.0", "%", "98", "%", "2"]


def test_kernels_that_are_down_come_first_then_the_longest_queues() -> None:
    kernels = [
        kernel("asked", num_routed=900),
        kernel("queued", queue_depth=9),
        kernel("lost", up=False),
        kernel("runs", num_running=2),
        kernel("quiet"),
        kernel("restarted", num_restarts=1),
    ]
    names = [line.plain.split()[0] for line in kernel_lines(kernels, None)[1:]]
    assert names == ["lost", "queued", "restarted", "runs", "asked", "quiet"]


def test_of_240_kernels_twenty_are_shown_and_the_others_are_counted() -> None:
    kernels = [kernel(f"k{n}", num_routed=n, up=n != 7) for n in range(240)]
    lines = kernel_lines(kernels, ROWS)
    assert len(lines) == 1 + ROWS + 1
    assert lines[1].plain.startswith("k7 ")
    listed = 7 + sum(range(221, 240))
    others = sum(range(240)) - listed
    assert lines[-1].plain.startswith(f"220 more kernels: 220 up, {others:,} requests (")
    assert lines[-1].plain.endswith("--all shows them")
    assert len(kernel_lines(kernels, None)) == 241


NAMES = st.text("abcdefghijklmnopqrstuvwxyz0123456789-._", min_size=1, max_size=64)
LARGE = st.sampled_from([0, 1, 999, 10**6, 10**12, 2**62])
KERNELS = st.lists(
    st.builds(
        kernel,
        name=NAMES,
        up=st.booleans(),
        num_routed=LARGE,
        num_running=st.integers(0, 9_999),
        queue_depth=st.integers(0, 9_999),
        num_restarts=st.integers(0, 10**6),
        arrived=st.none() | st.floats(0, 1),
    ),
    min_size=1,
    max_size=30,
)


@given(KERNELS, NAMES, LARGE, st.floats(0, 1e9), st.sampled_from([None, 0, ROWS]))
def test_no_line_is_wider_than_80_columns(
    kernels: list[KernelStatus], name: str, count: int, seconds: float, rows: int | None
) -> None:
    training = TrainingStatus(
        state="FAILED",
        updated_s=0.0,
        kernels=tuple(
            KernelTraining(
                kernel=f"{name}{place}",
                state="RUNNING" if place % 2 else "FAILED",
                step=count,
                num_steps=count,
                bits_per_byte=1.5,
                eta_s=seconds,
            )
            for place in range(9)
        ),
    )
    node = NodeState(
        node=Node(id="n", address="f" * 39, memory_bytes=2**45),
        num_processes=10_000,
        memory_free_bytes=2**44,
        load_ratio=123.45,
        disk_free_bytes=2**60,
    )
    made = shown(
        *kernels,
        unanswered=("router-2",),
        num_routers=63,
        routers=tuple(
            router(f"router-{place}", endpoint=f"{'h' * 60}:65535", num_restarts=count)
            for place in range(4)
        ),
        registry_pid=0,
        release=10**9,
        uptime_s=seconds,
        num_unexpected_errors=count,
        start_problem="no process can be started " * 9,
        traffic=Traffic(
            requests=count,
            failed=count,
            refused=count,
            tokens=count,
            latency=Durations(counts={bin_of(seconds): 1}),
            first_token=Durations(counts={bin_of(seconds): 1}),
        ),
        overview=Overview(release_since_s=0.0, nodes=(node,), training=training),
    )
    made = replace(made, http="http://" + "h" * 90, memory_bytes=2**45)
    lines = [line.plain for line in all_lines(made, rows=rows)]
    assert max(map(cell_len, lines)) <= WIDTH
    assert cell_len(one_line(made)) <= WIDTH
    assert not any("\n" in line for line in lines)


def test_routers_that_do_not_answer_are_named_where_there_are_several() -> None:
    made = shown(
        routers=(router(), router("router-2", endpoint="127.0.0.1:2")),
        unanswered=("router-2",),
    )
    said = text_of(all_lines(made))
    assert "counts of 1 are added up" in said
    assert "router up at 127.0.0.1:1" in said
    assert "router-2 does not answer at 127.0.0.1:2" in said


def test_only_a_training_in_progress_or_one_that_failed_is_shown() -> None:
    row = KernelTraining(
        kernel="sql", state="RUNNING", step=40, num_steps=600, bits_per_byte=1.534, eta_s=200.0
    )
    training = TrainingStatus(state="RUNNING", updated_s=NOW_S, kernels=(row,))
    said = text_of(all_lines(shown(overview=Overview(training=training))))
    assert "training  running, 1 kernel" in said
    assert "sql step 40 of 600, 1.53 bits/byte, 3 min left" in said
    done = replace(training, state="FINISHED")
    assert "training" not in text_of(all_lines(shown(overview=Overview(training=done))))


@pytest.mark.parametrize(
    ("seconds", "said"), [(59, "59 s"), (60, "1 min"), (3_660, "1 h 1 min"), (90_000, "1 d 1 h")]
)
def test_a_time_span_is_said_in_its_two_largest_units(seconds: float, said: str) -> None:
    assert text_of(head_lines(shown(uptime_s=seconds))).splitlines()[0].endswith(f"up {said}")


def test_one_line_for_a_log_says_state_rates_and_the_first_problem() -> None:
    line = one_line(shown(kernel("a", up=False), kernel("b"), traffic=BUSY))
    assert " degraded: kernel a is down, 100 requests/s, 0.05 failed/s, p99 2.04 s" in line
