"""Every kernel served by two processes: the loss of one is noticed by no caller."""

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cluster import launcher_process
from cluster.cli.router_sums import Sums
from cluster.cli.status_lines import problems, state_word
from constellation import Client
from constellation.client.replies import ConstellationStatus
from constellation.errors import ConstellationError
from constellation.settings import Settings
from tests.serving.load import Load
from tests.support.artifacts import PROMPTS
from tests.support.candidates import PROMPT, make_candidate
from tests.support.released import rewrite

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def own(artifacts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return artifacts that nobody else serves."""
    folder = tmp_path_factory.mktemp("replicas") / "artifacts"
    shutil.copytree(artifacts, folder)
    return folder


@pytest.fixture(scope="module")
def endpoint(own: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start three kernels in six processes; stop them afterwards."""
    settings = Settings(
        artifacts=own,
        run_dir=tmp_path_factory.mktemp("replicas_run"),
        serve={"port": 0},
        kernel={"slots": 2, "queue_max": 8, "replicas": 2},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        yield launcher_process.start(settings).endpoint
        launcher_process.stop(settings.run_dir)


@pytest.fixture
def stars(endpoint: str) -> Iterator[Client]:
    with Client(endpoint) as stars:
        yield stars
        assert stars.status().num_unexpected_errors == 0


def say(stars: Client, kernel: str) -> set[str]:
    """Return what a kernel says: one text, although its processes take turns."""
    asked = {"kernel": kernel, "tokens_max": 12, "temperature": 1.0, "seed": 3}
    return {stars.ask(PROMPTS["mail"], **asked).text for _ in range(4)}  # type: ignore[arg-type]


def members(status: ConstellationStatus) -> dict[str, list[str]]:
    return {each.name: [one.member for one in each.replicas] for each in status.kernels}


def pids(status: ConstellationStatus) -> dict[str, int]:
    return {one.member: one.pid for each in status.kernels for one in each.replicas}


def whole(status: ConstellationStatus) -> bool:
    return all(len(each.replicas) == 2 for each in status.kernels) and all(
        one.up for each in status.kernels for one in each.replicas
    )


def wait_until(stars: Client, true: Callable[[ConstellationStatus], bool]) -> ConstellationStatus:
    deadline_s, pause = time.monotonic() + 60, threading.Event()
    while True:
        assert time.monotonic() < deadline_s
        try:
            status = stars.status(timeout_s=2)
        except ConstellationError:
            continue
        if true(status):
            return status
        pause.wait(0.05)


def words(status: ConstellationStatus) -> tuple[str, list[str]]:
    sums = Sums(status=status, num_routers=1, unanswered=())
    return state_word(sums), problems(sums)


def test_two_processes_of_a_kernel_say_the_same(stars: Client) -> None:
    status = stars.status()
    assert members(status) == {name: [f"kernel-{name}", f"kernel-{name}~2"] for name in PROMPTS}
    assert len(set(pids(status).values())) == 2 * len(PROMPTS)
    assert words(status) == ("serving", [])
    assert {name: len(say(stars, name)) for name in PROMPTS} == dict.fromkeys(PROMPTS, 1)


def test_a_process_of_every_kernel_is_killed_and_no_request_fails(
    stars: Client, endpoint: str
) -> None:
    before = wait_until(stars, whole)
    said = {name: say(stars, name) for name in PROMPTS}
    with Load(endpoint, retries=None) as load:
        for number, name in enumerate(PROMPTS):
            lost = members(before)[name][number % 2]
            os.kill(pids(before)[lost], signal.SIGKILL)
            few = wait_until(stars, lambda s: not whole(s))
            assert words(few)[0] == "degraded"
            wait_until(stars, whole)
    assert load.outcomes.keys() == {"ok"}
    assert not load.wrong
    after = stars.status()
    assert members(after) == members(before)
    assert (
        sum(a != b for a, b in zip(pids(after).values(), pids(before).values(), strict=True)) == 3
    )
    assert [each.num_restarts for each in after.kernels] == [1, 1, 1]
    assert {name: say(stars, name) for name in PROMPTS} == said


def test_kernels_join_leave_and_reload_in_all_of_their_processes(
    stars: Client, endpoint: str, own: Path
) -> None:
    before = wait_until(stars, whole)
    said = {name: say(stars, name) for name in PROMPTS}
    make_candidate(own, "poems")
    with Load(endpoint, retries=None) as load:
        stars.add("poems")
        grown = wait_until(stars, whole)
        assert members(grown)["poems"] == ["kernel-poems", "kernel-poems~2"]
        assert say(stars, "poems") == said["mail"]  # whose weights it has
        files = ("weights.safetensors", "kernel.json")
        others = {file: (own / "kernels" / "numbers" / file).read_bytes() for file in files}
        rewrite(own, {"network": others}, without=["poems"])
        changed = stars.reload()
        assert (changed.reloaded, changed.left) == (("network",), ("poems",))
        assert say(stars, "network") == said["numbers"]
        with pytest.raises(ConstellationError, match="poems"):
            say(stars, "poems")
    assert load.outcomes.keys() == {"ok"}
    assert pids(wait_until(stars, whole)) == pids(before)
    assert stars.ask(PROMPT, tokens_max=2).text is not None


def test_a_new_registry_finds_all_processes_as_they_are(stars: Client) -> None:
    before = wait_until(stars, whole)
    os.kill(before.registry_pid, signal.SIGKILL)
    after = wait_until(stars, lambda s: whole(s) and s.registry_pid not in (0, before.registry_pid))
    assert pids(after) == pids(before)
