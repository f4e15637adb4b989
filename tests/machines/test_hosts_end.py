"""Clusters of hosts, one after the other, leave nothing on the machine."""

import os
import subprocess
import sys
import threading

import psutil
import pytest

from tests.machines.hosts import ROOT, Hosts
from tests.machines.namespaces import left

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("needs_hosts")]

_KILLED = (
    "from tests.machines.hosts import Hosts; hosts = Hosts(2).__enter__(); print('up'); input()"
)


def held() -> tuple[int, int, int]:
    """Return how many open files, threads and child processes this process has."""
    children = psutil.Process().children(recursive=True)
    return len(os.listdir("/proc/self/fd")), threading.active_count(), len(children)


def test_ten_ups_and_downs_leave_nothing_behind() -> None:
    before = held()
    for _ in range(10):
        with Hosts(3) as hosts:
            hosts.run(hosts[0], "sleep 600 > /dev/null 2>&1 & echo kept > /tmp/ray/file")
            hosts.power_cut(hosts[2])
            assert len(left()) == 3 + 4 + 3 + 1  # namespaces, links, disks, folder
        assert left() == []
        assert held() == before


def test_what_a_killed_run_left_is_removed_by_the_next_one() -> None:
    before = held()
    command = [sys.executable, "-u", "-c", _KILLED]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, **pipes) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == b"up\n"
        run.kill()
    assert len(left()) == 2 + 3 + 2 + 1
    with Hosts(1) as hosts:
        assert hosts.run(hosts[0], "hostname").strip() == hosts[0].name
        assert len(left()) == 1 + 2 + 1 + 1
    assert left() == []
    assert held() == before
