"""Records of a release: the sha256 and size of every served file, without storage locations.

A release is a pure value. Its content is all that decides how queries are routed and answered;
version, parent, time and change place it in the history of releases.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Final

from constellation.errors import ConfigError, UnknownKernel
from constellation.releases.canonical_msgpack import Plain, pack_plain, plain
from constellation.wire.kernel_names import KERNEL_NAMES, is_kernel_name

TABLE_PATH: Final = "table.msgpack"
"""Path of the routing table in the folder of a release."""

COORDIZER: Final = "coordizer"
"""Path of the coordizer in the folder of a release."""

_SERVED = ("coordizer", "table", "kernels", "bases", "options")
"""Fields of a release that decide how queries are routed and answered."""
_CHANGE_MAX = 500
_PATH_MAX = 255
_SIZE_MAX = 2**62
_HASH = re.compile(r"[0-9a-f]{64}")
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,126}")
"""One component of a path: never hidden, never "..", valid on every file system."""


class Engine(StrEnum):
    """Type of a kernel, which decides the files it consists of."""

    DECODER = "decoder"
    """A whole kernel trained by this project."""
    ADAPTER = "adapter"
    """An adapter (small additions to weights) over a base whose files are in the release too."""
    MODEL = "model"
    """A Hugging Face model, loaded by `transformers`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Blob:
    """A file, identified by the sha256 of its content."""

    sha256: str
    """sha256 of all bytes, 64 characters of 0-9 and a-f."""
    size_bytes: int

    def __post_init__(self) -> None:
        check_hash("a blob's sha256", self.sha256)
        if not 0 <= self.size_bytes <= _SIZE_MAX:
            raise ConfigError(f"blob {self.sha256} has {self.size_bytes!r} bytes; give 0 or more")


@dataclass(frozen=True, kw_only=True, slots=True)
class KernelFiles:
    """The files of one kernel in a release."""

    name: str
    engine: Engine
    files: Mapping[str, Blob]
    """Path in the kernel's folder -> file; at least one."""
    base: str | None = None
    """Hash of an adapter's base, which must be in the release; None for all other kernels."""
    domain: Blob
    """Text record of the kernel."""

    def __post_init__(self) -> None:
        if not is_kernel_name(self.name):
            raise ConfigError(f"{self.name!r} cannot name a kernel; allowed: {KERNEL_NAMES}")
        object.__setattr__(self, "engine", _engine(self.name, self.engine))
        object.__setattr__(self, "files", checked_files(f"kernel {self.name!r}", self.files))
        if (self.engine is Engine.ADAPTER) != (self.base is not None):
            raise ConfigError(
                f"kernel {self.name!r} is a {self.engine} with the base {self.base}; an adapter "
                "needs a base, and nothing else has one"
            )

    @property
    def folders(self) -> tuple[str, ...]:
        """Folders of the kernel's files in a release: its own first, then that of its base."""
        own = f"kernels/{self.name}"
        return (own,) if self.base is None else (own, f"bases/{self.base}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """A release that is not written yet and has no version."""

    change: str
    """One line for people: what distinguishes the release from its parent."""
    parent: int | None
    """Version from which the release was made, and to which a rollback returns; None for the
    first."""
    coordizer: Mapping[str, Blob]
    """Path in the coordizer's folder -> file."""
    table: Blob
    """File of the routing table: kernels with their basins."""
    kernels: tuple[KernelFiles, ...]
    """Files of the kernels, ordered by their unique names; at least one."""
    bases: Mapping[str, Mapping[str, Blob]]
    """Hash of a base's weights -> path in its folder -> file."""
    options: Mapping[str, Plain]
    """Options of fitting coordinates and table: plain values, so that the fit can be repeated."""

    def __post_init__(self) -> None:
        _check_change(self.change)
        if self.parent is not None:
            _check_version("parent", self.parent)
        kernels = tuple(sorted(self.kernels, key=lambda kernel: kernel.name))
        _check_kernels(kernels, self.bases)
        bases = {check_hash("a base", key): self.bases[key] for key in sorted(self.bases)}
        set_field = object.__setattr__
        set_field(self, "kernels", kernels)
        set_field(self, "coordizer", checked_files("the coordizer", self.coordizer))
        set_field(self, "bases", {k: checked_files(f"base {k}", v) for k, v in bases.items()})
        set_field(self, "options", plain(self.options, "options"))

    @property
    def content_sha256(self) -> str:
        """sha256 (hex) of everything except version, parent, time and change.

        Two releases with the same content route and answer identically.
        """
        return hashlib.sha256(pack_plain(self.content())).hexdigest()

    def content(self) -> Plain:
        """Return everything that decides routes and answers, as plain values."""
        values = asdict(self)
        return plain({name: values[name] for name in _SERVED}, "release")

    def files(self) -> dict[str, Blob]:
        """Return path -> blob for all files, as laid out in the folder of a release."""
        laid_out = {f"{COORDIZER}/{path}": blob for path, blob in self.coordizer.items()}
        laid_out[TABLE_PATH] = self.table
        for kernel in self.kernels:
            folder = kernel.folders[0]
            laid_out |= {f"{folder}/{path}": blob for path, blob in kernel.files.items()}
            laid_out[f"domains/{kernel.name}.msgpack"] = kernel.domain
        for key, files in self.bases.items():
            laid_out |= {f"bases/{key}/{path}": blob for path, blob in files.items()}
        return laid_out

    def kernel(self, name: str) -> KernelFiles:
        """Return the files of a kernel.

        Raises:
            UnknownKernel: No kernel has this name.
        """
        for kernel in self.kernels:
            if kernel.name == name:
                return kernel
        raise UnknownKernel(name, [kernel.name for kernel in self.kernels])

    def blobs(self) -> set[Blob]:
        """Return the distinct blobs of all files."""
        return set(self.files().values())

    @property
    def size_bytes(self) -> int:
        """Total bytes of the distinct blobs."""
        return sum(blob.size_bytes for blob in self.blobs())


@dataclass(frozen=True, kw_only=True, slots=True)
class Release(Draft):
    """An immutable version of everything that is served."""

    version: int
    """Number of the release, from 1, ascending; never reused."""
    created_s: float
    """Time of writing, seconds since the epoch."""

    def __post_init__(self) -> None:
        Draft.__post_init__(self)
        _check_version("version", self.version)
        if self.parent is not None and self.parent >= self.version:
            raise ConfigError(f"release {self.version} cannot have the parent {self.parent}")
        object.__setattr__(self, "created_s", float(self.created_s))

    @classmethod
    def of(cls, draft: Draft, *, version: int, created_s: float) -> "Release":
        """Return a draft as a release with version and time."""
        values = {field.name: getattr(draft, field.name) for field in fields(Draft)}
        return cls(version=version, created_s=created_s, **values)


def check_hash(what: str, value: str) -> str:
    """Return `value`; raise `ConfigError` unless it is a sha256 in hexadecimal digits."""
    if _HASH.fullmatch(value) is None:
        raise ConfigError(f"{what} is {value!r}; give 64 characters of 0-9 and a-f")
    return value


def checked_files(owner: str, files: Mapping[str, Blob]) -> dict[str, Blob]:
    """Return path -> blob, sorted by path, after checking the paths.

    Raises:
        ConfigError: There is no file, a path leads out of its folder or has characters that some
            file systems change, or a path is both a file and a folder.
    """
    if not files:
        raise ConfigError(f"{owner} has no file")
    for path in files:
        parts = path.split("/")
        if len(path) > _PATH_MAX or not all(map(_PART.fullmatch, parts)):
            raise ConfigError(
                f"{owner} has a file at {path!r}; a path has at most {_PATH_MAX} characters, and "
                "parts of a-z, A-Z, 0-9, '.', '_', '+', '-' that begin with no '.'"
            )
        if clash := next((above for above in _folders(parts) if above in files), None):
            raise ConfigError(f"{owner} has {clash!r} as a file and as the folder of {path!r}")
    return {path: files[path] for path in sorted(files)}


def _folders(parts: list[str]) -> list[str]:
    return ["/".join(parts[:end]) for end in range(1, len(parts))]


def _engine(name: str, engine: str) -> Engine:
    try:
        return Engine(engine)
    except ValueError as error:
        known = ", ".join(Engine)
        raise ConfigError(f"kernel {name!r} has engine {engine!r}; known: {known}") from error


def _check_change(change: str) -> None:
    plain(change, "change")
    if not 1 <= len(change) <= _CHANGE_MAX or not change.isprintable():
        raise ConfigError(f"change is {change!r}; give one line of 1 to {_CHANGE_MAX} characters")


def _check_version(what: str, version: object) -> None:
    if not isinstance(version, int) or not 1 <= version <= _SIZE_MAX:
        raise ConfigError(f"{what} is {version!r}; versions are integers from 1")


def _check_kernels(kernels: tuple[KernelFiles, ...], bases: Mapping[str, object]) -> None:
    names = [kernel.name for kernel in kernels]
    if not names or len(set(names)) != len(names):
        raise ConfigError(f"a release needs a kernel, and every name once; got {names}")
    for kernel in kernels:
        if kernel.base is not None and kernel.base not in bases:
            raise ConfigError(
                f"kernel {kernel.name!r} needs the base {kernel.base}, which the release lacks"
            )
