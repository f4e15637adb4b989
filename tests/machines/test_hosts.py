"""Hosts in namespaces are separate machines as far as programs can see."""

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.machines.capture import Capture
from tests.machines.hosts import Host, Hosts

pytestmark = pytest.mark.cluster

_PORT = 7001
_SERVER = (
    "python -c \"import socket; server = socket.create_server(('0.0.0.0', 7001)); "
    "print('ready', flush=True); client = server.accept()[0]; "
    "[client.sendall(data) for data in iter(lambda: client.recv(1 << 16), b'')]\""
)


@contextmanager
def echo(hosts: Hosts, host: Host) -> Iterator[None]:
    """Run a server on a host that sends back what it gets."""
    command = f"{hosts.environment}; {_SERVER}"
    with subprocess.Popen([*hosts.ssh(host), command], stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"
        try:
            yield
        finally:
            server.kill()


def test_every_host_has_a_name_an_address_and_a_disk_of_its_own(hosts: Hosts) -> None:
    for host in hosts:
        hosts.run(host, "hostname > /root/name")
    for host in hosts:
        assert hosts.run(host, "cat /root/name").strip() == host.name
        assert host.address in hosts.run(host, "ip -br addr show eth0")
        assert Path(__file__).name in hosts.run(host, "ls tests/machines")
    assert not Path("/root/name").exists()


def test_hosts_do_not_see_each_others_processes(hosts: Hosts) -> None:
    for host in hosts:
        assert int(hosts.run(host, "ls -d /proc/[0-9]* | wc -l")) < 12


def test_what_is_hidden_is_empty_on_every_host_and_can_be_copied_to_one(
    hosts: Hosts, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("content")
    hosts.copy(hosts[0], tmp_path, "/srv/folder")
    assert hosts.run(hosts[0], "cat /srv/folder/file") == "content"
    assert hosts.run(hosts[1], "ls /srv") == ""
    for folder in hosts.hidden:
        assert hosts.run(hosts[1], f"ls {folder} 2> /dev/null", check=False) == ""


def test_a_power_cut_sends_no_goodbye_and_keeps_the_disk(hosts: Hosts) -> None:
    host = hosts[2]
    hosts.run(host, "echo kept > /root/kept; sync")
    with echo(hosts, host), socket.create_connection((host.address, _PORT), 5) as connection:
        connection.sendall(b"1")
        assert connection.recv(1) == b"1"
        with Capture(hosts) as wire:
            hosts.power_cut(host)
            connection.settimeout(1)
            with pytest.raises(TimeoutError):
                connection.recv(1)
        assert not [flow for flow in wire.flows() if flow.source == host.address]
        assert not hosts.lives(host)
    hosts.power_on(host)
    assert hosts.run(host, "cat /root/kept") == "kept\n"


def test_a_partition_stops_packets_both_ways_until_it_heals(hosts: Hosts) -> None:
    host = hosts[1]
    with echo(hosts, host), socket.create_connection((host.address, _PORT), 5) as connection:
        hosts.partition(host)
        connection.sendall(b"late")
        connection.settimeout(1)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        hosts.heal(host)
        connection.settimeout(20)
        assert connection.recv(4) == b"late"  # the system has sent it again


def test_the_capture_finds_what_crosses_in_clear_between_hosts(hosts: Hosts) -> None:
    secret = b"a secret that is never to cross in clear"
    first, second = secret[:20], secret[20:]  # in two packets
    send = (
        f"python -c \"import socket; s = socket.create_connection(('{hosts[0].address}', {_PORT}));"
        f' s.sendall({first!r}); s.recv(20); s.sendall({second!r}); s.recv(20)"'
    )
    with Capture(hosts) as wire, echo(hosts, hosts[0]):
        hosts.run(hosts[1], send)
    found = wire.flows_with(secret)
    # The command that holds the secret went to the host by SSH, and is not found there.
    assert {(flow.source, flow.target) for flow in found} == {
        (hosts[1].address, hosts[0].address),
        (hosts[0].address, hosts[1].address),
    }
    assert wire.flows_with(secret, ports={_PORT + 1}) == []
    assert wire.dropped == 0
