"""The command `certificates`: makes the certificates of a deployment on several machines."""

from pathlib import Path
from typing import Annotated

import typer

from cluster.cli import output_format


def certificates(
    folder: Annotated[
        Path, typer.Argument(help="Folder for the files, which only its owner may enter.")
    ] = Path("secrets"),
    host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST",
            help="IP address or host name by which clients reach a node; give the option several "
            "times for several nodes. Processes of the constellation need no host: they check "
            "the authority and a name that all nodes have. (default: loopback only)",
        ),
    ] = None,
    days: Annotated[
        int,
        typer.Option(
            min=1, max=3650, help="Days for which nodes' and clients' certificates are valid."
        ),
    ] = 365,
    per_node: Annotated[
        bool,
        typer.Option(
            "--per-node",
            help="Make a certificate for every --host, each in a folder with the name of the "
            "host, instead of one certificate for all nodes.",
        ),
    ] = False,
) -> None:
    """Make certificates for a constellation on several machines: an authority, nodes and clients.

    Processes on different machines prove to each other by these files that they belong together,
    and encrypt their calls (mutual TLS). An authority in the folder is used again, so that the
    command run once more renews the certificates of nodes and clients. Keep authority.key away from
    the nodes.

    Example: constellation certificates secrets --host 10.0.0.1 --host 10.0.0.2
    """
    from cluster.certificates import make_certificates

    written = make_certificates(folder, host or [], days=days, per_node=per_node)
    console = output_format.stdout()
    for path in written:
        console.print(str(path), soft_wrap=True)
