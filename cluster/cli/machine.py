"""Collect facts about this machine for `plan` and `doctor`: packages, memory, ports, artifacts."""

import shutil
import socket
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from cluster import state_file
from cluster.cli.connection import client_at
from cluster.diagnosis import (
    ArtifactFacts,
    MachineFacts,
    PortFacts,
    RunFacts,
    parse_requirement,
)
from cluster.open_files import open_files_limit
from constellation.errors import ArtifactError, ConstellationError
from constellation.machine_limits import usable_cores, usable_memory

if TYPE_CHECKING:
    from constellation.kernel.network.config import KernelConfig
    from constellation.records import Table
    from constellation.releases.manifest import Release
    from constellation.releases.store import ReleaseStore
    from constellation.settings import Settings

DISTRIBUTION = "constellation-runtime"
_LOOK_S = 3.0
"""Seconds a running constellation may take to answer."""
_SHARED = Path("/dev/shm")


def look(settings: "Settings") -> MachineFacts:
    """Return the facts that `doctor` judges."""
    requirements = [
        line for line in metadata.requires(DISTRIBUTION) or [] if "extra ==" not in line
    ]
    names = [found[0] for found in map(parse_requirement, requirements) if found]
    memory = usable_memory()
    return MachineFacts(
        python=sys.version_info[:3],
        packages={name: _version(name) for name in names},
        requirements=requirements,
        memory_free=memory.available_bytes,
        memory_total=memory.total_bytes,
        num_cores=usable_cores(),
        open_files=open_files_limit(),
        gpus=_gpus(),
        shared_free=shutil.disk_usage(_SHARED).free if _SHARED.exists() else None,
        disk_free=shutil.disk_usage(Path.cwd()).free,
        port=_port(settings.serve.host, settings.serve.port),
        num_rays=_num_rays(),
        run=_run(settings),
        artifacts=_artifacts(settings.artifacts),
    )


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _gpus() -> tuple[str, ...]:
    import torch

    return tuple(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))


def _port(host: str, port: int) -> PortFacts:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.create_server((host, port), family=family):
            return PortFacts(host=host, port=port, free=True)
    except OSError as error:
        problem = error.strerror or str(error)
        return PortFacts(host=host, port=port, free=False, problem=problem)


def _num_rays() -> int:
    names = (process.info["name"] for process in psutil.process_iter(["name"]))
    return sum(name == "gcs_server" for name in names)


def _run(settings: "Settings") -> RunFacts | None:
    gone = RunFacts(endpoint="", pid=0, alive=False, answers=False)
    try:
        found = state_file.running(settings.run_dir)
    except ArtifactError:
        return gone
    if found is None:
        return gone if (settings.run_dir / state_file.STATE_FILE).exists() else None
    return _ask(settings, found)


def _ask(settings: "Settings", found: state_file.RunState) -> RunFacts:
    from constellation.client import Timeouts

    timeouts = Timeouts(connect_s=_LOOK_S, lookup_s=_LOOK_S)
    try:
        with client_at(found.endpoint, settings.security, timeouts) as client:
            kernels = client.status().kernels
    except ConstellationError:
        return RunFacts(endpoint=found.endpoint, pid=found.pid, alive=True, answers=False)
    return RunFacts(
        endpoint=found.endpoint,
        pid=found.pid,
        alive=True,
        answers=True,
        kernels_down=tuple(kernel.name for kernel in kernels if not kernel.up),
    )


def _artifacts(folder: Path) -> ArtifactFacts:
    """Load all files of the current release, as `up` would, one kernel at a time; list problems."""
    from constellation.releases.store import ReleaseStore

    store = ReleaseStore(folder)
    try:
        if store.current() is None:
            return ArtifactFacts(folder=str(folder), exists=False)
        release = store.read_current()
        problems = _damaged(store, release)
        if not problems:
            problems = _problems(store.current_folder(), store.table(release))
    except ArtifactError as error:
        return ArtifactFacts(folder=str(folder), exists=True, problems=(str(error),))
    return ArtifactFacts(
        folder=str(folder),
        exists=True,
        num_kernels=len(release.kernels),
        problems=tuple(problems),
    )


def _damaged(store: "ReleaseStore", release: "Release") -> list[str]:
    """Return a message for each file of a release whose content does not match its hash."""
    problems = []
    for path, blob in release.files().items():
        try:
            store.blobs.verify(blob)
        except ArtifactError as error:
            problems.append(f"{path} of release {release.version}: {error}")
    return problems


def served_shape(folder: Path) -> tuple[int, "KernelConfig"]:
    """Return the number of kernels of an artifacts folder, and the shape of the largest.

    Raises:
        ArtifactError: The folder has no release, or no kernel of the project's own architecture.
    """
    from constellation.kernel.adapters.kernel_folder import open_kernel
    from constellation.kernel.files.own_vocabulary import has_own_vocabulary
    from constellation.releases.store import ReleaseStore

    store = ReleaseStore(folder)
    names = [kernel.name for kernel in store.read_current().kernels]
    own = [store.current_folder() / "kernels" / name for name in names]
    own = [kernel for kernel in own if not has_own_vocabulary(kernel)]
    if not own:
        raise ArtifactError(
            folder, "has no kernel of this project's own architecture; give --preset"
        )
    configs = (open_kernel(kernel).decoder.config for kernel in own)
    return len(names), max(configs, key=lambda config: config.num_parameters())


def _problems(folder: Path, table: "Table") -> list[str]:
    """Return a message for each file of a release that cannot be loaded or does not match."""
    from constellation.coordizer.coordizer import Coordizer
    from constellation.kernel.adapters.kernel_folder import open_kernel
    from constellation.kernel.files.own_vocabulary import (
        check_own_vocabulary,
        has_own_vocabulary,
    )

    problems = []
    expected = None
    try:
        coordizer = Coordizer.load(folder / "coordizer")
        expected = coordizer.tokenizer_hash
        if coordizer.hash != table.coordizer_hash:
            problems.append(f"{folder / 'table.msgpack'}: was made with another coordizer")
    except ArtifactError as error:
        problems.append(str(error))
    for name in [site.name for site in table.sites]:
        try:
            if has_own_vocabulary(folder / "kernels" / name):
                check_own_vocabulary(folder / "kernels" / name)
                continue
            found = open_kernel(folder / "kernels" / name).tokenizer_hash
            if expected is not None and found != expected:
                problems.append(f"kernel {name!r} was trained with another vocabulary")
        except ArtifactError as error:
            problems.append(str(error))
    return problems


def decode_speed(config: "KernelConfig", *, budget_s: float = 1.0) -> float:
    """Measure how many tokens per second one kernel of this shape writes on one core.

    The weights are random: the speed does not depend on their values. The first tokens warm up and
    are not counted; the median time of the other tokens is taken, so that a pause does not matter.
    """
    import statistics

    import torch

    from constellation.kernel.network.decoder import Decoder
    from constellation.kernel.writing.fast_products import prepare
    from constellation.kernel.writing.generation import Generation
    from constellation.records import Sampling

    warm_up, least = 4, 8
    torch.set_num_threads(1)
    num_tokens = max(warm_up + least, config.context // 2)
    decoder = prepare(Decoder(config, seed=0).eval())
    writing = Generation(decoder, [1], Sampling(tokens_max=num_tokens, seed=0), None)
    seconds: list[float] = []
    started_s = time.perf_counter()
    for index in range(num_tokens - 1):
        before_s = time.perf_counter()
        writing.step()
        if index >= warm_up:
            seconds.append(time.perf_counter() - before_s)
        if len(seconds) >= least and time.perf_counter() - started_s > budget_s:
            break
    return 1 / statistics.median(seconds)
