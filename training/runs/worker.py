"""One worker's part of a run: train one kernel with its peers, or a share of seed and branches.

Knows peers, but not Ray. All state is in the run's folder, so a restarted worker resumes from
there.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from constellation.coordizer.coordizer import Coordizer
from constellation.errors import ArtifactError, IncompatibleKernels, TrainingError
from constellation.kernel.adapters.attach import Adapted
from constellation.kernel.adapters.kernel_folder import open_kernel
from constellation.kernel.files.checkpoint import load_kernel, save_kernel
from constellation.kernel.network.config import KernelConfig
from constellation.kernel.network.decoder import Decoder
from training.batches import Windows
from training.loop.job import JobResult
from training.loop.step import Alone, Peers
from training.loop.train_loop import run_job
from training.progress.events import OnEvent, ignore
from training.run_files.shared_files import SHARED, RunFiles
from training.runs.adapter_branches import save_branch, start_adapter
from training.runs.seed import load_seed
from training.runs.training_plan import SEED, TrainingPlan
from training.token_files import load_tokens
from training.transfer.embeddings import fill_frozen_input

ShouldStop = Callable[[], bool]


def train_share(
    plan: TrainingPlan,
    peers: Peers,
    *,
    files: RunFiles = SHARED,
    on_progress: OnEvent = ignore,
    should_stop: ShouldStop = lambda: False,
) -> bool:
    """Train one worker's share: the seed with all workers, then every `world`-th branch alone.

    Finished kernels of the same key are passed over. In the other modes the share is every
    `world`-th kernel, which is how they run without Ray.

    Returns:
        Whether all of the share is finished; False after a stop.

    Raises:
        TrainingError: A checkpoint or token file cannot be used, or a guard ended the run.
    """
    if plan.seed_job is not None and not train_kernel(
        plan, SEED, peers, files=files, on_progress=on_progress, should_stop=should_stop
    ):
        return False
    return all(
        train_kernel(
            plan, name, Alone(), files=files, on_progress=on_progress, should_stop=should_stop
        )
        for name in plan.kernels[peers.rank :: peers.world]
    )


def train_kernel(
    plan: TrainingPlan,
    name: str,
    peers: Peers,
    *,
    files: RunFiles = SHARED,
    on_progress: OnEvent = ignore,
    should_stop: ShouldStop = lambda: False,
) -> bool:
    """Train one kernel, or the seed, together with all peers; skip a finished one.

    Returns:
        Whether the kernel is finished; False after a stop.

    Raises:
        TrainingError: See `train_share`.
    """
    for path in _results_before(plan, name):
        files.pull(path)
    if not is_finished(plan, name):
        for path in _inputs(plan, name):
            files.pull(path)
        adapted = None if name == SEED else start_adapter(plan, name)
        decoder = _start(plan, name) if adapted is None else adapted.decoder
        job = plan.job(name)
        result = run_job(
            job,
            decoder,
            _windows(plan, name, "train", decoder.config),
            _windows(plan, name, "dev", decoder.config),
            plan.checkpoints_of(name),
            files=files,
            peers=peers,
            on_progress=on_progress,
            should_stop=should_stop,
        )
        if not result.finished:
            return False
        if peers.rank == 0:
            _save(plan, name, decoder, result, adapted)
            files.push(plan.kernel_folder(name))
    peers.wait()
    return True


def _results_before(plan: TrainingPlan, name: str) -> list[Path]:
    """Return the folders by which `is_finished` judges a kernel."""
    names = {name} if plan.seed_job is None else {name, SEED}
    return [plan.kernel_folder(each) for each in sorted(names)]


def _inputs(plan: TrainingPlan, name: str) -> list[Path]:
    """Return the files and folders of the run that the training of a kernel reads."""
    replay = plan.replay(name)
    tokens = [plan.tokens(name, split) for split in ("train", "dev")]
    return [*tokens, *([] if replay is None else [replay]), Path(plan.out) / "coordizer"]


def is_finished(plan: TrainingPlan, name: str) -> bool:
    """Return whether the kernel's folder holds finished weights of this same plan.

    A branch is finished when it grew from the seed that lies in the run's folder.
    """
    folder = plan.kernel_folder(name)
    if not folder.is_dir():
        return False
    try:
        facts = open_kernel(folder).facts
        grew_from = _base_hash(plan, name)
    except (ArtifactError, IncompatibleKernels):
        return False
    known = plan.key_of(name)
    return facts.get("run_key") == known and facts.get("base_sha256") == grew_from


def _start(plan: TrainingPlan, name: str) -> Decoder:
    """Return the starting weights of a kernel: the seed's, or newly drawn ones."""
    if plan.seed_job is not None and name != SEED:
        return load_seed(plan).decoder
    decoder = Decoder(KernelConfig.from_dict(plan.kernel_config), seed=plan.initial_seed(name))
    if plan.embedding_folder is not None:
        coordizer = Coordizer.load(Path(plan.out) / "coordizer")
        fill_frozen_input(decoder, plan.embedding_folder, coordizer)
    return decoder


def _windows(plan: TrainingPlan, name: str, split: str, config: KernelConfig) -> Windows:
    """Return the windows that a kernel trains on ("train") or is scored on ("dev")."""
    stream_N = load_tokens(plan.tokens(name, split), vocab_size=config.vocab_size)
    replay = plan.replay(name)
    if split == "train" and replay is not None:
        others_N = load_tokens(replay, vocab_size=config.vocab_size)
        stream_N = np.concatenate([stream_N, others_N[1:]])  # both have an end-of-text there
    return Windows.of(stream_N, context=config.context, seed=plan.seed)


def _base_hash(plan: TrainingPlan, name: str) -> str | None:
    """Return the sha256 (hex) of the weights that a branch started from; None for a new start."""
    if plan.seed_job is None or name == SEED:
        return None
    return load_kernel(plan.kernel_folder(SEED)).weights_hash


def _save(
    plan: TrainingPlan, name: str, decoder: Decoder, result: JobResult, adapted: Adapted | None
) -> None:
    facts = {
        "name": name,
        "run_key": plan.key_of(name),
        # What only kernels of one base may be asked for: to be averaged.
        "base_sha256": _base_hash(plan, name),
        "steps": result.steps,
        "best_step": result.best_step,
        "dev_nats_per_token": result.dev_nats,
    }
    folder = plan.kernel_folder(name)
    try:
        if adapted is None:
            save_kernel(folder, decoder, tokenizer_hash=plan.tokenizer_hash, facts=facts)
        else:
            save_branch(plan, name, adapted, facts)
    except OSError as error:
        raise TrainingError(
            f"cannot write kernel {folder}: {error.strerror}; its checkpoints are intact, free "
            "some space or mend the permissions and run again"
        ) from error
