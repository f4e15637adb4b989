"""What the registry does when a kernel joins or leaves: files, and the life of its actor.

What the table becomes is decided in `constellation/routing/growth.py`; here it is done.
"""

import asyncio
import hashlib
import json
import logging
import shutil
from pathlib import Path
from typing import Any

import ray

from actors import _ray
from actors.kernel.process import KernelActor
from actors.spec import Announcement, DeploymentSpec
from constellation.errors import ArtifactError, GrowthRefused, IncompatibleKernels, UnknownKernel
from constellation.kernel.hugging_face.files import check_model, is_imported
from constellation.records import Table
from constellation.routing.summed_texts import SummedTexts
from constellation.wire.table_file import SITE_FILE, load_table, save_table
from constellation.wire.table_file import keep_site as keep_site_of
from constellation.wire.texts_file import load_texts

logger = logging.getLogger(__name__)

START_S = 60.0
"""Seconds a new kernel may take to load and announce itself."""

SPAWNED_FILE = "spawned_from"
"""In the folder of a spawned kernel: its parent's name, whose weights it began with."""

GONE_S = 10.0
"""Seconds that Ray may take to forget the name of a process that has ended."""


def read_candidate(spec: DeploymentSpec, name: str) -> Table:
    """Return the table of one kernel alone that lies in its folder among the artifacts.

    Raises:
        IncompatibleKernels: The kernel was trained with another vocabulary.
        GrowthRefused: A file is missing or damaged.
    """
    folder = spec.artifacts / "kernels" / name
    try:
        candidate = load_table(folder / SITE_FILE)
        if [site.name for site in candidate.sites] != [name]:
            raise ArtifactError(folder / SITE_FILE, "is another kernel's; add it again")
        _check_weights(folder, spec.artifacts / "coordizer", name)
    except ArtifactError as error:
        raise GrowthRefused(name, str(error)) from error
    return candidate


def read_texts(spec: DeploymentSpec, table: Table, kernel: str) -> SummedTexts:
    """Return what training kept of a kernel's text.

    Raises:
        UnknownKernel: The table has no such kernel.
        GrowthRefused: Nothing was kept, or it is damaged.
    """
    names = [site.name for site in table.sites]
    if kernel not in names:
        raise UnknownKernel(kernel, names)
    try:
        sources = load_texts(spec.artifacts, kernel, coordizer_hash=table.coordizer_hash)
    except ArtifactError as error:
        raise GrowthRefused(kernel, str(error)) from error
    return SummedTexts(name=kernel, corpora=sources)


def copy_weights(spec: DeploymentSpec, parent: str, child: str) -> None:
    """Give a new kernel the files of its parent, all of them or none.

    A copy that an earlier kernel of that name left, spawned like this one, is replaced.

    Raises:
        GrowthRefused: They cannot be copied, or other files of that name lie there.
    """
    kernels = spec.artifacts / "kernels"
    part = kernels / f".{child}.part"
    try:
        shutil.rmtree(part, ignore_errors=True)
        shutil.copytree(kernels / parent, part, ignore=shutil.ignore_patterns(SITE_FILE))
        (part / SPAWNED_FILE).write_text(parent + "\n", encoding="utf-8")
        if (kernels / child / SPAWNED_FILE).exists():
            shutil.rmtree(kernels / child)
        part.rename(kernels / child)
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        raise GrowthRefused(
            child, f"cannot write {kernels / child}: {error.strerror}; move away what lies there"
        ) from error


async def store_table(spec: DeploymentSpec, name: str, table: Table) -> None:
    """Write the table of the artifacts, by which a restart finds the same kernels.

    Raises:
        GrowthRefused: It cannot be written.
    """
    try:
        await asyncio.to_thread(save_table, spec.stored_table_path, table)
    except OSError as error:
        raise GrowthRefused(
            name, f"cannot write {spec.stored_table_path}: {error.strerror}"
        ) from error


async def keep_site(spec: DeploymentSpec, name: str) -> None:
    """Keep beside a kernel's weights where it routes from, so that it can be taken back.

    Raises:
        GrowthRefused: That cannot be written.
    """

    def keep() -> None:
        keep_site_of(spec.artifacts, load_table(spec.stored_table_path), name)

    try:
        await asyncio.to_thread(keep)
    except OSError as error:
        raise GrowthRefused(
            name, f"cannot write {spec.artifacts / 'kernels' / name}: {error.strerror}"
        ) from error


async def start_kernel(
    spec: DeploymentSpec, member: str, actor: Any | None, name: str
) -> tuple[Any, Announcement]:
    """Let a process serve a kernel that was placed there; nobody is told of it yet.

    Args:
        spec: Of the deployment.
        member: The process.
        actor: Its actor; None: it has to be started.
        name: Of the kernel.

    Returns:
        The actor, and what is true of the process now.

    Raises:
        GrowthRefused: It did not come up.
    """
    try:
        async with asyncio.timeout(START_S):
            if actor is None:
                actor = _ray.create(KernelActor, member, spec, member)
                announcement: Announcement = await actor.where.remote()
            else:
                announcement = await actor.join.remote(name)
    except (ray.exceptions.RayActorError, TimeoutError) as error:
        logger.warning("member did not come up", extra={"member": member, "reason": repr(error)})
        raise GrowthRefused(
            name, f"its process did not come up; {spec.log_path(_ray.REGISTRY)} says why"
        ) from error
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, ArtifactError):
            raise GrowthRefused(name, str(error.cause)) from error
        raise
    return actor, announcement


async def withdraw(spec: DeploymentSpec, member: str, actor: Any | None, name: str) -> None:
    """Undo `start_kernel`.

    Args:
        spec: Of the deployment.
        member: The process.
        actor: Its actor when others are served there; None ends it.
        name: Of the kernel.
    """
    if actor is None:
        await remove(spec, member)
    else:
        await let_leave(spec, name, actor)


async def let_leave(spec: DeploymentSpec, name: str, actor: Any) -> None:
    """Let a kernel that no query goes to any more finish what it is doing and leave its process."""
    try:
        # No answer may take longer than this.
        async with asyncio.timeout(spec.router.timeout_s + 1):
            await actor.leave.remote(name, spec.router.timeout_s)
    except (ray.exceptions.RayActorError, TimeoutError) as error:
        logger.warning("kernel did not leave", extra={"kernel": name, "reason": str(error)})
    logger.info("kernel left", extra={"kernel": name})


async def let_go(spec: DeploymentSpec, member: str, actor: Any) -> None:
    """Let an actor that no query goes to any more finish what it is doing; then end it."""
    try:
        # No answer may take longer than this.
        async with asyncio.timeout(spec.router.timeout_s + 1):
            await actor.drain.remote(spec.router.timeout_s)
    except (ray.exceptions.RayActorError, TimeoutError) as error:
        logger.warning("member did not drain", extra={"member": member, "reason": str(error)})
    await remove(spec, member)
    logger.info("member left", extra={"member": member})


async def remove(spec: DeploymentSpec, member: str) -> None:
    """End an actor for good and wait until its name is free again."""
    _ray.remove(member, spec.namespace)
    for _ in range(round(GONE_S / 0.05)):
        if _ray.find(member, spec.namespace) is None:
            return
        await asyncio.sleep(0.05)
    logger.warning("member still has a name", extra={"member": member})


def _check_weights(folder: Path, coordizer: Path, name: str) -> None:
    """Refuse a whole kernel that is damaged or speaks other tokens; adapters show it when loaded.

    A model of `transformers` has tokens of its own. Read here without torch, which would stay in
    the registry's memory.
    """
    if is_imported(folder):
        check_model(folder)
        return
    path = folder / "kernel.json"
    if not path.exists():
        return
    from constellation.coordizer.artifacts import read_vocabulary

    try:
        described = json.loads(path.read_text(encoding="utf-8"))
        tokenizer_hash, weights_hash = described["tokenizer_hash"], described["weights_sha256"]
        with (folder / "weights.safetensors").open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(folder, f"is no whole kernel: {error!r}") from error
    if found != weights_hash:
        raise ArtifactError(folder, "its weights are not those of kernel.json; copy both again")
    if tokenizer_hash != read_vocabulary(coordizer).sha256():
        raise IncompatibleKernels(name)
