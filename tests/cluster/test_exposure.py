"""What listens is found by asking the system, whoever listens and however it is written."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from cluster.bootstrap import ADVICE
from cluster.listening_check import check_loopback, is_loopback
from constellation.errors import DeploymentError, NotOnLoopback

LISTEN = """
import socket, sys
with socket.create_server(({host!r}, 0), family={family}) as server:
    print(server.getsockname()[1], flush=True)
    sys.stdin.read()
"""
CHILD_OF_CHILD = """
import subprocess, sys
subprocess.run([sys.executable, "-c", sys.argv[1]])
"""


@contextmanager
def listening(host: str, family: str = "socket.AF_INET") -> Iterator[int]:
    """Run a grandchild that listens; yield its port."""
    code = LISTEN.format(host=host, family=family)
    with subprocess.Popen(
        [sys.executable, "-c", CHILD_OF_CHILD, code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    ) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline())
        for child in psutil.Process(process.pid).children():
            child.kill()


def test_listening_on_loopback_is_let_pass() -> None:
    with listening("127.0.0.1"), listening("127.1.2.3"):
        check_loopback(ADVICE)


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_listening_everywhere_is_refused_and_the_process_named(host: str) -> None:
    family = "socket.AF_INET6" if ":" in host else "socket.AF_INET"
    with listening(host, family) as port:
        with pytest.raises(NotOnLoopback) as error:
            check_loopback(ADVICE)
        assert error.value.address == f"{host}:{port}"
        assert error.value.process.startswith("python")
        for part in (error.value.process, error.value.address, ADVICE):
            assert part in str(error.value)
        check_loopback(ADVICE, open_ports={port})
    assert issubclass(NotOnLoopback, DeploymentError)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.255.0.9", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("::ffff:10.0.0.1", False),
        ("192.0.2.1", False),
        ("fe80::1%eth0", False),
    ],
)
def test_addresses_of_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
