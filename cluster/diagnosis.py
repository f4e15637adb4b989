"""`doctor`'s judgement: facts of a machine in, findings with the way to mend them out. Pure."""

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
"""Below this not even a few small kernels start."""
MEMORY_BYTES_COMFORT = 2_500_000_000
"""Eight small kernels, router, registry and Ray's daemons."""
SHARED_BYTES_MIN = 128 * _MIB
"""Ray's object store of 100 MiB lies in shared memory, with room to spare."""
OPEN_FILES_MIN = 4_096
"""As many callers as requests, connections of HTTP and logs that settings allow by default."""
DISK_BYTES_MIN = _GIB
"""A small training run and its checkpoints."""


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One line of a diagnosis."""

    subject: str
    level: Level
    detail: str
    """What was found."""
    mend: str = ""
    """What to do about it; empty when nothing is wrong."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PortFacts:
    """The address that clients are to reach."""

    host: str
    port: int
    free: bool
    problem: str = ""
    """What the system said when it was not."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunFacts:
    """What the state file of the run folder says."""

    endpoint: str
    """host:port; empty when it is gone."""
    pid: int
    """The launcher's; 0 when it is gone."""
    alive: bool
    """The launcher's process runs."""
    answers: bool
    """The router answers its health check."""
    kernels_down: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class ArtifactFacts:
    """What is in the artifacts' folder: its current release."""

    folder: str
    exists: bool
    num_kernels: int = 0
    problems: tuple[str, ...] = ()
    """Files that cannot be loaded or do not belong together."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MachineFacts:
    """Everything the doctor looks at. Sizes in bytes; None: it cannot be told here."""

    python: tuple[int, int, int]
    packages: dict[str, str | None]
    """Distribution -> installed version, None when it is missing."""
    requirements: Sequence[str]
    """What the project asks for, such as "numpy>=2.0"."""
    memory_free: int
    memory_total: int
    num_cores: int
    open_files: int
    """Files, connections among them, that a process may have open."""
    gpus: tuple[str, ...]
    shared_free: int | None
    disk_free: int
    port: PortFacts
    num_rays: int
    """Ray control stores that run on this machine, ours included."""
    run: RunFacts | None
    artifacts: ArtifactFacts


def diagnose(facts: MachineFacts) -> list[Finding]:
    """Return one finding per matter, in a fixed order."""
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
    """Judge a Ray that is there, but newer or older than what was tried."""
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
    detail = f"{num_cores} usable"
    if num_cores < 2:
        return _warn("cores", detail, "it works, but kernels wait for each other")
    return _ok("cores", detail)


def check_open_files(limit: int) -> Finding:
    """Judge how many connections a process can hold, each of which is an open file."""
    detail = f"{limit} at most in one process"
    if limit < OPEN_FILES_MIN:
        mend = f"callers beyond that hear nothing; ask for more: ulimit -Hn {OPEN_FILES_MIN}"
        return _warn("open files", detail, mend)
    return _ok("open files", detail)


def check_gpus(gpus: Sequence[str]) -> Finding:
    """Name the accelerators; none is needed."""
    return _ok("gpu", ", ".join(gpus) or "none; kernels run on the processor")


def check_shared(free: int | None) -> Finding:
    """Judge the shared memory that Ray's object store lies in."""
    if free is None:
        return _ok("shared memory", "this system has no /dev/shm; Ray uses files")
    detail = f"{free / _MIB:,.0f} MiB free in /dev/shm"
    if free < SHARED_BYTES_MIN:
        return _warn(
            "shared memory", detail, "Ray falls back to files; in a container: --shm-size=1g"
        )
    return _ok("shared memory", detail)


def check_disk(free: int) -> Finding:
    """Judge the disk on which artifacts and runs lie."""
    detail = f"{free / _GIB:.1f} GiB free"
    if free < DISK_BYTES_MIN:
        return _warn("disk", detail, "make room before training: checkpoints need some")
    return _ok("disk", detail)


def check_port(port: PortFacts, run: RunFacts | None) -> Finding:
    """Judge whether clients can be served where the configuration says."""
    where = f"{port.host}:{port.port}"
    if port.port == 0:
        return _ok("port", "chosen by the system at start")
    if port.free:
        return _ok("port", f"{where} is free")
    if run is not None and run.alive and run.endpoint.rpartition(":")[2] == str(port.port):
        return _ok("port", f"{where} is our own")
    return _fail("port", f"{where}: {port.problem}", "choose another: constellation up --port 0")


def check_run(run: RunFacts | None) -> Finding:
    """Judge the constellation of the run folder."""
    if run is None:
        return _ok("constellation", "none runs from here")
    if not run.alive:
        return _warn(
            "constellation", "one ran here and did not end well", "start it: constellation up"
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
        return _warn("constellation", f"{detail}: {names} down", "restarts by itself; see the logs")
    return _ok("constellation", f"{detail} answers, all kernels up")


def check_rays(num_rays: int, run: RunFacts | None) -> Finding:
    """Judge how many Rays share this machine."""
    own = int(run is not None and run.alive)
    others = max(0, num_rays - own)
    detail = f"{own} of ours, {others} other{'s' if others != 1 else ''} on this machine"
    if others:
        return _warn("ray", detail, "they share memory and cores with this one")
    return _ok("ray", detail)


def check_artifacts(artifacts: ArtifactFacts) -> Iterator[Finding]:
    """Judge what training left: one line per problem."""
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


def _warn(subject: str, detail: str, mend: str) -> Finding:
    return Finding(subject=subject, level=Level.WARN, detail=detail, mend=mend)


def _fail(subject: str, detail: str, mend: str) -> Finding:
    return Finding(subject=subject, level=Level.FAIL, detail=detail, mend=mend)
