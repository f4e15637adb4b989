"""Releases of kernels that lie in a folder, for tests that need no text and no fit."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from constellation.coordizer.coordizer import Coordizer
from constellation.geometry import bearing
from constellation.records import KernelSite, Rule, Table
from constellation.releases.blobs import BlobWriter
from constellation.releases.manifest import Draft, KernelFiles
from constellation.releases.store import ReleaseStore
from constellation.releases.training_files import coordizer_parts, kernel_parts
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


def _kernels(artifacts: Path, names: Sequence[str], writer: BlobWriter) -> dict[str, Any]:
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


def rewrite(
    artifacts: Path,
    files: Mapping[str, Mapping[str, bytes]],
    *,
    parent: int | None = None,
    without: Collection[str] = (),
) -> int:
    """Make the current release again with other files, as a training does; return its number.

    Args:
        artifacts: The folder of the store.
        files: Kernel -> name of a file -> what it holds now.
        parent: The release that is written again; None means the current one.
        without: Kernels that the release lacks.
    """
    store = ReleaseStore(artifacts)
    before = store.read_current() if parent is None else store.read(parent)
    table = store.table(before)
    sites = tuple(site for site in table.sites if site.name not in without)
    with store.adding() as writer:

        def changed(kernel: KernelFiles) -> KernelFiles:
            put = {name: writer.put_bytes(data) for name, data in files[kernel.name].items()}
            return replace(kernel, files={**kernel.files, **put})

        stay = [kernel for kernel in before.kernels if kernel.name not in without]
        values = {field.name: getattr(before, field.name) for field in fields(Draft)}
        values["kernels"] = tuple(changed(k) if k.name in files else k for k in stay)
        values["table"] = writer.put_bytes(pack_table(replace(table, release=0, sites=sites)))
        values |= {"parent": before.version, "change": "trained again"}
        version = store.write(Draft(**values)).version
    store.switch(version)
    return version
