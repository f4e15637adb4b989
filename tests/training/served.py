"""What a run's folder serves, to the bit, and how that is changed without a constellation."""

from dataclasses import replace
from pathlib import Path

from cluster.kernel_changes import Added, change_served, join, make_kernel
from constellation.domains.record import Domain
from constellation.records import KernelSite, Retire, Table, Unlearn
from constellation.releases.builder import domain_of
from constellation.releases.manifest import KernelFiles, Release
from constellation.releases.store import ReleaseStore
from constellation.wire.table_file import pack_table
from training.progress.events import ignore


def release(artifacts: Path) -> Release:
    """Return the current release, all of whose files are whole."""
    store = ReleaseStore(artifacts)
    store.current_folder()
    return store.read_current()


def content(artifacts: Path) -> str:
    """Return the sha256 of all that is served: coordizer, table, kernels, records of text."""
    return release(artifacts).content_sha256


def kernel(artifacts: Path, name: str) -> KernelFiles:
    """Return the files of a kernel that is served, with its record of text."""
    return release(artifacts).kernel(name)


def table(artifacts: Path) -> Table:
    """Return the table that is served."""
    return ReleaseStore(artifacts).table(release(artifacts))


def sites(artifacts: Path) -> dict[str, KernelSite]:
    """Return name -> where a kernel routes from."""
    return {site.name: site for site in table(artifacts).sites}


def bits(artifacts: Path, name: str) -> bytes:
    """Return every bit of where a kernel routes from."""
    whole = table(artifacts)
    only = replace(whole, release=0, temperatures={}, refusal=None)
    return pack_table(replace(only, sites=tuple(s for s in whole.sites if s.name == name)))


def record(artifacts: Path, name: str) -> Domain:
    """Return the record of the text of a kernel that is served."""
    return domain_of(ReleaseStore(artifacts), release(artifacts), name)


def leave(artifacts: Path, name: str) -> None:
    change_served(artifacts, Retire(name=name), None)


def forget(artifacts: Path, name: str, source: str) -> None:
    change_served(artifacts, Unlearn(kernel=name, source=source), None)


def back(artifacts: Path, name: str, text: Path | None = None) -> Added:
    """Take a kernel back that was removed."""
    new = make_kernel(artifacts, name, artifacts / "kernels" / name, text, ignore)
    return join(artifacts, new, None)
