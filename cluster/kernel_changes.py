"""Add, remove or change a kernel: live if its constellation runs, else in the artifacts only."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from cluster.added_path import Arrival, arrival_at, check_text
from cluster.training_run import trainer_on
from constellation.client import Client
from constellation.curricula.corpus import Document
from constellation.curricula.corpus_store import MANIFEST, load_prepared
from constellation.errors import ArtifactError, ConfigError, GrowthRefused, TrainingError
from constellation.kernel.adapters.kernel_folder import open_kernel
from constellation.kernel.files.peft_folder import is_peft
from constellation.kernel.files.symbol_kernel import load_symbol_kernel
from constellation.kernel.files.symbol_vocabulary import has_symbols
from constellation.kernel.files.transformers_folder import is_imported
from constellation.records import Add, Change, Changed
from constellation.releases.builder import domain_of, make
from constellation.releases.store import ReleaseStore
from constellation.releases.switch_plan import steps_between
from constellation.wire.run_lock import owned
from training.evaluation.new_kernel_cost import (
    DocumentReader,
    GrowthCost,
    growth_cost,
    routing_of,
    text_reader,
    token_reader,
)
from training.file_errors import typed_writes
from training.kernel_text import CORPUS, is_kept, kept_text
from training.new_kernel import NewKernel, import_new, take_back, train_new
from training.progress.events import OnEvent


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """A file of training text, or a part or record of a file, that a kernel learned from."""

    name: str
    num_documents: int
    """Documents that the source was cut into; 0 for an unlearned source, whose text is gone."""
    unlearned: bool
    """Whether the kernel routes as if it had never read the source."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Added:
    """A kernel that has joined, with the held-out cost for all domains."""

    kernel: NewKernel
    changed: Changed
    others: GrowthCost | None
    """Held-out bits of the other domains before and after; None when the artifacts hold no such
    text."""
    own: GrowthCost | None
    """Held-out bits of the kernel's own domain; before, the nearest other kernel wrote the text."""


def make_kernel(
    artifacts: Path,
    name: str,
    path: Path,
    text: Path | None,
    on_event: OnEvent,
    *,
    address: str | None = None,
) -> NewKernel:
    """Train a kernel on text, or import a finished one, so that `join` can add it.

    Args:
        artifacts: Folder that training wrote.
        name: Name of the new kernel.
        path: A file or folder of text, or the folder of a finished kernel, be it whole or an
            adapter, or of a causal model of `transformers`; that of a kernel which was removed
            brings it back as it was.
        text: Text of the finished kernel's domain; None when it is trained or taken back.
        on_event: Called with the progress of training.
        address: host:port of the Ray cluster whose nodes train; None trains on this machine.

    Raises:
        ConfigError: A finished kernel came without text, or text twice.
        ArtifactError: The path holds a model of a kind that cannot be served.
        ConstellationError: See `training.new_kernel`.
    """
    arrival = arrival_at(path)
    if text is not None:
        check_text(text)
    if arrival is Arrival.TEXT and text is not None:
        raise ConfigError(
            f"{path} holds no kernel: neither kernel.json, nor adapter.safetensors, nor "
            "config.json with a model's weights; if it is the text, leave --text out"
        )
    if arrival is Arrival.TEXT:
        return train_new(artifacts, name, path, on_event, trainer=trainer_on(address))
    its_place = path.resolve() == (artifacts / "kernels" / name).resolve()
    if its_place and (text is None or is_kept(text, artifacts, name)):
        return take_back(artifacts, name)
    if text is None:
        raise ConfigError(
            f"{path} is {arrival}; give text of its domain, to fit routing to, with --text"
        )
    return import_new(artifacts, name, path, text, on_event)


def join(artifacts: Path, new: NewKernel, client: Client | None) -> Added:
    """Add a finished kernel to what is served, as `change_served` does; return its held-out cost.

    Raises:
        GrowthRefused, IncompatibleKernels: It does not fit; nothing has changed.
    """
    store = ReleaseStore(artifacts)
    before = store.read_current().version
    changed = change_served(artifacts, Add(name=new.name), client)
    corpus = artifacts / CORPUS
    known = load_prepared(corpus).test if (corpus / MANIFEST).exists() else ()
    kept = kept_text(artifacts, new.name)
    views = store.folder(before), store.folder(changed.release)
    others = [document for document in known if document.domain != new.name]
    return Added(
        kernel=new,
        changed=changed,
        others=_cost(others, *views),
        own=_cost(() if kept is None else kept.test, *views),
    )


def change_served(artifacts: Path, change: Change, client: Client | None) -> Changed:
    """Apply a change to what is served: live by `client`, or without one in the artifacts only.

    Raises:
        GrowthRefused, UnknownKernel, IncompatibleKernels: It cannot be done; nothing has changed.
        ArtifactError: The artifacts are damaged, or cannot be written.
        TrainingError: Another process writes to them.
    """
    if client is not None:
        return client.change(change)
    if not artifacts.is_dir():
        raise ArtifactError(
            artifacts, "is not a folder; train one first, or name another by --artifacts"
        )
    with typed_writes(artifacts), owned(artifacts, "a change of what is served", TrainingError):
        store = ReleaseStore(artifacts)
        before = store.read_current()
        after = make(artifacts, change)
        store.switch(after.version)
    steps = steps_between(before, after)
    return Changed(release=after.version, table_version=0, **asdict(steps))


def list_sources(artifacts: Path, name: str) -> list[Source]:
    """Return the sources of a kernel's training text, in the order of their names.

    Raises:
        UnknownKernel: There is no kernel of that name.
        GrowthRefused: The kernel was spawned, and shares the text of another.
        ArtifactError: The release is damaged.
    """
    store = ReleaseStore(artifacts)
    domain = domain_of(store, store.read_current(), name)
    if domain.spawned is not None:
        raise GrowthRefused(name, f"it shares the text of {domain.spawned.parent!r}: ask for its")
    rows = domain.train.rows_by_source()
    counted = [
        Source(name=source, num_documents=len(rows[source]), unlearned=False) for source in rows
    ]
    gone = [Source(name=each, num_documents=0, unlearned=True) for each in domain.unlearned]
    return sorted([*counted, *gone], key=lambda source: source.name)


def _cost(documents: Sequence[Document], before: Path, after: Path) -> GrowthCost | None:
    """Return the cost of the kernel on these documents; None when no document is scored."""
    return growth_cost(
        documents,
        before=routing_of(before),
        after=routing_of(after),
        kernel=lambda name: _reader(_kernel_folder(name, after, before)),
    )


def _kernel_folder(name: str, *views: Path) -> Path:
    return next(view / "kernels" / name for view in views if (view / "kernels" / name).is_dir())


def _reader(folder: Path) -> DocumentReader:
    if has_symbols(folder):
        return text_reader(load_symbol_kernel(folder))
    if is_peft(folder):
        from constellation.kernel.hugging_face.model_stack import load_adapted_model

        return text_reader(load_adapted_model(folder))
    if not is_imported(folder):
        return token_reader(open_kernel(folder).decoder)
    # Imported here: what it needs is optional.
    from constellation.kernel.hugging_face.transformers_model import load_imported

    return text_reader(load_imported(folder)[0])
