"""Workers that are forked: real processes, without Ray but for the test of its ids."""

import json
import os
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from cluster.fork_server import client, server
from cluster.fork_server.supervision import SOCKET, ForkServer, worker_command
from cluster.launcher import PRELOADED
from cluster.subprocesses import module_command
from constellation.settings import child_environment

pytestmark = pytest.mark.slow


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
    arguments = (str(path), str(watched or os.getpid()), *modules)
    process = subprocess.Popen(
        module_command(server.__name__, *arguments),
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


def test_no_file_in_the_temporary_folder_is_needed_to_start_a_worker(
    tmp_path: Path, worker: Path
) -> None:
    folder = tmp_path / "a folder"
    folder.mkdir()
    command = worker_command(folder)
    assert command is not None
    folder.rmdir()
    shell = f"exec {command} {shlex.quote(str(worker))} 1"  # as Ray has it run
    done = subprocess.run(
        ["bash", "-c", shell], capture_output=True, input=b"", check=True, timeout=60
    )
    assert json.loads(done.stdout)["arguments"] == ["1"]


def test_where_there_is_no_shell_for_the_command_no_worker_is_forked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert worker_command(tmp_path) is None


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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.parametrize("hangup", [signal.SIG_DFL, signal.SIG_IGN])
def test_a_stopped_worker_stays_stopped_when_the_server_ends(
    tmp_path: Path, hangup: signal.Handlers
) -> None:
    """The system neither ends it (SIGHUP) nor, where `nohup` has that ignored, wakes it (SIGCONT).

    So the supervisor finds every stopped worker by its missed heartbeats.
    """
    program = tmp_path / "default_worker.py"
    program.write_text("import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(600)\n")
    path = tmp_path / "socket"
    before = signal.signal(signal.SIGHUP, hangup)
    try:
        with running(path) as process:
            read, write = os.pipe()
            with os.fdopen(read, "rb") as said:
                subprocess.run(
                    [sys.executable, "-I", "-S", client.__file__, str(path), str(program)],
                    stdout=write,
                    stdin=subprocess.DEVNULL,
                    timeout=60,
                    check=True,
                )
                os.close(write)
                worker = psutil.Process(int(said.readline()))
            worker.suspend()
            give_up_s = time.monotonic() + 60
            while worker.status() != psutil.STATUS_STOPPED:
                assert time.monotonic() < give_up_s
            process.kill()
            process.wait()  # the system signals orphans before anybody can have waited for this
            try:
                assert worker.status() == psutil.STATUS_STOPPED
            finally:
                worker.kill()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_an_import_that_starts_a_thread_is_refused(tmp_path: Path) -> None:
    code = "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()"
    (tmp_path / "busy.py").write_text(code)
    changes = {"PYTHONPATH": str(tmp_path)}
    with running(tmp_path / "orders", "busy", changes=changes) as serving:
        assert serving.stderr is not None
        assert b"importing busy started 1 threads" in serving.stderr.read()
        assert serving.wait(timeout=30) == 1


@pytest.mark.slow
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


@pytest.fixture
def forks(tmp_path: Path) -> Iterator[ForkServer]:
    """Return a fork server that has not started."""
    made = ForkServer(os.getpid(), tmp_path, ("fractions",), job="01000000")
    yield made
    made.close()


def ready(forks: ForkServer, now_s: float) -> bool:
    """Start what is due, wait for it, and say whether workers can be forked."""
    forks.start(now_s)
    return not forks.problem


def test_a_fork_server_that_dies_is_started_again(
    tmp_path: Path, forks: ForkServer, worker: Path
) -> None:
    assert ready(forks, 0.0)
    first = json.loads(run(tmp_path / SOCKET, str(worker)).stdout)["parent"]
    assert psutil.Process(first).cwd() == str(tmp_path)  # not where people keep their files
    ended = os.pidfd_open(first)
    os.kill(first, signal.SIGKILL)
    select.select([ended], [], [], 30)
    os.close(ended)
    forks.check(100.0)
    assert forks.problem == "it was ended by SIGKILL"
    assert ready(forks, 101.0)
    assert json.loads(run(tmp_path / SOCKET, str(worker)).stdout)["parent"] not in (first, 0)


def test_a_fork_server_whose_socket_was_removed_is_started_again(
    tmp_path: Path, forks: ForkServer, worker: Path
) -> None:
    assert ready(forks, 0.0)
    shutil.rmtree(tmp_path / "forks")
    forks.check(100.0)
    assert forks.problem == "its socket was removed"
    assert ready(forks, 101.0)
    assert json.loads(run(tmp_path / SOCKET, str(worker)).stdout)["preloaded"]


def test_a_fork_server_that_cannot_start_says_why_and_is_tried_ever_more_rarely(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    forks = ForkServer(os.getpid(), tmp_path, ("no_such_module",), job="01000000")
    tries, now_s = [], 0.0
    while len(tries) < 3:
        before = len(caplog.records)
        forks.start(now_s)
        tries += [now_s] * (len(caplog.records) > before)
        now_s += 1.0
    forks.close()
    assert forks.problem == "ModuleNotFoundError: No module named 'no_such_module'"
    assert tries[0] == 0
    assert 1 <= tries[1] - tries[0] < tries[2] - tries[1]
    reasons = {record.__dict__["reason"] for record in caplog.records}
    assert reasons == {forks.problem}


def test_a_fork_server_for_which_there_is_no_room_says_so(tmp_path: Path) -> None:
    forks = ForkServer(os.getpid(), tmp_path / "gone", (), job="01000000")
    forks.start(0.0)
    assert "No such file or directory" in forks.problem
