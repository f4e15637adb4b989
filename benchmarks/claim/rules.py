"""From routes and scores to nats: every rule as arithmetic on one document's scores.

A rule reads the first tokens (the prefix) to route and is scored on the rest. Shapes: M kernels, k
of them, T tokens of a document, the prefix included.
"""

from collections.abc import Sequence

import numpy as np

from benchmarks.claim.material import PREFIX_TOKENS
from constellation.records import FloatArray
from constellation.routing.mixture import SWITCH, mixture_log_probs, posterior_weights

RENEW_TOKENS = 32
"""Tokens after which a renewed route is decided again."""


def kept(nats_MT: FloatArray, kernel: int) -> float:
    """Return the nats of one kernel that answers to the end."""
    return float(nats_MT[kernel, PREFIX_TOKENS:].sum())


def rerouted(nats_MT: FloatArray, kernels: Sequence[int]) -> float:
    """Return the nats when kernels take turns, one active at a time.

    Args:
        nats_MT: Nats of each token under each kernel, each having read all that comes before.
        kernels: The kernel of each stretch of `RENEW_TOKENS` tokens after the prefix.
    """
    chosen_T = np.repeat(np.asarray(kernels), RENEW_TOKENS)[: nats_MT.shape[1] - PREFIX_TOKENS]
    scored_MT = nats_MT[:, PREFIX_TOKENS:]
    return float(scored_MT[chosen_T, np.arange(chosen_T.size)].sum())


def reread_tokens(kernels: Sequence[int], context: int) -> int:
    """Return the tokens that newly chosen kernels read again: the text so far, at each change."""
    return sum(
        min(context, PREFIX_TOKENS + RENEW_TOKENS * place)
        for place in range(1, len(kernels))
        if kernels[place] != kernels[place - 1]
    )


def mixture(nats_MT: FloatArray, weights_M: FloatArray) -> float:
    """Return the nats of the weighted mean of the kernels' probabilities, weights fixed."""
    active = np.flatnonzero(weights_M)
    return float(-mixture_log_probs(-nats_MT[active, PREFIX_TOKENS:], weights_M[active]).sum())


def posterior(nats_MT: FloatArray, prior_M: FloatArray, *, switch: float = SWITCH) -> float:
    """Return the nats of the mixture whose weights follow Bayes, the prefix's tokens included.

    Kernels of prior 0 are not read at all.

    Args:
        nats_MT: Nats of each token under each kernel.
        prior_M: Weights of the route.
        switch: Probability that the text changes its kernel at a token; 0: plain Bayes.
    """
    active = np.flatnonzero(prior_M)
    log_probs_kT = -nats_MT[active]
    weights_kT = posterior_weights(prior_M[active], log_probs_kT, switch=switch)[:, :-1]
    scored = slice(PREFIX_TOKENS, None)
    return float(-mixture_log_probs(log_probs_kT[:, scored], weights_kT[:, scored]).sum())
