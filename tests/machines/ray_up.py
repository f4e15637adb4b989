"""A Ray cluster on hosts in namespaces, started by `ray up` with cluster/ray/onprem.yaml.

    with Hosts(3) as hosts, RayUp(hosts, artifacts, tmp_path) as cluster:
        cluster.execute("constellation status")         # on the head
        with cluster.client() as stars: ...

The file is used as users use it, with the values of its first part filled in. One thing is
different: hosts have no packages to install from, so ~/.constellation/venv is a link to this
checkout's environment, which the set-up then uses as it is.
"""

import secrets
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import yaml

from constellation import Client
from constellation.settings import child_environment
from tests.machines.hosts import ROOT, Hosts
from tests.support.certificates import Authority

FILE: Final = ROOT / "cluster" / "ray" / "onprem.yaml"
VENV: Final = ROOT / ".venv"
HOME: Final = "/root/.constellation"
PORT: Final = 50051
_UP_S: Final = 400.0


class RayUp:
    """A cluster that `ray up` starts when the context is entered, and `ray down` stops."""

    def __init__(self, hosts: Hosts, artifacts: Path, folder: Path) -> None:
        """Prepare secrets and the cluster file.

        Args:
            hosts: Hosts; the first becomes the head.
            artifacts: Folder with a release.
            folder: An empty folder of this machine.
        """
        self._hosts = hosts
        self._folder = folder
        self.token = secrets.token_hex(32)
        self.secrets = folder / "secrets"
        self._write_secrets()
        self.file = folder / "machines.yaml"
        self.file.write_text(yaml.safe_dump(self._filled_in(artifacts), sort_keys=False))
        for host in hosts:
            hosts.run(host, f"mkdir -p -m 700 {HOME} && ln -sfn {VENV} {HOME}/venv")

    def __enter__(self) -> Self:
        self.ray("up", "--yes", "--no-config-cache", timeout_s=_UP_S)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._hosts.lives(self._hosts[0]):
            self.ray("down", "--yes", check=False)

    @property
    def ca(self) -> Path:
        """Certificate of the authority that signed those of the hosts."""
        return self.secrets / "authority.pem"

    def client(self, **options: Any) -> Client:
        """Return a client outside of the hosts, with the token and by TLS."""
        endpoint = f"{self._hosts[0].address}:{PORT}"
        return Client(endpoint, token=self.token, ca=self.ca, **options)

    def execute(self, command: str, *, timeout_s: float = 120.0) -> str:
        """Run a command on the head by `ray exec`."""
        return self.ray("exec", command, timeout_s=timeout_s)

    def ray(
        self, command: str, *arguments: str, timeout_s: float = 120.0, check: bool = True
    ) -> str:
        """Run `ray COMMAND machines.yaml ARGUMENTS`; return what the command wrote.

        Raises:
            RuntimeError: The command failed, and `check` is set.
        """
        done = subprocess.run(
            [str(VENV / "bin" / "ray"), command, str(self.file), *arguments],
            cwd=ROOT,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        if check and done.returncode:
            raise RuntimeError(f"ray {command} failed ({done.returncode}): {done.stdout[-4000:]}")
        return done.stdout

    def _environment(self) -> dict[str, str]:
        own = {"HOME": str(self._folder), "RAY_TMPDIR": str(self._folder)}
        return child_environment(
            {**own, "RAY_UP_enable_autoscaler_v2": "0", "RAY_USAGE_STATS_ENABLED": "0"}
        )

    def _filled_in(self, artifacts: Path) -> dict[str, Any]:
        """Return the cluster file with the values that a user sets."""
        found: dict[str, Any] = yaml.safe_load(FILE.read_text())
        head, *workers = (host.address for host in self._hosts)
        found["provider"] |= {"head_ip": head, "worker_ips": workers}
        found["auth"] = {"ssh_user": "root", "ssh_private_key": str(self._hosts.key)}
        local = {"secrets": self.secrets, "artifacts": artifacts, "code": ROOT}
        found["file_mounts"] = {f"~/.constellation/{name}": str(at) for name, at in local.items()}
        return found

    def _write_secrets(self) -> None:
        (self.secrets / "nodes").mkdir(parents=True, mode=0o700)
        authority = Authority(self._folder, "authority")
        contents = {"authority.pem": authority.file.read_bytes(), "token": self.token.encode()}
        contents["ray_token"] = secrets.token_hex(32).encode()
        for host in self._hosts:
            identity = authority.sign(host.name, host=host.address)
            contents[f"nodes/{host.address}.pem"] = identity.certificate.read_bytes()
            contents[f"nodes/{host.address}.key"] = identity.key.read_bytes()
        for name, content in contents.items():
            (self.secrets / name).write_bytes(content)
            (self.secrets / name).chmod(0o600)
