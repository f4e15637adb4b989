"""`ray up` and `ray down` with cluster/ray/onprem.yaml, on hosts in namespaces.

    with Hosts(3) as hosts, RayUp(hosts, tmp_path, mounts) as cluster:
        cluster.shell("constellation status")       # in a login shell of the first host

The file is used as it is, with the addresses, the key and the folders of the hosts put in.
"""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from constellation.settings import child_environment
from tests.machines.hosts import ROOT, Host, Hosts

FILE = ROOT / "cluster/ray/onprem.yaml"
_UP_S = 500.0
_STAND_IN = f"""#!/bin/sh
exec {ROOT}/.venv/bin/python -I {Path(__file__).with_name("offline_python.py")} "$@"
"""


class RayUp:
    """A Ray cluster that `ray up` started, until the context ends."""

    def __init__(self, hosts: Hosts, folder: Path, mounts: Mapping[str, Path]) -> None:
        """Prepare the cluster file.

        Args:
            hosts: Hosts without Ray; the first becomes the head.
            folder: An empty folder, home of the user who runs `ray up`.
            mounts: Folder on every host -> folder of this machine that is copied there.
        """
        self._hosts = hosts
        self._folder = folder
        self._mounts = mounts
        self.file = folder / "cluster.yaml"

    def __enter__(self) -> Self:
        for host in self._hosts:
            self._hosts.write(host, "/usr/local/bin/python3.12", _STAND_IN.encode())
            self._hosts.run(host, "chmod 755 /usr/local/bin/python3.12")
        self.file.write_text(yaml.safe_dump(self.configuration()))
        self.said = self._ray("up", "--no-config-cache")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ray("down")

    def configuration(self) -> dict[str, Any]:
        """Return the cluster file for these hosts."""
        found: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
        addresses = [host.address for host in self._hosts]
        found["provider"] |= {"head_ip": addresses[0], "worker_ips": addresses[1:]}
        found["auth"] = {"ssh_user": "root", "ssh_private_key": str(self._hosts.key)}
        found["file_mounts"] |= {to: str(path) for to, path in self._mounts.items()}
        return found

    def shell(self, command: str, *, host: Host | None = None, timeout_s: float = 300.0) -> str:
        """Run a command in a login shell of a host, the first by default."""
        chosen = host or self._hosts[0]
        done = subprocess.run(
            [*self._hosts.ssh(chosen), "bash", "--login", "-i"],
            input=f"{command}\nexit $?\n".encode(),
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
        if done.returncode:
            said = done.stderr.decode(errors="replace")
            raise RuntimeError(f"{command!r} failed on {chosen.name}: {said}")
        return done.stdout.decode(errors="replace")

    def _ray(self, verb: str, *options: str) -> str:
        keep = {name: text for name, text in child_environment({}).items() if "RAY" not in name}
        variables = {"HOME": str(self._folder), "RAY_UP_enable_autoscaler_v2": "0"}
        done = subprocess.run(
            [Path(sys.executable).with_name("ray"), verb, "--yes", *options, self.file],
            cwd=ROOT,
            env={**keep, **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_UP_S,
            check=False,
        )
        said = done.stdout.decode(errors="replace")
        if done.returncode:
            raise RuntimeError(f"ray {verb} failed ({done.returncode}): {said[-4000:]}")
        return said
