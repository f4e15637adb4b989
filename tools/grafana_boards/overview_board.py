"""Dashboard “overview”: is everything well? The panels fit on one screen."""

from typing import Final

from tools.grafana_boards.board import Board, Section
from tools.grafana_boards.expressions import (
    BURNING_SHARE,
    ENTROPY,
    ENTROPY_RATIO,
    FAILED,
    FAILED_SHARE,
    FIRST_TEXT_S,
    IN_TIME_SHARE,
    KERNEL,
    OUT_OF_DOMAIN,
    OUT_OF_DOMAIN_SHARE,
    QUEUE_SHARE,
    RESTARTS,
    WINDOW,
    increase,
    quantile,
    rate,
    share_or_zero,
    share_per_kernel,
    since_start,
)
from tools.grafana_boards.panels import figure, lines

_REQUESTS: Final = "constellation_requests_total"
_ROUTES: Final = "constellation_route_total"
_FIRST_TEXT: Final = "constellation_time_to_first_token_seconds"
_UNEXPECTED: Final = 'reason="InternalError"'

_HEALTH: Final = (
    figure(
        "Alerts that fire",
        "Number of alerts that fire now, by the rules of this constellation. 0 is good. "
        "Prometheus' page /alerts lists the alerts, each with a link to its runbook.",
        'count(ALERTS{alertstate="firing"}) or vector(0)',
        unit="short",
        steps=[(1, "red")],
    ),
    figure(
        "Kernels that are down",
        "Number of kernels that do not answer the registry's heartbeats. 0 is good. While a kernel "
        "is down, its queries go to the next nearest kernel.",
        "count(constellation_kernel_up == 0) or vector(0)",
        unit="short",
        steps=[(1, "red")],
    ),
    figure(
        "Requests that failed",
        "Share of the requests that the constellation should have answered and did not: deadline "
        "exceeded, kernel or service unavailable, or a mistake of the program. Low is good.",
        share_or_zero(rate(_REQUESTS, f'outcome=~"{FAILED}"'), rate(_REQUESTS)),
        unit="percentunit",
        steps=[(FAILED_SHARE, "red")],
    ),
    figure(
        "First text in time",
        f"Share of the streamed answers whose first text arrived within {FIRST_TEXT_S:g} s of the "
        f"request. High is good; the objective is 99 of 100. No data: no answer was "
        "streamed.",
        f'sum(rate({_FIRST_TEXT}_bucket{{le="{FIRST_TEXT_S}"}}{WINDOW}))'
        f" / {rate(f'{_FIRST_TEXT}_count')}",
        unit="percentunit",
        steps=[(None, "red"), (1 - BURNING_SHARE, "orange"), (IN_TIME_SHARE, "green")],
    ),
    figure(
        "Restarts in the last hour",
        "How often a router's or kernel's process was started again within the last hour, after "
        "the process had died or hung. 0 is good.",
        increase("constellation_member_restarts_total", "1h") + " or vector(0)",
        unit="short",
        steps=[(0.5, "orange"), (RESTARTS, "red")],
    ),
    figure(
        "Mistakes of the program",
        "Requests and background tasks that ended with an unexpected error, since the processes "
        "started. 0 is good: each is a mistake of the program, and is in the log.",
        f"({since_start('constellation_rejected_total', _UNEXPECTED)})"
        f" + ({since_start('constellation_background_failures_total')})",
        unit="short",
        steps=[(0.5, "red")],
    ),
)

_TRAFFIC: Final = (
    lines(
        "Requests per second, by outcome",
        "Requests of all clients, by how each ended: `ok`, `cancelled` by the caller, or the error "
        "that the caller received. High `ok` is good; any other outcome should stay low.",
        {"{{outcome}}": rate(_REQUESTS, by="outcome")},
        unit="reqps",
        size=(8, 7),
        stacked=True,
    ),
    lines(
        "Seconds for an answer",
        "Seconds from the arrival of a request to the first text of a streamed answer, and to the "
        "last byte of any answer, which 50 or 99 of 100 requests stay below. Low is good. Dashed: "
        "99 of 100 first texts should arrive sooner.",
        {
            "first text, 50 of 100": quantile(0.5, _FIRST_TEXT),
            "first text, 99 of 100": quantile(0.99, _FIRST_TEXT),
            "last byte, 50 of 100": quantile(0.5, "constellation_request_seconds"),
            "last byte, 99 of 100": quantile(0.99, "constellation_request_seconds"),
        },
        unit="s",
        size=(8, 7),
        limit=FIRST_TEXT_S,
    ),
    lines(
        "Share of queries per kernel",
        "Where the queries of the moment go. Steady shares are good; a sudden shift without "
        "another mix of questions is bad: see the dashboard “routing”.",
        {"{{kernel}}": share_per_kernel(_ROUTES)},
        unit="percentunit",
        size=(8, 7),
        stacked=True,
        top=1,
    ),
)

_ROOM: Final = (
    lines(
        "Filled share of the queues",
        "Requests that wait at a kernel, divided by the number at which the kernel refuses further "
        "requests. Low is good; at 100 % the kernel is overloaded and refuses.",
        {
            "{{kernel}}": f"max by (kernel) (constellation_queue_depth{{{KERNEL}}})"
            f" / max by (kernel) (constellation_queue_limit{{{KERNEL}}})"
        },
        unit="percentunit",
        size=(8, 7),
        limit=QUEUE_SHARE,
        top=1,
    ),
    lines(
        "Filled share of the routers",
        "Requests under way at a router, divided by the number at which the router refuses further "
        "requests. Low is good.",
        {"{{member}}": "constellation_requests_active / constellation_requests_max"},
        unit="percentunit",
        size=(8, 7),
        limit=QUEUE_SHARE,
        top=1,
    ),
    lines(
        "Available memory and disk per machine",
        "Share of a machine's memory, and of the disk with the run folder, that is available. High "
        "is good.",
        {
            "memory of {{node}}": 'constellation_node_memory_bytes{kind="available"}'
            ' / ignoring (kind) constellation_node_memory_bytes{kind="total"}',
            "disk of {{node}}": 'constellation_node_disk_bytes{kind="free"}'
            ' / ignoring (kind) constellation_node_disk_bytes{kind="total"}',
        },
        unit="percentunit",
        size=(8, 7),
        top=1,
    ),
)

_SERVED: Final = (
    figure(
        "Release that serves",
        "Number of the release that all processes serve; `constellation releases` lists what each "
        "release changed. No direction is good or bad.",
        "max(constellation_release_number)",
        unit="short",
        size=(4, 4),
    ),
    figure(
        "The release serves since",
        "When the constellation switched to this release. No direction is good or bad.",
        "1000 * max(constellation_release_since_seconds)",
        unit="dateTimeFromNow",
        size=(4, 4),
    ),
    figure(
        "Version",
        "Version of the program that the processes run. One version is good; with two, some "
        "process was not restarted.",
        "count by (version) (constellation_build_info)",
        unit="suffix: processes",
        size=(4, 4),
        by="version",
    ),
    figure(
        "Queries out of domain",
        "Share of the queries of the last ten minutes that lie beyond every kernel's radius: no "
        "kernel knows the subject. Low is good.",
        OUT_OF_DOMAIN,
        unit="percentunit",
        size=(4, 4),
        steps=[(OUT_OF_DOMAIN_SHARE, "orange")],
    ),
    figure(
        "Evenness of the routes",
        "Entropy of the routes of the last ten minutes over ln(number of kernels): 1 if all "
        "kernels receive equally many "
        "queries, near 0 if one kernel receives all. Green is good; a low value without a reason "
        "means that routing collapsed.",
        ENTROPY,
        unit="percentunit",
        size=(4, 4),
        steps=[(None, "red"), (ENTROPY_RATIO, "green")],
    ),
    figure(
        "Kernels in training",
        "Number of kernels whose training runs now. No direction is good or bad; the dashboard "
        "“training” has the details.",
        'count(constellation_training_state{state="RUNNING"} == 1) or vector(0)',
        unit="short",
        size=(4, 4),
    ),
)

OVERVIEW: Final = Board(
    name="overview",
    title="Constellation: overview",
    description="Is everything well? All panels of the first row are green if so.",
    sections=[Section(panels=[*_HEALTH, *_TRAFFIC, *_ROOM, *_SERVED])],
    variables=["kernel"],
)
