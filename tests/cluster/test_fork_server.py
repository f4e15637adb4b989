"""Workers that are forked: real processes, without Ray but for the test of its ids."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from cluster.fork_server import client, server
from cluster.fork_server import running as running_server
from cluster.launcher import PRELOADED
from constellation.settings import child_environment

# It says who it is, and whether it found "fractions" imported.
WORKER = """
import json, os, signal, sys
print(json.dumps({
    "arguments": sys.argv[1:], "name": __name__, "parent": os.getppid(), "said": os.getenv("SAID"),
    "variables": len(os.environ), "preloaded": "fractions" in sys.modules,
    "group": os.getpgid(0) == os.getpid(), "children": signal.getsignal(signal.SIGCHLD).name,
    "input": sys.stdin.read(),
}))
"""


@pytest.fixture
def worker(tmp_path: Path) -> Path:
    """Return the program of a worker, under the name that Ray gives it."""
    path = tmp_path / "default_worker.py"
    path.write_text(WORKER)
    return path


@contextmanager
def running(
    path: Path, *modules: str, watched: int | None = None, changes: dict[str, str] | None = None
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a server until the end of the block."""
    words = [sys.executable, "-m", server.__name__, str(path), str(watched or os.getpid())]
    process = subprocess.Popen(
        [*words, *modules],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=child_environment({"OPENBLAS_NUM_THREADS": "1", **(changes or {})}),
    )
    assert process.stdout is not None
    assert process.stderr is not None
    with process.stdout, process.stderr:
        try:
            select.select([process.stdout], [], [], 60)
            yield process
        finally:
            process.kill()
            process.wait()


def run(path: Path, *words: str, said: str = "hello", **options: Any) -> Any:
    """Run Python through the client; return the finished process, whose worker has ended too."""
    # The worker holds the pipes, so that they end when it does.
    return subprocess.run(
        [sys.executable, "-I", "-S", client.__file__, str(path), *words],
        capture_output=True,
        timeout=60,
        input=b"told",
        env={"SAID": said},
        check=False,
        **options,
    )


def test_a_worker_is_forked_with_what_it_was_told(tmp_path: Path, worker: Path) -> None:
    path = tmp_path / "orders"
    with running(path, "fractions") as serving:
        found = json.loads(run(path, str(worker), "--a b", "ä", said="x=y\n").stdout)
    assert found == {
        "arguments": ["--a b", "ä"],
        "name": "__main__",
        "parent": serving.pid,
        "said": "x=y\n",
        "variables": 1,
        "preloaded": True,
        "group": True,
        "children": "SIG_DFL",
        "input": "told",
    }


def test_all_else_is_python(tmp_path: Path) -> None:
    done = run(tmp_path / "nobody", "-c", "import sys; print(sys.flags.isolated, sys.argv)", "1")
    assert done.stdout.decode().strip() == "0 ['-c', '1']"
    assert done.stderr == b""


def test_an_interpreter_that_may_not_run_is_found_out(tmp_path: Path) -> None:
    command = running_server.write_interpreter(tmp_path)
    assert running_server.is_runnable(command)
    command.chmod(0o600)  # as on a file system that is mounted without programs
    assert not running_server.is_runnable(command)
    command.chmod(0o700)
    command.write_text("#!/nowhere/sh\n")
    assert not running_server.is_runnable(command)


def test_without_a_server_a_worker_starts_by_itself(tmp_path: Path, worker: Path) -> None:
    done = run(tmp_path / "nobody", str(worker), "1")
    found = json.loads(done.stdout)
    assert (found["arguments"], found["parent"]) == (["1"], os.getpid())
    assert not found["preloaded"]
    assert b"no worker was forked" in done.stderr


def test_nothing_is_forked_for_one_that_no_longer_waits(tmp_path: Path, worker: Path) -> None:
    path, written = tmp_path / "orders", tmp_path / "written"
    impatient = tmp_path / "impatient" / "default_worker.py"
    impatient.parent.mkdir()
    impatient.write_text(f"open({str(written)!r}, 'w')")
    told = os.fsencode(impatient)
    with running(path) as serving:
        os.kill(serving.pid, signal.SIGSTOP)
        with socket.socket(socket.AF_UNIX) as gone:
            gone.connect(str(path))
            socket.send_fds(gone, [client.HEADER.pack(0, len(told), 0)], [0, 1, 2])
            gone.sendall(told)
        os.kill(serving.pid, signal.SIGCONT)
        # Orders are taken one after the other: when this one is done, so is that one.
        assert json.loads(run(path, str(worker)).stdout)["parent"] == serving.pid
    assert not written.exists()


@pytest.mark.parametrize(
    ("sent", "num_descriptors"),
    [
        (client.HEADER.pack(0, 2**31, 2**31), 3),
        (client.HEADER.pack(0, 100, 0) + b"short", 3),
        (b"\0", 3),
        (client.HEADER.pack(0, 1, 0) + b"x", 1),
        (b"", 0),
    ],
)
def test_strange_orders_change_nothing(
    tmp_path: Path, worker: Path, sent: bytes, num_descriptors: int
) -> None:
    path = tmp_path / "orders"
    with running(path) as serving:
        run(path, str(worker))
        descriptors = os.listdir(f"/proc/{serving.pid}/fd")
        with socket.socket(socket.AF_UNIX) as strange:
            strange.settimeout(30)
            strange.connect(str(path))
            if sent:
                socket.send_fds(strange, [sent], [1] * num_descriptors)
            strange.shutdown(socket.SHUT_WR)
            assert strange.recv(1) == b""
        assert json.loads(run(path, str(worker)).stdout)["parent"] == serving.pid
        assert os.listdir(f"/proc/{serving.pid}/fd") == descriptors


def test_it_does_not_outlive_the_process_it_serves(tmp_path: Path) -> None:
    words = [sys.executable, "-c", "input()"]
    with (
        subprocess.Popen(words, stdin=subprocess.PIPE) as watched,
        running(tmp_path / "orders", watched=watched.pid) as serving,
    ):
        assert serving.poll() is None
        watched.kill()
        assert serving.wait(timeout=30) == 0


def test_no_worker_outlives_it_either(tmp_path: Path) -> None:
    path, program = tmp_path / "orders", tmp_path / "default_worker.py"
    program.write_text("import threading\nthreading.Event().wait()")
    words = [sys.executable, "-c", "input()"]
    with (
        subprocess.Popen(words, stdin=subprocess.PIPE) as watched,
        running(path, watched=watched.pid) as serving,
    ):
        subprocess.run(
            [sys.executable, "-I", "-S", client.__file__, str(path), str(program)],
            check=True,
            timeout=30,
        )
        (worker,) = psutil.Process(serving.pid).children()
        serving.kill()
        assert worker.is_running()
        watched.kill()
        psutil.wait_procs([worker], timeout=30)
        assert not worker.is_running()


def test_an_import_that_starts_a_thread_is_refused(tmp_path: Path) -> None:
    code = "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()"
    (tmp_path / "busy.py").write_text(code)
    changes = {"PYTHONPATH": str(tmp_path)}
    with running(tmp_path / "orders", "busy", changes=changes) as serving:
        assert serving.stderr is not None
        assert b"importing busy started 1 threads" in serving.stderr.read()
        assert serving.wait(timeout=30) == 1


def test_workers_draw_different_ids(tmp_path: Path) -> None:
    """Ray draws the ids of calls from a generator that a fork would copy once it is seeded."""
    path, program = tmp_path / "orders", tmp_path / "default_worker.py"
    program.write_text(
        "from ray._raylet import JobID, TaskID\n"
        "print(TaskID.for_fake_task(JobID.from_int(1)).hex(), flush=True)\n"
    )
    with running(path, "ray._private.workers.default_worker", *PRELOADED) as serving:
        assert serving.poll() is None
        drawn = [run(path, str(program)).stdout for _ in range(3)]
    assert all(drawn)
    assert len(set(drawn)) == 3
