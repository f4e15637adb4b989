"""Curriculum: one record that names the parts of a kernel's training, and what trains it.

A new way of training is a new record: another network, vocabulary, kind of batches, objective,
optimiser or gates. What follows from a record (steps, checkpoints, guards, a stop, the gate at the
end) is done by `learn` for all of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from constellation.errors import TrainingError
from constellation.kernel.files.symbol_vocabulary import SymbolVocabulary
from constellation.kernel.network.config import KernelConfig
from constellation.kernel.network.decoder import Decoder
from training.batches import Batches
from training.exact_answers import ExactAnswers, TokenPair, exact_answers
from training.loop.job import Job, JobResult
from training.loop.train_loop import run_job
from training.progress.events import OnEvent, ignore


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Curriculum:
    """The parts of a kernel's training."""

    job: Job
    """Name, objective, optimiser, checkpoints and guards."""
    network: KernelConfig
    vocabulary: SymbolVocabulary
    train: Batches
    """What the kernel learns from."""
    dev: Batches
    """What decides which checkpoint is the best."""
    seed: int = 0
    """Of the first weights."""
    questions: tuple[TokenPair, ...] = ()
    """Held-out prompts with the answers that count as right."""
    exact_min: float = 0.0
    """Share of the questions that must be answered exactly, in [0, 1], or there is no kernel."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Learned:
    """A kernel that was trained, or stopped on the way."""

    decoder: Decoder
    """In evaluation mode, with the weights of the best checkpoint when it is finished."""
    result: JobResult
    exact: ExactAnswers | None
    """How the questions were answered; None while it is not finished, and without questions."""


def learn(
    curriculum: Curriculum,
    checkpoints: Path,
    *,
    on_event: OnEvent = ignore,
    should_stop: Callable[[], bool] = lambda: False,
) -> Learned:
    """Train a kernel by its curriculum, from the newest checkpoint if there is one.

    `should_stop` is asked before each step; yes writes a checkpoint and returns.

    Raises:
        TrainingError: A checkpoint cannot be written, the guard gave up, or too few questions were
            answered exactly.
        ConfigError: The curriculum asks for what the network or the machine does not have.
    """
    decoder = Decoder(curriculum.network, seed=curriculum.seed)
    result = run_job(
        curriculum.job,
        decoder,
        curriculum.train,
        curriculum.dev,
        checkpoints,
        on_progress=on_event,
        should_stop=should_stop,
    )
    decoder = decoder.cpu().eval()
    exact = _pass_gate(curriculum, decoder) if result.finished else None
    return Learned(decoder=decoder, result=result, exact=exact)


def _pass_gate(curriculum: Curriculum, decoder: Decoder) -> ExactAnswers | None:
    if not curriculum.questions:
        return None
    exact = exact_answers(decoder, curriculum.questions, end_id=curriculum.vocabulary.end_id)
    if exact.share < curriculum.exact_min:
        raise TrainingError(
            f"kernel {curriculum.job.kernel!r} answers {exact.num_exact} of {exact.num_pairs} "
            f"held-out prompts exactly, a share of {exact.share:.3f} below "
            f"{curriculum.exact_min}; train longer, give more pairs, or lower pairs.exact_min"
        )
    return exact
