"""Select conversations for training: no duplicates, and two optional measured limits.

**Phi.** The integration of a kernel's hidden states over the conversation: the mean of up to four
windows of 256 tokens. A shorter conversation has no Phi.

**Alignment.** The Fisher-Rao distance between the basins (simplex points) of a prompt and of its
reply, averaged over the conversation's pairs. If the caller gives no limit, the limit is a null
value: the median distance of first prompts to first replies of conversations half the file further
on.

Both are statistics of texts under one kernel or coordizer; neither measures whether a reply is
good.

Shapes: K outcomes, T tokens.
"""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import torch

from constellation.coordizer.coordizer import Coordizer
from constellation.coordizer.evidence import evidence
from constellation.curricula.conversations import Conversation
from constellation.errors import ConfigError
from constellation.geometry import distance
from constellation.kernel.files.checkpoint import LoadedKernel
from constellation.kernel.observables.phi import PHI_POSITIONS, phi_integration

PHI_WINDOWS_MAX: Final = 4
NULL_PAIRS_MIN: Final = 8
"""Least number of conversations whose mismatched pairs define a limit."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Dropped:
    """A conversation that was removed, with the reason."""

    line: int
    reason: str
    """"duplicate", "phi", "too short for phi" or "basin distance"."""
    detail: str
    """The measured value and the limit, as a sentence."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Checked:
    """The selected and the removed conversations of a file, and the limits that were used."""

    kept: tuple[Conversation, ...]
    dropped: tuple[Dropped, ...]
    distance_max: float | None = None
    """Limit of the basin distance, radians; None when the distance was not checked."""
    distance_null: float | None = None
    """Median distance of mismatched pairs, radians; None when there were too few conversations."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PhiCheck:
    """Check that removes conversations whose Phi under a kernel is below a limit."""

    kernel: LoadedKernel
    coordizer: Coordizer
    phi_min: float
    """Least Phi of a kept conversation, in [0, 1)."""
    keep_short: bool = False
    """Whether to keep conversations that are too short to measure."""

    def __post_init__(self) -> None:
        if not 0 <= self.phi_min < 1:
            raise ConfigError(f"phi_min is {self.phi_min}; allowed: 0 <= phi_min < 1")
        if self.kernel.tokenizer_hash != self.coordizer.tokenizer_hash:
            raise ConfigError(
                "the kernel was trained with another coordizer; give the kernel's own coordizer"
            )
        if self.kernel.config.context < PHI_POSITIONS:
            raise ConfigError(
                f"Phi needs a context of {PHI_POSITIONS} tokens, the kernel has "
                f"{self.kernel.config.context}; use another kernel"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class AlignmentCheck:
    """Check that removes conversations whose prompts and replies have distant basins."""

    coordizer: Coordizer
    distance_max: float | None = None
    """Largest mean distance of a kept conversation, radians in [0, pi]; None means the null's
    median."""

    def __post_init__(self) -> None:
        if self.distance_max is not None and not 0 <= self.distance_max <= 3.15:
            raise ConfigError(f"distance_max is {self.distance_max}; allowed: 0 to pi radians")


def check_conversations(
    conversations: Sequence[Conversation],
    *,
    phi: PhiCheck | None = None,
    alignment: AlignmentCheck | None = None,
) -> Checked:
    """Return the unique conversations within the limits, in their order.

    Raises:
        ConfigError: No limit of the distance is given, and there are fewer than 8 conversations.
    """
    first: dict[tuple[object, ...], int] = {}
    kept, dropped = _without_faults(conversations, lambda each: _copied(each, first))
    null = None
    limit = None
    if alignment is not None:
        null = mismatched_distance(kept, alignment.coordizer)
        limit = _limit(alignment, null, len(kept))
        check = partial(_misaligned, coordizer=alignment.coordizer, limit=limit)
        kept, more = _without_faults(kept, check)
        dropped += more
    if phi is not None:
        kept, more = _without_faults(kept, partial(_unintegrated, check=phi))
        dropped += more
    return Checked(
        kept=tuple(kept),
        dropped=tuple(sorted(dropped, key=lambda one: one.line)),
        distance_max=limit,
        distance_null=null,
    )


@torch.inference_mode()
def conversation_phi(
    conversation: Conversation, kernel: LoadedKernel, coordizer: Coordizer
) -> float | None:
    """Return the mean Phi of up to four windows, in [0, 1); None for fewer than 256 tokens."""
    ids_T = torch.tensor(coordizer.encode(conversation.text).tolist(), dtype=torch.int64)
    windows = list(torch.split(ids_T, PHI_POSITIONS))[:PHI_WINDOWS_MAX]
    measured = [
        phi_integration(kernel.decoder.hidden(window[None])[0]).value
        for window in windows
        if len(window) == PHI_POSITIONS
    ]
    values = [value for value in measured if value is not None]
    return statistics.fmean(values) if values else None


def prompt_reply_distance(conversation: Conversation, coordizer: Coordizer) -> float:
    """Return the mean distance between a prompt's basin and its reply's, radians in [0, pi]."""
    return statistics.fmean(
        _distance(asked, replied, coordizer) for asked, replied in conversation.pairs
    )


def mismatched_distance(
    conversations: Sequence[Conversation], coordizer: Coordizer
) -> float | None:
    """Return the median distance between first prompts and first replies of other conversations.

    A conversation is paired with the conversation half the file further on, so that a file sorted
    by subject pairs different subjects. None for fewer than 8 conversations.
    """
    if len(conversations) < NULL_PAIRS_MIN:
        return None
    firsts = [next(conversation.pairs) for conversation in conversations]
    half = len(firsts) // 2
    others = firsts[half:] + firsts[:half]
    return statistics.median(
        _distance(asked, replied, coordizer)
        for (asked, _), (_, replied) in zip(firsts, others, strict=True)
    )


def _distance(asked: str, replied: str, coordizer: Coordizer) -> float:
    return float(
        distance(
            coordizer.basin(coordizer.encode(evidence(asked))),
            coordizer.basin(coordizer.encode(evidence(replied))),
        )
    )


def _limit(check: AlignmentCheck, null: float | None, num_conversations: int) -> float:
    limit = null if check.distance_max is None else check.distance_max
    if limit is None:
        raise ConfigError(
            f"{num_conversations} conversations are too few to derive a limit of the distance "
            f"({NULL_PAIRS_MIN} are needed); give the largest distance yourself"
        )
    return limit


def _copied(
    conversation: Conversation, first: dict[tuple[object, ...], int]
) -> tuple[str, str] | None:
    line = first.setdefault(conversation.messages, conversation.line)
    return None if line == conversation.line else ("duplicate", f"the same as line {line}")


def _without_faults(
    conversations: Sequence[Conversation],
    fault: Callable[[Conversation], tuple[str, str] | None],
) -> tuple[list[Conversation], list[Dropped]]:
    """Return the conversations without a fault, and those with one, by its reason and detail."""
    kept, dropped = [], []
    for each in conversations:
        found = fault(each)
        if found is None:
            kept.append(each)
        else:
            dropped.append(Dropped(line=each.line, reason=found[0], detail=found[1]))
    return kept, dropped


def _misaligned(
    conversation: Conversation, coordizer: Coordizer, limit: float
) -> tuple[str, str] | None:
    value = prompt_reply_distance(conversation, coordizer)
    return None if value <= limit else ("basin distance", f"{value:.3f} rad, over {limit:.3f}")


def _unintegrated(conversation: Conversation, check: PhiCheck) -> tuple[str, str] | None:
    value = conversation_phi(conversation, check.kernel, check.coordizer)
    if value is None:
        short = ("too short for phi", f"under {PHI_POSITIONS} tokens")
        return None if check.keep_short else short
    return None if value >= check.phi_min else ("phi", f"{value:.3f}, under {check.phi_min:.3f}")
