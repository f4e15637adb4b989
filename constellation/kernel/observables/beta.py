"""Measure a kernel's attention coupling at several context lengths, and beta, its slope.

The slope is compared with a value given beforehand. With rotary positions, lengths beyond the
trained context can be measured too; they show how the network extrapolates, not what it learned,
and are marked extrapolated.

Shapes: N passages, T tokens of a passage, L context lengths.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import torch

from constellation.errors import ConfigError
from constellation.kernel.network.config import KernelConfig
from constellation.kernel.network.decoder import Decoder
from constellation.kernel.observables.beta_fit import (
    DOCUMENTS_MIN,
    BetaFit,
    fit_beta,
    student_interval,
)
from constellation.kernel.observables.beta_result import BetaMeasurement
from constellation.kernel.observables.kappa import coupling_at_lengths
from constellation.records import FloatArray, TokenArray

STANDARD_LENGTHS: Final = (512, 1024, 2048, 4096, 8192)
"""Context lengths that are measured by default, in tokens."""

LENGTH_MIN: Final = 16
"""Shortest context length: the last twentieth of a shorter one holds no query."""


def measurable_lengths(
    config: KernelConfig, wanted: Sequence[int] | None = None
) -> tuple[int, ...]:
    """Return the context lengths to measure a kernel at, rising.

    Args:
        config: Configuration of the kernel. With learned positions a kernel cannot be run beyond
            its context.
        wanted: Lengths asked for; None means the standard ones, or, where learned positions leave
            fewer than two of them, the context and its halves down to a sixteenth.

    Raises:
        ConfigError: If fewer than 2 different lengths are asked for, or one is out of range.
    """
    longest = None if config.is_modern else config.context
    if wanted is None:
        wanted = [length for length in STANDARD_LENGTHS if longest is None or length <= longest]
        if len(wanted) < 2:
            wanted = [config.context >> halvings for halvings in range(5)]
    lengths = tuple(sorted(set(wanted)))
    if len(lengths) < 2 or lengths[0] < LENGTH_MIN:
        raise ConfigError(
            f"context lengths are {list(lengths)}; need 2 different ones or more, from {LENGTH_MIN}"
        )
    if longest is not None and lengths[-1] > longest:
        raise ConfigError(
            f"context length {lengths[-1]} is beyond the {longest} positions that this kernel has "
            "learned; leave it out"
        )
    return lengths


def extended(decoder: Decoder, context: int) -> Decoder:
    """Return a kernel with the same weights, shared, that reads at least `context` tokens."""
    if context <= decoder.config.context:
        return decoder
    longer = Decoder(replace(decoder.config, context=context), seed=None)
    longer.load_state_dict(decoder.state_dict(), assign=True)
    return longer.eval()


def measure_beta(
    decoder: Decoder,
    passages_NT: TokenArray,
    lengths: Sequence[int],
    *,
    reference_length: int | None = None,
    seed: int = 0,
    on_passage: Callable[[int], None] | None = None,
) -> BetaMeasurement:
    """Measure how a kernel's attention coupling changes with the context length.

    Args:
        decoder: The kernel.
        passages_NT: Independent passages, as `passages` makes them; from 3, T >= every length.
        lengths: As `measurable_lengths` returns them.
        reference_length: L_ref; None means the configuration's, which is fixed before training.
        seed: Seed of the shuffled tokens and the bootstrap.
        on_passage: Called with the number of passages that are measured.

    Raises:
        ConfigError: If there are too few passages, or they are too short.
    """
    num_passages, num_tokens = passages_NT.shape
    if num_passages < DOCUMENTS_MIN or num_tokens < max(lengths):
        raise ConfigError(
            f"there are {num_passages} passages of {num_tokens} tokens; need {DOCUMENTS_MIN} or "
            f"more of at least {max(lengths)}: give more text or shorter contexts"
        )
    reference = reference_length or decoder.config.coupling_reference_length
    longer = extended(decoder, max(lengths))
    order = np.random.default_rng(seed)
    rows, shuffled_rows = [], []
    for done, passage_T in enumerate(passages_NT[:, : max(lengths)], start=1):
        rows.append(_couplings(longer, passage_T, lengths))
        shuffled_rows.append(_couplings(longer, order.permutation(passage_T), lengths))
        if on_passage is not None:
            on_passage(done)
    kappa_NL, shuffled_NL = np.stack(rows), np.stack(shuffled_rows)
    trained = [length <= decoder.config.context for length in lengths]
    return BetaMeasurement(
        context_lengths=tuple(lengths),
        trained_context=decoder.config.context,
        kappa_measured=tuple(kappa_NL.mean(0).tolist()),
        kappa_ci95=tuple(student_interval(kappa_N) for kappa_N in kappa_NL.T),
        kappa_shuffled=tuple(shuffled_NL.mean(0).tolist()),
        fit=fit_beta(kappa_NL, lengths, reference_length=reference, seed=seed),
        fit_trained=_fit_trained(kappa_NL, lengths, trained, reference, seed),
        fit_shuffled=fit_beta(shuffled_NL, lengths, reference_length=reference, seed=seed),
        other_references=tuple(
            fit_beta(kappa_NL, lengths, reference_length=other, seed=seed)
            for other in lengths
            if other != reference
        ),
        num_passages=num_passages,
    )


def _couplings(decoder: Decoder, passage_T: TokenArray, lengths: Sequence[int]) -> FloatArray:
    tokens_1T = torch.as_tensor(passage_T, dtype=torch.int64, device=decoder.embedding.device)[None]
    coupling_L = coupling_at_lengths(decoder, tokens_1T, lengths)[0]
    values: FloatArray = coupling_L.double().cpu().numpy()
    return values


def _fit_trained(
    kappa_NL: FloatArray, lengths: Sequence[int], trained: list[bool], reference: int, seed: int
) -> BetaFit | None:
    if all(trained) or sum(trained) < 2:
        return None
    within = [length for length, inside in zip(lengths, trained, strict=True) if inside]
    return fit_beta(kappa_NL[:, trained], within, reference_length=reference, seed=seed)
