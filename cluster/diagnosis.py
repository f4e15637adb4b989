"""Judge the facts of a machine for `doctor`: facts in, findings with their remedies out. Pure."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from cluster.ray_versions import TRIED, untried

_GIB = 2**30
_MIB = 2**20
_NAME = re.compile(r"([A-Za-z0-9_.-]+)(?:\[[^]]*\])?")
_LEAST = re.compile(r"(?:>=|==)\s*([0-9.]+)")

MEMORY_BYTES_MIN = _GIB
"""Below this free memory not even a few small kernels start."""
MEMORY_BYTES_COMFORT = 2_500_000_000
"""Free memory for eight small kernels, router, registry and Ray's daemons."""
SHARED_BYTES_MIN = 128 * _MIB
"""Least free shared memory: Ray's object store of 100 MiB lies there, with some reserve."""
OPEN_FILES_MIN = 4_096
"""As many callers as requests, connections of HTTP and logs that settings allow by default."""
DISK_BYTES_MIN = _GIB
"""Free disk space for a small training run and its checkpoints."""


class Level(StrEnum):
    """How serious a finding is: ok, a warning, or a failure that prevents a start."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One line of the diagnosis: what was checked, the result, and the remedy."""

    subject: str
    level: Level
    detail: str
    """What the check found."""
    mend: str = ""
    """The remedy for the user; empty when nothing is wrong."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PortFacts:
    """Whether the address for clients can be listened on."""

    host: str
    port: int
    free: bool
    problem: str = ""
    """The system's error message when the port is not free."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunFacts:
    """State of the constellation that the run folder's state file describes."""

    endpoint: str
    """host:port of the router; empty when the constellation has ended."""
    pid: int
    """Process id of the launcher; 0 when the constellation has ended."""
    alive: bool
    """Whether the launcher's process runs."""
    answers: bool
    """Whether the router answers its health check."""
    kernels_down: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class ArtifactFacts:
    """State of the artifacts folder's current release."""

    folder: str
    exists: bool
    num_kernels: int = 0
    problems: tuple[str, ...] = ()
    """Messages about files that cannot be loaded or do not belong together."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MachineFacts:
    """All facts that `diagnose` judges. Sizes in bytes; None where the system does not say."""

    python: tuple[int, int, int]
    packages: dict[str, str | None]
    """Distribution -> installed version, None when it is missing."""
    requirements: Sequence[str]
    """Requirements of the project, such as "numpy>=2.0"."""
    memory_free: int
    memory_total: int
    num_cores: int
    open_files: int
    """Largest number of files, network connections included, that a process may have open."""
    gpus: tuple[str, ...]
    shared_free: int | None
    disk_free: int
    port: PortFacts
    num_rays: int
    """Ray control stores that run on this machine, this project's included."""
    run: RunFacts | None
    artifacts: ArtifactFacts


def diagnose(facts: MachineFacts) -> list[Finding]:
    """Return the findings of all checks, in a fixed order."""
    return [
        check_python(facts.python),
        *check_packages(facts.packages, facts.requirements),
        *check_ray_version(facts.packages.get("ray")),
        check_memory(facts.memory_free, facts.memory_total),
        check_cores(facts.num_cores),
        check_open_files(facts.open_files),
        check_gpus(facts.gpus),
        check_shared(facts.shared_free),
        check_disk(facts.disk_free),
        check_port(facts.port, facts.run),
        check_run(facts.run),
        check_rays(facts.num_rays, facts.run),
        *check_artifacts(facts.artifacts),
    ]


def check_python(version: tuple[int, int, int]) -> Finding:
    """Judge the Python version."""
    shown = ".".join(map(str, version))
    if version < (3, 11, 0):
        return _fail("python", shown, "use Python 3.11 or newer")
    return _ok("python", shown)


def parse_requirement(line: str) -> tuple[str, str] | None:
    """Return name and least version of a plain requirement; None for conditional ones."""
    name, least = _NAME.match(line), _LEAST.search(line)
    return None if name is None or least is None or ";" in line else (name[1], least[1])


def check_packages(
    packages: dict[str, str | None], requirements: Sequence[str]
) -> Iterator[Finding]:
    """Judge every required package; packages that are as they should be share one line."""
    good = []
    for name, least in filter(None, map(parse_requirement, requirements)):
        found = packages.get(name)
        if found is None:
            yield _fail(name, "is not installed", "make setup")
        elif _numbers(found) < _numbers(least):
            yield _fail(name, f"{found} is older than {least}", "make setup")
        else:
            good.append(f"{name} {found}")
    if good:
        yield _ok("packages", ", ".join(good))


def check_ray_version(found: str | None) -> Iterator[Finding]:
    """Warn about an installed Ray that is newer or older than the tested versions."""
    note = None if found is None else untried(found)
    if note is not None:
        yield _warn("ray version", note, f"pip install 'ray[default,train]{TRIED}'")


def _numbers(version: str) -> tuple[int, ...]:
    """Return the leading numbers of a version: 2.13.0+cpu -> (2, 13, 0)."""
    found = re.match(r"\d+(?:\.\d+)*", version)
    parts = [int(part) for part in found[0].split(".")] if found else []
    while parts and parts[-1] == 0:
        parts.pop()  # 2.0 and 2.0.0 are the same
    return tuple(parts)


def check_memory(free: int, total: int) -> Finding:
    """Judge the free memory."""
    detail = f"{free / _GIB:.1f} GiB free of {total / _GIB:.1f}"
    if free < MEMORY_BYTES_MIN:
        return _fail("memory", detail, "end other programs, or use a machine with more")
    if free < MEMORY_BYTES_COMFORT:
        return _warn("memory", detail, "enough for few kernels; see: constellation plan")
    return _ok("memory", detail)


def check_cores(num_cores: int) -> Finding:
    """Judge the processor cores."""
    mend = "it works, but kernels wait for each other"
    return _ok_if(num_cores >= 2, "cores", f"{num_cores} usable", mend)


def check_open_files(limit: int) -> Finding:
    """Judge how many connections a process can hold, each of which is an open file."""
    mend = f"more callers than that get no answer; raise the limit: ulimit -Hn {OPEN_FILES_MIN}"
    detail = f"{limit} at most in one process"
    return _ok_if(limit >= OPEN_FILES_MIN, "open files", detail, mend)


def check_gpus(gpus: Sequence[str]) -> Finding:
    """Name the accelerators; none is needed."""
    return _ok("gpu", ", ".join(gpus) or "none; kernels run on the processor")


def check_shared(free: int | None) -> Finding:
    """Judge the shared memory that Ray's object store lies in."""
    if free is None:
        return _ok("shared memory", "this system has no /dev/shm; Ray uses files")
    detail = f"{free / _MIB:,.0f} MiB free in /dev/shm"
    mend = "Ray falls back to files; in a container: --shm-size=1g"
    return _ok_if(free >= SHARED_BYTES_MIN, "shared memory", detail, mend)


def check_disk(free: int) -> Finding:
    """Judge the disk on which artifacts and runs lie."""
    mend = "make room before training: checkpoints need some"
    return _ok_if(free >= DISK_BYTES_MIN, "disk", f"{free / _GIB:.1f} GiB free", mend)


def check_port(port: PortFacts, run: RunFacts | None) -> Finding:
    """Judge whether the configured address for clients can be listened on."""
    where = f"{port.host}:{port.port}"
    if port.port == 0:
        return _ok("port", "chosen by the system at start")
    if port.free:
        return _ok("port", f"{where} is free")
    if run is not None and run.alive and run.endpoint.rpartition(":")[2] == str(port.port):
        return _ok("port", f"{where} is used by the running constellation")
    return _fail("port", f"{where}: {port.problem}", "choose another: constellation up --port 0")


def check_run(run: RunFacts | None) -> Finding:
    """Judge the constellation that runs from the run folder."""
    if run is None:
        return _ok("constellation", "none runs from this run folder")
    if not run.alive:
        return _warn(
            "constellation",
            "one ran from this run folder and ended without `constellation down`",
            "start it again: constellation up",
        )
    detail = f"process {run.pid} at {run.endpoint}"
    if not run.answers:
        return _fail(
            "constellation",
            f"{detail} does not answer",
            "wait a few seconds; then: constellation down && constellation up",
        )
    if run.kernels_down:
        names = ", ".join(run.kernels_down)
        return _warn(
            "constellation",
            f"{detail}: {names} down",
            "these kernels are restarted automatically; see the logs",
        )
    return _ok("constellation", f"{detail} answers, all kernels up")


def check_rays(num_rays: int, run: RunFacts | None) -> Finding:
    """Judge how many Ray instances share this machine."""
    own = int(run is not None and run.alive)
    others = max(0, num_rays - own)
    detail = (
        f"{own} of this constellation, {others} other{'s' if others != 1 else ''} on this machine"
    )
    mend = "other Rays take memory and cores from the constellation"
    return _ok_if(not others, "ray", detail, mend)


def check_artifacts(artifacts: ArtifactFacts) -> Iterator[Finding]:
    """Judge the artifacts folder: one finding per problem."""
    if not artifacts.exists:
        yield _warn(
            "artifacts", f"{artifacts.folder} has no release", "train: constellation train starter"
        )
        return
    for problem in artifacts.problems:
        yield _fail("artifacts", problem, "train again, or copy the folder again")
    if not artifacts.problems:
        yield _ok(
            "artifacts",
            f"{artifacts.folder}: coordizer, table and {artifacts.num_kernels} kernels load and "
            "belong together",
        )


def _ok(subject: str, detail: str) -> Finding:
    return Finding(subject=subject, level=Level.OK, detail=detail)


def _ok_if(fine: bool, subject: str, detail: str, mend: str) -> Finding:
    return _ok(subject, detail) if fine else _warn(subject, detail, mend)


def _warn(subject: str, detail: str, mend: str) -> Finding:
    return Finding(subject=subject, level=Level.WARN, detail=detail, mend=mend)


def _fail(subject: str, detail: str, mend: str) -> Finding:
    return Finding(subject=subject, level=Level.FAIL, detail=detail, mend=mend)
