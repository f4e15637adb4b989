"""`up`, `down`, `status`, `reload`: start a constellation, stop it, look at it, renew it."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cluster.cli import options, output_format, progress_lines
from cluster.cli.connection import configuration, connect

if TYPE_CHECKING:
    from cluster.state_file import RunState
    from constellation.client import ConstellationStatus
    from constellation.records import LiveCollectivePhi
    from constellation.settings import Settings

MEMORY_BUDGET_BYTES = 2_500_000_000
"""What up to eight kernels may occupy while idle, Ray's daemons included."""
_KERNELS_IN_BUDGET = 8


def up(
    artifacts: options.Artifacts = None,
    run_dir: options.RunDir = None,
    host: Annotated[
        str | None,
        typer.Option(
            help="Address to listen on; beyond loopback --token-file is needed. "
            "(default: 127.0.0.1)",
            show_default=False,
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65_535,
            help="TCP port for clients; 0 lets the system choose. (default: 50051)",
            show_default=False,
        ),
    ] = None,
    http_port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65_535,
            help="TCP port for OpenAI's clients; 0 lets the system choose. (default: the next one)",
            show_default=False,
        ),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            help="Join this running Ray cluster. (default: a Ray of its own on loopback)",
            show_default=False,
        ),
    ] = None,
    token_file: options.TokenFile = None,
    as_json: options.AsJson = False,
) -> None:
    """Start a constellation in the background from what training left.

    It goes on after this terminal is closed; stop it with: constellation down.

    Example: constellation up --artifacts artifacts/starter --port 50061
    """
    settings = configuration(
        run_dir=run_dir,
        artifacts=artifacts,
        token_file=token_file,
        host=host,
        port=port,
        http_port=http_port,
    )
    state = _start(settings, address)
    with connect(settings, ",".join(state.endpoints)) as client:
        answer = client.status()
    if as_json:
        output_format.print_json(_facts(answer, state.endpoint, state.http, state.pid))
        return
    console = output_format.stdout()
    console.print(output_format.kernels_table(answer))
    places = " and ".join(state.endpoints)
    console.print(f"\n{len(answer.kernels)} kernels answer at {places}", style="bold")
    suffix = _flag(settings)
    if state.http is not None:
        console.print(f"OpenAI's clients: {state.http} (model: constellation, or a kernel's name)")
    console.print(f"ask:   constellation ask 'import asyncio'{suffix}")
    console.print(f"watch: constellation status{suffix}")
    console.print(f"stop:  constellation down{suffix}")


def _start(settings: "Settings", address: str | None) -> "RunState":
    from cluster import launcher_process
    from cluster.ray_versions import untried

    console = output_format.stderr()
    if address is None and (note := untried()):
        console.print(f"warning: {note}", style="yellow", soft_wrap=True)
    try:
        with progress_lines.step("starting kernels, router and registry"):
            return launcher_process.start(settings, address=address)
    except KeyboardInterrupt:
        console.print("what was started so far ends by itself within a minute")
        raise


def _flag(settings: "Settings") -> str:
    """Return the flag that later commands need to find this constellation again."""
    from constellation.settings import load_settings

    default = load_settings().run_dir
    return "" if settings.run_dir == default else f" --run-dir {settings.run_dir}"


def down(run_dir: options.RunDir = None) -> None:
    """Stop the constellation; requests that run may finish within five seconds.

    Example: constellation down
    """
    from cluster import launcher_process

    state = launcher_process.stop(configuration(run_dir=run_dir).run_dir)
    output_format.stdout().print(
        f"stopped the constellation at {state.endpoint} (process {state.pid})"
    )


def status(
    run_dir: options.RunDir = None,
    endpoint: options.Endpoint = None,
    token_file: options.TokenFile = None,
    timeout: options.Timeout = None,
    as_json: options.AsJson = False,
) -> None:
    """Show kernels, seats, basins, load and health, and what it all costs in memory.

    Example: constellation status --json
    """
    settings = configuration(run_dir=run_dir, token_file=token_file)
    with connect(settings, endpoint, timeout) as client:
        answer = client.status()
    at, http, launcher = _place(settings, endpoint)
    memory = _memory(launcher, answer.router_pid)
    if as_json:
        output_format.print_json({**_facts(answer, at, http, launcher), "memory_bytes": memory})
        return
    console = output_format.stdout()
    console.print(output_format.kernels_table(answer))
    console.print()
    if answer.refusal:
        console.print(output_format.refusal_table(answer.refusal))
        console.print()
    for line in summary(answer, at):
        console.print(line)
    if http is not None:
        console.print(f"OpenAI's clients: {http}")
    if memory is None:
        console.print("memory unknown: its processes are not on this machine or not its own Ray's")
    else:
        console.print(f"memory {memory / 1e9:.2f} GB (PSS, Ray's daemons included)")
        if memory > MEMORY_BUDGET_BYTES and len(answer.kernels) <= _KERNELS_IN_BUDGET:
            console.print(
                f"warning: over the {MEMORY_BUDGET_BYTES / 1e9:.1f} GB that up to "
                f"{_KERNELS_IN_BUDGET} idle kernels should need",
                style="yellow",
            )


def reload(
    run_dir: options.RunDir = None,
    endpoint: options.Endpoint = None,
    token_file: options.TokenFile = None,
    timeout: options.Timeout = None,
    as_json: options.AsJson = False,
) -> None:
    """Serve what training has written since, without dropping a request.

    That is the current release of the artifacts: its kernels join, leave or take other weights, all
    of them or none. Answers under way are finished by the weights that they began with. Other
    tokens need a restart: constellation down, then up.

    Example: constellation reload
    """
    settings = configuration(run_dir=run_dir, token_file=token_file)
    with connect(settings, endpoint, timeout, changes=True) as client:
        changed = client.reload()
    if as_json:
        from dataclasses import asdict

        output_format.print_json(asdict(changed))
        return
    names = ", ".join(changed.reloaded) or "none: their files are what was served"
    output_format.stdout().print(
        f"new weights: {names} · release {changed.release} · table version {changed.table_version}"
    )


def summary(answer: "ConstellationStatus", endpoint: str) -> list[str]:
    """Return what holds for the constellation as a whole, one line per matter."""
    num_up = sum(kernel.up for kernel in answer.kernels)
    registry = answer.registry_pid or "restarting"
    routers = [
        f"{router.name} at {router.endpoint} " + (f"process {router.pid}" if router.up else "down")
        for router in answer.routers
    ]
    return [
        f"{num_up} of {len(answer.kernels)} kernels up at {endpoint} "
        f"for {answer.uptime_s:,.0f} s · table version {answer.table_version}",
        f"router process {answer.router_pid} · registry process {registry}",
        f"load entropy {answer.load_entropy_ratio:.2f} (1: all kernels equally asked) · "
        f"unexpected errors {answer.num_unexpected_errors}",
        *([f"routers: {' · '.join(routers)}"] if len(routers) > 1 else []),
        *([] if answer.collective_phi is None else [_together(answer.collective_phi)]),
        *([f"warning: {answer.start_problem}"] if answer.start_problem else []),
    ]


def _together(found: "LiveCollectivePhi") -> str:
    from constellation.routing.collective import in_words

    if found.phi_bits is None:
        needed = found.num_needed
        return f"collective Phi: {found.num_prompts} of the {needed} prompts that it needs"
    said = in_words(
        found.phi_bits, found.interval, found.num_prompts, found.best_kernel, unit="prompts"
    )
    return (
        f"collective Phi: {said}; controls: random routing {found.random_routing_bits:+.4f}, "
        f"uniform ensemble {found.uniform_ensemble_bits:+.4f}"
    )


def _place(settings: "Settings", endpoint: str | None) -> tuple[str, str | None, int | None]:
    """Return the endpoint that was asked; where it is ours also its URL and the launcher."""
    from cluster.state_file import running
    from constellation.wire.channel import authority

    state = running(settings.run_dir)
    if state is not None and endpoint in (None, state.endpoint):
        return state.endpoint, state.http, state.pid
    return endpoint or authority(settings.serve.host, settings.serve.port), None, None


def _memory(launcher: int | None, router: int) -> int | None:
    """Return the bytes of all processes; None when they are not ours: elsewhere, or a joined Ray's.

    A Ray of our own and its actors descend from the launcher.
    """
    import psutil

    from cluster.state_file import memory_bytes

    if launcher is None:
        return None
    process = psutil.Process(launcher)
    ours = {launcher, *(child.pid for child in process.children(recursive=True))}
    return memory_bytes(launcher) if router in ours else None


def _facts(
    answer: "ConstellationStatus", endpoint: str, http: str | None, launcher: int | None
) -> dict[str, Any]:
    from dataclasses import asdict

    return {"endpoint": endpoint, "http": http, "launcher_pid": launcher, **asdict(answer)}
