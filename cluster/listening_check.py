"""Check which sockets of this project's processes can be reached from other machines.

The operating system is asked, not Ray: Ray is kept on loopback by an environment variable that was
made for other systems and may change its meaning.
"""

import ipaddress
from collections.abc import Collection, Iterator

import psutil

from constellation.errors import NotOnLoopback


def check_loopback(advice: str, *, open_ports: Collection[int] = ()) -> None:
    """Raise when this process or one of its descendants listens on more than loopback.

    Args:
        advice: What the user can do, for the error's message.
        open_ports: Ports that may be open to other machines.

    Raises:
        NotOnLoopback: A process listens elsewhere; the error names it and its address.
    """
    for process, host, port in listening():
        if not is_loopback(host) and port not in open_ports:
            raise NotOnLoopback(name_of(process), address=f"{host}:{port}", advice=advice)


def listening() -> Iterator[tuple[psutil.Process, str, int]]:
    """Yield (process, host, port) of every listening TCP socket of this process and descendants."""
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
    """Return whether only this machine reaches an IP address, also an IPv4 one in IPv6 form."""
    address = ipaddress.ip_address(host.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def name_of(process: psutil.Process) -> str:
    """Return the name of a process with its id, such as "gcs_server (process 17)"."""
    try:
        return f"{process.name()} (process {process.pid})"
    except psutil.NoSuchProcess:
        return f"process {process.pid}"
