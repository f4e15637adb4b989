"""Which addresses a tree of processes listens on."""

import ipaddress

import psutil


def listening_addresses(pid: int) -> set[tuple[str, int]]:
    """Return (host, port) of every listening TCP socket of `pid` and its descendants."""
    parent = psutil.Process(pid)
    return {
        (connection.laddr.ip, connection.laddr.port)
        for process in (parent, *parent.children(recursive=True))
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }


def is_loopback(host: str) -> bool:
    """Return True for 127.0.0.0/8 and ::1, also written as an IPv4 address inside IPv6."""
    address = ipaddress.ip_address(host)
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback
