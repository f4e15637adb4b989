"""Write and read the routing table as a compact msgpack file with a digest.

    {"schema": 1, "sha256": digest of content, "content": msgpack of the table}

A table in a run folder also has "deployment", the id of the deployment that published the table.

The digest is needed because a damaged basin would still be numbers, and would change routes without
an error.
"""

import hashlib
from pathlib import Path
from typing import Any

import msgpack
import numpy as np

from constellation.atomic_files import write_whole
from constellation.errors import ArtifactError
from constellation.geometry.bearings import bearing
from constellation.geometry.simplex import FISHER_RAO_RADIUS
from constellation.records import (
    FloatArray,
    KernelSite,
    Refusal,
    Rule,
    Share,
    Table,
    Thresholds,
)
from constellation.wire.kernel_names import is_kernel_name
from constellation.wire.packed_records import packed

SCHEMA_VERSION = 1
TABLE_BYTES_MAX = 16 * 1024 * 1024
"""Largest table in bytes, for writing and reading: about 9,000 kernels of one basin."""


def pack_table(table: Table, *, deployment: str = "") -> bytes:
    """Return a table as msgpack; points are little-endian float64 bytes.

    Args:
        table: The table.
        deployment: Id of the deployment that publishes the table; empty writes none.
    """
    table_map = {
        "fisher_rao_radius": FISHER_RAO_RADIUS,
        "version": table.version,
        "coordizer_hash": table.coordizer_hash,
        "background": _floats(table.background_K),
        "temperatures": {str(rule): value for rule, value in table.temperatures.items()},
        "sites": [_pack_site(site) for site in table.sites],
        **({} if table.refusal is None else {"refusal": packed(table.refusal)}),
        **({"release": table.release} if table.release else {}),
    }
    content = bytes(msgpack.packb(table_map))
    envelope = {"schema": SCHEMA_VERSION, "sha256": _digest(content), "content": content}
    if deployment:
        envelope["deployment"] = deployment
    return bytes(msgpack.packb(envelope))


def deployment_of(data: bytes) -> str:
    """Return the id of the deployment in the bytes of a table; empty when there is none."""
    try:
        found = msgpack.unpackb(data, max_bin_len=TABLE_BYTES_MAX)["deployment"]
    except (ValueError, KeyError, TypeError, msgpack.UnpackException):
        return ""
    return str(found)


def unpack_table(data: bytes, *, source: object = "table") -> Table:
    """Read a table from its msgpack bytes.

    Raises:
        ArtifactError: `data` is not a table of this schema; the message names `source`.
    """
    try:
        return _unpack(msgpack.unpackb(data, max_bin_len=TABLE_BYTES_MAX), source)
    except (ValueError, KeyError, TypeError, AttributeError, msgpack.UnpackException) as error:
        raise ArtifactError(source, f"not a kernel table: {error!r}") from error


def save_table(path: Path, table: Table) -> None:
    """Write a table atomically: a reader sees the old table or the new one, never a part.

    Raises:
        ArtifactError: The table is larger than `TABLE_BYTES_MAX`; nothing is written.
    """
    data = pack_table(table)
    if len(data) > TABLE_BYTES_MAX:
        raise ArtifactError(
            path,
            f"the table of {len(table.sites)} kernels would have {len(data)} bytes; the limit is "
            f"{TABLE_BYTES_MAX}; serve fewer kernels from one table",
        )
    write_whole(path, data)


def load_table(path: Path) -> Table:
    """Read a table from a file; raises `ArtifactError` that names the file."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ArtifactError(path, f"cannot be read: {error.strerror}") from error
    return unpack_table(data, source=path)


def _unpack(envelope: dict[str, Any], source: object) -> Table:
    if envelope["schema"] != SCHEMA_VERSION:
        raise ArtifactError(
            source, f"has schema {envelope['schema']!r}; this version reads {SCHEMA_VERSION}"
        )
    if envelope["sha256"] != _digest(envelope["content"]):
        raise ArtifactError(source, "is damaged: its digest does not fit; make the artifacts again")
    content = msgpack.unpackb(envelope["content"], max_bin_len=TABLE_BYTES_MAX)
    if content["fisher_rao_radius"] != FISHER_RAO_RADIUS:
        raise ArtifactError(source, f"has distances on another radius than {FISHER_RAO_RADIUS}")
    background_K = _array(content["background"])
    return Table(
        version=int(content["version"]),
        coordizer_hash=str(content["coordizer_hash"]),
        background_K=background_K,
        temperatures=_by_rule(content["temperatures"]),
        sites=tuple(_unpack_site(site, background_K) for site in content["sites"]),
        refusal=_unpack_refusal(content["refusal"]) if "refusal" in content else None,
        release=int(content.get("release", 0)),
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
    # Optional fields are written only where needed, so that other tables keep their bytes. The
    # bearings of several basins are omitted: they follow from the basins and the background.
    several = {"basins": _floats(site.basins_BK)} if len(site.basins_BK) > 1 else {}
    share = {} if site.share is None else {"share": packed(site.share)}
    replicas = {"more_endpoints": list(site.more_endpoints)} if site.more_endpoints else {}
    measured = {} if site.arrived is None else {"arrived": [site.arrived, site.num_held_out]}
    return {
        **several,
        **share,
        **measured,
        **replicas,
        "name": site.name,
        "basin": _floats(site.basin_K),
        "bearing": _floats(site.bearing_K),
        "radii": {str(rule): value for rule, value in site.radii.items()},
        "seat": site.seat,
        "phi_gauge": site.phi_gauge,
        "endpoint": site.endpoint,
    }


def _unpack_share(content: dict[str, Any]) -> Share:
    if not is_kernel_name(content["family"]):
        raise ValueError(f"{content['family']!r} cannot name a family")
    return Share(
        family=content["family"],
        basin_K=_array(content["basin"]),
        bearing_K=_array(content["bearing"]),
    )


def _unpack_thresholds(content: dict[str, Any]) -> Thresholds:
    lengths, shares = tuple(map(int, content["lengths"])), tuple(map(float, content["shares"]))
    if not lengths or not shares or min(lengths) < 1 or not 0 < min(shares) <= max(shares) < 1:
        raise ValueError(f"thresholds for lengths {lengths} and shares {shares}")
    if list(lengths) != sorted(set(lengths)) or list(shares) != sorted(set(shares)):
        raise ValueError("lengths and shares of thresholds must be in ascending order")
    shape = (len(lengths), len(shares))
    return Thresholds(lengths=lengths, shares=shares, excess=_grids(content["excess"], shape))


def _unpack_refusal(content: dict[str, Any]) -> Refusal:
    thresholds = _unpack_thresholds(content["thresholds"])
    shape = (len(thresholds.lengths), len(thresholds.shares))
    counts = [tuple(map(int, content[name])) for name in ("num_texts", "num_documents")]
    if any(len(count) != len(thresholds.lengths) for count in counts):
        raise ValueError("as many counts of texts are needed as there are lengths of thresholds")
    return Refusal(
        thresholds=thresholds,
        refused=_grids(content["refused"], shape),
        caught=_grids(content["caught"], shape),
        num_texts=counts[0],
        num_documents=counts[1],
    )


def _grids(values: dict[str, bytes], shape: tuple[int, int]) -> dict[Rule, Any]:
    """Return an array of this shape for every rule; a missing rule is an error."""
    return {rule: _array(values[str(rule)]).reshape(shape) for rule in Rule}


def _unpack_site(content: dict[str, Any], background_K: FloatArray) -> KernelSite:
    share = content.get("share")
    arrived, num_held_out = content.get("arrived", (None, 0))
    basins_BK = _array(content.get("basins", b"")).reshape(-1, len(background_K))
    if not is_kernel_name(content["name"]):  # the name becomes part of paths
        raise ValueError(f"{content['name']!r} cannot name a kernel")
    return KernelSite(
        name=content["name"],
        basin_K=_array(content["basin"]),
        bearing_K=_array(content["bearing"]),
        radii=_by_rule(content["radii"]),
        seat=content["seat"],
        phi_gauge=content["phi_gauge"],
        endpoint=content["endpoint"],
        more_endpoints=tuple(map(str, content.get("more_endpoints", ()))),
        basins_BK=basins_BK,
        bearings_BK=bearing(basins_BK, background_K),
        share=None if share is None else _unpack_share(share),
        arrived=None if arrived is None else float(arrived),
        num_held_out=int(num_held_out),
    )
