"""What a constellation must have before its processes may talk over a network."""

from cluster.deployment_spec import node_tls_of, tls_of
from constellation.errors import ConfigError
from constellation.loopback import host_of, is_loopback
from constellation.settings import Settings, read_token


def check_network(settings: Settings, host: str, *, insecure: bool) -> None:
    """Raise `ConfigError` unless calls between machines carry a token and are encrypted.

    Args:
        settings: Of the constellation.
        host: Address or name of a node, or of the head of the Ray cluster. Nothing is needed on
            loopback.
        insecure: Whether calls may be unencrypted, as `--insecure-network` says. A token is needed
            even then.

    Raises:
        ConfigError: A token or certificates are missing; the message names the way out.
    """
    security = settings.security
    internal = node_tls_of(security)
    if is_loopback(host):
        return
    where = f"the Ray cluster has a node beyond loopback ({host})"
    if read_token(security.token_file) is None:
        raise ConfigError(f"{where} and there is no token; set security.token_file (--token-file)")
    if insecure:
        return
    if internal is None:
        raise ConfigError(
            f"{where} and calls between processes would be unencrypted; make certificates with: "
            "constellation certificates, and set security.internal_certificate, internal_key and "
            "internal_ca; or allow unencrypted calls with --insecure-network"
        )
    if not is_loopback(settings.serve.host) and tls_of(security) is None:
        raise ConfigError(
            f"routers would answer clients at {settings.serve.host} unencrypted; set "
            "security.certificate and security.key, for example to the files of `constellation "
            "certificates`; or allow unencrypted calls with --insecure-network"
        )


def host_of_ray(address: str) -> str:
    """Return the host of the address of a Ray cluster: host:port, or a word such as "auto"."""
    return host_of(address) or address
