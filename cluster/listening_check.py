"""Does any process of ours listen where other machines can reach it? Asked of the system itself.

Nothing that Ray promises is taken for granted: what keeps it on loopback is a variable that was
made for other systems.
"""

import ipaddress
from collections.abc import Collection, Iterator

import psutil

from constellation.errors import NotOnLoopback


def check_loopback(advice: str, *, open_ports: Collection[int] = ()) -> None:
    """Refuse when this process, or one below it, listens beyond loopback.

    Args:
        advice: The way out, for whoever reads the error.
        open_ports: Ports that may be open to other machines.

    Raises:
        NotOnLoopback: One listens elsewhere; names the process and its address.
    """
    for process, host, port in listening():
        if not is_loopback(host) and port not in open_ports:
            raise NotOnLoopback(name_of(process), address=f"{host}:{port}", advice=advice)


def listening() -> Iterator[tuple[psutil.Process, str, int]]:
    """Yield (process, host, port) of every TCP socket at which this process or its children listen.

    Children of children are looked at, too.
    """
    own = psutil.Process()
    for process in (*own.children(recursive=True), own):
        try:
            connections = process.net_connections("tcp")
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue  # ended since it was listed
        for connection in connections:
            if connection.status == psutil.CONN_LISTEN:
                yield process, connection.laddr.ip, connection.laddr.port


def is_loopback(host: str) -> bool:
    """Say whether only this machine reaches an address: 127.0.0.0/8, ::1, and one in the other."""
    address = ipaddress.ip_address(host.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def name_of(process: psutil.Process) -> str:
    """Return what a process is called, with its id, as in "gcs_server (process 17)"."""
    try:
        return f"{process.name()} (process {process.pid})"
    except psutil.NoSuchProcess:
        return f"process {process.pid}"
