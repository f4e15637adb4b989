"""The command `status`: shows at a glance how a running constellation is, once or repeatedly."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from threading import Event
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console, Group
from rich.text import Text

from cluster.cli import options, output_format, progress_lines
from cluster.cli.connection import client_at, configuration, connect, named_on
from constellation.errors import ConstellationError

if TYPE_CHECKING:
    from cluster.cli.status_lines import Shown
    from constellation.client import Client, ConstellationStatus
    from constellation.records import LiveCollectivePhi
    from constellation.settings import Settings


def status(
    watch: Annotated[
        bool,
        typer.Option(
            "--watch",
            help="Keep the state on the screen until Ctrl-C; where the output is not a terminal, "
            "print a line for every look.",
        ),
    ] = False,
    every: Annotated[
        float,
        typer.Option(min=0.2, max=3600, help="Seconds between two looks of --watch, 0.2 to 3600."),
    ] = 2.0,
    everything: Annotated[
        bool,
        typer.Option("--all", help="Show every kernel, not only those that need attention most."),
    ] = False,
    geometry: Annotated[
        bool,
        typer.Option(
            "--geometry",
            help="Show where the kernels lie instead: seat, phi_gauge and basin of every kernel, "
            "which share of texts is refused, and collective Phi.",
        ),
    ] = False,
    run_dir: options.RunDir = None,
    endpoint: options.Endpoint = None,
    address: options.RayAddress = None,
    name: options.Name = None,
    token_file: options.TokenFile = None,
    timeout: options.Timeout = None,
    as_json: Annotated[
        bool,
        options.json_flag("all of this, with basins, and the memory in bytes,"),
    ] = False,
) -> None:
    """Show at a glance how the running constellation is: state, traffic, kernels, routers, nodes.

    The first word is serving, degraded (the next lines say what is wrong) or down. Rates and times
    are of the last 60 seconds and of all routers together; short times are good. One row per
    kernel: requests since the routers started, and which share of all requests that is; arrived,
    how often the kernel's own held-out texts are routed to it (100 % is best); restarts of its
    process. Kernels that are down come first, then those with the longest queues.

    Example: constellation status --watch
    """
    settings = configuration(run_dir=run_dir, token_file=token_file, name=name)
    if endpoint is None and address is not None:
        endpoint = _endpoints_on(settings, address)
    look = _Look(settings, endpoint, timeout)
    printed = _print_json if as_json else _print_geometry if geometry else None
    if not watch:
        shown = look(memory=True)
        (printed or _lines_printer(everything=everything))(shown)
    elif printed is not None:
        _repeat(every, lambda: printed(look(memory=as_json)))
    elif output_format.stdout().is_terminal:
        _keep_on_screen(look, every, everything=everything)
    else:
        _print_lines(look, every, everything=everything)


def _endpoints_on(settings: "Settings", address: str) -> str:
    """Return the routers of the deployment that the settings name on a Ray cluster."""
    from cluster.deployment_process import describe_deployment

    found = describe_deployment(named_on(settings, address))
    return ",".join(found["deployment"]["endpoints"])


class _Look:
    """Asks a constellation for its state; each call asks anew."""

    def __init__(self, settings: "Settings", endpoint: str | None, timeout_s: float | None) -> None:
        self._settings = settings
        self._endpoint = endpoint
        self._timeout_s = timeout_s
        self._client: Client | None = None

    def __call__(self, *, memory: bool = False) -> "Shown":
        """Return the state now.

        Args:
            memory: Whether to measure the memory of all processes, which takes some tenths of a
                second.

        Raises:
            ConstellationError: No router answers, or nothing runs.
        """
        from cluster.cli.router_sums import sum_routers
        from cluster.cli.status_lines import Shown

        first = self._first()
        at, http, launcher = _place(self._settings, self._endpoint)
        return Shown(
            sums=sum_routers(first, at.partition(",")[0], self._open),
            endpoint=at,
            http=http,
            launcher_pid=launcher,
            memory_bytes=_memory(launcher, first.router_pid) if memory else None,
            now_s=time.time(),
        )

    def _first(self) -> "ConstellationStatus":
        """Return what one router says; after a failure the constellation is looked for anew."""
        if self._client is None:
            self._client = connect(self._settings, self._endpoint, self._timeout_s)
        try:
            return self._client.status()
        except ConstellationError:
            self._client.close()
            self._client = None
            raise

    def _open(self, endpoint: str) -> "Client":
        """Open a client that asks one router once, with a short deadline."""
        from cluster.cli.router_sums import ANSWER_S
        from constellation.client import RetryPolicy, Timeouts

        limit_s = ANSWER_S if self._timeout_s is None else self._timeout_s
        once, waits = RetryPolicy(attempts_max=1), Timeouts(lookup_s=limit_s)
        return client_at(endpoint, self._settings.security, waits, once)


def _lines_printer(*, everything: bool) -> Callable[["Shown"], None]:
    from cluster.cli.status_lines import ROWS, all_lines

    def show(shown: "Shown") -> None:
        console = output_format.stdout()
        for line in all_lines(shown, rows=None if everything else ROWS):
            console.print(line, soft_wrap=True)

    return show


def _repeat(every_s: float, act: Callable[[], None]) -> None:
    """Act every so many seconds until Ctrl-C; failures to ask are shown on standard error."""
    pause = Event()
    with progress_lines.paused(), suppress(KeyboardInterrupt):
        while True:
            try:
                act()
            except ConstellationError as error:
                output_format.stderr().print(f"down: {error}", style="red", soft_wrap=True)
            pause.wait(every_s)


def _print_lines(look: _Look, every_s: float, *, everything: bool) -> None:
    """Print the whole state, then a line for every look."""
    from cluster.cli.status_lines import one_line

    _lines_printer(everything=everything)(look())
    _repeat(every_s, lambda: print(one_line(look()), flush=True))


def _keep_on_screen(look: _Look, every_s: float, *, everything: bool) -> None:
    """Keep the state on the terminal, the most urgent kernels as far as there is room."""
    from rich.live import Live

    console = output_format.stdout()
    with Live(console=console, auto_refresh=False) as live:

        def draw() -> None:
            try:
                lines = _fitting(look(), console, everything=everything)
            except ConstellationError as error:
                lines = [Text(f"down: {error}", style="bold red")]
            live.update(Group(*lines), refresh=True)

        _repeat(every_s, draw)


def _fitting(shown: "Shown", console: Console, *, everything: bool) -> list[Text]:
    from cluster.cli.status_lines import all_lines

    room = console.height - len(all_lines(shown, rows=0)) - 1
    return all_lines(shown, rows=None if everything else max(3, room))


def _print_json(shown: "Shown") -> None:
    """Print all that is known as one JSON object."""
    from cluster.cli.status_lines import problems, state_word
    from constellation.wire.status_document import overview_document, traffic_document

    answer = shown.sums.status
    facts = facts_of(answer, shown.endpoint, shown.http, shown.launcher_pid)
    del facts["overview"]
    output_format.print_json(
        {
            **facts,
            "state": state_word(shown.sums),
            "problems": problems(shown.sums),
            "routers_summed": shown.sums.num_routers,
            "routers_unanswered": shown.sums.unanswered,
            "traffic": traffic_document(answer.traffic),
            **overview_document(answer.release, answer.overview),
            "memory_bytes": shown.memory_bytes,
        }
    )


def _print_geometry(shown: "Shown") -> None:
    """Print where kernels lie, how refusal was measured, and what kernels are worth together."""
    console, answer = output_format.stdout(), shown.sums.status
    console.print(output_format.kernels_table(answer))
    console.print()
    if answer.refusal:
        console.print(output_format.refusal_table(answer.refusal))
        console.print()
    console.print(f"load entropy {answer.load_entropy_ratio:.2f} (1: all kernels equally asked)")
    console.print(f"table version {answer.table_version}")
    if answer.collective_phi is not None:
        console.print(_together(answer.collective_phi))


def _together(found: "LiveCollectivePhi") -> str:
    from constellation.routing.collective_phi import in_words

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
    """Return the endpoint asked; for the run folder's constellation also HTTP URL and launcher."""
    from cluster.state_file import running
    from constellation.wire.channel import authority

    state = running(settings.run_dir)
    if state is not None and endpoint in (None, state.endpoint):
        return state.endpoint, state.http, state.pid
    return endpoint or authority(settings.serve.host, settings.serve.port), None, None


def _memory(launcher: int | None, router: int) -> int | None:
    """Return the memory of all processes in bytes; None where they are not the launcher's children.

    Processes on another machine or in a Ray cluster that was joined are not; a private Ray and its
    actors are.
    """
    import psutil

    from cluster.state_file import memory_bytes

    if launcher is None:
        return None
    process = psutil.Process(launcher)
    ours = {launcher, *(child.pid for child in process.children(recursive=True))}
    return memory_bytes(launcher) if router in ours else None


def facts_of(
    answer: "ConstellationStatus", endpoint: str, http: str | None, launcher: int | None
) -> dict[str, Any]:
    """Return a state with its address and launcher, for JSON."""
    return {"endpoint": endpoint, "http": http, "launcher_pid": launcher, **asdict(answer)}
