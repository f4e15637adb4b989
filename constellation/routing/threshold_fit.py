"""Fit thresholds that refuse out-of-domain queries, on held-out texts of the kernels (models).

No foreign text is needed: the share of foreign text that the thresholds refuse is estimated by
leaving one kernel after another out of the table. Pure functions of arrays.

Shapes: K outcomes, M kernels, N held-out texts, L lengths, S shares.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import pi
from typing import Any

import numpy as np
from numpy.typing import NDArray

from constellation.errors import ConfigError
from constellation.geometry.simplex import distance
from constellation.records import FloatArray, KernelSite, Refusal, Rule, Thresholds
from constellation.routing.calibration import site_distances
from constellation.routing.nearest_kernels import family_name
from constellation.routing.refusal_rule import EVIDENCE_WEIGHT, LENGTHS, SHARES

FOLDS = 5
"""Number of groups of documents in cross-validation: each is refused by thresholds of the
others."""

TEXTS_WANTED = 500
"""Number of texts, by weight, on which thresholds of one length are fitted; with fewer texts of
about that length, texts of more distant lengths are used too."""

_BLOCK_TEXTS = 8_192


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Measured:
    """Excess distances of held-out texts under a table, with their kernels and documents."""

    kernel_N: NDArray[np.intp]
    """Index in the table of the kernel that each text belongs to."""
    document_N: NDArray[np.intp]
    """Number of the document that each text is from."""
    num_tokens_N: NDArray[np.intp]
    """Tokens of each text, at least 1."""
    excess: Mapping[Rule, FloatArray]
    """Distance to the nearest kernel minus half the distance to the background, radians, (N,)."""
    left_out: Mapping[Rule, FloatArray]
    """Excess in a table without the text's own kernel and its family; NaN if no other kernel is
    left, (N,)."""


def measure(
    sites: Sequence[KernelSite],
    basins_NK: FloatArray,
    *,
    kernel_N: NDArray[np.intp],
    document_N: NDArray[np.intp],
    num_tokens_N: NDArray[np.intp],
    background_K: FloatArray,
) -> Measured:
    """Measure the excess distances of held-out texts in blocks, with bounded extra memory.

    Neither the basins of the M kernels nor the coordinates may be fitted to these texts.
    """
    excess: dict[Rule, FloatArray] = {rule: np.empty(len(basins_NK)) for rule in Rule}
    left_out: dict[Rule, FloatArray] = {rule: np.full(len(basins_NK), np.nan) for rule in Rule}
    names = np.array([family_name(site) for site in sites])
    several = len(set(names.tolist())) > 1
    for start in range(0, len(basins_NK), _BLOCK_TEXTS):
        rows = slice(start, start + _BLOCK_TEXTS)
        block_NK = basins_NK[rows]
        allowed_N = EVIDENCE_WEIGHT * distance(block_NK, background_K)
        for rule in Rule:
            far_NM = site_distances(block_NK, sites, background_K=background_K, rule=rule)
            excess[rule][rows] = far_NM.min(axis=1) - allowed_N
            if several:
                far_NM[names[kernel_N[rows], None] == names] = np.inf
                left_out[rule][rows] = far_NM.min(axis=1) - allowed_N
    return Measured(
        kernel_N=kernel_N,
        document_N=document_N,
        num_tokens_N=num_tokens_N,
        excess=excess,
        left_out=left_out,
    )


def join(parts: Sequence[Measured]) -> Measured:
    """Concatenate the texts of all parts; their document numbers are distinct already."""
    return Measured(
        kernel_N=np.concatenate([part.kernel_N for part in parts]),
        document_N=np.concatenate([part.document_N for part in parts]),
        num_tokens_N=np.concatenate([part.num_tokens_N for part in parts]),
        excess={rule: np.concatenate([part.excess[rule] for part in parts]) for rule in Rule},
        left_out={rule: np.concatenate([part.left_out[rule] for part in parts]) for rule in Rule},
    )


def fit_refusal(measured: Measured) -> Refusal:
    """Fit thresholds, and measure them on documents that they were not fitted on.

    A threshold is the conformal quantile of the excesses of texts of about its length: with n texts
    the share (1 - s)(1 + 1 / n) of them lies below, or nothing is refused. All kernels have equal
    weight, and so have the documents of a kernel at each length.

    Raises:
        ConfigError: There is no text.
    """
    if not len(measured.kernel_N):
        raise ConfigError("thresholds of refusal need at least one held-out text; add text")
    weight_N = _weights(measured)
    near_NL = _nearness(measured.num_tokens_N, octaves=1.0)
    about_NL = near_NL >= 0.5
    return Refusal(
        thresholds=_fit(measured, weight_N),
        refused=_refused(measured, weight_N, near_NL),
        caught=_caught(measured, weight_N, near_NL),
        num_texts=tuple(map(int, about_NL.sum(axis=0))),
        num_documents=tuple(len(np.unique(measured.document_N[about_N])) for about_N in about_NL.T),
    )


def _fit(measured: Measured, weight_N: FloatArray) -> Thresholds:
    excess = {rule: np.empty((len(LENGTHS), len(SHARES))) for rule in Rule}
    for place in range(len(LENGTHS)):
        local_N = weight_N * _local(measured.num_tokens_N, weight_N, place)
        for rule in Rule:
            excess[rule][place] = _quantiles(measured.excess[rule], local_N)
    return Thresholds(lengths=LENGTHS, shares=SHARES, excess=excess)


def _quantiles(excess_N: FloatArray, weight_N: FloatArray) -> FloatArray:
    """Return the conformal quantile for every share, shape (S,)."""
    counted = np.flatnonzero(weight_N)
    order = counted[np.argsort(excess_N[counted], kind="stable")]
    below_N = np.cumsum(weight_N[order])
    total = below_N[-1]
    wanted_S = total * (1 - np.array(SHARES)) * (1 + 1 / _count(weight_N))
    # A rounding error of the sum must not skip the last text.
    place_S = np.searchsorted(below_N, wanted_S - 1e-12 * total)
    quantile_S: FloatArray = np.append(excess_N[order], pi)[place_S]
    return quantile_S


def _refused(
    measured: Measured, weight_N: FloatArray, near_NL: FloatArray
) -> dict[Rule, FloatArray]:
    fold_N = np.unique(measured.document_N, return_inverse=True)[1] % FOLDS
    refused = {rule: np.zeros((len(weight_N), len(SHARES)), dtype=bool) for rule in Rule}
    for fold in np.unique(fold_N):
        others_N = np.where(fold_N == fold, 0.0, weight_N)
        if not others_N.any():
            continue
        thresholds = _fit(measured, others_N)
        own_N = fold_N == fold
        for rule in Rule:
            limits_NS = _limits(thresholds, rule, measured.num_tokens_N[own_N])
            refused[rule][own_N] = measured.excess[rule][own_N, None] > limits_NS
    return {rule: _shares(refused[rule], weight_N, near_NL) for rule in Rule}


def _caught(
    measured: Measured, weight_N: FloatArray, near_NL: FloatArray
) -> dict[Rule, FloatArray]:
    thresholds = _fit(measured, weight_N)
    caught = {}
    for rule in Rule:
        limits_NS = _limits(thresholds, rule, measured.num_tokens_N)
        beyond_NS = measured.left_out[rule][:, None] > limits_NS
        caught[rule] = _shares(beyond_NS, weight_N, near_NL)
        if np.isnan(measured.left_out[rule]).any():
            caught[rule][:] = np.nan
    return caught


def _shares(hit_NS: NDArray[np.bool_], weight_N: FloatArray, near_NL: FloatArray) -> FloatArray:
    """Return the weighted share of hits among texts of about each length, shape (L, S)."""
    local_NL = near_NL * weight_N[:, None]
    total_L = local_NL.sum(axis=0)
    with np.errstate(invalid="ignore"):  # NaN for a length without texts
        shares_LS: FloatArray = (local_NL.T @ hit_NS) / total_L[:, None]
    return shares_LS


def _limits(thresholds: Thresholds, rule: Rule, num_tokens_N: NDArray[np.intp]) -> FloatArray:
    """Return the thresholds of texts of these lengths, interpolated as in routing, (N, S)."""
    length_N = np.log(num_tokens_N)
    columns = [
        np.interp(length_N, np.log(thresholds.lengths), column_L)
        for column_L in thresholds.excess[rule].T
    ]
    return np.stack(columns, axis=1)


def _weights(measured: Measured) -> FloatArray:
    """Return a weight for each text: equal for all kernels, and for documents at each length."""
    pairs = np.stack([measured.document_N, measured.num_tokens_N], axis=1)
    _, pair_N, num_texts = np.unique(pairs, axis=0, return_inverse=True, return_counts=True)
    weight_N: FloatArray = 1 / num_texts[pair_N.ravel()]
    kernels, kernel_N = np.unique(measured.kernel_N, return_inverse=True)
    documents = np.unique(np.stack([kernel_N, measured.document_N], axis=1), axis=0)[:, 0]
    num_documents = np.bincount(documents, minlength=len(kernels))
    weight_N /= num_documents[kernel_N]
    return weight_N


def _nearness(num_tokens_N: NDArray[Any], *, octaves: float) -> FloatArray:
    """Return 1 for a text of a length, decreasing to 0 at `octaves` doublings from it, (N, L)."""
    apart_NL = np.abs(np.log2(num_tokens_N)[:, None] - np.log2(LENGTHS))
    near_NL: FloatArray = np.maximum(0.0, 1 - apart_NL / octaves)
    return near_NL


def _local(num_tokens_N: NDArray[Any], weight_N: FloatArray, place: int) -> FloatArray:
    """Return each text's weight for a length: as local as the number of texts allows."""
    octaves = 1.0
    while True:
        near_N: FloatArray = _nearness(num_tokens_N, octaves=octaves)[:, place]
        if _count(near_N * weight_N) >= TEXTS_WANTED or octaves > len(LENGTHS):
            return near_N
        octaves *= 2


def _count(weight_N: FloatArray) -> float:
    """Return the number of equally weighted texts with the same information (Kish)."""
    square = float((weight_N**2).sum())
    return float(weight_N.sum()) ** 2 / square if square else 0.0
