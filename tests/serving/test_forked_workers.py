"""Members are forked from one process, come back without it, and end with the Ray that has them."""

import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from cluster import launcher_process
from cluster.fork_server import server
from cluster.state_file import RunState, memory_bytes, require_running
from constellation import Client
from constellation.client.replies import ConstellationStatus
from constellation.errors import ConstellationError, DeploymentError
from constellation.settings import Settings
from tests.support.artifacts import PROMPTS

pytestmark = pytest.mark.ray

RUINED = "ruined"


@pytest.fixture
def own(settings: Settings) -> Iterator[RunState]:
    """Start a constellation that the test may ruin."""
    run_dir = settings.run_dir.with_name(RUINED)
    state = launcher_process.start(settings.model_copy(update={"run_dir": run_dir}))
    yield state
    if state.alive():
        launcher_process.stop(run_dir)


def _below(pid: int, what: str) -> psutil.Process:
    """Return the process below `pid` whose command or name has a word."""
    below = psutil.Process(pid).children(recursive=True)
    return next(each for each in below if what in (each.name(), *each.cmdline()))


def _members(status: ConstellationStatus) -> list[psutil.Process]:
    pids = {kernel.pid for kernel in status.kernels} | {status.router_pid, status.registry_pid}
    return [psutil.Process(pid) for pid in pids]


def test_members_are_forked(constellation: RunState) -> None:
    with Client(constellation.endpoint) as stars:
        members = _members(stars.status())
    forking = _below(constellation.pid, server.__name__)
    assert {member.ppid() for member in members} == {forking.pid}
    assert forking.num_threads() == 1
    # Ray lets the system take its workers before others when memory runs out.
    scores = {Path(f"/proc/{member.pid}/oom_score_adj").read_text() for member in members}
    assert scores == {"1000\n"}
    alone = sum(member.memory_full_info().uss for member in members)
    assert alone < sum(member.memory_info().rss for member in members) / 2
    assert memory_bytes(constellation.pid) > alone


def test_a_kernel_comes_back_without_the_server_and_none_outlives_ray(
    own: RunState, settings: Settings
) -> None:
    with Client(own.endpoint) as stars:
        victim = next(kernel for kernel in stars.status().kernels if kernel.name == "mail")
        _below(own.pid, server.__name__).kill()
        psutil.Process(victim.pid).kill()
        back = _wait_for_another(stars, victim.name, victim.pid)
        raylet = _below(own.pid, "raylet")
        assert back.ppid() == raylet.pid
        assert stars.ask(PROMPTS["mail"], tokens_max=4, kernel="mail").route.kernel == "mail"
        members = _members(stars.status())
    launcher = psutil.Process(own.pid)
    raylet.kill()
    _, left = psutil.wait_procs([launcher, *members], timeout=60)
    assert left == []
    with pytest.raises(DeploymentError, match="nothing runs"):
        require_running(settings.run_dir.with_name(RUINED))


def _wait_for_another(stars: Client, kernel: str, old_pid: int) -> psutil.Process:
    pause = threading.Event()
    for _ in range(600):
        try:
            found = next(each for each in stars.status(timeout_s=2).kernels if each.name == kernel)
        except ConstellationError:
            continue
        if found.up and found.pid not in (0, old_pid):
            return psutil.Process(found.pid)
        pause.wait(0.05)
    raise AssertionError(f"{kernel} did not come back")
