"""The manifest of a release as a file: canonical msgpack with its digest, read strictly."""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from constellation.errors import ArtifactError, ConfigError
from constellation.releases.canonical_msgpack import Plain, plain, seal, unseal
from constellation.releases.manifest import Blob, Engine, KernelFiles, Release

SCHEMA_VERSION: Final = 1
MANIFEST_BYTES_MAX: Final = 64 * 1024 * 1024
"""Largest manifest that is written, and read: over 100,000 kernels."""

ValueT = TypeVar("ValueT")

_ABOUT: Final = ("version", "parent", "created_s", "change")


def pack_release(release: Release) -> bytes:
    """Return a release as its manifest's bytes; the same release has the same bytes.

    Raises:
        ConfigError: They are more than what would be read.
    """
    about = {name: getattr(release, name) for name in _ABOUT} | {"content": release.content()}
    data = seal(plain(about, "release"), schema=SCHEMA_VERSION)
    if len(data) > MANIFEST_BYTES_MAX:
        raise ConfigError(
            f"the manifest of {len(release.kernels)} kernels would have {len(data)} bytes, and at "
            f"most {MANIFEST_BYTES_MAX} are read; serve fewer kernels from one release"
        )
    return data


def unpack_release(data: bytes, *, source: object = "manifest") -> Release:
    """Return the release in these bytes.

    Raises:
        ArtifactError: They are damaged, of another schema, or name files outside of the release's
            folder; names `source`.
    """
    about = unseal(data, schema=SCHEMA_VERSION, bytes_max=MANIFEST_BYTES_MAX, source=source)
    try:
        return _release(about)
    except (ConfigError, TypeError, ValueError) as error:
        raise ArtifactError(source, f"is no manifest of a release: {error}") from error


def _release(about: Plain) -> Release:
    own = _fields(about, *_ABOUT, "content")
    content = _fields(own["content"], "coordizer", "table", "kernels", "bases", "options")
    return Release(
        version=_typed(own["version"], int),
        parent=None if own["parent"] is None else _typed(own["parent"], int),
        created_s=_typed(own["created_s"], float),
        change=_typed(own["change"], str),
        coordizer=_each(content["coordizer"], _blob),
        table=_blob(content["table"]),
        kernels=tuple(map(_kernel, _typed(content["kernels"], tuple))),
        bases=_each(content["bases"], lambda files: _each(files, _blob)),
        options=_typed(content["options"], dict),
    )


def _kernel(value: Plain) -> KernelFiles:
    own = _fields(value, "name", "engine", "files", "base", "domain")
    return KernelFiles(
        name=_typed(own["name"], str),
        engine=Engine(_typed(own["engine"], str)),
        files=_each(own["files"], _blob),
        base=None if own["base"] is None else _typed(own["base"], str),
        domain=_blob(own["domain"]),
    )


def _blob(value: Plain) -> Blob:
    own = _fields(value, "sha256", "size_bytes")
    return Blob(sha256=_typed(own["sha256"], str), size_bytes=_typed(own["size_bytes"], int))


def _each(value: Plain, read: Callable[[Plain], ValueT]) -> Mapping[str, ValueT]:
    return {key: read(each) for key, each in _typed(value, dict).items()}


def _fields(value: Plain, *names: str) -> dict[str, Any]:
    """Return a mapping that has exactly these keys."""
    found: dict[str, Any] = _typed(value, dict)
    if set(found) != set(names):
        raise ValueError(f"it has {sorted(found)}; {sorted(names)} are needed")
    return found


def _typed(value: Any, kind: type[ValueT]) -> ValueT:
    """Return a value of exactly this type: a bool is no integer here."""
    if type(value) is not kind:
        raise TypeError(f"{value!r} is a {type(value).__name__}; {kind.__name__} is needed")
    return value
