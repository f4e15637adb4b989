"""Let a kernel join or leave: live where its constellation runs, else in the artifacts alone."""

from dataclasses import dataclass
from pathlib import Path

from cluster.training_run import with_own_ray
from constellation.client import Client
from constellation.coordizer.coordizer import Coordizer
from constellation.curricula.store import MANIFEST, load_prepared
from constellation.errors import ConfigError, UnknownKernel
from constellation.kernel.adapters.files import is_adapter
from constellation.kernel.checkpoint import KERNEL_FILE
from constellation.kernel.decoder import Decoder
from constellation.kernel.hugging_face.files import is_imported, is_model
from constellation.kernel.opening import open_kernel
from constellation.records import Grown, Table
from constellation.routing.growth import add_kernel, retire_kernel, unlearn_text
from constellation.routing.sites import KernelTexts
from constellation.wire.table_file import load_table, save_table
from constellation.wire.texts_file import load_texts
from training.evaluation.growth import GrowthCost, ModelReader, growth_cost
from training.growth import NewKernel, import_new, train_new
from training.progress.events import OnEvent

TABLE_FILE = "table.msgpack"


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
            adapter, or of a causal model of `transformers`.
        text: Text of the finished kernel's domain; None when it is trained.
        on_event: Told of the training.

    Raises:
        ConfigError: A finished kernel came without text, or text twice.
        ConstellationError: See `training.growth`.
    """
    finished = (path / KERNEL_FILE).exists() or is_adapter(path) or is_model(path)
    if finished and text is None:
        raise ConfigError(
            f"{path} is a finished kernel: --text says where its domain lies, and is needed"
        )
    if finished and text is not None:
        return import_new(artifacts, name, path, text)
    if text is not None:
        raise ConfigError(f"{path} is no finished kernel, so it is the text; leave --text out")
    return train_new(artifacts, name, path, on_event, trainer=with_own_ray)


def join(artifacts: Path, new: NewKernel, client: Client | None) -> Added:
    """Let a kernel that was made join, and say what it cost.

    Args:
        artifacts: Folder that training wrote.
        new: The kernel.
        client: Of the constellation that runs from the artifacts; None when none does.

    Raises:
        GrowthRefused, IncompatibleKernels: It does not fit; nothing has changed.
    """
    before = load_table(artifacts / TABLE_FILE)
    after = add_kernel(before, new.candidate)
    grown = _store(artifacts, new.name, after) if client is None else client.add(new.name)
    return Added(
        kernel=new,
        grown=grown,
        others=_cost(artifacts, artifacts / "corpus", before, after),
        own=_cost(artifacts, artifacts / "added" / new.name, before, after),
    )


def leave(artifacts: Path, name: str, client: Client | None) -> Grown:
    """Let a kernel go; its files stay.

    Raises:
        UnknownKernel: There is none of that name.
        GrowthRefused: It is the only one.
    """
    if client is not None:
        return client.retire(name)
    before = load_table(artifacts / TABLE_FILE)
    left = _store(artifacts, name, retire_kernel(before, name))
    seat = next(site.seat for site in before.sites if site.name == name)
    return Grown(kernel=name, seat=seat, table_version=left.table_version)


def forget(artifacts: Path, name: str, source: str, client: Client | None) -> Grown:
    """Let a kernel route as if it had never read a source of its training text.

    Raises:
        UnknownKernel: There is none of that name.
        GrowthRefused: The source does not count for it, or cannot be taken out.
        ArtifactError: Training kept no record of its text, or that is damaged.
    """
    if client is not None:
        return client.unlearn(name, source)
    before = load_table(artifacts / TABLE_FILE)
    names = [site.name for site in before.sites]
    if name not in names:
        raise UnknownKernel(name, names)
    sources = load_texts(artifacts, name, coordizer_hash=before.coordizer_hash)
    texts = KernelTexts(name=name, corpora=sources)
    return _store(artifacts, name, unlearn_text(before, texts, source))


def _store(artifacts: Path, name: str, table: Table) -> Grown:
    save_table(artifacts / TABLE_FILE, table)
    seat = next((site.seat for site in table.sites if site.name == name), None)
    return Grown(kernel=name, seat=seat, table_version=table.version)


def _cost(artifacts: Path, corpus: Path, before: Table, after: Table) -> GrowthCost | None:
    if not (corpus / MANIFEST).exists():
        return None
    return growth_cost(
        load_prepared(corpus).test,
        coordizer=Coordizer.load(artifacts / "coordizer"),
        before=before,
        after=after,
        kernel=lambda name: _reader(artifacts / "kernels" / name),
    )


def _reader(folder: Path) -> Decoder | ModelReader:
    return ModelReader(folder) if is_imported(folder) else open_kernel(folder).decoder
