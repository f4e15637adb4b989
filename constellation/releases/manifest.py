"""The records of a release: which files are served, by their hashes, and nothing of where they lie.

A release is a pure value. Its content is all that decides how queries are routed and answered; its
version, parent, time and the reason for it say where it stands among others.
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
"""Where the table of a release lies in its folder."""

COORDIZER: Final = "coordizer"
"""Where its coordizer lies there."""

_SERVED = ("coordizer", "table", "kernels", "bases", "options")
"""Fields of a release that decide how queries are routed and answered."""
_CHANGE_MAX = 500
_PATH_MAX = 255
_SIZE_MAX = 2**62
_HASH = re.compile(r"[0-9a-f]{64}")
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,126}")
"""A part of a path: it never hides, never leads up, and is the same on every file system."""


class Engine(StrEnum):
    """What kind of kernel it is, which says what files it has."""

    DECODER = "decoder"
    """A whole kernel of our own."""
    ADAPTER = "adapter"
    """A small addition over a base that lies in the release too."""
    MODEL = "model"
    """A model of `transformers`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Blob:
    """A file by its content."""

    sha256: str
    """Of all bytes, 64 characters of 0-9 and a-f."""
    size_bytes: int

    def __post_init__(self) -> None:
        check_hash("a blob's sha256", self.sha256)
        if not 0 <= self.size_bytes <= _SIZE_MAX:
            raise ConfigError(f"blob {self.sha256} has {self.size_bytes!r} bytes; give 0 or more")


@dataclass(frozen=True, kw_only=True, slots=True)
class KernelFiles:
    """The files of one kernel."""

    name: str
    engine: Engine
    files: Mapping[str, Blob]
    """Path in the kernel's folder -> file; at least one."""
    base: str | None = None
    """Hash of the base of an adapter, one of the release's; None for all others."""
    domain: Blob
    """The record of the text that it learned from."""

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
        """Where its files lie in the folder of a release: its own first, then that of its base."""
        own = f"kernels/{self.name}"
        return (own,) if self.base is None else (own, f"bases/{self.base}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """A release that is not written yet: it has no version."""

    change: str
    """One line for people: what made it another release than its parent."""
    parent: int | None
    """Version that it was made from, which a rollback goes back to; None for the first."""
    coordizer: Mapping[str, Blob]
    """Path in the coordizer's folder -> file."""
    table: Blob
    """Kernels with their basins, as routers read it."""
    kernels: tuple[KernelFiles, ...]
    """In the order of their names, which differ; at least one."""
    bases: Mapping[str, Mapping[str, Blob]]
    """Hash of a base's weights -> path in its folder -> file."""
    options: Mapping[str, Plain]
    """How coordinates and table were made: plain values, so that they can be made again."""

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
        """sha256 (hex) of everything but version, parent, time and change.

        Two releases with the same content route and answer alike.
        """
        return hashlib.sha256(pack_plain(self.content())).hexdigest()

    def content(self) -> Plain:
        """Return what is served as plain values."""
        values = asdict(self)
        return plain({name: values[name] for name in _SERVED}, "release")

    def files(self) -> dict[str, Blob]:
        """Return path -> file, for all files, laid out as those who serve read them."""
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
            UnknownKernel: There is none of this name.
        """
        for kernel in self.kernels:
            if kernel.name == name:
                return kernel
        raise UnknownKernel(name, [kernel.name for kernel in self.kernels])

    def blobs(self) -> set[Blob]:
        """Return all files by their content, each once."""
        return set(self.files().values())

    @property
    def size_bytes(self) -> int:
        """Bytes of all files, each content once."""
        return sum(blob.size_bytes for blob in self.blobs())


@dataclass(frozen=True, kw_only=True, slots=True)
class Release(Draft):
    """What is served, as one immutable thing."""

    version: int
    """From 1, rising; never used again."""
    created_s: float
    """When it was written, seconds since the epoch."""

    def __post_init__(self) -> None:
        Draft.__post_init__(self)
        _check_version("version", self.version)
        if self.parent is not None and self.parent >= self.version:
            raise ConfigError(f"release {self.version} cannot have the parent {self.parent}")
        object.__setattr__(self, "created_s", float(self.created_s))

    @classmethod
    def of(cls, draft: Draft, *, version: int, created_s: float) -> "Release":
        """Return a draft with its version and time."""
        values = {field.name: getattr(draft, field.name) for field in fields(Draft)}
        return cls(version=version, created_s=created_s, **values)


def check_hash(what: str, value: str) -> str:
    """Return a sha256, or raise `ConfigError` for what is none."""
    if _HASH.fullmatch(value) is None:
        raise ConfigError(f"{what} is {value!r}; give 64 characters of 0-9 and a-f")
    return value


def checked_files(owner: str, files: Mapping[str, Blob]) -> dict[str, Blob]:
    """Return path -> file in the order of paths.

    Raises:
        ConfigError: There is none, a path leads out of its folder or has characters that not every
            file system keeps, or a path is a file and a folder.
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
        raise ConfigError(f"kernel {name!r} has engine {engine!r}; this reads {known}") from error


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
                f"kernel {kernel.name!r} needs the base {kernel.base}, which is not here"
            )
