"""KernelGroup: the kernels of one process, which join, leave and take new weights while they serve.

A plain class: tests build it without Ray. `actors/kernel/process.py` runs it in an actor.
"""

import asyncio
import ctypes
import gc
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from actors.kernel.ensemble_partner import Partners
from actors.kernel.host import KernelHost
from actors.kernel.server import KernelServer
from actors.kernel.step_loop import StepLoop
from actors.spec import DeploymentSpec
from constellation.errors import ArtifactError
from constellation.records import Table
from constellation.releases.manifest import COORDIZER, Engine, KernelFiles
from constellation.releases.store import ReleaseStore
from constellation.releases.switch_plan import have_same_files

if TYPE_CHECKING:
    from actors.kernel.engine_interface import PlacedEngine
    from actors.kernel.engines import Engines
    from constellation.kernel.network.devices import ServingDevice
    from constellation.kernel.writing.batch import Batch

logger = logging.getLogger(__name__)


class KernelGroup:
    """Serves several kernels behind one server.

    Attributes:
        server: What they have in common.
    """

    def __init__(
        self,
        spec: DeploymentSpec,
        where: "ServingDevice | None" = None,
        *,
        releases: ReleaseStore | None = None,
    ) -> None:
        """Prepare a group without kernels.

        Args:
            spec: The deployment.
            where: Device of the kernels; None opens the one that the deployment names.
            releases: Where the files of kernels are read; None means in the artifacts.
        """
        self.server = KernelServer()
        self._spec = spec
        self._where = where
        self._store = ReleaseStore(spec.artifacts) if releases is None else releases
        self._hosts: dict[str, KernelHost] = {}
        self._partners = Partners(spec.token, spec.client_tls)
        self._loops: dict[Batch, StepLoop] = {}
        self._loaded: _Loaded
        self._next: _Loaded | None = None
        # A registry that died may have asked, and the next one may ask the same.
        self._changing = asyncio.Lock()

    @property
    def names(self) -> tuple[str, ...]:
        """Whom it serves."""
        return tuple(self._hosts)

    @property
    def release(self) -> int:
        """Number of the release that the kernels are of."""
        return self._loaded.release

    async def load(self, names: tuple[str, ...], release: int | None) -> None:
        """Load the first kernels, of the current release if `release` is None.

        Damaged kernels are left out, so that the others can answer.

        Raises:
            ArtifactError: None of them is whole, or there is no such release.
        """
        self._loaded = await asyncio.to_thread(self._read, names, release, lenient=True)
        for name, engine in self._loaded.engines.items():
            self._host(name, engine)

    async def join(self, kernel: str, release: int) -> None:
        """Serve one more kernel of a release; nothing happens when it is served already.

        Raises:
            ArtifactError: A file is damaged, or of another vocabulary.
        """
        async with self._changing:
            if kernel not in self._hosts:
                await self._join(kernel, release)

    async def _join(self, kernel: str, release: int) -> None:
        loaded = self._loaded
        files = await asyncio.to_thread(lambda: self._store.read(release).kernel(kernel))
        folder = await asyncio.to_thread(folder_of, self._store, release, files)
        read = await asyncio.to_thread(loaded.maker.read, folder)
        # Where models run: its numbers join those of kernels that may be answering.
        engine = await self.server.thread.submit(read.place)
        loaded.engines[kernel], loaded.files[kernel] = engine, files
        self._host(kernel, engine)
        del read
        await asyncio.to_thread(_return_memory)

    async def leave(self, kernel: str, grace_s: float) -> None:
        """Serve a kernel no more once it has finished what it is doing, or after `grace_s`."""
        host = self._hosts.pop(kernel, None)
        if host is None:
            return
        engine = self._loaded.engines.pop(kernel)
        del self._loaded.files[kernel]
        try:
            async with asyncio.timeout(grace_s):
                await host.end()
        except TimeoutError:
            # Its place in a stack stays its own, since somebody may still be reading there.
            logger.warning("kernel did not finish", extra={"kernel": kernel})
        else:
            await self.server.thread.submit(engine.close)
        self.server.remove(kernel)

    async def load_next(self, release: int) -> None:
        """Load the kernels of a release beside what is served, if any of their files is another.

        A kernel that the release lacks is about to leave, and goes on as it is.

        Raises:
            ArtifactError: A file is damaged, or of another vocabulary than what is served.
            NotEnoughMemory: The device has no room for both releases.
        """
        async with self._changing:
            await self._load_next(release)

    async def _load_next(self, release: int) -> None:
        served = self._loaded
        files = await asyncio.to_thread(_files_of, self._store, release)
        names = tuple(name for name in served.engines if name in files)
        if all(have_same_files(served.files[name], files[name]) for name in names):
            self._next = _Loaded(served.maker, release)  # nothing to replace
            return
        changed = [files[name] for name in names]
        await asyncio.to_thread(self._check_room, changed, release)
        loaded = await asyncio.to_thread(self._read, names, release)
        for name, engine in loaded.engines.items():
            known = served.engines.get(name, engine)  # it may have left meanwhile
            if engine.tokenizer_hash != known.tokenizer_hash:
                raise ArtifactError(name, "was trained with another vocabulary")
        self._next = loaded

    async def take_next(self, release: int) -> None:
        """Serve the kernels of a release from now on.

        Raises:
            ArtifactError: As `load_next`, when they have not been loaded yet: by a process that was
                started again meanwhile, with the kernels of the release before.
        """
        async with self._changing:
            if self._loaded.release != release:
                if self._next is None or self._next.release != release:
                    await self._load_next(release)
                self._take_next()
            self._next = None
        await asyncio.to_thread(_return_memory)

    def _take_next(self) -> None:
        taken, served = self._next, self._loaded
        assert taken is not None
        if taken.engines:
            self._loops.clear()
        for name in taken.engines.keys() & self._hosts.keys():
            engine = taken.engines[name]
            self._hosts[name].replace(engine, self._loop_of(engine))
            logger.info("kernel reloaded", extra={"kernel": name, "weights": engine.weights_hash})
        taken.engines = {
            name: taken.engines.get(name, each) for name, each in served.engines.items()
        }
        if taken.files:  # else the files are still those of the release before
            self._store.let_go(but=taken.release)
        taken.files = {name: taken.files.get(name, each) for name, each in served.files.items()}
        self._loaded = taken

    def _check_room(self, files: Sequence[KernelFiles], release: int) -> None:
        """Refuse a release that does not fit beside the one that is served."""
        maker = self._loaded.maker
        folders = [folder_of(self._store, release, each) for each in files]
        maker.check_room(folders, cache_bytes=maker.cache_bytes)

    def forget_next(self) -> None:
        """Drop what `load_next` loaded."""
        self._next = None

    def _host(self, name: str, engine: "PlacedEngine") -> None:
        self._hosts[name] = KernelHost(
            name,
            engine,
            slots=self._spec.kernel.slots,
            queue_max=self._spec.kernel.queue_max,
            server=self.server,
            loop=self._loop_of(engine),
            partners=self._partners,
            coordizer_folder=self._coordizer_folder,
        )

    def _coordizer_folder(self, table: Table) -> Path:
        """Return where the coordizer of a table lies; may make a view of its release."""
        return self._store.part(table.release, COORDIZER) / COORDIZER

    def _read(
        self, names: tuple[str, ...], release: int | None, *, lenient: bool = False
    ) -> "_Loaded":
        """Load kernels of a release.

        A lenient reader leaves out damaged ones, if others can answer.
        """
        version = self._store.read_current().version if release is None else release
        with _collector_off():
            return self._load(names, version, lenient=lenient)

    def _load(self, names: tuple[str, ...], release: int, *, lenient: bool) -> "_Loaded":
        # torch is imported here, before serving: importing it later would stop the event loop.
        from actors.kernel.engines import Engines

        coordizer = self._store.part(release, COORDIZER) / COORDIZER
        maker = Engines(self._spec, coordizer, where=self._where)
        self._where = maker.where  # opened once for the process
        loaded = _Loaded(maker, release)
        damage: ArtifactError | None = None
        files = _files_of(self._store, release)
        # Adapters first: a kernel that may be their base is best placed after them.
        known = sorted(
            (name for name in names if name in files),
            key=lambda name: files[name].engine is not Engine.ADAPTER,
        )
        for name in known:
            try:
                folder = folder_of(self._store, release, files[name])
                loaded.engines[name] = loaded.maker.read(folder).place()
                loaded.files[name] = files[name]
            except ArtifactError as error:
                if not lenient:
                    raise
                logger.error("kernel is damaged", extra={"kernel": name, "error": str(error)})
                damage = error
        if damage is not None and not loaded.engines:
            raise damage
        loaded.engines = {name: loaded.engines[name] for name in names if name in loaded.engines}
        return loaded

    def _loop_of(self, engine: "PlacedEngine") -> StepLoop | None:
        """Return what steps an engine's stack; None for one that stands by itself."""
        if engine.stacked is None:
            return None
        if engine.stacked not in self._loops:
            self._loops[engine.stacked] = StepLoop(engine.step, self.server.thread)
        return self._loops[engine.stacked]


class _Loaded:
    """The engines of all kernels of a process, and the files that each was made of."""

    def __init__(self, maker: "Engines", release: int) -> None:
        self.maker = maker
        self.release = release
        self.engines: dict[str, PlacedEngine] = {}
        self.files: dict[str, KernelFiles] = {}


@contextmanager
def _collector_off() -> Iterator[None]:
    """Look for no garbage meanwhile, and once at the end.

    Importing torch makes some hundred thousand objects that stay. Python would look through them
    again and again, which costs a tenth or so of a kernel's start.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        _return_memory()


def folder_of(store: ReleaseStore, release: int, files: KernelFiles) -> Path:
    """Return the folder of a kernel of a release; damage to others does not matter.

    Raises:
        ArtifactError: A file of the kernel, or of its base, is missing or damaged.
    """
    return store.part(release, *files.folders) / files.folders[0]


def _files_of(store: ReleaseStore, release: int) -> dict[str, KernelFiles]:
    return {kernel.name: kernel for kernel in store.read(release).kernels}


def _return_memory() -> None:
    """Give what importing and loading freed back to the system: glibc keeps it otherwise."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc only
    if trim is not None:
        trim(0)
