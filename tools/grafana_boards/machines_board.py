"""Dashboard “machines”: are all machines of a cluster there, and do files of releases arrive?

The panels on blobs have data in a joined Ray cluster only: on one machine no file is fetched. The
panels on GPUs have data where there are GPUs.
"""

from typing import Final

from tools.grafana_boards.board import Board, Section
from tools.grafana_boards.expressions import NODE, quantile, rate, since_start
from tools.grafana_boards.panels import figure, lines, states


def _gpu_memory(kind: str) -> str:
    """Return the PromQL of the bytes of each GPU's memory that are `kind`: total or free."""
    metric = "constellation_node_gpu_memory_bytes"
    return f'max by (node, gpu) ({metric}{{{NODE}, kind="{kind}"}})'


_MACHINES: Final = (
    figure(
        "Machines that answer",
        "Number of machines whose metrics arrive. As many as there are machines is good.",
        f"sum(constellation_node_up{{{NODE}}})",
        unit="short",
        steps=[(None, "red"), (1, "green")],
    ),
    figure(
        "Blobs that a source did not deliver",
        "Questions for a file of a release that a source did not answer with the whole file, since "
        "the processes started. 0 is good; another source is asked then.",
        since_start("constellation_blob_fetch_failures_total"),
        unit="short",
        steps=[(0.5, "orange")],
    ),
    states(
        "Which machines answer",
        "Green while a machine shows its metrics; a gap or red while the machine is lost. Green is "
        "good.",
        {"{{node}}": f"max by (node) (constellation_node_up{{{NODE}}})"},
        {"1": ("answers", "green"), "0": ("lost", "red")},
        size=(16, 8),
    ),
)

_GPUS: Final = (
    lines(
        "Free share of the memory of GPUs",
        "Share of each GPU's memory that no process uses. Steady is good; kernels reserve what "
        "they plan to use when they start.",
        {"{{node}} {{gpu}}": f"{_gpu_memory('free')} / {_gpu_memory('total')}"},
        unit="percentunit",
        size=(12, 8),
        top=1,
    ),
    lines(
        "Load of GPUs",
        "Share of the time in which each GPU computes. No direction is good or bad; at 100 % "
        "answers wait for the GPU.",
        {"{{node}} {{gpu}}": f"max by (node, gpu) (constellation_node_gpu_busy_ratio{{{NODE}}})"},
        unit="percentunit",
        size=(12, 8),
        top=1,
    ),
)

_BLOBS: Final = (
    lines(
        "Bytes fetched per second",
        "Bytes of files of releases that machines fetch, by the kind of source. No direction is "
        "good or bad: files are fetched when kernels start or a release changes.",
        {"{{source}}": rate("constellation_blob_fetched_bytes_total", by="source")},
        unit="Bps",
        size=(8, 8),
    ),
    lines(
        "Seconds for a file, 95 of 100",
        "Seconds within which 95 of 100 files were complete, by the kind of source. Low is good.",
        {"{{source}}": quantile(0.95, "constellation_blob_fetch_seconds", by="source")},
        unit="s",
        size=(8, 8),
    ),
    lines(
        "Bytes delivered to other machines per second",
        "Bytes of files that each machine delivers to others. No direction is good or bad; one "
        "line far above the others is the only machine that has the files.",
        {"{{member}}": rate("constellation_blob_sent_bytes_total", by="member")},
        unit="Bps",
        size=(8, 8),
    ),
    lines(
        "Files kept",
        "Bytes of all files of releases that each machine keeps. Steady is good; "
        "`cluster.cache_gb` is the limit.",
        {"{{member}}": "max by (member) (constellation_blob_cache_bytes)"},
        unit="bytes",
        size=(8, 8),
    ),
)

MACHINES: Final = Board(
    name="machines",
    title="Constellation: machines",
    description="Are all machines of the cluster there? Do the files of releases arrive?",
    sections=[
        Section(title="Are all machines there?", panels=_MACHINES),
        Section(title="Do the GPUs have room?", panels=_GPUS),
        Section(title="Do the files of releases arrive?", panels=_BLOBS),
    ],
    variables=["node"],
)
