"""Let a kernel join or leave: live where its constellation runs, else in the artifacts alone."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from cluster.arrivals import Arrival, arrival_at, check_text
from cluster.training_run import with_own_ray
from constellation.client import Client
from constellation.coordizer.coordizer import Coordizer
from constellation.curricula.corpus import Document
from constellation.curricula.store import MANIFEST, load_prepared
from constellation.errors import ConfigError, TrainingError
from constellation.kernel.decoder import Decoder
from constellation.kernel.hugging_face.files import is_imported
from constellation.kernel.opening import open_kernel
from constellation.records import Grown, Table
from constellation.routing.growth import add_kernel, retire_kernel, site_of, unlearn_text
from constellation.routing.summed_texts import SummedTexts
from constellation.wire.run_lock import owned
from constellation.wire.table_file import keep_site, load_table, save_table
from constellation.wire.texts_file import load_texts
from training.evaluation.growth import GrowthCost, ModelReader, growth_cost
from training.growth import NewKernel, import_new, take_back, train_new
from training.kept_text import CORPUS, is_kept, kept_text
from training.progress.events import OnEvent
from training.typed_writes import typed_writes

TABLE_FILE = "table.msgpack"


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """A file, or a part or record of one, that a kernel learned from."""

    name: str
    num_documents: int
    """Pieces that it was cut into."""
    unlearned: bool
    """Whether the kernel routes as if it had never read it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Added:
    """A kernel that has joined, and what came of it."""

    kernel: NewKernel
    grown: Grown
    others: GrowthCost | None
    """Held-out text of the other domains; None when the artifacts hold none."""
    own: GrowthCost | None
    """Held-out text of its own domain: before, the nearest of the others wrote it."""


def make_kernel(
    artifacts: Path, name: str, path: Path, text: Path | None, on_event: OnEvent
) -> NewKernel:
    """Train a kernel on text, or take a finished one, so that it can join.

    Args:
        artifacts: Folder that training wrote.
        name: Of the new kernel.
        path: A file or folder of text, or the folder of a finished kernel, be it whole or an
            adapter, or of a causal model of `transformers`; that of a kernel which was removed
            brings it back as it was.
        text: Text of the finished kernel's domain; None when it is trained or taken back.
        on_event: Told of the training.

    Raises:
        ConfigError: A finished kernel came without text, or text twice.
        ArtifactError: The path holds a model of a kind that cannot be served.
        ConstellationError: See `training.growth`.
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
        return train_new(artifacts, name, path, on_event, trainer=with_own_ray)
    its_place = path.resolve() == (artifacts / "kernels" / name).resolve()
    if its_place and (text is None or is_kept(text, artifacts, name)):
        return take_back(artifacts, name)
    if text is None:
        raise ConfigError(f"{path} is {arrival}: --text says where its domain lies, and is needed")
    return import_new(artifacts, name, path, text, on_event)


def join(artifacts: Path, new: NewKernel, client: Client | None) -> Added:
    """Let a kernel that was made join, and say what it cost.

    Args:
        artifacts: Folder that training wrote.
        new: The kernel.
        client: Of the constellation that runs from the artifacts; None when none does.

    Raises:
        GrowthRefused, IncompatibleKernels: It does not fit; nothing has changed.
    """
    with _changing(artifacts, f"`add {new.name}`", client):
        before = load_table(artifacts / TABLE_FILE)
        after = add_kernel(before, new.candidate)
        grown = _store(artifacts, new.name, after) if client is None else client.add(new.name)
    corpus = artifacts / CORPUS
    known = load_prepared(corpus).test if (corpus / MANIFEST).exists() else ()
    kept = kept_text(artifacts, new.name)
    return Added(
        kernel=new,
        grown=grown,
        others=_cost(artifacts, [d for d in known if d.domain != new.name], before, after),
        own=_cost(artifacts, () if kept is None else kept.test, before, after),
    )


def leave(artifacts: Path, name: str, client: Client | None) -> Grown:
    """Let a kernel leave; its files stay, and where it routed from is kept beside them.

    Raises:
        UnknownKernel: There is none of that name.
        GrowthRefused: It is the only one.
        ArtifactError: The artifacts cannot be written.
        TrainingError: Another process writes to them.
    """
    if client is not None:
        return client.retire(name)
    with _changing(artifacts, f"`remove {name}`", client):
        before = load_table(artifacts / TABLE_FILE)
        after = retire_kernel(before, name)
        keep_site(artifacts, before, name)
        left = _store(artifacts, name, after)
    seat = next(site.seat for site in before.sites if site.name == name)
    return Grown(kernel=name, seat=seat, table_version=left.table_version)


def forget(artifacts: Path, name: str, source: str, client: Client | None) -> Grown:
    """Let a kernel route as if it had never read a source of its training text.

    Raises:
        UnknownKernel: There is none of that name.
        GrowthRefused: The source does not count for it, or cannot be taken out.
        ArtifactError: Training kept no record of its text, or that is damaged; or the artifacts
            cannot be written.
        TrainingError: Another process writes to them.
    """
    if client is not None:
        return client.unlearn(name, source)
    with _changing(artifacts, f"`unlearn {name}`", client):
        before = load_table(artifacts / TABLE_FILE)
        site_of(before, name)
        sources = load_texts(artifacts, name, coordizer_hash=before.coordizer_hash)
        texts = SummedTexts(name=name, corpora=sources)
        return _store(artifacts, name, unlearn_text(before, texts, source))


def list_sources(artifacts: Path, name: str) -> list[Source]:
    """Return the sources of a kernel's training text, in the order of their names.

    Raises:
        UnknownKernel: There is none of that name.
        ArtifactError: Training kept no record of its text, or that is damaged.
    """
    table = load_table(artifacts / TABLE_FILE)
    unlearned = set(site_of(table, name).unlearned)
    sources = load_texts(artifacts, name, coordizer_hash=table.coordizer_hash)
    return [
        Source(name=key, num_documents=each.count, unlearned=key in unlearned)
        for key, each in sorted(sources.items())
    ]


@contextmanager
def _changing(artifacts: Path, doing: str, client: Client | None) -> Iterator[None]:
    """Hold the right to write the artifacts, unless a constellation that runs writes them."""
    with ExitStack() as stack:
        if client is None and artifacts.is_dir():
            stack.enter_context(typed_writes(artifacts))
            stack.enter_context(owned(artifacts, doing, TrainingError))
        yield


def _store(artifacts: Path, name: str, table: Table) -> Grown:
    save_table(artifacts / TABLE_FILE, table)
    seat = next((site.seat for site in table.sites if site.name == name), None)
    return Grown(kernel=name, seat=seat, table_version=table.version)


def _cost(
    artifacts: Path, documents: Sequence[Document], before: Table, after: Table
) -> GrowthCost | None:
    """Return what the kernel costs these documents; None when there are none that are scored."""
    return growth_cost(
        documents,
        coordizer=Coordizer.load(artifacts / "coordizer"),
        before=before,
        after=after,
        kernel=lambda name: _reader(artifacts / "kernels" / name),
    )


def _reader(folder: Path) -> Decoder | ModelReader:
    return ModelReader(folder) if is_imported(folder) else open_kernel(folder).decoder
