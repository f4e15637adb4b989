"""Dashboard “routing”: where do queries go, why, and is refusing right?"""

from typing import Final

from tools.grafana_boards.board import Board, Section
from tools.grafana_boards.expressions import (
    ENTROPY,
    ENTROPY_RATIO,
    KERNEL,
    OUT_OF_DOMAIN,
    OUT_OF_DOMAIN_SHARE,
    for_each_kernel,
    quantile,
    rate,
    share_per_kernel,
)
from tools.grafana_boards.panels import bars, figure, lines

_ROUTES: Final = "constellation_route_total"
_BEYOND_OWN: Final = "constellation_route_beyond_own_ratio"

_DESTINATIONS: Final = (
    lines(
        "Share of queries per kernel",
        "Share of all queries that each kernel receives. No direction is good or bad; a sudden "
        "shift without another mix of questions is bad. Vertical lines mark new releases, new "
        "tables and restarts.",
        {"{{kernel}}": share_per_kernel(_ROUTES, KERNEL)},
        unit="percentunit",
        stacked=True,
        top=1,
    ),
    lines(
        "Why the kernel was chosen",
        "Routes per second by reason: `nearest` is the normal case; `pinned`: the caller named the "
        "kernel; `failover`: the nearest kernel was lost; `spill`: the nearest kernel had a long "
        "queue. High `nearest` is good, low `failover` is good.",
        {"{{reason}}": rate(_ROUTES, KERNEL, by="reason")},
        unit="reqps",
        stacked=True,
    ),
    lines(
        "Evenness of the routes",
        "Entropy of the routes over ln(number of kernels): 1 if all kernels receive "
        "equally many queries, near 0 if one kernel receives all. High is good unless the "
        "questions have one subject. Dashed: below this value an alert fires.",
        {
            "last ten minutes": ENTROPY,
            "{{member}} since its start": "constellation_route_load_entropy_ratio",
        },
        unit="percentunit",
        size=(8, 7),
        limit=ENTROPY_RATIO,
        top=1,
    ),
    lines(
        "Queries that moved to another kernel",
        "Requests per second that left a kernel: `lost`: because the kernel was lost (low is "
        "good); `nearer`: because another kernel had become nearer to the answer.",
        {
            "lost: {{kernel}}": for_each_kernel(
                rate("constellation_failovers_total", KERNEL, by="kernel")
            ),
            "nearer: all kernels": rate("constellation_handoffs_total") + " or vector(0)",
        },
        unit="reqps",
        size=(8, 7),
    ),
    lines(
        "Versions of the table",
        "Version of the table of kernels at the registry, which publishes the table, and at each "
        "router. Equal versions are good; a router that stays behind uses old kernels.",
        {"{{member}}": "constellation_table_version"},
        unit="short",
        size=(8, 7),
    ),
)

_CERTAINTY: Final = (
    lines(
        "Margin of the decision",
        "Distance to the second nearest kernel minus distance to the nearest, in radians: half of "
        "the queries, and nine of ten, lie above. High is good: the decision is clear. A margin "
        "near 0 means that two kernels fit equally well.",
        {
            "half of the queries": quantile(0.5, "constellation_route_margin_radians"),
            "nine of ten queries": quantile(0.1, "constellation_route_margin_radians"),
        },
        unit="radian",
    ),
    lines(
        "Distance to the kernel that answers",
        "Fisher-Rao distance from the query to the kernel that answers, in radians: half of the "
        "queries, and nine of ten, lie below. Low is good: the query is well inside the domain. A "
        "rising distance means that questions drift away from what the kernels learned.",
        {
            "half of the queries": quantile(0.5, "constellation_route_distance_radians"),
            "nine of ten queries": quantile(0.9, "constellation_route_distance_radians"),
        },
        unit="radian",
    ),
)

_REFUSAL: Final = (
    lines(
        "Queries out of domain",
        "Share of the queries that lie beyond every kernel's radius: no kernel knows the subject. "
        "Low is good. A caller may ask to have such queries refused.",
        {"of the last ten minutes": OUT_OF_DOMAIN},
        unit="percentunit",
        size=(8, 8),
        limit=OUT_OF_DOMAIN_SHARE,
        top=1,
    ),
    bars(
        "Is the radius right? Measured share for each promised share",
        "A kernel's radius promises how far out its own texts lie: of the queries inside the "
        "domain, a share x should lie as far out as the farthest share x of the kernel's own "
        "texts. A bar as long as its name says is good. Shorter: queries resemble the texts more "
        "than the texts resemble each other. Longer: queries of other subjects arrive, and "
        "refusing at that share refuses as many of them.",
        {
            "farthest {{le}}": "sum by (le) "
            f'(increase({_BEYOND_OWN}_bucket{{le=~"0.0.*|0.1|0.2"}}[$__range]))'
            f" / ignoring (le) group_left () sum(increase({_BEYOND_OWN}_count[$__range]))"
        },
        unit="percentunit",
        size=(8, 8),
        top=1,
    ),
    bars(
        "Held-out passages that reach their own kernel",
        "Share of each kernel's held-out passages of 32 tokens that are routed to the kernel or "
        "its family, measured when the table was made. High is good: a low bar means that this "
        "kernel's domain cannot be told from another.",
        {"{{kernel}}": f"max by (kernel) (constellation_kernel_arrived_ratio{{{KERNEL}}})"},
        unit="percentunit",
        size=(8, 8),
        top=1,
        steps=[(None, "orange"), (0.8, "green")],
    ),
    lines(
        "Requests that were refused",
        "Requests per second that a router or a kernel refused, by the error that the caller "
        "received. Low is good. `OutOfDomain`: the caller asked for refusal; `Overloaded`: a queue "
        "was full; other names: the request itself was wrong.",
        {"{{reason}}": rate("constellation_rejected_total", by="reason")},
        unit="reqps",
        size=(12, 8),
        stacked=True,
    ),
    figure(
        "Queries without a clear kernel",
        "Share of the queries of the chosen time whose margin is at most 0.05 radians. Low is "
        "good.",
        'sum(increase(constellation_route_margin_radians_bucket{le="0.05"}[$__range]))'
        " / sum(increase(constellation_route_margin_radians_count[$__range]))",
        unit="percentunit",
        size=(6, 8),
    ),
    figure(
        "Mean distance between kernels",
        "Mean Fisher-Rao distance between the kernels' basins, in radians. High is good: the "
        "kernels know different things. The value changes only with the table.",
        "max(constellation_basin_spread_radians)",
        unit="radian",
        size=(6, 8),
    ),
)

ROUTING: Final = Board(
    name="routing",
    title="Constellation: routing",
    description="Where do queries go, why did queries move, and is refusing right?",
    sections=[
        Section(title="Where queries go", panels=_DESTINATIONS),
        Section(title="How certain the decision is", panels=_CERTAINTY),
        Section(title="Which queries are refused", panels=_REFUSAL),
    ],
    variables=["kernel"],
)
