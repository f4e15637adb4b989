"""What hosts in namespaces need of the machine: the lock, links, and a clean end."""

import fcntl
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

BRIDGE = "cst-bridge"
FOLDER = Path("/run/constellation-hosts")
"""Keys, logs and disks of the hosts, of which there are one set at a time; only root may enter."""
_LOCK = Path("/run/lock/constellation-hosts")
_LOCK_S = 1200.0
_END_S = 10.0
_PROGRAMS = ("ip", "unshare", "nsenter", "ssh", "ssh-keygen", "rsync", "/usr/sbin/sshd")


def missing() -> str | None:
    """Return why no hosts can be made here; None when they can."""
    if os.geteuid() != 0:
        return "hosts in namespaces need root"
    if "overlay" not in Path("/proc/filesystems").read_text(encoding="utf-8"):
        return "hosts in namespaces need overlayfs"
    if absent := [name for name in _PROGRAMS if shutil.which(name) is None]:
        return f"{', '.join(absent)} missing; install Debian's iproute2, openssh-server, rsync"
    tried = ("unshare", "--net", "--mount", "--pid", "--uts", "--ipc", "--fork", "true")
    done = subprocess.run(tried, capture_output=True, text=True, check=False, timeout=10)
    return f"no namespaces here: {done.stderr.strip()}" if done.returncode else None


@contextmanager
def lock_of_the_machine() -> Iterator[None]:
    """Hold the lock of which there is one on a machine."""
    _LOCK.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    pause, end_s = threading.Event(), time.monotonic() + _LOCK_S
    try:
        while True:
            with suppress(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            if time.monotonic() > end_s:
                raise RuntimeError(f"another cluster of hosts runs for {_LOCK_S:.0f} s already")
            pause.wait(1)
        yield
    finally:
        os.close(descriptor)


def ip(*arguments: str) -> None:
    done = subprocess.run(("ip", *arguments), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


def processes_of(namespace: str) -> list[int]:
    """Return the ids of the processes in a network namespace."""
    command = ("ip", "netns", "pids", namespace)
    listed = subprocess.run(command, capture_output=True, text=True, check=False)
    return [int(pid) for pid in listed.stdout.split()]


def wait_ended(namespace: str) -> None:
    """Wait until no process is left in a network namespace."""
    pause, end_s = threading.Event(), time.monotonic() + _END_S
    while found := processes_of(namespace):
        if time.monotonic() > end_s:
            raise RuntimeError(f"processes of {namespace} do not end: {found}")
        pause.wait(0.02)


def left() -> list[str]:
    """Return what there is of hosts on this machine: namespaces, links, disks, their folder."""
    namespaces = sorted(path.name for path in Path("/run/netns").glob("cst-host*"))
    links = sorted(path.name for path in Path("/sys/class/net").glob("*cst-*"))
    mounts = [
        line.split()[1]
        for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines()
        if line.startswith("cst-host")
    ]
    folder = [str(FOLDER)] if FOLDER.exists() else []
    return [*namespaces, *links, *mounts, *folder]


def remove_left() -> None:
    """Remove what is left of a cluster of hosts, such as that of a test run that was killed.

    Hosts whose processes run on are ended by their namespace of processes.
    """
    for path in Path("/run/netns").glob("cst-host*"):
        for pid in processes_of(path.name):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_ended(path.name)
    for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines():
        if line.startswith("cst-host"):
            subprocess.run(("umount", "--lazy", line.split()[1]), check=False)
    # Links first: those of a removed namespace go some time later.
    for path in Path("/sys/class/net").glob("*cst-*"):
        ip("link", "del", path.name)
    for path in Path("/run/netns").glob("cst-host*"):
        ip("netns", "del", path.name)
    shutil.rmtree(FOLDER, ignore_errors=True)
