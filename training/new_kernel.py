"""Make one more kernel for a finished run: train it from the seed, import it, or restore it.

Writes the kernel's weights to `kernels/NAME/`, its text to `added/NAME/`, the record of the text,
by which the kernel joins, to `domains/`, and the base of an adapter to `bases/`. Releases, seed and
the other kernels are only read.
"""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from constellation.curricula.reading_report import corpus_lines
from constellation.domains.record import Domain
from constellation.errors import (
    ArtifactError,
    ConfigError,
    IncompatibleKernels,
    TrainingError,
)
from constellation.kernel.adapters.adapter_file import (
    AdaptedKernel,
    base_folder_of,
    copy_adapter,
    is_adapter,
    load_adapted,
)
from constellation.kernel.adapters.kernel_folder import open_kernel
from constellation.kernel.files.checkpoint import load_kernel
from constellation.kernel.files.own_vocabulary import check_own_vocabulary, has_own_vocabulary
from constellation.kernel.files.peft_folder import (
    base_of_source,
    check_peft,
    import_peft,
    is_peft_source,
)
from constellation.kernel.files.symbol_kernel import load_symbol_kernel
from constellation.kernel.files.symbol_vocabulary import has_symbols
from constellation.kernel.files.transformers_folder import import_model, is_model
from constellation.releases.builder import save_domain
from constellation.wire.run_lock import owned
from training.file_errors import typed_writes
from training.finished_run import Arrival, GrowingRun, copy_whole
from training.kernel_text import kept_text
from training.progress.events import CorpusRead, OnEvent, ignore
from training.provenance import RUN_FILE
from training.recipe import Recipe
from training.recipe_corpus import CorpusSection
from training.runs.training_plan import TrainingPlan
from training.runs.worker import is_finished
from training.stop_reasons import unfinished_words

Trainer = Callable[[TrainingPlan, Recipe, OnEvent], None]
"""Function that trains all kernels of a plan, as in `training/pipeline.py`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NewKernel:
    """A kernel whose files and text record are written, ready to join."""

    name: str
    seconds: float
    """Seconds that making the kernel took."""
    num_documents: int
    """Number of documents of its text that it learned from."""


def train_new(
    artifacts: Path, name: str, text: Path, on_event: OnEvent = ignore, *, trainer: Trainer
) -> NewKernel:
    """Train a kernel for a new domain with the branch stage of the run's own recipe.

    All text, a file or folder, is one domain. When the call is stopped and repeated with the same
    text, training is resumed.

    Raises:
        ConfigError: The run has no branches, or the name is reserved.
        CorpusError: The text cannot be used, or is too little; nothing was written.
        GrowthRefused: There is no room for another kernel; nothing was written.
        ArtifactError: The run's folder is damaged or incomplete, or cannot be written.
        TrainingError: Training failed or was stopped, or another process writes to the folder.
    """
    started_s = time.perf_counter()
    with _growing(artifacts, name) as run:
        recipe = _recipe(run.artifacts / RUN_FILE)
        if recipe.branch_stage is None:
            raise ConfigError(
                f"{run.artifacts} was trained in mode {recipe.mode}, so it has no branches; "
                "bring a finished kernel and --text"
            )
        run.check_place_is_free()
        arrival = _read(run, text, recipe.corpus, on_event)
        run.keep(arrival)
        plan = run.plan(recipe, arrival.corpus)
        if not is_finished(plan, name):
            trainer(plan, recipe, on_event)
            if not is_finished(plan, name):
                raise TrainingError(unfinished_words(plan, [name], ()))
        if not recipe.checkpoints.keep_finished:
            _clear(plan.checkpoints, name)
        return _joining(run, arrival, started_s)


def import_new(
    artifacts: Path, name: str, kernel: Path, text: Path, on_event: OnEvent = ignore
) -> NewKernel:
    """Import a finished kernel; routing finds it by the given text of its domain.

    The base of an adapter is copied too, once for all adapters over it, to `bases/` under its hash.

    Args:
        artifacts: The run's folder.
        name: Name of the domain and its kernel.
        kernel: Folder of a whole kernel of the same vocabulary, or of a kernel with a vocabulary of
            symbols, or of an adapter (ours or of `peft`) that says where its base lies, or of a
            causal model of
            `transformers`.
        text: A file or folder with text of its domain, some of which is held out to calibrate.
        on_event: Called with a report of the text that was read.

    Raises:
        IncompatibleKernels: It was trained with another vocabulary.
        ArtifactError: It is damaged, or an adapter that does not belong to the base it names; or a
            model that cannot be served, as
            `constellation.kernel.hugging_face.transformers_model.open_model` says; or the run's
            folder cannot be written.
        ConfigError: It is a model, and `transformers` is not installed.
        CorpusError: The text cannot be used, or is too little; nothing was written.
        GrowthRefused: There is no room for another kernel; nothing was written.
        TrainingError: Another process writes to the folder.
    """
    started_s = time.perf_counter()
    with _growing(artifacts, name) as run:
        copy = _checked(run, kernel)  # before anything is written
        arrival = _read(run, text, CorpusSection(), on_event)
        if kernel.resolve() != run.folder:
            run.clear_place()
            run.record(f"imported {copy()}")
        run.keep(arrival)
        return _joining(run, arrival, started_s)


def take_back(artifacts: Path, name: str) -> NewKernel:
    """Restore a kernel that was removed and whose files are still in the run's folder.

    The record of its text comes back to the bit, with what it had unlearned. Where there is no
    record, it is made again of the text that the run keeps.

    Raises:
        ArtifactError: A file of the kernel is missing or damaged, or its record is of another
            vocabulary than the run has now.
        IncompatibleKernels: It was trained with another vocabulary.
        ConfigError: The run keeps neither a record nor its text, or the name is taken.
        TrainingError: Another process writes to the folder.
    """
    started_s = time.perf_counter()
    with _growing(artifacts, name) as run:
        domain = run.kept_domain()
        if has_own_vocabulary(run.folder):
            check_own_vocabulary(run.folder)
        elif open_kernel(run.folder).tokenizer_hash != run.coordizer.tokenizer_hash:
            raise IncompatibleKernels(name)
        if domain is None or not run.speaks(domain):
            return _joining(run, _known_again(run, domain), started_s)
        return NewKernel(
            name=name,
            seconds=time.perf_counter() - started_s,
            num_documents=len(domain.train),
        )


@contextmanager
def _growing(artifacts: Path, name: str) -> Iterator[GrowingRun]:
    """Lock a run against other writers, and yield it with the new kernel's name."""
    artifacts = artifacts.resolve()
    if not artifacts.is_dir():
        raise ArtifactError(artifacts, "is no folder; train one first, or name it by --artifacts")
    with typed_writes(artifacts), owned(artifacts, f"`add {name}`", TrainingError):
        yield GrowingRun(artifacts, name)


def _read(run: GrowingRun, text: Path, section: CorpusSection, on_event: OnEvent) -> Arrival:
    arrival = run.read(text, section)
    on_event(CorpusRead(lines=corpus_lines(arrival.corpus.manifest)))
    return arrival


def _checked(run: GrowingRun, kernel: Path) -> Callable[[], str]:
    """Read a whole kernel; return what copies it into the run and gives the hash of its weights."""
    # What is needed for models is optional and therefore imported here.
    if is_peft_source(kernel):
        from constellation.kernel.hugging_face.model_stack import ModelStack
        from constellation.kernel.hugging_face.peft_adapter import read_peft
        from constellation.kernel.hugging_face.transformers_model import open_model

        model = base_of_source(kernel)
        ModelStack(open_model(model).network).put(read_peft(kernel))

        def copy() -> str:
            import_peft(kernel, run.folder, base_hash=run.keep_model_base(model))
            return check_peft(run.folder).weights_hash

        return copy
    if is_model(kernel):
        from constellation.kernel.hugging_face.transformers_model import open_model

        open_model(kernel)
        return lambda: import_model(kernel, run.folder).weights_hash
    loaded = load_adapted(kernel) if is_adapter(kernel) else load_kernel(kernel)
    if has_symbols(kernel):
        load_symbol_kernel(kernel)
    elif loaded.tokenizer_hash != run.coordizer.tokenizer_hash:
        raise IncompatibleKernels(run.name)

    def copy_own() -> str:
        if isinstance(loaded, AdaptedKernel):
            base_folder = run.keep_base(base_folder_of(kernel), loaded.base)
            copy_adapter(kernel, run.folder, base_folder=base_folder)
        else:
            copy_whole(kernel, run.folder)
        return loaded.weights_hash

    return copy_own


def _known_again(run: GrowingRun, left: Domain | None) -> Arrival:
    """Return the stored text, without the sources that the removed kernel had unlearned."""
    kept = kept_text(run.artifacts, run.name)
    if kept is None:
        raise ConfigError(f"{run.folder} is a finished kernel; give text of its domain with --text")
    return run.fit(kept, kept=True, unlearned=() if left is None else left.unlearned)


def _joining(run: GrowingRun, arrival: Arrival, started_s: float) -> NewKernel:
    save_domain(run.artifacts, arrival.domain)
    return NewKernel(
        name=run.name,
        seconds=time.perf_counter() - started_s,
        num_documents=len(arrival.corpus.train),
    )


def _clear(checkpoints: Path, name: str) -> None:
    """Remove a kernel's checkpoints; those of other kernels may still be resumed from."""
    shutil.rmtree(checkpoints / name, ignore_errors=True)
    if checkpoints.is_dir() and not any(path.is_dir() for path in checkpoints.iterdir()):
        shutil.rmtree(checkpoints)
    if checkpoints.parent.is_dir() and not any(checkpoints.parent.iterdir()):
        checkpoints.parent.rmdir()


def _recipe(path: Path) -> Recipe:
    """Return the recipe that a run was trained by."""
    try:
        return Recipe.model_validate(json.loads(path.read_text(encoding="utf-8"))["recipe"])
    except OSError as error:
        raise ArtifactError(path, f"cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(path, f"does not say how the run was made: {error}") from error
