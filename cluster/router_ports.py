"""Choose the TCP ports of the routers, and find out before the start that they are free."""

import errno
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from constellation.errors import ConfigError, DeploymentError
from constellation.settings import Settings
from constellation.wire.channel import authority

_PORT_MAX = 65_535
_NOT_OUR_ADDRESS = frozenset({errno.EADDRNOTAVAIL, socket.EAI_NONAME, socket.EAI_AGAIN})
"""Error numbers of the system for an address that is not of this machine."""


def ports_of(settings: Settings) -> tuple[list[int], list[int | None]]:
    """Return every router's configured ports for gRPC and for HTTP.

    Port 0 lets the system choose; None means no HTTP.

    Raises:
        ConfigError: A port would be beyond the last one, or gRPC and HTTP want the same port.
    """
    serve = settings.serve
    ports = _ports_from(serve.port, serve.routers, "serve.port")
    if not serve.http:
        return ports, [None] * serve.routers
    first = serve.http_port
    if first is None:
        first = serve.port + serve.routers if serve.port else 0
    http_ports = _ports_from(first, serve.routers, "serve.http_port")
    both = sorted(set(ports) & set(http_ports) - {0})
    if both:
        raise ConfigError(
            f"gRPC and HTTP both want port {both[0]}; choose others with --port and --http-port"
        )
    return ports, list(http_ports)


def _ports_from(first: int, count: int, key: str) -> list[int]:
    if first == 0:
        return [0] * count
    if first + count - 1 > _PORT_MAX:
        raise ConfigError(
            f"{key} would need the ports {first} to {first + count - 1}, and {_PORT_MAX} is the "
            "last; set it lower"
        )
    return list(range(first, first + count))


def free_ports(settings: Settings) -> tuple[list[int], list[int | None]]:
    """Return free ports for gRPC and for HTTP, one each for every router.

    Ports are chosen once, so that a router that restarts listens where its clients expect it.

    Raises:
        DeploymentError: A configured port is in use.
        ConfigError: As for `ports_of`.
    """
    ports, http_ports = ports_of(settings)
    with ExitStack() as held:  # all at once, so that no two are the same

        def take(port: int, flag: str) -> int:
            return held.enter_context(_listening(settings.serve.host, port, flag))

        return (
            [take(port, "--port") for port in ports],
            [None if port is None else take(port, "--http-port") for port in http_ports],
        )


@contextmanager
def _listening(host: str, port: int, flag: str) -> Iterator[int]:
    """Listen at a port while the context lasts, and return the port; 0 lets the system choose."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        server = socket.create_server((host, port), family=family)
    except OSError as error:
        where = authority(host, port)
        raise DeploymentError(
            f"cannot listen on {where}: {error.strerror}; {_way_out(error, flag)}"
        ) from error
    with server:
        yield server.getsockname()[1]


def _way_out(error: OSError, flag: str) -> str:
    if error.errno in _NOT_OUR_ADDRESS:
        return "choose an address of this machine with --host"
    return f"choose another port with {flag}"
