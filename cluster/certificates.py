"""Make certificates for the processes of a constellation: an authority, nodes and clients.

Every deployment has an authority of its own, whose key signs the certificates and is needed by no
process. Keys are on the curve P-256; files are PEM, and only their owner may read them.

    FOLDER/authority.crt   trusted by all processes and clients of the deployment
    FOLDER/authority.key   signs certificates; belongs on no node
    FOLDER/node.crt, .key  shown by processes on nodes, to clients and to each other
    FOLDER/client.crt,.key shown by clients; not valid for a server
"""

import datetime
import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from constellation.atomic_files import write_whole
from constellation.errors import ConfigError
from constellation.extras import how_to_install
from constellation.loopback import LOOPBACK_ADDRESS
from constellation.wire.tls import NODE_NAME

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

AUTHORITY: Final = "authority"
"""Base name of the authority's files."""
NODE: Final = "node"
"""Base name of a node's files."""
CLIENT: Final = "client"
"""Base name of a client's files."""
DAYS: Final = 365
"""Default validity in days of the certificates of nodes and clients."""
AUTHORITY_DAYS: Final = 3650
"""Validity of an authority in days."""
_CLOCKS: Final = datetime.timedelta(hours=1)
"""Certificates are valid this long before they are made: clocks of nodes differ."""


@dataclass(frozen=True, slots=True)
class _Signer:
    """The authority: its certificate and its private key."""

    certificate: "x509.Certificate"
    key: "EllipticCurvePrivateKey"


def make_certificates(
    folder: Path, hosts: Sequence[str], *, days: int = DAYS, per_node: bool = False
) -> list[Path]:
    """Make certificates for the nodes and the clients of a deployment.

    An authority that lies in the folder is used again, so that old and new certificates are
    accepted side by side; certificates of nodes and clients are replaced.

    Args:
        folder: Made with mode 0700 if it does not exist.
        hosts: Addresses and names by which nodes are reached.
        days: Validity in days, 1 to `AUTHORITY_DAYS`.
        per_node: Whether every host gets a certificate of its own, in a folder named after the
            host, instead of one certificate for all.

    Returns:
        The files that were written.

    Raises:
        ConfigError: The package `cryptography` is missing, a host cannot be named in a certificate,
            the folder cannot be written, or the authority's files are damaged.
    """
    _check_installed()
    for host in hosts:
        _check_host(host)
    groups = {host: [host] for host in hosts} if per_node else {"": list(hosts)}
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        signer, written = _authority(folder, days)
        for name, named in groups.items():
            place = folder / name
            place.mkdir(mode=0o700, exist_ok=True)
            written += _write_identity(place / NODE, signer, days, hosts=named)
        written += _write_identity(folder / CLIENT, signer, days, hosts=None)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be written: {error.strerror}") from error
    return written


def _check_installed() -> None:
    if find_spec("cryptography") is None:
        raise ConfigError(
            "certificates need the package cryptography, of the optional packages `cluster`: "
            f"{how_to_install('cluster')}"
        )


def _check_host(host: str) -> None:
    if _address(host) is None and not _is_name(host):
        raise ConfigError(
            f"host is {host!r}; give an IP address, or a host name of at most 253 letters, digits, "
            "hyphens and dots"
        )


def _is_name(host: str) -> bool:
    labels = host.split(".")
    return len(host) <= 253 and all(
        label and len(label) <= 63 and label.isascii() and label.replace("-", "a").isalnum()
        for label in labels
    )


def _address(host: str) -> "ipaddress.IPv4Address | ipaddress.IPv6Address | None":
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _authority(folder: Path, days: int) -> tuple[_Signer, list[Path]]:
    """Return the authority of a folder, made if there is none, and the files that were written."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    certificate_file, key_file = _files(folder / AUTHORITY)
    if certificate_file.exists() or key_file.exists():
        return _read_authority(certificate_file, key_file), []
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(f"Constellation authority {x509.random_serial_number() % 2**32:08x}")
    made = (
        _builder(name, name, key, max(days, AUTHORITY_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return _Signer(made, key), _write(folder / AUTHORITY, made, key)


def _read_authority(certificate_file: Path, key_file: Path) -> _Signer:
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    try:
        certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
        key = serialization.load_pem_private_key(key_file.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(
            f"the authority {certificate_file} and its key {key_file} cannot be used ({error}); "
            "restore both, or remove both to begin with a new authority"
        ) from error
    matches = isinstance(key, ec.EllipticCurvePrivateKey) and (
        key.public_key() == certificate.public_key()
    )
    if not matches or not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ConfigError(f"{key_file} is not the key of the authority {certificate_file}")
    return _Signer(certificate, key)


def _write_identity(
    base: Path, signer: _Signer, days: int, *, hosts: Sequence[str] | None
) -> list[Path]:
    """Write a certificate and its key: of a node with these hosts, or of a client for None."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID

    key = ec.generate_private_key(ec.SECP256R1())
    issuer = signer.certificate.subject
    uses = [ExtendedKeyUsageOID.CLIENT_AUTH]
    builder = (
        _builder(_name(base.name), issuer, key, days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.key.public_key()),
            critical=False,
        )
    )
    if hosts is not None:
        uses.append(ExtendedKeyUsageOID.SERVER_AUTH)
        builder = builder.add_extension(_alternative_names(hosts), critical=False)
    made = builder.add_extension(x509.ExtendedKeyUsage(uses), critical=False)
    return _write(base, made.sign(signer.key, hashes.SHA256()), key)


def _alternative_names(hosts: Sequence[str]) -> "x509.SubjectAlternativeName":
    """Return the names of a node: that of all nodes, loopback for calls on the node, and hosts."""
    from cryptography import x509

    names: list[x509.GeneralName] = []
    for host in dict.fromkeys((NODE_NAME, "localhost", LOOPBACK_ADDRESS, *hosts)):
        address = _address(host)
        names.append(x509.DNSName(host) if address is None else x509.IPAddress(address))
    return x509.SubjectAlternativeName(names)


def _usage(*, signs: bool) -> "x509.KeyUsage":
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(text: str) -> "x509.Name":
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(
    subject: "x509.Name", issuer: "x509.Name", key: "EllipticCurvePrivateKey", days: int
) -> "x509.CertificateBuilder":
    from cryptography import x509

    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCKS)
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def _files(base: Path) -> tuple[Path, Path]:
    return base.with_name(f"{base.name}.crt"), base.with_name(f"{base.name}.key")


def _write(
    base: Path, certificate: "x509.Certificate", key: "EllipticCurvePrivateKey"
) -> list[Path]:
    """Write a certificate and its key with mode 0600; the key is never readable for others."""
    from cryptography.hazmat.primitives import serialization

    certificate_file, key_file = _files(base)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    before = os.umask(0o077)
    try:
        write_whole(key_file, private)
        write_whole(certificate_file, certificate.public_bytes(serialization.Encoding.PEM))
    finally:
        os.umask(before)
    return [certificate_file, key_file]
