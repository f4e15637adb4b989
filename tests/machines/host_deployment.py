"""A constellation on hosts in namespaces: started on the first host over SSH, asked from outside.

    with Hosts(3) as hosts:
        start_ray(hosts)
        with HostDeployment(hosts, artifacts, tmp_path) as deployment, deployment.client() as stars:
            stars.ask("import os")

Every host gets the token, and a certificate of its own under the same path, as `constellation
certificates --per-node` makes them. Clients call the first host with TLS.
"""

import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from cluster.certificates import make_certificates
from constellation import Client
from tests.machines.hosts import Host, Hosts
from tests.machines.ray_on_hosts import address

HOME: Final = "/root/.constellation"
ARTIFACTS: Final = f"{HOME}/artifacts"
RUN_DIR: Final = f"{HOME}/run"
SECRETS: Final = f"{HOME}/secrets"
PORT: Final = 50051
_LISTEN = f"--host 10.77.0.10 --port {PORT}"
_UP_S = 240.0
_SECURITY = {
    "TOKEN_FILE": "token",
    "CERTIFICATE": "node.crt",
    "KEY": "node.key",
    "CA": "authority.crt",
    "INTERNAL_CERTIFICATE": "node.crt",
    "INTERNAL_KEY": "node.key",
    "INTERNAL_CA": "authority.crt",
}
"""Setting of section `security` -> file below `SECRETS`."""


class HostDeployment:
    """A constellation that runs on hosts while the context is open."""

    def __init__(
        self,
        hosts: Hosts,
        artifacts: Path,
        folder: Path,
        *,
        holders: Iterable[Host] | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """Prepare the hosts: certificates, token, artifacts.

        Args:
            hosts: Hosts on which Ray runs.
            artifacts: Folder with a release.
            folder: An empty folder of this machine for certificates.
            holders: Hosts that get a copy of the artifacts; None means all.
            settings: Further variables of the constellation's environment.
        """
        self._hosts = hosts
        self._settings = dict(settings or {})
        self.token = secrets.token_hex(32)
        self.ca = folder / "authority.crt"
        """Certificate of the authority that signed those of the hosts."""
        make_certificates(folder, [host.address for host in hosts], per_node=True)
        for host in hosts:
            self._write_secrets(host, folder / host.address)
        for host in hosts if holders is None else holders:
            hosts.copy(host, artifacts, ARTIFACTS)

    def __enter__(self) -> Self:
        self.command(f"constellation up --address {address(self._hosts)} {_LISTEN} > /dev/null")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._hosts.lives(self._hosts[0]):
            self.command("constellation down", check=False)

    @property
    def endpoint(self) -> str:
        """host:port of the router."""
        return f"{self._hosts[0].address}:{PORT}"

    def client(self, **options: Any) -> Client:
        """Return a client outside of the hosts, with the token and by TLS."""
        return Client(self.endpoint, token=self.token, ca=self.ca, **options)

    def command(self, line: str, *, host: Host | None = None, check: bool = True) -> str:
        """Run a command of the constellation on a host, the first by default; with its settings.

        Raises:
            RuntimeError: The command failed; with the ends of the logs of all hosts.
        """
        words = f"{self._environment()} {line}"
        try:
            return self._hosts.run(host or self._hosts[0], words, timeout_s=_UP_S, check=check)
        except RuntimeError as error:
            raise RuntimeError(f"{error}\n{self.logs()}") from error

    def logs(self, num_lines: int = 8) -> str:
        """Return the last lines of every log on every host."""
        show = f"tail -v -n {num_lines} {RUN_DIR}/logs/* 2> /dev/null | cut -c1-600"
        return "\n".join(
            f"{host.name}:\n{self._hosts.run(host, show, check=False)}"
            for host in self._hosts
            if self._hosts.lives(host)
        )

    def _environment(self) -> str:
        files = {f"SECURITY__{name}": f"{SECRETS}/{file}" for name, file in _SECURITY.items()}
        values = {**files, "ARTIFACTS": ARTIFACTS, "RUN_DIR": RUN_DIR, **self._settings}
        return " ".join(f"CONSTELLATION_{name}={value}" for name, value in values.items())

    def _write_secrets(self, host: Host, certificates: Path) -> None:
        self._hosts.write(host, f"{SECRETS}/token", self.token.encode())
        for file in (self.ca, certificates / "node.crt", certificates / "node.key"):
            self._hosts.write(host, f"{SECRETS}/{file.name}", file.read_bytes())
