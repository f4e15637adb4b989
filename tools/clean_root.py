"""Build an image of cluster/containers without a container engine, and run the image.

    python tools/clean_root.py cluster/containers/cpu.Dockerfile artifacts/starter 'import os'

Needs root, Linux with overlayfs, util-linux and iproute2. Every stage of the Dockerfile is a root
folder of its own: this machine's files, read-only below a layer in memory, without this checkout.
The steps RUN, COPY, ENV, USER and so on are carried out there. What is not shown: the base image;
this machine's system and Python stand in for it.

Then the image's entry point is started as the image's user, in a network of its own that has
nothing but loopback, with a copy of the artifacts folder; the image's health check is repeated
until it passes; the question is asked by `constellation ask`; SIGTERM must end the entry point
with status 0. Prints one JSON object: seconds of each part, megabytes of the image, and the answer.
"""

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tools.dockerfile_steps import Step, steps

ROOT: Final = Path(__file__).parents[1]
BUILD_S: Final = 540
"""Seconds that one step may take."""
READY_S: Final = 180
"""Seconds from the start until the health check passes."""
ENDPOINT: Final = ("--endpoint", "127.0.0.1:50051")
"""Where the image's router listens; the commands' own way to find the router is the state file,
which is written when all processes are up, shortly after the health check passes."""
DEVICES: Final = ("null", "zero", "full", "random", "urandom")
"""Devices that the image may use."""
_NEW_NETWORK: Final = 0x40000000  # CLONE_NEWNET of <sched.h>


@dataclass
class Stage:
    """One stage of a build: a root folder, and what the steps so far have set."""

    root: Path
    environment: dict[str, str] = field(default_factory=dict)
    arguments: dict[str, str] = field(default_factory=dict)
    folder: str = "/"
    user: str = "0:0"
    entry: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)

    def command(self, words: Sequence[str], environment: Mapping[str, str]) -> list[str]:
        """Return the command line that runs `words` in this root, as the stage's user."""
        variables = [f"{name}={value}" for name, value in environment.items()]
        inside = ["/bin/sh", "-c", 'cd "$0" && exec "$@"', self.folder, *words]
        chroot = ["chroot", f"--userspec={self.user}", str(self.root)]
        return [*chroot, "/usr/bin/env", "-i", *variables, *inside]

    def run(self, words: Sequence[str], *, timeout_s: float = BUILD_S) -> str:
        """Run a command, and return what the command writes to standard output."""
        done = subprocess.run(
            self.command(words, self.environment | self.arguments | _of_this_machine()),
            stdout=subprocess.PIPE,
            text=True,
            timeout=timeout_s,
            check=True,
        )
        return done.stdout

    def inside(self, path: str) -> Path:
        """Return where a path of the image lies on this machine."""
        return self.root / os.path.join(self.folder, path).lstrip("/")


def build(text: str, work: Path) -> Stage:
    """Carry out all steps of a Dockerfile; return the last stage."""
    stages: dict[str, Stage] = {}
    for step in steps(text):
        if step.word == "FROM":
            name = step.arguments()[-1] if " AS " in step.value else str(len(stages))
            stages[name] = Stage(_empty_root(work / str(len(stages))), {"PATH": _path()})
        else:
            _carry_out(step, list(stages.values())[-1], stages)
    return list(stages.values())[-1]


def _carry_out(step: Step, stage: Stage, stages: Mapping[str, Stage]) -> None:
    match step.word:
        case "RUN":
            sys.stderr.write(f"RUN {step.value}\n")
            stage.run(["/bin/sh", "-c", step.value])
        case "COPY":
            _copy(step, stage, stages)
        case "ENV":
            stage.environment |= step.pairs()
        case "ARG":
            stage.arguments |= step.pairs()
        case "WORKDIR":
            stage.folder = step.value
            stage.inside("").mkdir(parents=True, exist_ok=True)
        case "USER":
            stage.user = step.value
        case "ENTRYPOINT":
            stage.entry = step.command()
        case "HEALTHCHECK":
            stage.health = step.command()


def _copy(step: Step, stage: Stage, stages: Mapping[str, Stage]) -> None:
    *sources, target = step.arguments()
    flags = step.flags()
    origin = stages[flags["from"]].root if "from" in flags else ROOT
    to = stage.inside(target)
    for source in sources:
        path = origin / source.lstrip("/")
        if path.is_dir():
            to.mkdir(parents=True, exist_ok=True)
            subprocess.run(["cp", "-a", f"{path}/.", to], check=True, timeout=BUILD_S)
        else:
            shutil.copy(path, to)
    if mode := flags.get("chmod"):
        to.chmod(int(mode, 8))


def _path() -> str:
    """Return the PATH of the base image: this Python, and the system's programs."""
    return f"{Path(sys.executable).resolve().parent}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"


def _of_this_machine() -> dict[str, str]:
    """Return how pip finds packages on this machine."""
    return {name: value for name, value in os.environ.items() if name.startswith("PIP_")}  # noqa: TID251


def _empty_root(folder: Path) -> Path:
    """Mount this machine's files below an empty layer; hide this checkout and temporary files."""
    upper, work, root = (folder / name for name in ("upper", "work", "root"))
    for each in (upper, work, root):
        each.mkdir(parents=True)
    _mount("overlay", "overlay", root, f"lowerdir=/,upperdir={upper},workdir={work}")
    _mount("proc", "proc", root / "proc", "nosuid,nodev,noexec")
    _mount("sysfs", "sysfs", root / "sys", "ro,nosuid,nodev,noexec")
    for path in (ROOT.relative_to("/"), Path("tmp"), Path("run"), Path("dev")):
        _mount("tmpfs", "tmpfs", root / path, "mode=1777,size=2g")
    (root / "dev" / "shm").mkdir(mode=0o1777)
    (root / "dev" / "shm").chmod(0o1777)
    for name in DEVICES:  # the rest of /dev is this machine's and stays out of reach
        (root / "dev" / name).touch()
        _mount("none", f"/dev/{name}", root / "dev" / name, "bind")
    (root / "dev" / "fd").symlink_to("/proc/self/fd")
    for parent in Path(sys.executable).resolve().parents[:-1]:  # the image's user runs this Python
        (root / parent.relative_to("/")).chmod(0o755)
    return root


def _mount(kind: str, source: str, target: Path, options: str) -> None:
    command = ["mount", "-t", kind, "-o", options, source, target]
    subprocess.run(command, check=True, timeout=30)


def run_image(stage: Stage, artifacts: Path, question: str) -> dict[str, Any]:
    """Start the image's entry point, wait until the image is healthy, ask, and stop."""
    shutil.copytree(artifacts, stage.inside("/artifacts"), dirs_exist_ok=True)
    subprocess.run(["chown", "-R", stage.user, stage.inside("/artifacts")], check=True, timeout=60)
    _leave_the_network()
    began = time.monotonic()
    with subprocess.Popen(stage.command(stage.entry, stage.environment)) as running:
        try:
            _await_health(stage, running)
            ready_s = time.monotonic() - began
            answer = stage.run(
                ["constellation", "ask", "--json", *ENDPOINT, question], timeout_s=60
            )
            owner = stage.run(["/usr/bin/id", "-u"], timeout_s=30).strip()
        finally:
            running.send_signal(signal.SIGTERM)
        status = running.wait(timeout=60)
    return {
        "ready_s": round(ready_s, 1),
        "answer": json.loads(answer)["text"],
        "user": int(owner),
        "exit_status": status,
    }


def _await_health(stage: Stage, running: subprocess.Popen[bytes]) -> None:
    pause, began = 1.0, time.monotonic()
    check = stage.command(stage.health, stage.environment)
    while subprocess.run(check, check=False, stderr=subprocess.DEVNULL, timeout=30).returncode:
        if time.monotonic() - began > READY_S or running.poll() is not None:
            raise TimeoutError(f"the health check did not pass within {READY_S} s")
        subprocess.run(["sleep", str(pause)], check=True, timeout=30)


def _leave_the_network() -> None:
    """Move this process into a network that has nothing but loopback."""
    if ctypes.CDLL(None, use_errno=True).unshare(_NEW_NETWORK):
        raise OSError(ctypes.get_errno(), "no network of its own")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True, timeout=30)


def main() -> None:
    """Start this program again with mounts and processes of its own, which end with it."""
    if len(sys.argv) == 5:
        _inside(*sys.argv[1:])
        return
    work = tempfile.mkdtemp(dir="/run")
    own = ["--mount", "--propagation", "private", "--pid", "--fork", "--kill-child"]
    command = ["unshare", *own, "--mount-proc", sys.executable, "-m", "tools.clean_root"]
    try:
        again = subprocess.run([*command, *sys.argv[1:], work], check=False, cwd=ROOT)
    finally:
        os.rmdir(work)  # empty: all mounts ended with the processes that had made them
    raise SystemExit(again.returncode)


def _inside(file: str, artifacts: str, question: str, work: str) -> None:
    """Build and run the image below `work`, which is an empty folder."""
    _mount("tmpfs", "tmpfs", Path(work), "size=8g")
    began = time.monotonic()
    stage = build(Path(file).read_text(encoding="utf-8"), Path(work))
    built_s = time.monotonic() - began
    sized = subprocess.run(
        ["du", "-sm", stage.root.parent / "upper"], capture_output=True, text=True, check=True
    )
    found = {"built_s": round(built_s, 1), "image_mb": int(sized.stdout.split()[0])}
    found |= run_image(stage, Path(artifacts), question)
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
