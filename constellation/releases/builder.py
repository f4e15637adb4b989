"""Make releases: apply a change to the current release, fit its routing table, write its files.

A release is decided by its parts alone: for every kernel its files and its text record. A change is
a change of the set of parts, and the release does not depend on how the set came about. `make` does
not switch to the release; `publish` does.
"""

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from constellation.atomic_files import write_whole
from constellation.coordizer.coordizer import Coordizer
from constellation.domains import membership
from constellation.domains.fit import FitOptions, Fitted, fit
from constellation.domains.record import Domain
from constellation.domains.record_file import pack_domain, unpack_domain
from constellation.errors import ArtifactError, ConfigError, CorpusError, GrowthRefused
from constellation.records import Add, Change, Retire, Spawn, Unlearn
from constellation.releases.blobs import BlobWriter
from constellation.releases.manifest import Draft, KernelFiles, Release
from constellation.releases.store import ReleaseStore
from constellation.releases.training_files import KernelParts, coordizer_parts, kernel_parts
from constellation.wire.table_file import pack_table

DOMAINS: Final = "domains"
"""Folder of the text records of kernels that are not served: before they join and after they
left."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """The parts of a release: text records and files of all kernels, and the options of the fit."""

    tokens: Coordizer
    """Coordizer with the vocabulary; its coordinates are used only if they are kept."""
    domains: Mapping[str, Domain]
    """Kernel -> its text record."""
    kernels: Mapping[str, KernelParts]
    """Kernel -> its files in the store."""
    options: FitOptions
    """Options of fitting coordinates and table."""


def domain_path(artifacts: Path, name: str) -> Path:
    """Return the path of the text record of a kernel that is not served."""
    return artifacts / DOMAINS / f"{name}.msgpack"


def save_domain(artifacts: Path, domain: Domain) -> None:
    """Store the text record of a kernel outside of releases, so that the kernel can join later."""
    write_whole(domain_path(artifacts, domain.name), pack_domain(domain))


def load_domain(artifacts: Path, name: str) -> Domain:
    """Read the text record of a kernel that is about to join.

    Raises:
        ArtifactError: The record is missing, damaged, or the record of another kernel.
    """
    path = domain_path(artifacts, name)
    try:
        domain = unpack_domain(path.read_bytes(), source=path)
    except OSError as error:
        raise ArtifactError(path, f"cannot be read: {error.strerror}") from error
    if domain.name != name:
        raise ArtifactError(path, f"is the record of {domain.name!r}; add the kernel with --text")
    return domain


def domain_of(store: ReleaseStore, release: Release, name: str) -> Domain:
    """Return the text record of a kernel of a release.

    Raises:
        UnknownKernel: The release has no such kernel.
        ArtifactError: The record is damaged.
    """
    kernel = release.kernel(name)
    return unpack_domain(store.blobs.read(kernel.domain), source=f"record of {name!r}")


def parts_of(store: ReleaseStore, release: Release) -> Parts:
    """Return the parts of a release.

    Raises:
        ArtifactError: A file of the release is missing or damaged.
    """
    names = [kernel.name for kernel in release.kernels]
    return Parts(
        tokens=Coordizer.load(store.folder(release.version) / "coordizer"),
        domains={name: domain_of(store, release, name) for name in names},
        kernels={kernel.name: KernelParts.of(kernel, release.bases) for kernel in release.kernels},
        options=_options(release),
    )


def _options(release: Release) -> FitOptions:
    options: dict[str, Any] = dict(release.options)
    try:
        return FitOptions(**options)
    except TypeError as error:
        raise ArtifactError(
            f"release {release.version}", f"has options that this version lacks: {error}"
        ) from error


def make(artifacts: Path, change: Change) -> Release:
    """Write the release that a change makes from the current one, without switching to it.

    Only `Add`, `Spawn`, `Retire` and `Unlearn` make a release.

    Raises:
        UnknownKernel: A named kernel is not served.
        GrowthRefused: The change cannot be made; nothing is written.
        IncompatibleKernels: A kernel that joins was trained with another vocabulary.
        ArtifactError: The store is damaged, or cannot be written.
    """
    store = ReleaseStore(artifacts)
    before = store.read_current()
    parts = parts_of(store, before)
    with store.adding() as writer:
        after, words = _changed(artifacts, parts, change, writer)
        try:
            fitted = fit(tuple(after.domains.values()), after.tokens, after.options)
        except (ConfigError, CorpusError) as error:
            name = getattr(change, "name", getattr(change, "kernel", "release"))
            raise GrowthRefused(name, str(error)) from error
        return store.write(_draft(writer, after, fitted, parent=before.version, change=words))


def publish(
    artifacts: Path,
    own: Collection[Domain],
    tokens: Coordizer,
    options: FitOptions,
    *,
    change: str,
    fitted: Fitted | None = None,
    replaced: Collection[str] = (),
) -> Release:
    """Make trained kernels the current release, together with kernels that joined earlier.

    A kernel of the current release that was made by neither this training nor the one before is
    kept, with its text. Nothing is written when the current release has the same content already.

    Args:
        artifacts: Artifacts folder with the store, and with the trained kernels in `kernels/`.
        own: Text records of the trained kernels.
        tokens: Coordizer of the trained kernels.
        options: Options of fitting coordinates and table.
        change: One line for people that describes the change.
        fitted: Result of `fit` for `own` alone, if the caller has it; None fits again.
        replaced: Names of the kernels that the training before made.

    Raises:
        ArtifactError: A kernel is damaged, or the store cannot be written.
        ConfigError, CorpusError, IncompatibleKernels: As `fit`.
    """
    store = ReleaseStore(artifacts)
    before = None if store.current() is None else store.read_current()
    trained = {*(domain.name for domain in own), *replaced}
    joined, joined_files = _joined_parts(store, before, trained)
    with store.adding() as writer:
        kernels = {domain.name: kernel_parts(artifacts, domain.name, writer) for domain in own}
        parts = Parts(
            tokens=tokens,
            domains=membership.by_name([*own, *joined.values()]),
            kernels={**kernels, **joined_files},
            options=options,
        )
        if fitted is None or joined:
            fitted = fit(tuple(parts.domains.values()), tokens, options)
        parent = None if before is None else before.version
        draft = _draft(writer, parts, fitted, parent=parent, change=change)
        if before is not None and before.content_sha256 == draft.content_sha256:
            return before
        release = store.write(draft)
    store.switch(release.version)
    return release


def _joined_parts(
    store: ReleaseStore, release: Release | None, trained: Collection[str]
) -> tuple[dict[str, Domain], dict[str, KernelParts]]:
    """Return records and files, by name, of the kernels of a release that no training made."""
    if release is None:
        return {}, {}
    others = [kernel for kernel in release.kernels if kernel.name not in trained]
    return (
        {kernel.name: domain_of(store, release, kernel.name) for kernel in others},
        {kernel.name: KernelParts.of(kernel, release.bases) for kernel in others},
    )


def _changed(
    artifacts: Path, parts: Parts, change: Change, writer: BlobWriter
) -> tuple[Parts, str]:
    """Return the parts after a change, and a line for people that describes the change."""
    domains, kernels = tuple(parts.domains.values()), dict(parts.kernels)
    match change:
        case Add(name=name):
            joined = membership.add(domains, _joining_record(artifacts, name))
            kernels[name] = _joining_files(artifacts, name, parts, writer)
            return _with(parts, joined, kernels), f"{name} joined"
        case Retire(name=name):
            stay = membership.retire(domains, name)
            del kernels[name]
            if parts.domains[name].spawned is None:
                save_domain(artifacts, parts.domains[name])
            return _with(parts, stay, kernels), f"{name} left"
        case Unlearn(kernel=name, source=source):
            rest = membership.unlearn_source(domains, name, source)
            return _with(parts, rest, kernels), f"{name} unlearned {source}"[:500]
        case Spawn(parent=parent, name=name, queries_NK=queries_NK):
            if queries_NK is None:
                raise GrowthRefused(
                    name,
                    "a spawn needs the parent's latest queries; send the change to a router",
                )
            child = membership.spawn(domains, parent, name, queries_NK, parts.tokens)
            kernels[name] = kernels[parent]
            return _with(parts, (*domains, child), kernels), f"{name} spawned from {parent}"
    raise GrowthRefused("release", f"{type(change).__name__} makes no release")


def _with(parts: Parts, domains: tuple[Domain, ...], kernels: Mapping[str, KernelParts]) -> Parts:
    return replace(parts, domains=membership.by_name(domains), kernels=kernels)


def _joining_record(artifacts: Path, name: str) -> Domain:
    try:
        return load_domain(artifacts, name)
    except ArtifactError as error:
        raise GrowthRefused(name, str(error)) from error


def _joining_files(artifacts: Path, name: str, parts: Parts, writer: BlobWriter) -> KernelParts:
    try:
        found = kernel_parts(artifacts, name, writer)
    except ArtifactError as error:
        raise GrowthRefused(name, str(error)) from error
    found.check_tokens(name, parts.tokens.tokenizer_hash)
    return found


def _draft(
    writer: BlobWriter, parts: Parts, fitted: Fitted, *, parent: int | None, change: str
) -> Draft:
    kernels, bases = [], {}
    for name, files in parts.kernels.items():
        record = writer.put_bytes(pack_domain(parts.domains[name]))
        kernels.append(
            KernelFiles(
                name=name,
                engine=files.engine,
                files=files.files,
                base=files.base,
                domain=record,
            )
        )
        if files.base is not None and files.base_files is not None:
            bases[files.base] = files.base_files
    return Draft(
        change=change,
        parent=parent,
        coordizer=coordizer_parts(fitted.coordizer, writer),
        table=writer.put_bytes(pack_table(fitted.table)),
        kernels=tuple(kernels),
        bases=bases,
        options=asdict(parts.options),
    )
