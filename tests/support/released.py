"""Releases of kernels that lie in a folder, for tests that need no text and no fit."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from constellation.coordizer.coordizer import Coordizer
from constellation.geometry import bearing
from constellation.records import KernelSite, Rule, Table
from constellation.releases.blobs import BlobWriter
from constellation.releases.manifest import Draft, KernelFiles
from constellation.releases.store import ReleaseStore
from constellation.releases.workshop import coordizer_parts, kernel_parts
from constellation.wire.table_file import pack_table


def release(artifacts: Path, names: Sequence[str], *, parent: int | None = None) -> int:
    """Make kernels of `artifacts/kernels` the current release; return its number.

    Every kernel lies at an outcome of its own, by the order of the names.
    """
    coordizer = Coordizer.load(artifacts / "coordizer")
    store = ReleaseStore(artifacts)
    with store.adding() as writer:
        draft = Draft(
            change="test",
            parent=parent,
            coordizer=coordizer_parts(coordizer, writer),
            table=writer.put_bytes(pack_table(_table(coordizer, names))),
            **_kernels(artifacts, names, writer),
            options={},
        )
        version = store.write(draft).version
    store.switch(version)
    return version


def _kernels(artifacts: Path, names: Sequence[str], writer: BlobWriter) -> Mapping[str, object]:
    kernels, bases = [], {}
    for name in names:
        parts = kernel_parts(artifacts, name, writer)
        kernels.append(
            KernelFiles(
                name=name,
                engine=parts.engine,
                files=parts.files,
                base=parts.base,
                domain=writer.put_bytes(b"no text"),
            )
        )
        if parts.base is not None and parts.base_files is not None:
            bases[parts.base] = parts.base_files
    return {"kernels": tuple(kernels), "bases": bases}


def _table(coordizer: Coordizer, names: Sequence[str]) -> Table:
    background_K = coordizer.background_K
    sites = []
    for outcome, name in enumerate(sorted(names)):
        basin_K = np.full(background_K.size, 0.4 / (background_K.size - 1))
        basin_K[outcome] = 0.6
        sites.append(
            KernelSite(
                name=name,
                basin_K=basin_K,
                bearing_K=bearing(basin_K, background_K),
                radii=dict.fromkeys(Rule, 3.0),
            )
        )
    return Table(
        version=1,
        coordizer_hash=coordizer.hash,
        background_K=background_K,
        temperatures=dict.fromkeys(Rule, 1.0),
        sites=tuple(sites),
    )
