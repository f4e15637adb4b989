"""Addresses of the loopback interface, which only programs of the same machine can reach.

No other file of the packages names such an address, besides the settings: a process that assumes
loopback cannot be reached from another machine.
"""

import ipaddress
from typing import Final

LOOPBACK_ADDRESS: Final = "127.0.0.1"
"""Address of servers that only this machine may reach."""

LOOPBACK: Final = frozenset({LOOPBACK_ADDRESS, "::1", "localhost"})
"""Usual names of the loopback interface."""


def is_loopback(host: str) -> bool:
    """Return whether a host name or IP address is of the loopback interface; looks up no name."""
    if host in LOOPBACK:
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def host_of(endpoint: str) -> str:
    """Return the host of host:port; an IPv6 address comes without its brackets."""
    return endpoint.rpartition(":")[0].strip("[]")
