"""The commands `up`, `down`, `reload` and `rebalance`: start, stop or update a constellation."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cluster.cli import options, output_format, progress_lines
from cluster.cli.connection import configuration, connect, named_on
from cluster.cli.status import facts_of

if TYPE_CHECKING:
    from cluster.state_file import RunState
    from constellation.settings import Settings


def up(
    artifacts: options.Artifacts = None,
    run_dir: options.RunDir = None,
    host: Annotated[
        str | None,
        typer.Option(
            help="Network address on which clients reach the constellation; an address other "
            "than loopback needs a token (see --token-file). (default: loopback)",
            show_default=False,
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65_535,
            help="TCP port for gRPC clients, the `constellation` commands among them, 0 to "
            "65535; 0 lets the system choose a free one. (default: 50051)",
            show_default=False,
        ),
    ] = None,
    http_port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65_535,
            help="TCP port of the OpenAI-compatible HTTP API, 0 to 65535; 0 lets the system "
            "choose a free one. (default: the next one after gRPC's)",
            show_default=False,
        ),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            help="Address of a running Ray cluster, in which the constellation's processes are "
            "started. (default: a new Ray instance that listens on loopback only)",
            show_default=False,
        ),
    ] = None,
    name: options.Name = None,
    replace: Annotated[
        bool,
        typer.Option(
            "--replace",
            help="End the constellation that runs from --run-dir, or on the cluster of --address "
            "under the same name, before the new one is started.",
        ),
    ] = False,
    insecure_network: Annotated[
        bool,
        typer.Option(
            "--insecure-network",
            help="Let processes on different machines of the cluster of --address talk "
            "unencrypted: whoever sees the network can read texts and token.",
        ),
    ] = False,
    token_file: Annotated[
        Path | None,
        typer.Option(
            "--token-file",
            help="File whose first line is a secret token of 16 characters or more, which every "
            "request must then carry; the variable CONSTELLATION_TOKEN, if set, is used instead. "
            "(default: the setting security.token_file, else no token is asked for)",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[
        bool, options.json_flag("the state, address and processes of the started constellation")
    ] = False,
) -> None:
    """Start a constellation in the background: all trained kernels, and a router in front of them.

    Needs an artifacts folder that `constellation train` wrote; its current release is served to
    gRPC and HTTP clients. The constellation keeps running after this terminal is closed; stop it
    with: constellation down.

    Example: constellation up --artifacts artifacts/starter --port 50061
    """
    settings = configuration(
        run_dir=run_dir,
        artifacts=artifacts,
        token_file=token_file,
        host=host,
        port=port,
        http_port=http_port,
        name=name,
    )
    state = _start(settings, address, replace=replace, insecure=insecure_network)
    with connect(settings, ",".join(state.endpoints)) as client:
        answer = client.status()
    if as_json:
        output_format.print_json(facts_of(answer, state.endpoint, state.http, state.pid))
        return
    console = output_format.stdout()
    console.print(output_format.kernels_table(answer))
    places = " and ".join(state.endpoints)
    console.print(f"\n{len(answer.kernels)} kernels answer at {places}", style="bold")
    suffix = _flag(settings)
    if state.http is not None:
        console.print(f"OpenAI's clients: {state.http} (model: constellation, or a kernel's name)")
        console.print(f"page:  {state.http.removesuffix('v1')}")
    console.print(f"ask:   constellation ask 'import asyncio'{suffix}")
    console.print(f"watch: constellation status --watch{suffix}")
    console.print(f"stop:  constellation down{suffix}")


def _start(
    settings: "Settings", address: str | None, *, replace: bool, insecure: bool
) -> "RunState":
    from cluster import launcher_process
    from cluster.ray_versions import untried

    console = output_format.stderr()
    if address is None and (note := untried()):
        console.print(f"warning: {note}", style="yellow", soft_wrap=True)
    try:
        with progress_lines.step("starting kernels, router and registry"):
            return launcher_process.start(
                settings, address=address, replace=replace, insecure=insecure
            )
    except KeyboardInterrupt:
        console.print("the processes started so far will end by themselves within a minute")
        raise


def _flag(settings: "Settings") -> str:
    """Return the flag that later commands need to find this constellation again."""
    from constellation.settings import load_settings

    default = load_settings().run_dir
    return "" if settings.run_dir == default else f" --run-dir {settings.run_dir}"


def down(
    run_dir: options.RunDir = None,
    address: options.RayAddress = None,
    name: options.Name = None,
) -> None:
    """Stop the constellation that runs in the background; running requests get 5 s to finish.

    Ends the processes that `constellation up` started with the same --run-dir, or, with --address,
    all processes of a deployment on a Ray cluster. No file is deleted.

    Example: constellation down
    """
    from cluster import launcher_process
    from cluster.deployment_process import end_deployment

    settings = configuration(run_dir=run_dir, name=name)
    if address is not None:
        end_deployment(named_on(settings, address))
        output_format.stdout().print(f"stopped the deployment {settings.cluster.name} at {address}")
        return
    state = launcher_process.stop(settings.run_dir, settings.cluster.ray_token_file)
    output_format.stdout().print(
        f"stopped the constellation at {state.endpoint} (process {state.pid})"
    )


def reload(
    run_dir: options.RunDir = None,
    endpoint: options.Endpoint = None,
    token_file: options.TokenFile = None,
    timeout: options.Timeout = None,
    as_json: Annotated[
        bool,
        options.json_flag("the new release, the table version and the names of reloaded kernels"),
    ] = False,
) -> None:
    """Switch the running constellation to the newest training result without dropping a request.

    The constellation loads the current release of its artifacts folder: kernels are added, removed
    or get new weights, either all of them or none. Replies that are being written are finished
    with the weights that they began with. A release with another vocabulary of tokens needs a
    restart: constellation down, then up.

    Example: constellation reload
    """
    settings = configuration(run_dir=run_dir, token_file=token_file)
    with connect(settings, endpoint, timeout, changes=True) as client:
        changed = client.reload()
    if as_json:
        from dataclasses import asdict

        output_format.print_json(asdict(changed))
        return
    names = ", ".join(changed.reloaded) or "none, since all files are the same as before"
    output_format.stdout().print(
        f"new weights: {names} · release {changed.release} · table version {changed.table_version}"
    )


def rebalance(
    run_dir: options.RunDir = None,
    endpoint: options.Endpoint = None,
    token_file: options.TokenFile = None,
    timeout: options.Timeout = None,
    as_json: Annotated[
        bool, options.json_flag("the names of the kernels that moved and the table version")
    ] = False,
) -> None:
    """Move kernels between the nodes of a cluster until the nodes are about equally full.

    A node that joins a running constellation gets no kernel by itself. This command moves as few
    kernels as possible. Every kernel is served by its new process before its old process ends, and
    no request is dropped.

    Example: constellation rebalance
    """
    settings = configuration(run_dir=run_dir, token_file=token_file)
    with connect(settings, endpoint, timeout, changes=True) as client:
        changed = client.rebalance()
    if as_json:
        from dataclasses import asdict

        output_format.print_json(asdict(changed))
        return
    names = ", ".join(changed.moved) or "none, since the nodes are about equally full"
    output_format.stdout().print(f"moved: {names} · table version {changed.table_version}")
