"""A constellation that is started where much is amiss: files, variables, folders, the file mode.

Everything that a user's machine may have around a command is there at once; each test looks at what
one part of it could do.
"""

import json
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from cluster import launcher_process
from cluster.private_folder import sweep
from cluster.state_file import RunState, require_running
from cluster.subprocesses import module_command
from constellation import Client
from constellation.client import ConstellationStatus, KernelStatus
from constellation.errors import ConstellationError
from constellation.settings import child_environment
from tests.support.artifacts import PROMPTS
from tests.support.strangers import open_to_others, places_of, private_folders

pytestmark = pytest.mark.ray

ROOT = Path(__file__).parents[2]
MODULES = ("secrets", "numpy", "queue", "types", "socket", "cluster", "sitecustomize")
PACKAGES = ("training", "actors", "constellation", "ray")
OF_ANOTHER_RAY = {
    "RAY_ADDRESS": "auto",
    "RAY_REDIS_ADDRESS": "127.0.0.1:1",
    "RAY_NAMESPACE": "another",
    "RAY_RUNTIME_ENV_HOOK": "secrets.hook",
    "RAY_TMPDIR": "/nowhere",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1",
    "RAY_AUTH_MODE": "disabled",
}
OF_THE_NETWORK = {"http_proxy": "http://127.0.0.1:9", "grpc_proxy": "http://127.0.0.1:9"}
OF_THE_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Started:
    """A constellation, and where it was started."""

    state: RunState
    folder: Path
    """The working directory of the command."""
    temporary: Path
    """What TMPDIR named."""
    run_dir: Path


@pytest.fixture(scope="module")
def started(artifacts: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    """Start a constellation by `constellation up` amid all of it; stop it afterwards."""
    folder = tmp_path_factory.mktemp("work")
    mine = f"open({str(folder / 'was-run')!r}, 'a').write(__file__)\nraise SystemExit('mine')\n"
    for name in MODULES:
        (folder / f"{name}.py").write_text(mine, encoding="utf-8")
    for name in PACKAGES:
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(mine, encoding="utf-8")
    temporary = tmp_path_factory.mktemp("josé") / ("x" * 72)
    temporary.mkdir()
    run_dir = folder / "runs" / "ä"
    variables = {**OF_ANOTHER_RAY, **OF_THE_NETWORK, **OF_THE_LOCALE, "TMPDIR": str(temporary)}
    environment = child_environment({**variables, "PYTHONPATH": str(ROOT)})
    del environment["HOME"]
    flags = ("--artifacts", str(artifacts), "--run-dir", str(run_dir), "--port", "0")
    done = subprocess.run(
        module_command("cluster.cli.main", "up", *flags),
        cwd=folder,
        env=environment,
        umask=0,
        capture_output=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    state = require_running(run_dir)
    yield Started(state=state, folder=folder, temporary=temporary, run_dir=run_dir)
    if state.alive():
        launcher_process.stop(run_dir)


def test_no_file_of_the_working_directory_is_run(started: Started) -> None:
    assert not (started.folder / "was-run").exists()


def test_variables_of_another_ray_reach_no_process(started: Started) -> None:
    below = psutil.Process(started.state.pid).children(recursive=True)
    found = [each.environ() for each in below]  # empty where a process wrote its name over them
    assert sum(each.get("RAY_AUTH_MODE") == "token" for each in found) >= 4
    unwanted = OF_ANOTHER_RAY.keys() - {"RAY_AUTH_MODE", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"}
    assert [each for each in found if unwanted & each.keys()] == []


def test_a_folder_for_temporary_files_that_will_not_do_is_passed_over(started: Started) -> None:
    (folder,) = private_folders(places_of(started.state.pid))
    assert folder.parent == Path("/tmp").resolve()
    log = (started.run_dir / "logs" / "launcher.jsonl").read_text(encoding="utf-8")
    found = [json.loads(line) for line in log.splitlines()]
    (passed,) = [each for each in found if each["message"] == "not taken for temporary files"]
    assert passed["path"].endswith(started.temporary.name)
    assert "letters in its path" in passed["reason"]


def test_others_may_write_nothing_and_read_no_log(started: Started) -> None:
    places = {started.run_dir, *started.run_dir.rglob("*")}
    assert len(places) > 10
    assert [
        place for place in places if place.lstat().st_mode & 0o022 and not place.is_symlink()
    ] == []
    assert (started.run_dir / "logs").stat().st_mode & 0o077 == 0
    assert open_to_others(places & set((started.run_dir / "logs").iterdir())) == {}


def test_it_answers(started: Started) -> None:
    with Client(started.state.endpoint) as stars:
        assert stars.status().start_problem == ""
        for kernel, prompt in PROMPTS.items():
            assert stars.ask(prompt, tokens_max=4, kernel=kernel).route.kernel == kernel


def test_a_kernel_comes_back_when_a_cleaner_has_emptied_the_folder_of_the_fork_server(
    started: Started,
) -> None:
    (folder,) = private_folders(places_of(started.state.pid))
    for path in (folder / "forks").iterdir():
        path.unlink()
    with Client(started.state.endpoint) as stars:
        victim = kernel_of(stars.status(), "mail")
        psutil.Process(victim.pid).kill()
        back = wait_for_another(stars, victim)
        assert back.num_restarts == victim.num_restarts + 1
        assert stars.ask(PROMPTS["mail"], tokens_max=4, kernel="mail").route.kernel == "mail"


def test_what_a_killed_launcher_leaves_is_removed_at_the_next_start(started: Started) -> None:
    (folder,) = private_folders(places_of(started.state.pid))
    sweep(folder.parent)
    assert folder.is_dir()
    launcher = psutil.Process(started.state.pid)
    launcher.kill()
    launcher.wait(timeout=30)
    assert folder.is_dir()
    sweep(folder.parent)  # as the next start does
    assert not folder.exists()


def kernel_of(status: ConstellationStatus, name: str) -> KernelStatus:
    return next(kernel for kernel in status.kernels if kernel.name == name)


def wait_for_another(stars: Client, victim: KernelStatus) -> KernelStatus:
    """Return the state of a kernel when another process serves it."""
    pause = threading.Event()
    for _ in range(600):
        try:
            found = kernel_of(stars.status(timeout_s=2), victim.name)
        except ConstellationError:
            continue
        if found.up and found.pid not in (0, victim.pid):
            return found
        pause.wait(0.05)
    raise AssertionError(f"{victim.name} did not come back")
