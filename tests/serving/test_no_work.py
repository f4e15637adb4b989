"""Processes of a real constellation that answer heartbeats and serve nothing are restarted.

The faults are put into the processes from outside: every Python that starts loads a
`sitecustomize.py`, which makes a process faulty once a file named after its process id appears.
"""

import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cluster import launcher_process
from cluster.state_file import RunState
from constellation import Client
from constellation.client import ConstellationStatus
from constellation.errors import ConstellationError
from constellation.settings import Settings
from tests.support.artifacts import PROMPTS

pytestmark = [pytest.mark.ray, pytest.mark.slow]

LIMIT_S = 60.0

FAULTS = """
import os
import sys
import threading
from importlib.machinery import PathFinder


def is_faulty(kind):
    return os.path.exists(os.path.join({folder!r}, f"{{os.getpid()}}.{{kind}}"))


def change_steps(module):
    step = module.StepLoop._step_together

    async def faulty(loop, ready):
        model = loop._step

        def step_of_a_faulty_model(answers):
            if is_faulty("stuck"):
                threading.Event().wait()
            if is_faulty("broken"):
                raise RuntimeError("the model is broken")
            return model(answers)

        loop._step = step_of_a_faulty_model
        try:
            await step(loop, ready)
        finally:
            loop._step = model

    module.StepLoop._step_together = faulty


def change_routes(module):
    decide = module.Decider.decide

    def faulty(decider, *arguments, **options):
        if is_faulty("lost"):
            raise RuntimeError("the router is lost")
        return decide(decider, *arguments, **options)

    module.Decider.decide = faulty


CHANGES = {{"actors.kernel.step_loop": change_steps, "actors.router.decider": change_routes}}


class Finder(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        found = super().find_spec(name, path, target) if name in CHANGES else None
        if found is None:
            return None
        load = found.loader.exec_module

        def load_and_change(module):
            load(module)
            CHANGES[name](module)

        found.loader.exec_module = load_and_change
        return found


sys.meta_path.insert(0, Finder)
"""


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder in which a file makes a process faulty."""
    return tmp_path_factory.mktemp("faults")


@pytest.fixture(scope="module")
def faulty(
    settings: Settings, faults: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunState]:
    """Start a constellation whose processes can be made faulty; stop it afterwards."""
    changed = tmp_path_factory.mktemp("changed")
    (changed / "sitecustomize.py").write_text(FAULTS.format(folder=str(faults)), encoding="utf-8")
    kernel = settings.kernel.model_copy(update={"stall_s": 0.5, "stuck_s": 2.0})
    run_dir = settings.run_dir.with_name("faulty")
    own = settings.model_copy(update={"run_dir": run_dir, "kernel": kernel})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("PYTHONPATH", str(changed))
        yield launcher_process.start(own)
        launcher_process.stop(run_dir)


def pids_of(status: ConstellationStatus) -> dict[str, int]:
    """Return the process of every kernel and router that is up."""
    kernels = {each.name: each.pid for each in status.kernels if each.up}
    return kernels | {each.name: each.pid for each in status.routers if each.pid}


def wait_for(stars: Client, reached: Callable[[dict[str, int]], bool]) -> dict[str, int]:
    """Wait until the processes are as a test wants them; return them."""
    pause, started_s = threading.Event(), time.monotonic()
    found: dict[str, int] = {}
    while time.monotonic() - started_s < LIMIT_S:
        try:
            found = pids_of(stars.status(timeout_s=2))
        except ConstellationError:
            found = {}
        if reached(found):
            return found
        pause.wait(0.1)
    raise AssertionError(f"not reached within {LIMIT_S:.0f} s: {found}")


def test_a_process_that_answers_and_does_no_work_is_restarted(
    faulty: RunState, faults: Path
) -> None:
    """A model that is stuck, a model that fails and a router that does not route, at once."""
    kinds = {"network": "stuck", "mail": "broken", "router": "lost"}
    second = faulty.endpoints[1]
    with Client(second) as stars:
        before = wait_for(stars, lambda pids: pids.keys() >= {*kinds, "numbers", "router-2"})
        for member, kind in kinds.items():
            (faults / f"{before[member]}.{kind}").touch()
        # Nobody asks: the processes are found by the token that the registry has them write.
        after = wait_for(
            stars,
            lambda pids: (
                pids.keys() == before.keys() and all(pids[each] != before[each] for each in kinds)
            ),
        )
        assert {name for name in before if after[name] == before[name]} == {"numbers", "router-2"}
        for name, prompt in PROMPTS.items():
            assert stars.ask(prompt, tokens_max=2).route.kernel == name
    with Client(faulty.endpoint) as first:
        assert first.ask(PROMPTS["mail"], tokens_max=2).route.kernel == "mail"


def test_a_caller_whose_kernel_gets_stuck_is_answered(faulty: RunState, faults: Path) -> None:
    with Client(faulty.endpoint) as stars:
        before = wait_for(stars, lambda pids: "mail" in pids)
        (faults / f"{before['mail']}.stuck").touch()
        reply = stars.ask(PROMPTS["mail"], tokens_max=4, timeout_s=LIMIT_S)
        assert re.fullmatch("network|numbers|mail", reply.route.kernel)
        after = wait_for(stars, lambda pids: pids.get("mail", 0) not in (0, before["mail"]))
        assert stars.ask(PROMPTS["mail"], tokens_max=2).route.kernel == "mail"
        assert after["numbers"] == before["numbers"]
