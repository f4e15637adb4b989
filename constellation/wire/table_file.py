"""The table as a compact msgpack file: what routers read when nobody else is up yet.

    {"schema": 1, "sha256": digest of content, "content": msgpack of the table}

A damaged basin would still be numbers and route wrongly without a sign; hence the digest.
"""

import hashlib
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgpack
import numpy as np

from constellation.errors import ArtifactError
from constellation.geometry.simplex import FISHER_RAO_RADIUS
from constellation.records import KernelSite, Rule, Split, Table
from constellation.wire.names import is_kernel_name

SCHEMA_VERSION = 1
SITE_FILE = "site.msgpack"
"""In a kernel's folder: a table of this kernel alone, by which it can join others."""
_BYTES_MAX = 16 * 1024 * 1024


def pack_table(table: Table) -> bytes:
    """Return the table as msgpack; points as little-endian float64 bytes."""
    table_map = {
        "fisher_rao_radius": FISHER_RAO_RADIUS,
        "version": table.version,
        "coordizer_hash": table.coordizer_hash,
        "background": _floats(table.background_K),
        "temperatures": {str(rule): value for rule, value in table.temperatures.items()},
        "sites": [_pack_site(site) for site in table.sites],
    }
    content = bytes(msgpack.packb(table_map))
    envelope = {"schema": SCHEMA_VERSION, "sha256": _digest(content), "content": content}
    return bytes(msgpack.packb(envelope))


def unpack_table(data: bytes, *, source: object = "table") -> Table:
    """Return the table in `data`.

    Raises:
        ArtifactError: `data` is not a table of this schema; names `source`.
    """
    try:
        return _unpack(msgpack.unpackb(data, max_bin_len=_BYTES_MAX), source)
    except (ValueError, KeyError, TypeError, AttributeError, msgpack.UnpackException) as error:
        raise ArtifactError(source, f"not a kernel table: {error!r}") from error


def save_table(path: Path, table: Table) -> None:
    """Write the table so that a reader sees the old one or the new one, never half of it."""
    temporary = path.with_suffix(f".{os.getpid()}.part")
    with temporary.open("wb") as file:
        file.write(pack_table(table))
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def load_table(path: Path) -> Table:
    """Read a table, or raise `ArtifactError` naming the file."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ArtifactError(path, f"cannot be read: {error.strerror}") from error
    return unpack_table(data, source=path)


def keep_site(artifacts: Path, table: Table, name: str) -> None:
    """Keep where a kernel routes from beside its weights, so that it can leave and be taken back.

    Written is the table of this kernel alone, every bit of its site included. A spawned kernel is
    passed over, since its share goes back to its parent; so is a kernel whose folder is gone.

    Raises:
        OSError: The file cannot be written.
    """
    folder = artifacts / "kernels" / name
    kept = tuple(
        replace(site, endpoint=None)
        for site in table.sites
        if site.name == name and site.split is None
    )
    if kept and folder.is_dir():
        save_table(folder / SITE_FILE, replace(table, version=1, temperatures={}, sites=kept))


def _unpack(envelope: dict[str, Any], source: object) -> Table:
    if envelope["schema"] != SCHEMA_VERSION:
        raise ArtifactError(source, f"schema {envelope['schema']!r} is not {SCHEMA_VERSION}")
    if envelope["sha256"] != _digest(envelope["content"]):
        raise ArtifactError(source, "damaged: its digest does not fit; make the artifacts again")
    content = msgpack.unpackb(envelope["content"], max_bin_len=_BYTES_MAX)
    if content["fisher_rao_radius"] != FISHER_RAO_RADIUS:
        raise ArtifactError(source, f"its distances are not on radius {FISHER_RAO_RADIUS}")
    return Table(
        version=int(content["version"]),
        coordizer_hash=str(content["coordizer_hash"]),
        background_K=_array(content["background"]),
        temperatures=_by_rule(content["temperatures"]),
        sites=tuple(_unpack_site(site) for site in content["sites"]),
    )


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def _floats(values: Any) -> bytes:
    return np.asarray(values, dtype="<f8").tobytes()


def _array(data: bytes) -> Any:
    return np.frombuffer(data, dtype="<f8")


def _by_rule(values: dict[str, float]) -> dict[Rule, float]:
    return {Rule(name): float(value) for name, value in values.items()}


def _pack_site(site: KernelSite) -> dict[str, Any]:
    # Written where there is something to say: the tables of others are what they were without it.
    split = {} if site.split is None else {"split": _pack_split(site.split)}
    unlearned = {"unlearned": list(site.unlearned)} if site.unlearned else {}
    return {
        **split,
        **unlearned,
        "name": site.name,
        "basin": _floats(site.basin_K),
        "bearing": _floats(site.bearing_K),
        "radii": {str(rule): value for rule, value in site.radii.items()},
        "seat": site.seat,
        "phi_gauge": site.phi_gauge,
        "endpoint": site.endpoint,
    }


def _pack_split(split: Split) -> dict[str, Any]:
    return {
        "parent": split.parent,
        "basin": _floats(split.basin_K),
        "bearing": _floats(split.bearing_K),
        "radii": {str(rule): value for rule, value in split.radii.items()},
    }


def _unpack_split(content: dict[str, Any]) -> Split:
    return Split(
        parent=content["parent"],
        basin_K=_array(content["basin"]),
        bearing_K=_array(content["bearing"]),
        radii=_by_rule(content["radii"]),
    )


def _unpack_site(content: dict[str, Any]) -> KernelSite:
    split = content.get("split")
    if not is_kernel_name(content["name"]):  # it becomes part of paths
        raise ValueError(f"{content['name']!r} cannot name a kernel")
    return KernelSite(
        name=content["name"],
        basin_K=_array(content["basin"]),
        bearing_K=_array(content["bearing"]),
        radii=_by_rule(content["radii"]),
        seat=content["seat"],
        phi_gauge=content["phi_gauge"],
        endpoint=content["endpoint"],
        split=None if split is None else _unpack_split(split),
        unlearned=tuple(content.get("unlearned", ())),
    )
