"""Combine next-token probabilities of several kernels (models): weighted average, Bayes weights.

In mode mixture probabilities are averaged with the route's weights. In mode posterior the weights
follow from each kernel's likelihood of the text so far, in which recent tokens count most: the
kernel that fits best may change within a text. Pure functions, in natural logarithms throughout.

Shapes: k kernels, T positions, V tokens.
"""

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from constellation.errors import ConfigError
from constellation.records import FloatArray

SWITCH: Final = 0.03
"""Probability per token that the best-fitting kernel changes; the route's weights give the next
kernel. Chosen on two development corpora (docs/log.md); 0 is plain Bayes."""


def mixture_log_probs(log_probs_kV: NDArray[Any], weights_k: NDArray[Any]) -> FloatArray:
    """Return the log probabilities of a weighted average: log sum_k w_k p_k(v).

    Args:
        log_probs_kV: Log probabilities, shape (k, ..., V); -inf is allowed.
        weights_k: Weights >= 0 that sum to 1, shape (k,), or (k, ...) to differ by position.

    Returns:
        Log probabilities, float64, shape (..., V); they sum to 1 when each kernel's do.

    Raises:
        ConfigError: The weights are not a distribution over the kernels.
    """
    weights = _checked_weights(weights_k, log_probs_kV.shape[0])
    weights = weights.reshape(weights.shape + (1,) * (log_probs_kV.ndim - weights.ndim))
    with np.errstate(divide="ignore"):
        log_weights = np.log(weights)
    return _log_sum(log_weights + log_probs_kV.astype(np.float64))


def joint_logits(logits_kV: NDArray[Any], weights_k: NDArray[Any]) -> tuple[FloatArray, FloatArray]:
    """Return logits of the kernels' average distribution, and each kernel's normaliser.

        joint(v) = log sum_k w_k exp(l_k(v) - Z_k) + sum_k w_k Z_k,   Z_k = log sum_v exp(l_k(v))

    The normaliser of the joint logits is the weighted mean of the kernels' normalisers, so that a
    penalty on logits acts on equal kernels as on one of them. Computed for every token, so it uses
    one pass of exponentials, one of logarithms, and no sum in logarithms.

    Args:
        logits_kV: Unnormalised log probabilities, finite, shape (k, V).
        weights_k: Weights >= 0 that sum to 1, shape (k,).

    Returns:
        Logits, float64, shape (V,), -inf where the probability underflows float64; and the
        normalisers Z, shape (k,): `logits_kV - Z` are log probabilities.

    Raises:
        ConfigError: When the weights are not a distribution over the kernels.
    """
    weights = _checked_weights(weights_k, logits_kV.shape[0])
    logits = logits_kV.astype(np.float64)
    top_k = logits.max(axis=1)
    p_kV = np.exp(logits - top_k[:, None])
    total_k = p_kV.sum(axis=1)
    normaliser_k: FloatArray = top_k + np.log(total_k)
    with np.errstate(
        divide="ignore", invalid="ignore"
    ):  # as in `BasinEstimator.basin`: BLAS and padding
        joint_V: FloatArray = np.log((weights / total_k) @ p_kV) + float(weights @ normaliser_k)
    return joint_V, normaliser_k


def after_token(
    log_weights_k: NDArray[Any],
    log_prob_k: NDArray[Any],
    log_prior_k: NDArray[Any],
    *,
    switch: float = SWITCH,
) -> FloatArray:
    """Return the log weights of the kernels for the next token, by Bayes.

        w'_k = w_k p_k(x) / sum_j w_j p_j(x)
        next_k = (1 - switch) w'_k + switch prior_k

    Source: Herbster and Warmuth (1998), fixed share; here the switched share follows the prior.

    Args:
        log_weights_k: Log weights before this token; -inf is allowed.
        log_prob_k: Log probability of the token under each kernel, finite.
        log_prior_k: Log weights of the route; -inf is allowed.
        switch: Probability that the best-fitting kernel changes here, in [0, 1).
    """
    posterior_k: FloatArray = log_weights_k + log_prob_k
    posterior_k -= _log_sum(posterior_k)
    if switch == 0:
        return posterior_k
    changed: FloatArray = np.logaddexp(
        posterior_k + math.log1p(-switch), log_prior_k + math.log(switch)
    )
    return changed


def posterior_weights(
    prior_k: NDArray[Any], log_likelihood_kT: NDArray[Any], *, switch: float = SWITCH
) -> FloatArray:
    """Return the weight of each kernel before every position, by Bayes from the text so far.

    With switch 0 the weight is prior_k * prod_{s < t} p_k(x_s), normalised.

    Args:
        prior_k: Weights of the route, >= 0, sum 1, shape (k,).
        log_likelihood_kT: Log probability of each token under each kernel, shape (k, T), finite.
        switch: As in `after_token`.

    Returns:
        Weights that sum to 1 over kernels, shape (k, T + 1); column 0 is the prior, the last column
        is after the whole text.

    Raises:
        ConfigError: When the prior is not a distribution over the kernels.
    """
    prior = _checked_weights(prior_k, log_likelihood_kT.shape[0])
    with np.errstate(divide="ignore"):
        log_prior_k = np.log(prior)
    columns = [log_prior_k]
    for log_prob_k in log_likelihood_kT.T.astype(np.float64):
        columns.append(after_token(columns[-1], log_prob_k, log_prior_k, switch=switch))
    posterior: FloatArray = np.exp(np.stack(columns, axis=1))
    return posterior


def _log_sum(values: FloatArray) -> FloatArray:
    """Return log sum exp over the first axis; -inf where all values are -inf."""
    top = values.max(axis=0)
    safe = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        total: FloatArray = np.log(np.exp(values - safe).sum(axis=0)) + safe
    return total


def _checked_weights(weights_k: NDArray[Any], num_kernels: int) -> FloatArray:
    weights = np.asarray(weights_k, dtype=np.float64)
    sums = weights.sum(axis=0)
    if weights.shape[:1] != (num_kernels,) or (weights < 0).any() or (abs(sums - 1) > 1e-6).any():
        raise ConfigError(
            f"weights of shape {weights.shape} with sum {sums} are no distribution over "
            f"{num_kernels} kernels"
        )
    return weights
