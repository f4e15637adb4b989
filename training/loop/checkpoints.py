"""Write and read checkpoints of a training: weights, optimiser, random and loop state in one file.

A file appears whole or not at all (write, fsync, rename, fsync of the folder). The last few, the
best, and the newest good one stay; a damaged file is passed over for the one before it.
"""

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from constellation.atomic_files import write_whole
from constellation.errors import TrainingError
from constellation.kernel.network.decoder import Decoder
from training.run_files.shared_files import SHARED, RunFiles

logger = logging.getLogger(__name__)

_PATTERN = "step-*.safetensors"


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """One checkpoint on disk."""

    path: Path
    step: int
    """Number of steps taken."""
    dev_nats: float | None
    """Held-out cross-entropy at this checkpoint, nats per token; None where it was not scored."""
    good: bool = False
    """Whether a guard may roll back to it."""
    state: Mapping[str, Any] = field(default_factory=dict)
    """State of the loop that resuming needs, as JSON values."""


class CheckpointFolder:
    """The checkpoints of one kernel's run."""

    def __init__(self, folder: Path, *, keep_last: int = 2, files: RunFiles = SHARED) -> None:
        """Use `folder`, which need not exist.

        Args:
            folder: Of the checkpoints, in the folder of the run or a copy of it.
            keep_last: Checkpoints to keep beside the best and the newest good one.
            files: Copies checkpoints from and to the folder of the run.
        """
        self.folder = folder
        self._keep_last = keep_last
        self._files = files

    def save(
        self,
        decoder: Decoder,
        optimiser: torch.optim.Optimizer,
        *,
        step: int,
        dev_nats: float | None,
        good: bool = False,
        state: Mapping[str, object] | None = None,
    ) -> Checkpoint:
        """Write a checkpoint, then drop those that need not stay.

        Args:
            decoder: The network.
            optimiser: Its state is kept too.
            step: Steps taken.
            dev_nats: Held-out cross-entropy, nats per token. None for a checkpoint that is only
                for resuming: it is never the best.
            good: Whether a guard may go back to it.
            state: What the loop must know to go on from here, as JSON values.

        Raises:
            TrainingError: The disk is full or read-only; older checkpoints are untouched.
        """
        tensors = _collect(decoder, optimiser)
        # JSON writes the shortest digits that give the same float again, so nothing is rounded.
        facts = {
            "step": str(step),
            "dev_nats": json.dumps(dev_nats),
            "good": json.dumps(good),
            "state": json.dumps(state or {}),
        }
        path = self.folder / f"step-{step:08d}.safetensors"
        try:
            write_whole(path, save(tensors, metadata=facts))
        except OSError as error:
            raise TrainingError(
                f"cannot write checkpoint {path}: {error.strerror}; the one before it is intact, "
                "free some space or mend the permissions and run again to resume"
            ) from error
        self._prune()
        self._files.push(self.folder)
        return Checkpoint(
            path=path, step=step, dev_nats=dev_nats, good=good, state=dict(state or {})
        )

    def all(self) -> list[Checkpoint]:
        """Return the readable checkpoints, oldest first."""
        found = (_describe(path) for path in sorted(self.folder.glob(_PATTERN)))
        return [checkpoint for checkpoint in found if checkpoint is not None]

    def best(self) -> Checkpoint | None:
        """Return the checkpoint with the lowest held-out loss, the earlier one of equals."""
        self._files.pull(self.folder)
        return _best(self.all())

    def resume(
        self, decoder: Decoder, optimiser: torch.optim.Optimizer, *, good: bool = False
    ) -> Checkpoint | None:
        """Load the newest whole checkpoint and return it; None when there is none.

        Args:
            decoder: Takes the weights.
            optimiser: Takes its state.
            good: Take only one that a guard may go back to.
        """
        self._files.pull(self.folder)
        for checkpoint in reversed(self.all()):
            if good and not checkpoint.good:
                continue
            try:
                restore(checkpoint.path, decoder, optimiser)
            except (SafetensorError, KeyError, OSError, RuntimeError) as error:
                logger.warning(
                    "checkpoint passed over",
                    extra={"path": str(checkpoint.path), "reason": str(error)},
                )
                continue
            return checkpoint
        return None

    def drop_after(self, step: int) -> None:
        """Remove checkpoints of later steps, whole or damaged, after a rollback."""
        for path in sorted(self.folder.glob(_PATTERN), reverse=True):
            if int(path.stem.removeprefix("step-")) > step:
                path.unlink(missing_ok=True)
        self._files.push(self.folder)

    def _prune(self) -> None:
        checkpoints = self.all()
        stays = (_best(checkpoints), _newest_good(checkpoints))
        for checkpoint in checkpoints[: -self._keep_last]:
            if checkpoint not in stays:
                checkpoint.path.unlink(missing_ok=True)


def _best(checkpoints: list[Checkpoint]) -> Checkpoint | None:
    scored = [
        (c.dev_nats, c.step, c)
        for c in checkpoints
        if c.dev_nats is not None and math.isfinite(c.dev_nats)
    ]
    return min(scored, key=lambda entry: entry[:2])[2] if scored else None


def _newest_good(checkpoints: list[Checkpoint]) -> Checkpoint | None:
    return next((checkpoint for checkpoint in reversed(checkpoints) if checkpoint.good), None)


def restore(path: Path, decoder: Decoder, optimiser: torch.optim.Optimizer | None = None) -> None:
    """Load weights and, when an optimiser is given, its state and torch's random state.

    Nothing is changed unless the whole file can be read.

    Raises:
        SafetensorError, KeyError, OSError: The file is damaged or of another network.
    """
    parameters = dict(decoder.named_parameters())
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    wanted = {f"model.{name}" for name in parameters}
    if missing := sorted(wanted - set(tensors)):
        raise KeyError(f"{path} lacks {missing[0]}")
    for name, parameter in parameters.items():
        if tensors[f"model.{name}"].shape != parameter.shape:
            raise KeyError(f"{path} has another shape of {name}")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(tensors[f"model.{name}"])
    if optimiser is not None:
        for name, parameter in parameters.items():
            prefix = f"optimiser.{name}."
            optimiser.state[parameter] = {
                key.removeprefix(prefix): value.to(_place(key, parameter, optimiser))
                for key, value in tensors.items()
                if key.startswith(prefix)
            }
        torch.set_rng_state(tensors["random.torch"])


def _place(key: str, parameter: Tensor, optimiser: torch.optim.Optimizer) -> torch.device:
    """Return the device of a piece of state: step counts stay on the CPU unless fused."""
    fused = any(group.get("fused") for group in optimiser.param_groups)
    counts = key.endswith(".step") and not fused
    return torch.device("cpu") if counts else parameter.device


def _collect(decoder: Decoder, optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    tensors = {"random.torch": torch.get_rng_state()}
    for name, parameter in decoder.named_parameters():
        tensors[f"model.{name}"] = parameter.detach().cpu().contiguous()
        for key, value in optimiser.state[parameter].items():
            tensors[f"optimiser.{name}.{key}"] = torch.as_tensor(value).cpu().contiguous()
    return tensors


def _describe(path: Path) -> Checkpoint | None:
    """Return the facts in a file's header, or None when it is damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            facts = file.metadata()
        dev_nats = json.loads(facts["dev_nats"])
        return Checkpoint(
            path=path,
            step=int(facts["step"]),
            dev_nats=dev_nats,
            good=json.loads(facts["good"]),
            state=json.loads(facts["state"]),
        )
    except (SafetensorError, OSError, KeyError, ValueError, TypeError) as error:
        logger.warning("checkpoint damaged", extra={"path": str(path), "reason": str(error)})
        return None
