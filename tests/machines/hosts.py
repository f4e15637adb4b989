"""Machines made on one machine: hosts in namespaces, with sshd, an address and a disk each.

    with Hosts(3) as hosts:
        hosts.run(hosts[0], "ray start --head ...")     # over SSH, as root
        hosts.power_cut(hosts[2])                       # no packet leaves the host any more
        hosts.power_on(hosts[2])                        # boots again with the disk as it was
        hosts.partition(hosts[1]); hosts.heal(hosts[1]) # runs on, and nobody reaches it

Every host has network, mount, process, UTS and IPC namespaces of its own. The host's root is the
machine's root with a layer above for what the host writes: the checkout and its .venv are seen at
the same path on every host, and files that one host writes are seen by no other. Hosts have the
addresses 10.77.0.10 and on, names `cst-host0` and on; this machine is 10.77.0.1, outside of them.

Needs root, overlayfs, and the programs of Debian's iproute2, openssh-server and rsync; `missing` of
tests/machines/namespaces.py says what is absent. There is one cluster of hosts at a time on a
machine: a second one waits until the first one has ended.
"""

import shlex
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.machines.namespaces import (
    BRIDGE,
    FOLDER,
    ip,
    lock_of_the_machine,
    remove_left,
    wait_ended,
)

ROOT = Path(__file__).parents[2]
"""The checkout, which every host sees at the same path."""
OUTSIDE = "10.77.0.1"
"""Address of this machine, on the hosts' network."""
HOSTS_MAX = 9
_BOOT_S = 20.0
_DISK = "3g"
_SSH = (
    *("ssh", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "LogLevel=ERROR"),
    *("-o", "UserKnownHostsFile=/dev/null", "-o", "ConnectTimeout=5"),
)
_ENVIRONMENT = {
    "PATH": f"{ROOT}/.venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "PYTHONDONTWRITEBYTECODE": "1",
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN_PATH": "/root/.constellation/secrets/ray_token",
    "RAY_USAGE_STATS_ENABLED": "0",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Host:
    """One machine of the cluster."""

    name: str
    address: str

    @property
    def link(self) -> str:
        """Name of the host's network link on this machine's side: at most 15 letters."""
        return f"v{self.name}"


@dataclass(slots=True)
class Hosts:
    """A running cluster of hosts; made on entering the context, removed without trace at its end.

    Attributes:
        num_hosts: Hosts, 1 to `HOSTS_MAX`.
        hidden: Folders of this machine that are empty on every host, such as trained artifacts.
    """

    num_hosts: int = 3
    hidden: Sequence[Path] = (ROOT / "artifacts", ROOT / "runs")
    _open: ExitStack = field(default_factory=ExitStack, init=False)
    _running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict, init=False)

    def __enter__(self) -> Self:
        with ExitStack() as opening:
            opening.enter_context(lock_of_the_machine())
            remove_left()
            FOLDER.mkdir(mode=0o700)
            opening.callback(self._remove)
            self._make_keys()
            self._make_network()
            for host in self:
                self._make_disk(host)
                self._boot(host)
            for host in self:
                self._wait(host)
            self._open = opening.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()

    def __getitem__(self, number: int) -> Host:
        if not 0 <= number < self.num_hosts:
            raise IndexError(f"there are {self.num_hosts} hosts, and no host {number}")
        return Host(name=f"cst-host{number}", address=f"10.77.0.{10 + number}")

    def __iter__(self) -> Iterator[Host]:
        return (self[number] for number in range(self.num_hosts))

    @property
    def key(self) -> Path:
        """Private key that opens every host to root, for `ssh_private_key` of `ray up`."""
        return FOLDER / "key"

    @property
    def environment(self) -> str:
        """Shell commands for the start of a session: variables, and the checkout as folder."""
        sets = " ".join(f"{name}={shlex.quote(value)}" for name, value in _ENVIRONMENT.items())
        return f"export {sets} && cd {shlex.quote(str(ROOT))}"

    def ssh(self, host: Host) -> list[str]:
        """Return the words of the command that opens a shell on a host."""
        return [*_SSH, "-i", str(self.key), f"root@{host.address}"]

    def run(
        self,
        host: Host,
        command: str,
        *,
        timeout_s: float = 120.0,
        check: bool = True,
        stdin: bytes = b"",
    ) -> str:
        """Run a shell command on a host as root, in the checkout; return what the command wrote.

        Raises:
            RuntimeError: The command failed, and `check` is set.
            subprocess.TimeoutExpired: The command took too long.
        """
        line = f"{self.environment} && {{ {command}\n}}"
        done = subprocess.run(
            [*self.ssh(host), line],
            input=stdin,
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
        said = (done.stdout + done.stderr).decode(errors="replace")
        if check and done.returncode:
            raise RuntimeError(f"{said[-4000:]} ({host.name}, code {done.returncode}: {command})")
        return done.stdout.decode(errors="replace")

    def write(self, host: Host, path: str, content: bytes) -> None:
        """Write a file on a host, which only root may read."""
        command = f"umask 077; mkdir -p {shlex.quote(str(Path(path).parent))}; cat > {path}"
        self.run(host, command, stdin=content)

    def copy(self, host: Host, folder: Path, to: str) -> None:
        """Copy what is in a folder of this machine into a folder of a host."""
        self.run(host, f"mkdir -p {shlex.quote(to)}")
        shell = shlex.join([*_SSH, "-i", str(self.key)])
        command = ["rsync", "-a", "-e", shell, f"{folder}/", f"root@{host.address}:{to}/"]
        subprocess.run(command, check=True, timeout=120)

    def power_cut(self, host: Host) -> None:
        """End a host at once: first its link, so that no peer gets a packet of goodbye."""
        ip("link", "set", host.link, "down")
        self._kill(host)

    def power_on(self, host: Host) -> None:
        """Boot a host that lost its power; its disk holds what was written before."""
        ip("link", "set", host.link, "up")
        self._boot(host)
        self._wait(host)

    def partition(self, host: Host) -> None:
        """Cut a running host off from all others: packets vanish in both directions."""
        ip("link", "set", host.link, "nomaster")

    def heal(self, host: Host) -> None:
        """End a partition."""
        ip("link", "set", host.link, "master", BRIDGE)

    def lives(self, host: Host) -> bool:
        """Return whether a host has power."""
        return host.name in self._running and self._running[host.name].poll() is None

    def _make_keys(self) -> None:
        for name in ("key", "host_key"):
            command = ("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", FOLDER / name)
            subprocess.run(command, check=True)

    def _make_network(self) -> None:
        ip("link", "add", BRIDGE, "type", "bridge")
        ip("addr", "add", f"{OUTSIDE}/24", "dev", BRIDGE)
        ip("link", "set", BRIDGE, "up")
        for host in self:
            inside = ("-n", host.name)
            ip("netns", "add", host.name)
            peer = ("peer", "name", "eth0", "netns", host.name)
            ip("link", "add", host.link, "type", "veth", *peer)
            ip("link", "set", host.link, "master", BRIDGE, "up")
            ip(*inside, "link", "set", "lo", "up")
            ip(*inside, "addr", "add", f"{host.address}/24", "dev", "eth0")
            ip(*inside, "link", "set", "eth0", "up")
            ip(*inside, "route", "add", "default", "via", OUTSIDE)
            # The address at which clouds describe a machine is refused at once, not after seconds.
            ip(*inside, "route", "add", "unreachable", "169.254.169.254")

    def _disk(self, host: Host) -> Path:
        return FOLDER / host.name

    def _make_disk(self, host: Host) -> None:
        disk = self._disk(host)
        disk.mkdir()
        options = f"size={_DISK},mode=0700"
        subprocess.run(("mount", "-t", "tmpfs", "-o", options, disk.name, str(disk)), check=True)

    def _boot(self, host: Host) -> None:
        names = "".join(f"{each.address} {each.name}\n" for each in self)
        spaces = ("--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child")
        init = (str(Path(__file__).with_name("host_init.py")), str(self._disk(host)), host.name)
        files = (f"127.0.0.1 localhost\n{names}", f"{self.key}.pub", str(FOLDER / "host_key"))
        hidden = map(str, self.hidden)
        python = str(ROOT / ".venv/bin/python")
        command = ["nsenter", f"--net=/run/netns/{host.name}", "unshare", *spaces]
        with (FOLDER / f"{host.name}.log").open("ab") as log:
            self._running[host.name] = subprocess.Popen(
                [*command, python, "-I", *init, *files, *hidden],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _wait(self, host: Host) -> None:
        """Wait until sshd answers."""
        end_s = time.monotonic() + _BOOT_S
        while self.lives(host) and time.monotonic() < end_s:
            with suppress(OSError), socket.create_connection((host.address, 22), 1) as connection:
                if connection.recv(3) == b"SSH":
                    return
        said = (FOLDER / f"{host.name}.log").read_text(errors="replace")[-2000:]
        raise RuntimeError(f"{host.name} did not boot within {_BOOT_S:.0f} s: {said}")

    def _kill(self, host: Host) -> None:
        process = self._running.pop(host.name, None)
        if process is not None:
            process.kill()
            process.wait()
            wait_ended(host.name)

    def _remove(self) -> None:
        for host in self:
            self._kill(host)
        remove_left()
