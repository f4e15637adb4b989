"""Check a trained kernel: its files, weights, predictions and the text it writes.

Shapes: N passages.
"""

import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch

from constellation.errors import ArtifactError
from constellation.kernel.adapters.kernel_folder import open_kernel
from constellation.kernel.files.checkpoint import LoadedKernel
from constellation.kernel.files.own_vocabulary import check_own_vocabulary, why_apart
from constellation.kernel.network.decoder import Decoder
from constellation.kernel.observables.measurement import INTERVAL_ITEMS_MIN, bootstrap_interval
from constellation.kernel.writing.generation import generate
from constellation.records import FloatArray, Sampling
from training.validation.check import Check, not_applicable
from training.validation.held_out_passages import HeldOut, Scores, score

FILES: Final = "files and hash"
"""Name of the check of a kernel's files."""
TEXT_CHECKS: Final = ("better than unigrams", "calibration", "writing")
"""Names of the checks that need held-out text in the kernel's own tokens."""
CONTINUATIONS: Final = 8
PROMPT_TOKENS: Final = 16
WRITTEN_TOKENS: Final = 48
TEMPERATURE: Final = 0.8
GRAM: Final = 4
REPEATED_MOST: Final = 0.5
"""Largest share of 4-token runs that occurred before; from it on, the text is degenerate."""
CALIBRATION_MOST: Final = 0.25
"""Largest gap between expected and actual cross-entropy, relative to the actual one."""


def read_kernel(folder: Path) -> tuple[LoadedKernel | None, Check]:
    """Load a kernel and check that its files are complete and match the hash beside them."""
    try:
        kernel = open_kernel(folder)
    except ArtifactError as error:
        return None, Check(name=FILES, passed=False, detail=str(error))
    detail = f"weights have sha256 {kernel.weights_hash[:16]}..., as {folder.name} says"
    return kernel, Check(name=FILES, passed=True, detail=detail)


def check_apart(folder: Path) -> tuple[Check, ...]:
    """Check the files of a kernel with its own vocabulary, to which comparisons do not apply."""
    try:
        weights_hash = check_own_vocabulary(folder)
    except ArtifactError as error:
        return (Check(name=FILES, passed=False, detail=str(error)),)
    files = f"all files are those of its record, weights {weights_hash[:16]}..."
    others = ("vocabulary", *TEXT_CHECKS)
    return (
        Check(name=FILES, passed=True, detail=files),
        *(not_applicable(name, why_apart(folder)) for name in others),
    )


def check_trained(
    decoder: Decoder,
    held_out: HeldOut | None,
    *,
    why: str = "no held-out text: give --text",
) -> tuple[Check, ...]:
    """Check a kernel's weights, predictions and writing.

    Args:
        decoder: The kernel, in evaluation mode.
        held_out: Text it did not learn from; without it, only the weights are checked.
        why: The reason when there is no text, in words.
    """
    weights = finite_weights(decoder)
    if held_out is None or not weights.passed:
        reason = why if held_out is None else "the weights are not finite"
        return (weights, *(not_applicable(name, reason) for name in TEXT_CHECKS))
    scores = score(decoder, held_out)
    return (
        weights,
        better_than_unigrams(scores, held_out),
        calibration(scores),
        writing(decoder, held_out),
    )


def finite_weights(decoder: Decoder) -> Check:
    """Check that all weights are finite numbers."""
    wrong = {
        name: int((~parameter.isfinite()).sum()) for name, parameter in decoder.named_parameters()
    }
    wrong = {name: count for name, count in wrong.items() if count}
    listed = f", in {', '.join(list(wrong)[:4])}" if wrong else ""
    return Check(
        name="finite weights",
        passed=not wrong,
        value=sum(wrong.values()),
        limit=0,
        detail=f"{sum(wrong.values())} weights are NaN or infinite{listed}",
    )


def better_than_unigrams(scores: Scores, held_out: HeldOut) -> Check:
    """Check that the kernel needs fewer bits than a unigram model of the same kind of text."""
    kernel = scores.bits_per_byte(scores.kernel_N, held_out)
    unigram = scores.bits_per_byte(scores.unigram_N, held_out)
    gained_N = (scores.unigram_N - scores.kernel_N) / held_out.num_bytes / math.log(2)
    interval = _interval(gained_N)
    return Check(
        name="better than unigrams",
        passed=interval is not None and interval[0] > 0,
        value=unigram - kernel,
        limit=0.0,
        detail=f"{kernel:.3f} bits per byte against {unigram:.3f} on {len(gained_N)} held-out "
        f"passages; gain per passage {in_words(interval)}",
    )


def calibration(scores: Scores) -> Check:
    """Check that the entropy the kernel expects is about the cross-entropy it gets."""
    gap_N = (scores.kernel_N - scores.entropy_N) / scores.kernel_N.mean()
    value = float(gap_N.mean())
    interval = _interval(gap_N)
    tends = "too sure" if value > 0 else "too unsure"
    return Check(
        name="calibration",
        passed=abs(value) <= CALIBRATION_MOST,
        value=value,
        limit=CALIBRATION_MOST,
        detail="cross-entropy minus expected entropy over cross-entropy, "
        f"{in_words(interval)}: {tends}",
    )


def writing(decoder: Decoder, held_out: HeldOut) -> Check:
    """Check that the kernel's text does not repeat itself, and does not end at once."""
    shares, written = [], 0
    for index in range(CONTINUATIONS):
        passage = held_out.passages[index % len(held_out.passages)]
        prompt = [held_out.end_id, *passage[:PROMPT_TOKENS].tolist()]
        prompt = prompt[: max(1, decoder.config.context - WRITTEN_TOKENS)]
        sampling = Sampling(tokens_max=WRITTEN_TOKENS, temperature=TEMPERATURE, seed=index)
        tokens = list(generate(decoder, prompt, sampling, held_out.end_id))
        shares.append(repeated_share(tokens))
        written += len(tokens)
    value = statistics.median(shares)
    return Check(
        name="writing",
        passed=value <= REPEATED_MOST,
        value=value,
        limit=REPEATED_MOST,
        detail=f"median share of repeated {GRAM}-token runs in {CONTINUATIONS} continuations of "
        f"{written / CONTINUATIONS:.0f} tokens at temperature {TEMPERATURE:g}",
    )


def repeated_share(tokens: Sequence[int]) -> float:
    """Return the share of 4-token runs that occurred before; 1 for fewer than four tokens."""
    grams = [tuple(tokens[at : at + GRAM]) for at in range(len(tokens) - GRAM + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 1.0


def _interval(values_N: FloatArray) -> tuple[float, float] | None:
    return bootstrap_interval(torch.from_numpy(np.ascontiguousarray(values_N)), 0)


def in_words(interval: tuple[float, float] | None) -> str:
    """Return an interval in words, or a note that there are too few items for one."""
    if interval is None:
        return f"without an interval, which takes {INTERVAL_ITEMS_MIN} items"
    return f"{interval[0]:+.3f} to {interval[1]:+.3f} (95 %)"
