"""Basin signature: a kernel's basin, couplings and Phi in a file of 2 to 4 KB.

    {"format": "constellation-signature", "version": 1, "sha256": digest, "content": msgpack}

Numbers are little-endian: points, spreads and directions float64, couplings of heads float32. What
is read is checked in full: a damaged byte, a cut file, a value that is not finite, a point off the
simplex or an unknown version is refused, and no more than 64 KB are ever read.

Shapes: K outcomes of the simplex, N layers, H heads.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args

import msgpack
import numpy as np

from constellation.atomic_files import write_whole
from constellation.errors import ArtifactError, ConfigError, InvalidBasin
from constellation.geometry import FISHER_RAO_RADIUS, check_simplex, has_bearing
from constellation.kernel.observables.measurement import Measurement
from constellation.records import FloatArray

FORMAT: Final = "constellation-signature"
VERSION: Final = 1
BYTES_MAX: Final = 64 * 1024
"""Largest file that is read, in bytes."""

BasinSource = Literal["basin head", "coordizer"]
"""Where the basins come from: the kernel's own basin head, or the coordizer's reading of the
text."""

_UNIT_TOLERANCE: Final = 1e-6
"""Most that the length of a bearing differs from 1."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Signature:
    """Measurements of one kernel on one probe set."""

    kernel_hash: str
    """sha256 (hex) of the kernel's weights."""
    coordizer_hash: str
    """`Coordizer.hash`; basins of different coordizers cannot be compared."""
    probe_id: str
    """sha256 (hex) of the probe texts as the kernel read them."""
    num_texts: int
    """Number of probe texts, from 1."""
    basin_source: BasinSource
    """Whether the basins are the kernel's own or those of the text."""
    basin_K: FloatArray
    """Hellinger mean of the texts' basins."""
    spread_K: FloatArray
    """Root mean square of the texts' deviations from the mean, along each axis of the square-root
    chart there, radians; its length is the root mean square distance."""
    bearing_K: FloatArray
    """Direction of the mean basin from the background; zeros where it lies on the background."""
    kappa_NH: FloatArray | None
    """Learned couplings; None for attention kind `dot`."""
    beta_NH: FloatArray | None
    """Learned or frozen slopes; None where couplings do not depend on the length."""
    kappa_measured: Measurement
    """Nats of attention information; the value is None where it was not measurable."""
    phi: Measurement
    """Phi with its null; the value is None where the context is too short."""

    def __post_init__(self) -> None:
        _check_points(self)
        _check_heads(self)
        if self.num_texts < 1 or self.basin_source not in get_args(BasinSource):
            raise ConfigError(
                f"a signature needs 1 text or more and a source of {get_args(BasinSource)}, got "
                f"{self.num_texts} and {self.basin_source!r}"
            )

    @property
    def spread(self) -> float:
        """Root mean square distance of the texts' basins from their mean, radians."""
        return float(np.sqrt(np.square(self.spread_K).sum()))

    @property
    def hash(self) -> str:
        """sha256 (hex) of the signature's content."""
        return hashlib.sha256(_pack_content(self)).hexdigest()


def pack_signature(signature: Signature) -> bytes:
    """Return the bytes of a signature's file."""
    content = _pack_content(signature)
    envelope = {
        "format": FORMAT,
        "version": VERSION,
        "sha256": hashlib.sha256(content).digest(),
        "content": content,
    }
    return bytes(msgpack.packb(envelope))


def unpack_signature(data: bytes, *, source: object = "signature") -> Signature:
    """Return the signature that the bytes of a file hold.

    Raises:
        ArtifactError: It is not a whole, undamaged signature of this version; names `source`.
    """
    if len(data) > BYTES_MAX:
        raise ArtifactError(source, f"has more than {BYTES_MAX} bytes; a signature has 2 to 4 KB")
    try:
        return _unpack_content(_open(data, source))
    except (ConfigError, InvalidBasin) as error:
        raise ArtifactError(source, f"is refused: {error}") from error
    except (ValueError, KeyError, TypeError, AttributeError, msgpack.UnpackException) as error:
        raise ArtifactError(source, f"is not a basin signature: {error!r}") from error


def save_signature(path: Path, signature: Signature) -> None:
    """Write a signature's file atomically.

    Raises:
        ArtifactError: The file cannot be written.
    """
    try:
        write_whole(path, pack_signature(signature))
    except OSError as error:
        raise ArtifactError(path, f"cannot be written: {error.strerror}") from error


def load_signature(path: Path | str) -> Signature:
    """Read a signature.

    Raises:
        ArtifactError: The file is missing, too large, damaged, or of another version.
    """
    try:
        with Path(path).open("rb") as file:
            data = file.read(BYTES_MAX + 1)
    except OSError as error:
        raise ArtifactError(path, f"cannot be read: {error.strerror}") from error
    return unpack_signature(data, source=path)


def load_target(path: Path | str, *, coordizer_hash: str) -> Signature:
    """Read the signature that a kernel is trained towards.

    Args:
        path: The file.
        coordizer_hash: `Coordizer.hash` of the kernel's coordizer.

    Raises:
        ArtifactError: As `load_signature`, or the signature is of another coordizer.
    """
    signature = load_signature(path)
    if signature.coordizer_hash != coordizer_hash:
        raise ArtifactError(
            path,
            "is of another coordizer, whose outcomes mean other things; extract it again with the "
            "coordizer that is trained with",
        )
    return signature


def _open(data: bytes, source: object) -> Mapping[str, Any]:
    """Return the content of a file's envelope after checking all of it."""
    envelope = msgpack.unpackb(data)
    if not isinstance(envelope, dict) or envelope.get("format") != FORMAT:
        raise ArtifactError(source, f"is not a basin signature: it does not say {FORMAT!r}")
    if type(envelope["version"]) is not int or envelope["version"] != VERSION:
        raise ArtifactError(
            source, f"is of version {envelope['version']!r}; this release reads {VERSION}"
        )
    content = envelope["content"]
    if envelope["sha256"] != hashlib.sha256(content).digest():
        raise ArtifactError(source, "is damaged: its digest does not fit; copy or extract it again")
    # msgpack writes one value in several ways; only ours is undamaged.
    if msgpack.packb(envelope) != data:
        raise ArtifactError(source, "is damaged: it was not written by this program")
    return dict(msgpack.unpackb(content))


def _pack_content(signature: Signature) -> bytes:
    content = {
        "fisher_rao_radius": FISHER_RAO_RADIUS,
        "kernel": signature.kernel_hash,
        "coordizer": signature.coordizer_hash,
        "probe": signature.probe_id,
        "num_texts": signature.num_texts,
        "basin_source": signature.basin_source,
        "basin": _floats(signature.basin_K),
        "spread": _floats(signature.spread_K),
        "bearing": _floats(signature.bearing_K),
        "kappa": _heads(signature.kappa_NH),
        "beta": _heads(signature.beta_NH),
        "kappa_measured": signature.kappa_measured.to_dict(),
        "phi": signature.phi.to_dict(),
    }
    return bytes(msgpack.packb(content))


def _unpack_content(content: Mapping[str, Any]) -> Signature:
    if content["fisher_rao_radius"] != FISHER_RAO_RADIUS:
        raise ValueError(f"its distances are not on radius {FISHER_RAO_RADIUS}")
    return Signature(
        kernel_hash=_text(content["kernel"]),
        coordizer_hash=_text(content["coordizer"]),
        probe_id=_text(content["probe"]),
        num_texts=_whole(content["num_texts"]),
        basin_source=content["basin_source"],
        basin_K=_array(content["basin"]),
        spread_K=_array(content["spread"]),
        bearing_K=_array(content["bearing"]),
        kappa_NH=_head_array(content["kappa"]),
        beta_NH=_head_array(content["beta"]),
        kappa_measured=_measurement(content["kappa_measured"]),
        phi=_measurement(content["phi"]),
    )


def _check_points(signature: Signature) -> None:
    shape = signature.basin_K.shape
    if len(shape) != 1 or {signature.spread_K.shape, signature.bearing_K.shape} != {shape}:
        raise ConfigError("basin, spread and bearing of a signature must have one shape (K,)")
    check_simplex(signature.basin_K)
    if not (np.isfinite(signature.spread_K).all() and (signature.spread_K >= 0).all()):
        raise ConfigError("the spread of a signature must be finite and >= 0")
    length = float(np.sqrt(np.square(signature.bearing_K).sum()))
    if has_bearing(signature.bearing_K) and not abs(length - 1) <= _UNIT_TOLERANCE:
        raise ConfigError(f"the bearing of a signature has length {length}; allowed: 1, or zeros")


def _check_heads(signature: Signature) -> None:
    for name, values in (("kappa", signature.kappa_NH), ("beta", signature.beta_NH)):
        if values is not None and (values.ndim != 2 or not np.isfinite(values).all()):
            raise ConfigError(f"{name} of a signature must be finite numbers, layers by heads")
    if signature.kappa_NH is not None and not (signature.kappa_NH > 0).all():
        raise ConfigError("kappa of a signature must be above 0")
    for name, measured in (("kappa", signature.kappa_measured), ("phi", signature.phi)):
        numbers = [measured.value, measured.null, *(measured.interval or ())]
        if not all(np.isfinite(number) for number in numbers if number is not None):
            raise ConfigError(f"the measured {name} of a signature must be finite")


def _floats(values_K: FloatArray) -> bytes:
    return np.asarray(values_K, dtype="<f8").tobytes()


def _array(data: bytes) -> FloatArray:
    values: FloatArray = np.frombuffer(data, dtype="<f8").astype(np.float64)
    return values


def _heads(values_NH: FloatArray | None) -> dict[str, object] | None:
    if values_NH is None:
        return None
    return {"shape": list(values_NH.shape), "values": np.asarray(values_NH, "<f4").tobytes()}


def _head_array(content: Mapping[str, Any] | None) -> FloatArray | None:
    if content is None:
        return None
    layers, heads = map(_whole, content["shape"])
    values = np.frombuffer(content["values"], dtype="<f4").astype(np.float64)
    shaped: FloatArray = values.reshape(layers, heads)
    return shaped


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected text, found {type(value).__name__}")
    return value


def _whole(value: object) -> int:
    if type(value) is not int:  # True is an int to isinstance
        raise TypeError(f"expected a whole number, found {type(value).__name__}")
    return value


def _measurement(content: Mapping[str, Any]) -> Measurement:
    interval = content["interval"]
    return Measurement(
        value=_number(content["value"]),
        method=_text(content["method"]),
        n=_whole(content["n"]),
        null=_number(content["null"]),
        interval=None if interval is None else (float(interval[0]), float(interval[1])),
    )


def _number(value: object) -> float | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise TypeError(f"expected a number, found {type(value).__name__}")
    return None if value is None else float(value)
