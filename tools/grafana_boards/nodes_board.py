"""Dashboard “nodes”: does a machine lack anything, and is the constellation itself at fault?"""

from typing import Final

from tools.grafana_boards.board import Board, Section
from tools.grafana_boards.expressions import (
    DISK_SHARE,
    NODE,
    increase,
    rate,
    since_start,
)
from tools.grafana_boards.panels import figure, lines, states

_OURS: Final = 'member!=""'
_YES_NO: Final = {"1": ("yes", "green"), "0": ("no", "red")}


def _share(metric: str, part: str) -> str:
    """Return the PromQL of the share of a node's memory or disk that is `part`."""
    return (
        f'max by (node) ({metric}{{{NODE}, kind="{part}"}})'
        f' / max by (node) ({metric}{{{NODE}, kind="total"}})'
    )


_MACHINES: Final = (
    lines(
        "Load per core",
        "Processes that run or wait for a processor (mean of one minute), divided by the number of "
        "cores. Low is good; above 1 processes wait.",
        {"{{node}}": f"max by (node) (constellation_node_load_ratio{{{NODE}}})"},
        unit="short",
        size=(8, 8),
    ),
    lines(
        "Available share of memory",
        "Share of the machine's memory that processes can still get. High is good.",
        {"{{node}}": _share("constellation_node_memory_bytes", "available")},
        unit="percentunit",
        size=(8, 8),
        top=1,
    ),
    lines(
        "Free share of the disk",
        "Share of the file system with the run folder that is free. High is good. Dashed: the "
        "limit of the alert.",
        {"{{node}}": _share("constellation_node_disk_bytes", "free")},
        unit="percentunit",
        size=(8, 8),
        limit=DISK_SHARE,
        top=1,
    ),
)

_PROCESSES: Final = (
    lines(
        "Memory of the processes",
        "Resident memory of each process of the constellation; memory that processes share is "
        "counted in each of them. Steady is good; a line that rises for hours is a leak.",
        {"{{member}}": f"max by (member) (process_resident_memory_bytes{{{_OURS}}})"},
        unit="bytes",
        size=(8, 8),
    ),
    lines(
        "Processor cores of the processes",
        "Processor time that each process uses per second: 1 is one core. Low is good.",
        {"{{member}}": rate("process_cpu_seconds_total", _OURS, by="member")},
        unit="suffix: cores",
        size=(8, 8),
    ),
    lines(
        "Open files of the processes",
        "Open files and connections of each process, divided by the number that the system allows. "
        "Low is good; at 100 % the process can accept no connection.",
        {
            "{{member}}": f"max by (member) (process_open_fds{{{_OURS}}})"
            f" / max by (member) (process_max_fds{{{_OURS}}})"
        },
        unit="percentunit",
        size=(8, 8),
        top=1,
    ),
    states(
        "Which processes answer",
        "Green while a process shows its metrics, red while the process hangs or restarts. Green "
        "is good.",
        {"{{member}}": "min by (member) (constellation_member_up)"},
        {"1": ("answers", "green"), "0": ("down", "red")},
        size=(12, 8),
    ),
    lines(
        "Restarts within five minutes",
        "How often each router or kernel process was started again within the last five minutes. 0 "
        "is good.",
        {"{{member}}": increase("constellation_member_restarts_total", "5m", by="member")},
        unit="short",
        size=(12, 8),
    ),
)

_ITSELF: Final = (
    figure(
        "Machines that answer",
        "Number of machines whose metrics arrive. As many as there are machines is good.",
        f"sum(constellation_node_up{{{NODE}}})",
        unit="short",
        steps=[(None, "red"), (1, "green")],
    ),
    figure(
        "Can processes be started again?",
        "“Yes” is good: a process that dies is started again. “No”: Ray's folder was emptied; "
        "`constellation status` says what to do.",
        "min(constellation_process_start_possible)",
        unit="short",
        words=_YES_NO,
    ),
    figure(
        "Writes that failed",
        "Writes to the run folder that failed since the processes started, because the disk was "
        "full, read-only or gone. 0 is good.",
        since_start("constellation_write_failures_total"),
        unit="short",
        steps=[(0.5, "red")],
    ),
    figure(
        "Background tasks that failed",
        "Background tasks of all processes that ended with an error since the processes started. 0 "
        "is good: each is a mistake of the program and is in the log.",
        since_start("constellation_background_failures_total"),
        unit="short",
        steps=[(0.5, "red")],
    ),
    figure(
        "Table versions behind",
        "Greatest number of versions by which a router's table of kernels is behind the "
        "registry's. 0 is good.",
        "max(constellation_table_lag)",
        unit="short",
        steps=[(1, "orange")],
    ),
    figure(
        "Changes that failed",
        "Changes of what is served, such as `add` or `reload`, that did not succeed since the "
        "registry started. 0 is good; the old release stayed in service.",
        since_start("constellation_changes_total", 'outcome!="ok"'),
        unit="short",
        steps=[(0.5, "orange")],
    ),
    lines(
        "Release over time",
        "Number of the release that all processes serve. No direction is good or bad; vertical "
        "lines say when a release began to serve.",
        {"release": "max(constellation_release_number)"},
        unit="short",
        size=(8, 7),
    ),
    lines(
        "Changes of what is served",
        "Changes within the last five minutes, by kind and outcome. No direction is good or bad; "
        "outcomes other than `ok` are bad.",
        {
            "{{change}}: {{outcome}}": increase(
                "constellation_changes_total", "5m", by="change, outcome"
            )
        },
        unit="short",
        size=(8, 7),
    ),
    lines(
        "Event streams",
        "Status pages that are open, per router. No direction is good or bad.",
        {"{{member}}": "constellation_event_streams"},
        unit="short",
        size=(8, 7),
    ),
)

NODES: Final = Board(
    name="nodes",
    title="Constellation: nodes",
    description="Does a machine run out of memory or disk? Is the constellation at fault?",
    sections=[
        Section(title="Is the constellation itself at fault?", panels=_ITSELF),
        Section(title="Do the machines have room?", panels=_MACHINES),
        Section(title="What do the processes use?", panels=_PROCESSES),
    ],
    variables=["node"],
)
