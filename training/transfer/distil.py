"""Distil by soft targets: a student learns a teacher's whole next-token distribution.

    loss = (1 - w) CE + w T^2 KL(teacher_T || student_T)

Both distributions are softened by the temperature T; T^2 keeps the size of the gradient. Logits
exist a chunk of positions at a time and are made again for the backward pass: for a vocabulary of
32,000 those of both models at 12 x 512 positions would take 1.6 GB.

A teacher of other tokens cannot give soft targets. It can write: `teachers.write_texts`.

Shapes: B sequences, T positions, M positions flattened, C channels, V tokens.
Source: Hinton et al. (2015).
"""

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from constellation.coordizer.coordizer import Coordizer
from constellation.errors import ConfigError
from constellation.kernel.network.decoder import Decoder
from constellation.kernel.network.loss import CHUNK_LOGITS, IGNORED
from training.recipe_transfer import DistilSection
from training.transfer.teachers import Teacher, load_teacher


class SoftTargets:
    """A frozen teacher as a term of the objective."""

    def __init__(self, teacher: Teacher, config: DistilSection) -> None:
        self.config = config
        self._teacher = teacher

    def to(self, device: torch.device) -> "SoftTargets":
        """Move the teacher; return self."""
        self._teacher.to(device)
        return self

    def __call__(
        self, student: Decoder, hidden_BTC: Tensor, inputs_BT: Tensor, targets_BT: Tensor
    ) -> Tensor:
        """Return the mean of `soft_target_nats` over the positions whose target is not -100.

        Returns:
            A scalar in nats; 0 with zero gradients when no position counts.
        """
        counted_M = targets_BT.flatten() != IGNORED
        with torch.no_grad():
            theirs_MC = self._teacher.hidden(inputs_BT).flatten(0, 1)[counted_M]
        mine_MC = hidden_BTC.flatten(0, 1)[counted_M]
        total = mine_MC.sum() * 0.0  # a gradient, if of zero, also when nothing counts
        rows = max(1, CHUNK_LOGITS // student.config.vocab_size)
        for mine, theirs in zip(
            torch.split(mine_MC, rows), torch.split(theirs_MC, rows), strict=True
        ):
            if len(mine):
                total = total + checkpoint(
                    self._chunk_nats, student, mine, theirs, use_reentrant=False
                )
        return total / max(1, int(counted_M.sum()))

    def _chunk_nats(self, student: Decoder, mine_MC: Tensor, theirs_MC: Tensor) -> Tensor:
        with torch.no_grad():
            teacher_MV = self._teacher.logits(theirs_MC)
        return soft_target_nats(student.logits(mine_MC), teacher_MV, self.config.temperature).sum()


def load_soft_targets(config: DistilSection, coordizer_folder: str | None) -> SoftTargets:
    """Load the teacher as a term of the objective.

    Raises:
        ArtifactError: The teacher is missing or damaged.
        ConfigError: The teacher uses other tokens than the coordizer, or none is named.
    """
    if coordizer_folder is None:
        raise ConfigError("a teacher's tokens are compared with the coordizer's; name its folder")
    coordizer = Coordizer.load(coordizer_folder)
    return SoftTargets(load_teacher(config.teacher, coordizer), config)


def soft_target_nats(
    student_logits_MV: Tensor, teacher_logits_MV: Tensor, temperature: float
) -> Tensor:
    """Return T^2 KL(softmax(teacher / T) || softmax(student / T)) of every row.

    Args:
        student_logits_MV: Gradients flow through these alone.
        teacher_logits_MV: Teacher logits of the same vocabulary.
        temperature: T, above 0.

    Returns:
        Nats, shape (M,), float32, at least 0; exactly 0 where the logits are equal.

    Raises:
        ConfigError: If the shapes differ.
    """
    if student_logits_MV.shape != teacher_logits_MV.shape:
        shapes = tuple(student_logits_MV.shape), tuple(teacher_logits_MV.shape)
        raise ConfigError(
            f"student and teacher have logits of shapes {shapes}; need one vocabulary"
        )
    log_q = torch.log_softmax(student_logits_MV.float() / temperature, -1)
    log_p = torch.log_softmax(teacher_logits_MV.detach().float() / temperature, -1)
    kl_M = functional.kl_div(log_q, log_p, reduction="none", log_target=True).sum(-1)
    # Rounding alone goes below 0.
    return kl_M.clamp(min=0) * temperature**2
