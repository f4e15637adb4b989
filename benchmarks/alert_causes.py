"""What makes each alert fire: a cause for `benchmarks.alerts_fired`, made and taken back.

Only processes of the benchmark's own constellation are signalled, and only its own disks filled.
"""

import json
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from benchmarks.alert_stage import Callers, Stage, repeated, send, stopped
from constellation import Client
from constellation.errors import TrainingError
from constellation.wire.run_lock import owned

FLOOD_THREADS = 32
"""More than a router's `requests_max`, which is more than a kernel's slots and queue."""
STREAM_THREADS = 12
_BLINK_S = 1.5
"""Seconds for which a kernel is stopped: longer than the objective for the first text, shorter than
the three heartbeats after which the registry kills a process that hangs."""
_REST_S = 1.0
FOREIGN = (
    "0110 1001 1100 0011 1010 0101 1111 0000 " * 8,
    "e4 e5 Nf3 Nc6 Bb5 a6 Ba4 Nf6 O-O Be7 Re1 b5 Bb3 d6 c3 O-O h3 Na5 Bc2 c5 d4 Qc7 " * 3,
    "GATTACA CCGTA TTAGC GGCAT ACGTACGT TTGACA TATAAT GGCCAATCT " * 5,
    "ahoy ahoy matey yo ho ho pieces of eight parrot rum treasure island sail anchor " * 4,
    "kilo lima mike november oscar papa quebec romeo sierra tango uniform victor whiskey " * 4,
    "do re mi fa sol la si do si la sol fa mi re do C D E F G A B C# Eb F# Ab Bb " * 4,
    "zq xj vk qz jx kv wq zx jq vz kx qj " * 12,
    "lorem ipsum dolor sit amet consectetur adipiscing elit sed do eiusmod tempor " * 4,
)
"""Texts of no domain of the starter's; those that its kernels do not know are used."""


@dataclass(frozen=True, slots=True)
class Cause:
    """One disturbance, and the alerts that it makes fire."""

    alerts: tuple[str, ...]
    disturb: Callable[[Stage], AbstractContextManager[None]]
    """Disturbs the constellation while the block runs."""
    recover: Callable[[Stage], AbstractContextManager[None]] = lambda _: nullcontext()
    """What goes on afterwards, until the alerts have ended."""

    @property
    def name(self) -> str:
        """The cause in words."""
        return self.disturb.__name__.replace("_", " ")


def prompts(stage: Stage) -> dict[str, str]:
    """Return kernel -> the beginning of a held-out document of its domain."""
    samples = json.loads((stage.artifacts / "samples.json").read_text("utf-8"))["samples"]
    return {each["domain"]: each["prompt"] for each in samples}


@contextmanager
def a_kernel_stops_for_moments(stage: Stage) -> Iterator[None]:
    """Stop one kernel for 1.5 s again and again, while callers wait for its first text."""
    kernel = min(prompts(stage))
    text, pid, rest = prompts(stage)[kernel], stage.pid_of(kernel), threading.Event()
    callers = Callers(stage, [text], kernel=kernel, tokens_max=1)

    def blink() -> None:
        with stopped(pid):
            rest.wait(_BLINK_S)
        rest.wait(_REST_S)

    with repeated(callers.ask, STREAM_THREADS), repeated(blink):
        yield


@contextmanager
def quick_answers(stage: Stage) -> Iterator[None]:
    """Ask all kernels for short answers."""
    callers = Callers(stage, list(prompts(stage).values()), tokens_max=1)
    with repeated(callers.ask, 4):
        yield


@contextmanager
def more_callers_than_a_kernel_has_slots(stage: Stage) -> Iterator[None]:
    """Ask one kernel for long answers, by more callers than the router admits."""
    kernel = min(prompts(stage))
    callers = Callers(stage, [prompts(stage)[kernel]], kernel=kernel, tokens_max=128)
    with repeated(callers.ask, FLOOD_THREADS):
        yield


@contextmanager
def queries_of_no_domain(stage: Stage) -> Iterator[None]:
    """Ask with texts that lie beyond every kernel's radius."""
    with Client(stage.state.endpoint) as stars:
        foreign = [text for text in FOREIGN if stars.route(text).out_of_domain]
    callers = Callers(stage, foreign or list(FOREIGN), tokens_max=1)
    with repeated(callers.ask, 4):
        yield


@contextmanager
def queries_of_one_domain(stage: Stage) -> Iterator[None]:
    """Ask with texts of one domain, without naming its kernel."""
    callers = Callers(stage, [prompts(stage)[min(prompts(stage))]], tokens_max=1)
    with repeated(callers.ask, 4):
        yield


@contextmanager
def a_kernel_is_killed_whenever_it_is_up(stage: Stage) -> Iterator[None]:
    """Kill the process of a kernel each time the constellation says that the kernel is up."""
    kernel, rest = min(prompts(stage)), threading.Event()

    def kill() -> None:
        if pid := stage.pid_of(kernel):
            send(pid, signal.SIGKILL)
        rest.wait(0.5)

    with repeated(kill):
        yield


@contextmanager
def killed_while_starting(stage: Stage, member: str, kind: str) -> Iterator[None]:
    """Kill a process, and every process of this kind that starts in its place."""
    others = set(stage.workers()) - {stage.pid_of(member)}

    def kill() -> None:
        for pid, name in stage.workers().items():
            if pid not in others and name == kind:
                send(pid, signal.SIGKILL)

    with repeated(kill):
        yield


def a_kernel_never_comes_up(stage: Stage) -> AbstractContextManager[None]:
    """Kill the process of a kernel and every process that starts in its place."""
    return killed_while_starting(stage, min(prompts(stage)), "ray::KernelProcess")


def the_registry_never_comes_up(stage: Stage) -> AbstractContextManager[None]:
    """Kill the registry and every registry that starts in its place."""
    return killed_while_starting(stage, "registry", "ray::RegistryProcess")


@contextmanager
def a_router_hangs_while_the_table_changes(stage: Stage) -> Iterator[None]:
    """Stop the second router and each router that starts in its place; kill a kernel meanwhile."""
    router = stage.status().routers[1].name
    kernel = stage.pid_of(min(prompts(stage)))
    others = set(stage.workers()) - {stage.pid_of(router)}
    halted: set[int] = set()

    def halt() -> None:
        for pid, name in stage.workers().items():
            if pid not in others | halted and name == "ray::RouterProcess":
                send(pid, signal.SIGSTOP)
                halted.add(pid)

    with repeated(halt):
        threading.Event().wait(_BLINK_S)
        send(kernel, signal.SIGKILL)
        yield
    for pid in halted:
        send(pid, signal.SIGCONT)


@contextmanager
def a_mistake_in_the_program(stage: Stage) -> Iterator[None]:
    """Have the registry's supervision raise an error that nobody expects."""
    stage.flag.touch()
    try:
        yield
    finally:
        stage.flag.unlink()


@contextmanager
def a_full_disk(stage: Stage) -> Iterator[None]:
    """Fill the disk of the run folder, and kill a kernel, so that the registry has to write."""
    with stage.disks.disturbed("run", "full"):
        send(stage.pid_of(min(prompts(stage))), signal.SIGKILL)
        yield


@contextmanager
def the_fork_server_is_killed_again_and_again(stage: Stage) -> Iterator[None]:
    """Kill the process from which the others are forked, and each that starts in its place."""

    def kill() -> None:
        for pid in stage.fork_servers():
            send(pid, signal.SIGKILL)

    with repeated(kill):
        yield


@contextmanager
def a_socket_of_ray_is_removed(stage: Stage) -> Iterator[None]:
    """Rename a socket in Ray's folder, as if a cleaner of temporary files had removed it."""
    (socket,) = stage.disks.folder("temporary").glob("cst*/r/session_2*/sockets/raylet")
    socket.rename(socket.with_name("away"))
    try:
        yield
    finally:
        socket.with_name("away").rename(socket)


@contextmanager
def the_launcher_hangs(stage: Stage) -> Iterator[None]:
    """Stop the launcher, which serves the metrics of all processes."""
    with stopped(stage.state.pid):
        yield


def _with_status(state: str, guard: str | None) -> Callable[[Stage], AbstractContextManager[None]]:
    """Return a disturbance that shows a status which the unstable training wrote."""

    @contextmanager
    def training(stage: Stage) -> Iterator[None]:
        served, kept = stage.artifacts / "status.json", stage.artifacts / "status.kept"
        shutil.copy(served, kept)
        shutil.copy(_found(stage.training, state, guard), served)
        try:
            # As a training does: without the lock, a status that says RUNNING counts as stopped.
            with owned(stage.artifacts, "benchmarks.alerts_fired", TrainingError):
                yield
        finally:
            kept.replace(served)

    training.__name__ = "a_training_that_fails" if guard is None else "a_training_that_goes_back"
    return training


def _found(folder: Path, state: str, guard: str | None) -> Path:
    """Return a status file of the training in which a kernel has this state."""
    for path in sorted(folder.glob("status-*.json")):
        rows = json.loads(path.read_text("utf-8"))["kernels"].values()
        if any(row["state"] == state and guard in (None, row.get("guard")) for row in rows):
            return path
    raise LookupError(f"the unstable training never wrote the state {state} {guard or ''}")


CAUSES = (
    Cause(("ConstellationTrainingGuardPaused",), _with_status("RUNNING", "RECOVERING")),
    Cause(("ConstellationTrainingFailed",), _with_status("FAILED", None)),
    Cause(
        ("ConstellationFirstTokenBudgetBurnsFast", "ConstellationFirstTokenBudgetBurnsSlowly"),
        a_kernel_stops_for_moments,
        quick_answers,
    ),
    Cause(
        ("ConstellationQueueFull", "ConstellationRouterFull"), more_callers_than_a_kernel_has_slots
    ),
    Cause(("ConstellationOutOfDomainShareHigh",), queries_of_no_domain),
    Cause(("ConstellationRouteCollapse",), queries_of_one_domain),
    Cause(("ConstellationRestartLoop",), a_kernel_is_killed_whenever_it_is_up),
    Cause(("ConstellationKernelDown", "ConstellationProcessDown"), a_kernel_never_comes_up),
    Cause(("ConstellationTableVersionLags",), a_router_hangs_while_the_table_changes),
    Cause(("ConstellationRegistryDown",), the_registry_never_comes_up),
    Cause(("ConstellationUnexpectedErrors",), a_mistake_in_the_program),
    Cause(("ConstellationWritesFail", "ConstellationDiskNearlyFull"), a_full_disk),
    Cause(("ConstellationForkServerDown",), the_fork_server_is_killed_again_and_again),
    Cause(("ConstellationProcessStartImpossible",), a_socket_of_ray_is_removed),
    Cause(("ConstellationNodeNotScraped",), the_launcher_hangs),
)
