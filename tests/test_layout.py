"""The invariants of ARCHITECTURE.md that import-linter cannot see.

Every scan is also shown to find what it looks for: a test that cannot fail keeps nothing.
"""

import importlib.util
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from tests import scans

pytestmark = pytest.mark.slow


ROOT = Path(__file__).parents[1]
PACKAGES = ("constellation", "actors", "training", "cluster")
LINES_MAX = 400

Scan = Callable[[str], list[int]]


def sources(*folders: str) -> list[Path]:
    """Return our Python files under these folders, generated ones left out."""
    found = (path for folder in folders for path in sorted((ROOT / folder).rglob("*.py")))
    return [path for path in found if not path.stem.endswith("_pb2")]


def found_by(scan: Scan, paths: Iterable[Path]) -> set[str]:
    """Return the files in which a scan finds something, relative to the repository."""
    return {
        path.relative_to(ROOT).as_posix()
        for path in paths
        if scan(path.read_text(encoding="utf-8"))
    }


def rpcs() -> frozenset[str]:
    """Return the names of all RPCs: ours, and those of the health service."""
    text = "".join(path.read_text() for path in (ROOT / "proto").rglob("*.proto"))
    return frozenset(re.findall(r"^\s*rpc (\w+)\(", text, re.MULTILINE)) | {"Check", "Watch"}


# --- where things are ---------------------------------------------------------------------------


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_resolves_inside_the_repository(package: str) -> None:
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin == str(ROOT / package / "__init__.py")


def test_proto_holds_proto_files_only() -> None:
    """The import name `proto` belongs to proto-plus, which Ray's dashboard needs."""
    suffixes = {path.suffix for path in (ROOT / "proto").rglob("*") if path.is_file()}
    assert suffixes == {".proto"}


def test_no_file_is_longer_than_four_hundred_lines() -> None:
    lengths = {
        path.relative_to(ROOT).as_posix(): len(path.read_text(encoding="utf-8").splitlines())
        for path in sources(*PACKAGES, "tests", "benchmarks")
    }
    assert {name: length for name, length in lengths.items() if length > LINES_MAX} == {}
    assert len(lengths) > 100


# --- what code must not do ----------------------------------------------------------------------


@pytest.mark.slow
def test_only_the_settings_read_the_environment() -> None:
    found = found_by(scans.environment_reads, sources(*PACKAGES, "benchmarks"))
    assert found == {"constellation/settings.py"}


@pytest.mark.slow
def test_one_file_of_serving_and_one_of_training_wait_for_ray_and_kill_its_actors() -> None:
    waits = {"actors/_ray.py", "training/runs/ray_run_folder.py"}
    assert found_by(scans.ray_calls, sources(*PACKAGES)) == waits


@pytest.mark.slow
def test_only_one_file_starts_ray() -> None:
    names = frozenset({"init", "shutdown"})
    found = found_by(lambda source: scans.ray_calls(source, names), sources(*PACKAGES))
    assert found == {"cluster/bootstrap.py"}


def test_decisions_read_no_clock_and_draw_no_chance() -> None:
    modules = frozenset({"time", "datetime", "random", "asyncio", "threading", "socket"})
    decisions = sources("constellation/runtime", "constellation/routing", "constellation/geometry")
    assert len(decisions) > 15
    assert found_by(lambda source: scans.imports_of(source, modules), decisions) == set()


def test_no_error_is_swallowed_but_where_handlers_end() -> None:
    """In a service it becomes `InternalError`, is logged with its id, and is counted; a program
    ends by it, with the traceback in a file."""
    found = found_by(scans.swallowed_exceptions, sources(*PACKAGES, "benchmarks"))
    assert found == {"cluster/cli/program.py", "constellation/wire/services.py"}


@pytest.mark.slow
def test_every_rpc_carries_a_deadline() -> None:
    methods = rpcs()
    assert {"Generate", "Describe", "Check"} <= methods
    found = found_by(
        lambda source: scans.calls_without_timeout(source, methods),
        sources(*PACKAGES, "benchmarks"),
    )
    assert found == set()


@pytest.mark.slow
def test_every_queue_has_a_limit() -> None:
    assert found_by(scans.unbounded_queues, sources(*PACKAGES, "benchmarks")) == set()


@pytest.mark.slow
def test_only_one_file_starts_background_tasks() -> None:
    """There their end is logged and counted. The link's read is awaited by its caller."""
    found = found_by(scans.background_tasks, sources(*PACKAGES))
    assert found == {"actors/background_tasks.py", "actors/kernel_connections.py"}


def test_no_text_is_read_or_written_in_the_encoding_of_the_locale() -> None:
    assert found_by(scans.text_without_encoding, sources(*PACKAGES, "benchmarks")) == set()


def test_no_module_is_run_with_the_working_directory_on_its_path() -> None:
    """People keep files such as `secrets.py` where they work: `module_command` looks past them."""
    found = found_by(scans.modules_run_with_the_working_directory, sources(*PACKAGES))
    assert found == set()


def test_only_one_file_and_the_settings_name_a_loopback_address() -> None:
    """Whoever assumes loopback elsewhere cannot be reached from another machine."""
    found = found_by(scans.loopback_addresses, sources("constellation", "actors", "cluster"))
    assert found == {"constellation/loopback.py", "constellation/settings.py"}


PLANTED: list[tuple[Scan, str]] = [
    (scans.environment_reads, "import os\nos.environ['HOME']"),
    (scans.environment_reads, "import os as system\nsystem.getenv('HOME')"),
    (scans.environment_reads, "from os import environ"),
    (scans.ray_calls, "import ray\nray.get(x)"),
    (scans.ray_calls, "def f():\n    import ray as r\n    r.kill(a)"),
    (scans.ray_calls, "from ray import get_actor"),
    (lambda s: scans.imports_of(s, frozenset({"time"})), "def f():\n    from time import sleep"),
    (lambda s: scans.imports_of(s, frozenset({"time"})), "import time as clock"),
    (scans.swallowed_exceptions, "try:\n    f()\nexcept Exception:\n    pass"),
    (scans.swallowed_exceptions, "try:\n    f()\nexcept:\n    log()"),
    (scans.swallowed_exceptions, "try:\n    f()\nexcept (KeyError, BaseException):\n    log()"),
    (lambda s: scans.calls_without_timeout(s, frozenset({"Score"})), "self._stub.Score(request)"),
    (
        lambda s: scans.calls_without_timeout(s, frozenset()),
        "rpc = getattr(self._stub, name)\nrpc(request, metadata=())",
    ),
    (scans.text_without_encoding, "path.read_text()"),
    (scans.text_without_encoding, "path.write_text(content, errors='replace')"),
    (scans.text_without_encoding, "path.open('w')"),
    (scans.text_without_encoding, "with open(path) as file:\n    pass"),
    (scans.text_without_encoding, "os.fdopen(number, 'w')"),
    (scans.text_without_encoding, "subprocess.run(command, text=True)"),
    (scans.modules_run_with_the_working_directory, "run([sys.executable, '-m', 'x', 'y'])"),
    (scans.unbounded_queues, "import asyncio\nwaiting = asyncio.Queue()"),
    (scans.background_tasks, "import asyncio\nasyncio.create_task(work())"),
    (scans.background_tasks, "loop = get_running_loop()\nloop.create_task(work())"),
    (scans.background_tasks, "from asyncio import ensure_future"),
    (scans.unbounded_queues, "from queue import SimpleQueue\nwaiting = SimpleQueue()"),
    (scans.loopback_addresses, "listen('127.0.0.1', 80)"),
]


@pytest.mark.parametrize(("scan", "planted"), PLANTED)
def test_what_is_planted_is_found(scan: Scan, planted: str) -> None:
    assert scan(planted) != []


INNOCENT: list[tuple[Scan, str]] = [
    (scans.environment_reads, "settings.environ\nimport os\nos.getpid()"),
    (scans.ray_calls, "import ray\nray.remote(f)\nmapping.get(1)"),
    (lambda s: scans.imports_of(s, frozenset({"time"})), "timeout = 1\nimport timeit"),
    (scans.swallowed_exceptions, "try:\n    f()\nexcept Exception:\n    count()\n    raise"),
    (scans.swallowed_exceptions, "try:\n    f()\nexcept KeyError:\n    pass"),
    (
        lambda s: scans.calls_without_timeout(s, frozenset({"Score"})),
        "stub.Score(request, timeout=1.0)\nkernel_pb2.Score()\nScore()",
    ),
    (
        scans.text_without_encoding,
        "path.read_text(encoding='utf-8')\npath.read_text('utf-8')\npath.open('rb')\nslots.open()\n"
        "os.open(path, flags)\nread_text(argument)\nsubprocess.run(command)",
    ),
    (scans.modules_run_with_the_working_directory, "[sys.executable, '-P', '-m', 'x']"),
    (scans.loopback_addresses, "listen(LOOPBACK_ADDRESS, '127.1')"),
    (scans.unbounded_queues, "asyncio.Queue(maxsize=8)\nqueue.Queue(8)"),
    (scans.background_tasks, "async with TaskGroup() as group:\n    group.create_task(work())"),
]


@pytest.mark.parametrize(("scan", "innocent"), INNOCENT)
def test_what_is_allowed_is_left_alone(scan: Scan, innocent: str) -> None:
    assert scan(innocent) == []


def test_importing_the_package_loads_nothing_heavy() -> None:
    program = "import sys, constellation; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    loaded = set(done.stdout.split())
    assert "constellation" in loaded
    assert loaded.isdisjoint({"torch", "ray", "grpc", "pydantic", "numpy", "google"})
