"""Where Ray changes under us: a start is refused when it would be open, and slow when it can be.

The launcher is a process of its own. What a newer Ray might do is done to it by a `sitecustomize`,
which Python imports when it starts.
"""

import json
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from cluster import launcher_process
from cluster.fork_server import server
from cluster.listening_check import is_loopback
from cluster.state_file import RunState, running
from constellation import Client
from constellation.errors import DeploymentError
from constellation.settings import Settings
from tests.support.artifacts import PROMPTS
from tests.support.scrapes import endpoints, scrape

pytestmark = pytest.mark.ray

RUN = "another_ray"
THREAD = "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n"


@pytest.fixture
def own(settings: Settings) -> Iterator[Settings]:
    """Return settings for a constellation of the test's own; stop it afterwards."""
    serve = settings.serve.model_copy(update={"routers": 1})
    run_dir = settings.run_dir.with_name(RUN)
    yield settings.model_copy(update={"run_dir": run_dir, "serve": serve})
    if running(run_dir) is not None:
        launcher_process.stop(run_dir)


@pytest.fixture
def changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder whose `sitecustomize.py` every Python imports when it starts."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "busy.py").write_text(THREAD, encoding="utf-8")
    return tmp_path


def in_launcher(folder: Path, statement: str) -> None:
    """Have the launcher run a statement with `bootstrap` before anything else."""
    (folder / "sitecustomize.py").write_text(
        "import sys\n"
        "if 'cluster.launcher' in sys.orig_argv:\n"
        f"    from cluster import bootstrap\n    {statement}\n",
        encoding="utf-8",
    )


def metric(state: RunState, name: str) -> float:
    """Return a metric of the registry."""
    text = scrape(endpoints(str(state.metrics))["registry"])
    found = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
    assert found is not None
    return float(found[1])


def start_problem(state: RunState, *, expected: bool) -> str:
    """Return what a router says of how processes are started, once it says it, or does no more."""
    pause = threading.Event()
    with Client(state.endpoint) as stars:
        for _ in range(200):
            problem = stars.status().start_problem
            if bool(problem) == expected:
                return problem
            pause.wait(0.1)
    raise AssertionError(f"the status says {problem!r}")


def has_only_loopback() -> bool:
    addresses = [each for found in psutil.net_if_addrs().values() for each in found]
    return all(is_loopback(each.address) for each in addresses if each.family == socket.AF_INET)


@pytest.mark.skipif(has_only_loopback(), reason="this machine has no address but loopback")
def test_a_ray_that_no_longer_keeps_to_loopback_is_stopped_and_the_start_refused(
    own: Settings, changed: Path
) -> None:
    in_launcher(changed, "bootstrap._LOOPBACK_ONLY.clear()")
    refused = r"(?P<name>\w+) \(process (?P<pid>\d+)\) listens at \S+:\d+, which other machines"
    with pytest.raises(DeploymentError, match=refused) as error:
        launcher_process.start(own)
    assert "pip install 'ray[default,train]>=2.60,<2.61'" in str(error.value)
    assert running(own.run_dir) is None
    found = re.search(refused, str(error.value))
    assert found is not None
    assert found["name"] == "gcs_server"
    assert not psutil.pid_exists(int(found["pid"]))


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        ("ray._private.workers.moved", "No module named 'ray._private.workers.moved'"),
        ("busy", "importing busy, actors.* started 1 threads"),
    ],
)
def test_a_fork_server_that_cannot_start_is_a_warning_and_everything_works_without_it(
    own: Settings, changed: Path, module: str, reason: str
) -> None:
    in_launcher(changed, f"bootstrap._RAY_WORKER = {module!r}")
    state = launcher_process.start(own)
    problem = start_problem(state, expected=True)
    assert re.search(reason, problem), problem
    with Client(state.endpoint) as stars:
        assert stars.ask(PROMPTS["mail"], tokens_max=4, kernel="mail").route.kernel == "mail"
    assert metric(state, "constellation_fork_server_up") == 0
    assert metric(state, "constellation_process_start_possible") == 1
    log = (own.run_dir / "logs" / "launcher.jsonl").read_text(encoding="utf-8")
    warned = [line for line in map(json.loads, log.splitlines()) if line["level"] == "warning"]
    assert any(re.search(reason, line["reason"]) for line in warned)


def test_workers_that_are_not_to_be_forked_are_not(own: Settings) -> None:
    plain = own.cluster.model_copy(update={"fork_workers": False})
    state = launcher_process.start(own.model_copy(update={"cluster": plain}))
    below = psutil.Process(state.pid).children(recursive=True)
    assert not any(server.__name__ in each.cmdline() for each in below)
    with Client(state.endpoint) as stars:
        assert stars.status().start_problem == ""
    assert metric(state, "constellation_fork_server_up") != 0  # not a number


def test_a_fork_server_that_is_killed_runs_again(own: Settings) -> None:
    state = launcher_process.start(own)
    assert start_problem(state, expected=False) == ""
    assert metric(state, "constellation_fork_server_up") == 1

    def forking() -> list[int]:
        below = psutil.Process(state.pid).children(recursive=True)
        return [each.pid for each in below if server.__name__ in each.cmdline()]

    (before,) = forking()
    psutil.Process(before).kill()
    assert "SIGKILL" in start_problem(state, expected=True)
    assert start_problem(state, expected=False) == ""
    (after,) = forking()
    assert after != before
