"""Somebody is killed at every step of a change: one release serves afterwards, and no mixture.

Between two releases everything differs that can: a kernel joins, one leaves, one has other weights,
and the coordinates are others.
"""

import json
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from cluster import launcher_process
from cluster.state_file import RunState
from constellation import Client
from constellation.client import ConstellationStatus
from constellation.client.retries import RetryPolicy, Timeouts
from constellation.errors import ConstellationError, GrowthRefused, ReloadRefused
from constellation.records import Add, Change, RollBack
from constellation.releases.builder import make
from constellation.releases.store import ReleaseStore
from constellation.settings import Settings
from constellation.wire.table_file import load_table
from tests.serving.load import Load
from tests.serving.switch_steps import MAKING, SWITCHING, Steps
from tests.support.artifacts import PROMPTS
from tests.support.candidates import make_candidate
from tests.support.released import rewrite

pytestmark = pytest.mark.ray

WHOLE_WITHIN_S = 40.0
REFUSALS = (GrowthRefused, ReloadRefused)


class Sky:
    """A constellation of its own, and two releases of it: the first is served, the second waits."""

    def __init__(self, settings: Settings, state: RunState, second: int) -> None:
        self.settings = settings
        self.state = state
        self.store = ReleaseStore(settings.artifacts)
        self.first, self.second = 1, second
        self.said: dict[str, str] = {}
        self.seconds: dict[str, float] = {}
        once = RetryPolicy(attempts_max=1)
        short = Timeouts(connect_s=2, request_s=60, lookup_s=2)
        self.clients = [
            Client(endpoint, retries=once, timeouts=short) for endpoint in state.endpoints
        ]

    def steps(self, release: int | None) -> Steps:
        return Steps(
            self.settings.artifacts,
            self.settings.run_dir,
            self.state.pid,
            "kernel-mail",
            release,
        )

    def pid_of(self, victim: str, steps: Steps, before: ConstellationStatus) -> int | None:
        if victim == "registry":
            return before.registry_pid
        if victim == "router":
            return before.routers[0].pid
        if victim == "kernel":
            return next(kernel.pid for kernel in before.kernels if kernel.name == "mail")
        return steps.process("ReleaseMaker")

    def whole(self, killed: int | None = None) -> int:
        """Wait until all serve one release, nobody as the process that was killed.

        Returns the number of the release. Pointer, placement, the table of every router, coordizer
        and weights all say which that is.
        """
        deadline_s, pause = time.monotonic() + WHOLE_WITHIN_S, threading.Event()
        while True:
            try:
                serves, why = self._serves(killed)
            except ConstellationError as error:
                serves, why = None, repr(error)
            if serves is not None:
                return serves
            assert time.monotonic() < deadline_s, why
            pause.wait(0.05)

    def _serves(self, killed: int | None) -> tuple[int | None, object]:
        release = self.store.read_current()
        table = self.store.table(release)
        wanted = ([site.name for site in table.sites], table.coordizer_hash)
        placed = json.loads((self.settings.run_dir / "placement.json").read_text())
        last = load_table(self.settings.run_dir / "table.msgpack")
        weights = release.kernel("mail").files["weights.safetensors"].sha256
        seen: list[object] = [placed["release"], placed["ahead"], last.release]
        expected: list[object] = [release.version, {}, release.version]
        for client in self.clients:
            status = client.status()
            seen += [[kernel.name for kernel in status.kernels], status.coordizer_hash]
            expected += wanted
            seen += [all(k.up for k in status.kernels), all(r.up for r in status.routers)]
            expected += [True, True]
            pids = {status.registry_pid, *(k.pid for k in status.kernels)}
            seen.append(pids | {r.pid for r in status.routers})
            expected.append(seen[-1] - {0, killed})
            if seen == expected:  # else the kernel may be down
                seen.append(say(client, "mail"))
                expected.append(self.said.setdefault(weights, str(seen[-1])))
        return (release.version if seen == expected else None), (seen, expected)

    def to_first(self) -> None:
        """Serve the first release again; nobody has the folder of the second."""
        self.whole()
        # Also when that is what is served: a change whose router was killed goes on until then.
        self.clients[1].roll_back(self.first)
        assert self.whole() == self.first
        for version in self.store.versions():
            if version != self.first:
                shutil.rmtree(self.settings.artifacts / "releases" / str(version), True)


def say(client: Client, kernel: str) -> str:
    return client.ask(PROMPTS["mail"], kernel=kernel, tokens_max=12, temperature=0.0).text


@pytest.fixture(scope="module")
def sky(artifacts: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sky]:
    folder = tmp_path_factory.mktemp("killed")
    own = Path(shutil.copytree(artifacts, folder / "artifacts"))
    settings = Settings(
        artifacts=own,
        run_dir=folder / "run",
        serve={"port": 0, "routers": 2},
        kernel={"slots": 2, "queue_max": 8},
    )
    make_candidate(own, "poems", weights_of="numbers")
    grown = make(own, Add(name="poems"))
    files = ("weights.safetensors", "kernel.json")
    others = {file: (own / "kernels" / "network" / file).read_bytes() for file in files}
    second = rewrite(own, {"mail": others}, parent=grown.version, without=["numbers"])
    ReleaseStore(own).switch(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(folder))
        sky = Sky(settings, launcher_process.start(settings), second)
        sky.whole()
        sky.clients[1].roll_back(second)
        assert sky.whole() == second
        assert len(set(sky.said.values())) == 2, "weights can be told by what they say"
        sky.to_first()
        yield sky
        launcher_process.stop(settings.run_dir)
    sys.stdout.write(json.dumps({"whole_after_s": sky.seconds}) + "\n")


def change(sky: Sky, wanted: Change) -> "Future[ConstellationError | None]":
    """Ask the first router for a change; give what refused it."""

    def ask() -> ConstellationError | None:
        try:
            sky.clients[0].change(wanted)
        except ConstellationError as error:
            return error
        return None

    return ThreadPoolExecutor(1).submit(ask)


def kill_at(sky: Sky, wanted: Change, release: int | None, step: str, victim: str) -> int:
    """Begin a change, kill somebody at a step of it; return the release that serves afterwards."""
    sky.to_first()
    before = sky.clients[1].status()
    with Load(",".join(sky.state.endpoints), retries=None) as load:
        steps = sky.steps(release)
        asked = change(sky, wanted)
        assert steps.wait_for(step, until=asked.done), f"{step} was not seen"
        pid = sky.pid_of(victim, steps, before)
        if pid is not None:  # a maker may have ended by then
            os.kill(pid, signal.SIGKILL)
        killed_s = time.monotonic()
        refused = asked.result(60)
        serves = sky.whole(pid)
        sky.seconds[f"{victim} at {step}"] = round(time.monotonic() - killed_s, 2)
        told = load.outcomes["ok"]
        while load.outcomes["ok"] < told + 8:
            threading.Event().wait(0.02)
    assert refused is None or refused.retryable or isinstance(refused, REFUSALS)
    assert load.wrong == []
    assert set(load.outcomes) == {"ok"}
    assert sky.clients[1].status().num_unexpected_errors == 0
    return serves


@pytest.mark.parametrize("victim", ["registry", "kernel", "router"])
@pytest.mark.parametrize("step", SWITCHING)
def test_whoever_is_killed_while_a_release_is_switched_to_one_release_serves(
    sky: Sky, step: str, victim: str
) -> None:
    serves = kill_at(sky, RollBack(release=sky.second), sky.second, step, victim)
    assert serves in (sky.first, sky.second)
    if step in ("take", "place", "publish"):  # it was current by then
        assert serves == sky.second


@pytest.mark.parametrize("victim", ["registry", "maker", "kernel", "router"])
@pytest.mark.parametrize("step", MAKING)
def test_whoever_is_killed_while_a_release_is_made_one_release_serves(
    sky: Sky, step: str, victim: str
) -> None:
    sky.to_first()
    known, name = sky.store.versions(), f"{victim}-{step}"
    make_candidate(sky.settings.artifacts, name, weights_of="numbers")
    serves = kill_at(sky, Add(name=name), None, step, victim)
    made = set(sky.store.versions()) - set(known)
    assert serves in {sky.first, *made}
    release = sky.store.read(serves)
    for blob in release.blobs():
        sky.store.blobs.verify(blob)
    assert (name in [kernel.name for kernel in release.kernels]) == (serves in made)


def test_a_registry_whose_current_release_is_damaged_goes_on_with_what_is_served(sky: Sky) -> None:
    sky.to_first()
    before = sky.clients[1].status()
    rewrite(sky.settings.artifacts, {"mail": {"weights.safetensors": b"weights of nothing"}})
    told = "the current release is not served"
    log = sky.settings.run_dir / "logs" / "registry.jsonl"
    num_told = log.read_text(encoding="utf-8").count(told)
    try:
        os.kill(before.registry_pid, signal.SIGKILL)
        deadline_s, pause = time.monotonic() + WHOLE_WITHIN_S, threading.Event()
        while log.read_text(encoding="utf-8").count(told) == num_told:
            assert time.monotonic() < deadline_s
            pause.wait(0.05)
        status = sky.clients[1].status()
        assert status.coordizer_hash == before.coordizer_hash
        assert [kernel.pid for kernel in status.kernels] == [k.pid for k in before.kernels]
        with pytest.raises(ReloadRefused, match="first serve it: constellation reload"):
            sky.clients[1].retire("numbers")
    finally:
        sky.store.switch(sky.first)
    sky.clients[1].reload()
    assert sky.whole(before.registry_pid) == sky.first
