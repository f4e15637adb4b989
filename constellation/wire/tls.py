"""TLS of gRPC and HTTP servers and of clients, from PEM files.

gRPC and HTTP use the same files, and both refuse TLS versions below 1.2.
"""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc

from constellation.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerTls:
    """Files of a server's certificate and key, and of the authorities that sign its clients'."""

    certificate: Path
    """PEM file with the server's certificate, followed by the chain up to its authority."""
    key: Path
    """PEM file with the private key of `certificate`, without a passphrase."""
    client_ca: Path | None = None
    """PEM file with the authorities that sign clients' certificates; None accepts clients without a
    certificate."""

    def context(self) -> ssl.SSLContext:
        """Return the TLS context of an HTTP server (Python's `ssl`).

        Raises:
            ConfigError: A file cannot be read or has the wrong content.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        _load_identity(context, self.certificate, self.key)
        if self.client_ca is not None:
            _load_authorities(context, self.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def credentials(self) -> grpc.ServerCredentials:
        """Return the credentials of a gRPC server; errors as in `context`."""
        self.context()  # checks the files, because grpc's error does not name the file
        return grpc.ssl_server_credentials(
            [(self.key.read_bytes(), self.certificate.read_bytes())],
            root_certificates=None if self.client_ca is None else self.client_ca.read_bytes(),
            require_client_auth=self.client_ca is not None,
        )


def server_tls(
    certificate: Path | None, key: Path | None, client_ca: Path | None
) -> ServerTls | None:
    """Return the TLS files of a server; None for unencrypted connections when no file is given.

    Raises:
        ConfigError: A file is given without the other files that it needs.
    """
    if certificate is not None and key is not None:
        return ServerTls(certificate=certificate, key=key, client_ca=client_ca)
    if (certificate, key, client_ca) != (None, None, None):
        raise ConfigError(
            "TLS needs a certificate and its key; give security.certificate and security.key both"
        )
    return None


@dataclass(frozen=True, kw_only=True, slots=True)
class ClientTls:
    """Files of the authorities that a client trusts, and of the client's certificate and key."""

    ca: Path
    """PEM file with the authorities that sign servers' certificates; a self-signed certificate is
    its own authority."""
    certificate: Path | None = None
    """PEM file with the client's certificate, for servers that require one."""
    key: Path | None = None
    """PEM file with the private key of `certificate`, without a passphrase."""
    server_name: str | None = None
    """Name that the server's certificate must hold; None means the host of the endpoint."""

    @property
    def channel_options(self) -> tuple[tuple[str, str], ...]:
        """Options of a gRPC channel with these files."""
        name = self.server_name
        return () if name is None else (("grpc.ssl_target_name_override", name),)

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise ConfigError("a client's certificate and its key go together; give both")

    def context(self) -> ssl.SSLContext:
        """Return the TLS context of a client (Python's `ssl`).

        Raises:
            ConfigError: A file cannot be read or has the wrong content.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        _load_authorities(context, self.ca)
        if self.certificate is not None and self.key is not None:
            _load_identity(context, self.certificate, self.key)
        return context

    def credentials(self) -> grpc.ChannelCredentials:
        """Return the credentials of a gRPC channel; errors as in `context`."""
        self.context()  # checks the files, because grpc's error does not name the file
        if self.certificate is None or self.key is None:
            return grpc.ssl_channel_credentials(self.ca.read_bytes())
        return grpc.ssl_channel_credentials(
            self.ca.read_bytes(), self.key.read_bytes(), self.certificate.read_bytes()
        )


NODE_NAME: Final = "node.constellation.internal"
"""Name in the certificate of every node. Processes check this name instead of an address: nodes
join with addresses that nobody knew when the certificates were made."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeTls:
    """Certificate of a node, which its processes show to those of other nodes (mutual TLS).

    The files lie on every node under the same paths.
    """

    certificate: Path
    """PEM file with a certificate for `NODE_NAME`, valid for servers and clients."""
    key: Path
    """PEM file with the private key of `certificate`, without a passphrase."""
    ca: Path
    """PEM file with the authority of the deployment; certificates of others are refused."""

    @property
    def server(self) -> ServerTls:
        """TLS of a server, which accepts only clients with a certificate of the authority."""
        return ServerTls(certificate=self.certificate, key=self.key, client_ca=self.ca)

    @property
    def client(self) -> ClientTls:
        """TLS of a client, which accepts only servers with a certificate of the authority."""
        return node_client(self.ca, self.certificate, self.key)


def node_client(ca: Path, certificate: Path, key: Path) -> ClientTls:
    """Return the TLS of a client that calls processes on nodes of a deployment."""
    return ClientTls(ca=ca, certificate=certificate, key=key, server_name=NODE_NAME)


def node_tls(certificate: Path | None, key: Path | None, ca: Path | None) -> NodeTls | None:
    """Return the TLS of calls between processes; None for unencrypted calls when no file is given.

    Raises:
        ConfigError: A file is given without the others, cannot be read, or has the wrong content.
    """
    if certificate is not None and key is not None and ca is not None:
        files = NodeTls(certificate=certificate, key=key, ca=ca)
        files.server.context()
        return files
    if (certificate, key, ca) != (None, None, None):
        raise ConfigError(
            "TLS between processes needs three files; give security.internal_certificate, "
            "security.internal_key and security.internal_ca all"
        )
    return None


def client_tls(
    ca: str | Path | None, certificate: str | Path | None, key: str | Path | None
) -> ClientTls | None:
    """Return the TLS files of a client; None for unencrypted connections when no file is given.

    Raises:
        ConfigError: A certificate is given without its key, or without an authority that signs the
            server's certificate.
    """
    paths = [None if path is None else Path(path) for path in (certificate, key)]
    if ca is not None:
        return ClientTls(ca=Path(ca), certificate=paths[0], key=paths[1])
    if paths != [None, None]:
        raise ConfigError("a client's certificate needs TLS; give the server's authority, too (ca)")
    return None


def _load_identity(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    for path in (certificate, key):
        _check_readable(path)
    try:
        # Without a password argument OpenSSL would ask the terminal for one.
        context.load_cert_chain(certificate, key, password="")
    except (ssl.SSLError, ValueError) as error:
        raise ConfigError(
            f"{certificate} and {key} are not a certificate and its private key in PEM, without a "
            f"passphrase ({error})"
        ) from error


def _load_authorities(context: ssl.SSLContext, path: Path) -> None:
    _check_readable(path)
    try:
        context.load_verify_locations(path)
    except (ssl.SSLError, ValueError) as error:
        raise ConfigError(f"{path} holds no certificates in PEM ({error})") from error


def _check_readable(path: Path) -> None:
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
