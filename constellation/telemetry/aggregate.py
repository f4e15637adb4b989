"""Collect the Prometheus metrics of all processes of a machine as one text.

Every scrape reads /metrics of every process. Each sample gets the label `member` of its process.
The texts are merged as texts, which is six times as fast as parsing the numbers of 240 kernels and
writing the numbers again.
"""

import http.client
import re
import ssl
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass

from constellation.telemetry.metrics_over_tls import TlsConnection

MEMBER_UP = "constellation_member_up"
ANSWER_S = 1.0
"""Most seconds for reading the metrics of one process."""
SCRAPE_S = 3.0
"""Most seconds for reading the metrics of all processes; what is missing then counts as down."""
SIZE_MAX = 16 * 2**20
"""Most bytes of the metrics of one process."""
_AT_ONCE = 8
_CONTENT_TYPE = "text/plain; version=0.0.4"
_LABELLED = re.compile(r"^(\w+)\{(?!member=)", re.MULTILINE)
"""Begin of a sample with labels; a sample that is about a member keeps the name of that member."""
_ABOUT_NODE = "constellation_node_"
"""Begin of the names of metrics about a node."""
_NODE = re.compile(r'^constellation_node_\w+\{(?:[^}]*,)?node="([^"]*)"', re.MULTILINE)
_UNLABELLED = re.compile(r"^(\w+) ", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class ReaderTls:
    """TLS of whoever reads metrics of other machines."""

    context: ssl.SSLContext
    """With the certificate that is shown, and the authority that servers need."""
    server_name: str | None
    """Name that a server's certificate must hold; None means the host of its endpoint."""


def collect(targets: Mapping[str, str], tls: ReaderTls | None = None) -> dict[str, str | None]:
    """Read the metrics of processes.

    Args:
        targets: Process -> host:port of the process's /metrics.
        tls: For https; None means unencrypted http.

    Returns:
        Process -> text of the process's metrics; None if the process did not answer in time.
    """
    pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="metrics")
    reads = {name: pool.submit(_read, endpoint, tls) for name, endpoint in targets.items()}
    wait(reads.values(), timeout=SCRAPE_S)
    pool.shutdown(wait=False, cancel_futures=True)
    return {
        name: read.result() if read.done() and not read.cancelled() else None
        for name, read in reads.items()
    }


def merge(texts: Mapping[str, str | None], own_node: str = "") -> str:
    """Merge the metrics of processes; return one text in Prometheus' text format 0.0.4.

    Every sample gets the label `member`, and `constellation_member_up` says whose text is there.
    Samples about a node keep the label of the node only, and every node is in the text once.

    Args:
        texts: Process -> text as `prometheus_client` writes it; None counts as down.
        own_node: Text about this node and its training; what processes say about this node is left
            out.
    """
    up = "".join(
        f'{MEMBER_UP}{{member="{name}"}} {int(text is not None)}\n' for name, text in texts.items()
    )
    head = f"{MEMBER_UP} 1 while the metrics of the process are shown, else 0.\n"
    families = {MEMBER_UP: [f"{_HELP}{head}# TYPE {MEMBER_UP} gauge\n{up}"]}
    for member, text in texts.items():
        if text is not None:
            _add(families, text, member)
    about_nodes = _about_nodes([own_node, *(text for text in texts.values() if text)])
    return "".join(part for parts in families.values() for part in parts) + about_nodes


_HELP = "# HELP "


def _about_nodes(texts: Iterable[str]) -> str:
    """Return the samples about nodes; the first text is returned whole, even beside those."""
    first, *others = texts
    families = {family.split(" ", 1)[0]: [family] for family in _families(first)}
    known = set(_NODE.findall(first))
    for text in others:
        nodes = set()
        for family in _families(text):
            if not family.startswith(_ABOUT_NODE):
                continue
            about, kind, samples = f"{family}\n".split("\n", 2)
            lines = [line for line in samples.splitlines() if set(_NODE.findall(line)) - known]
            nodes.update(_NODE.findall("\n".join(lines)))
            name = about.split(" ", 1)[0]
            parts = families.setdefault(name, [f"{about}\n{kind}"])
            parts.extend(lines)
        known |= nodes
    written = ("\n".join(part.rstrip("\n") for part in parts) for parts in families.values())
    return "".join(f"{_HELP}{family}\n" for family in written)


def _families(text: str) -> list[str]:
    return f"\n{text}".split(f"\n{_HELP}")[1:]


def _add(families: dict[str, list[str]], text: str, member: str) -> None:
    """Add a process's samples to the families, each of which begins with its help and type."""
    for family in _families(text):
        if family.startswith(_ABOUT_NODE):
            continue
        about, kind, samples = f"{family}\n".split("\n", 2)
        samples = samples.strip("\n")
        if not samples:  # a metric with labels that has counted nothing
            continue
        name = about.split(" ", 1)[0]
        samples = _LABELLED.sub(rf'\1{{member="{member}",', samples)
        samples = _UNLABELLED.sub(rf'\1{{member="{member}"}} ', samples)
        families.setdefault(name, [f"{_HELP}{about}\n{kind}\n"]).append(f"{samples}\n")


def _read(endpoint: str, tls: ReaderTls | None) -> str | None:
    """Return the metrics of a process; None when the process does not answer in time."""
    if tls is None:
        connection = http.client.HTTPConnection(endpoint, timeout=ANSWER_S)
    else:
        connection = TlsConnection(endpoint, tls.context, tls.server_name, timeout=ANSWER_S)
    try:
        connection.request("GET", "/metrics")
        reply = connection.getresponse()
        is_text = reply.headers.get("Content-Type", "").startswith(_CONTENT_TYPE)
        content = reply.read(SIZE_MAX + 1)
        is_whole = reply.status == http.client.OK and is_text and len(content) <= SIZE_MAX
        return content.decode() if is_whole else None
    except (OSError, http.client.HTTPException, UnicodeDecodeError):
        return None
    finally:
        connection.close()
