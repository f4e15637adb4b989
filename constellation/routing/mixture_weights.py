"""Compute the weights of several kernels (models) that write or score one text together.

In mode *mixture* the weights are those of the route, and after every 8 tokens those of a new route
for the latest 128 tokens. In mode *posterior* the weights start from the route, and Bayes updates
them by each kernel's probability of each token, so that recent tokens count most. Pure functions:
kernels and basins are passed in as functions and arrays.

Shapes: k kernels, T tokens of a text, P of its prompt but the first, S tokens that are scored,
V tokens of the vocabulary, K outcomes.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from constellation.errors import ConfigError
from constellation.records import FloatArray, Mode, Rule, Table
from constellation.routing.mixture import after_token, mixture_log_probs, posterior_weights
from constellation.routing.policy import RoutingPolicy

RENEW_EVERY = 8
"""Number of tokens after which the weights of a mixture are renewed."""

RENEW_TOKENS = 128
"""Number of latest tokens of the text from which the weights are renewed."""

Renew = Callable[[Sequence[int]], FloatArray]
"""Function from the latest tokens of a text to the weights of all kernels, shape (k,)."""


def renewal(
    table: Table,
    *,
    rule: Rule,
    phi_weighting: bool,
    basin_of: Callable[[Sequence[int]], FloatArray],
) -> Renew:
    """Return a function that computes the weights of a table's kernels for a text's tokens.

    Args:
        table: Table of the kernels that write together; weights are in the order of its sites.
        rule: Distance by which basins are compared.
        phi_weighting: Whether a kernel's integration (Phi) scales its weight.
        basin_of: Function from tokens to their basin, shape (K,).
    """
    policy = RoutingPolicy(table, rule=rule, top_k=len(table.sites), phi_weighting=phi_weighting)

    def renew(tokens: Sequence[int]) -> FloatArray:
        route = policy.decide(basin_of(tokens), num_tokens=len(tokens))
        weight_of = {choice.kernel: choice.weight for choice in route.choices}
        return np.array([weight_of[site.name] for site in table.sites])

    return renew


class EnsembleWeights:
    """The kernels' weights for the next token of a text that is being written.

    Args:
        mode: MIXTURE or POSTERIOR.
        weights_k: Weights of the route: >= 0, sum 1.
        tokens: Tokens of the prompt.
        renew: Function that renews a mixture's weights; None keeps the route's weights.

    Attributes:
        weights_k: Weights for the next token; 0 for a dropped kernel.
    """

    def __init__(
        self,
        mode: Mode,
        weights_k: NDArray[Any],
        tokens: Sequence[int],
        renew: Renew | None = None,
    ) -> None:
        if mode is Mode.NEAREST:
            raise ConfigError("mode nearest has one kernel, which needs no weights")
        self._mode = mode
        self._text = list(tokens)
        self._num_written = 0
        self._renew = renew
        self._present_k = np.ones(len(weights_k), dtype=bool)
        self._log_prior_k = self._log_weights_k = self._left(weights_k)
        self.weights_k: FloatArray = np.exp(self._log_weights_k)

    def observe_prompt(self, nats_kP: NDArray[Any]) -> None:
        """Update the weights by the kernels' -ln p of each prompt token; only in mode posterior."""
        if self._mode is Mode.POSTERIOR:
            for nats_k in np.asarray(nats_kP, dtype=np.float64).T:
                self._update(-nats_k)
            self.weights_k = np.exp(self._log_weights_k)

    def observe_token(self, token: int, log_prob_k: NDArray[Any]) -> None:
        """Add a chosen token, and update the weights by the kernels' log probabilities of it."""
        self._text.append(token)
        self._num_written += 1
        if self._mode is Mode.POSTERIOR:
            self._update(log_prob_k)
        elif self._renew is not None and self._num_written % RENEW_EVERY == 0:
            self._log_weights_k = self._left(self._renew(self._text[-RENEW_TOKENS:]))
        self.weights_k = np.exp(self._log_weights_k)

    def drop(self, place: int) -> None:
        """Exclude a kernel from now on; its weight is divided among the others in proportion.

        Raises:
            ConfigError: The kernel is the last one.
        """
        self._present_k[place] = False
        if not self._present_k.any():
            raise ConfigError("no kernel is left in the ensemble")
        self._log_prior_k = self._left(np.exp(self._log_prior_k))
        self._log_weights_k = self._left(self.weights_k)
        self.weights_k = np.exp(self._log_weights_k)

    def _update(self, log_prob_k: NDArray[Any]) -> None:
        self._log_weights_k = after_token(self._log_weights_k, log_prob_k, self._log_prior_k)

    def _left(self, weights_k: NDArray[Any]) -> FloatArray:
        """Return the logarithms of weights renormalised over the remaining kernels."""
        left_k = np.where(self._present_k, np.asarray(weights_k, dtype=np.float64), 0.0)
        if not left_k.any():  # all remaining kernels had weight 0
            left_k = self._present_k.astype(np.float64)
        with np.errstate(divide="ignore"):
            log_k: FloatArray = np.log(left_k / left_k.sum())
        return log_k


def joint_nats(
    mode: Mode,
    nats_kT: NDArray[Any],
    weights_k: NDArray[Any],
    tokens: Sequence[int],
    num_context: int,
    renew: Renew | None = None,
) -> FloatArray:
    """Return -ln p of every scored token under kernels that score together.

    Args:
        mode: MIXTURE or POSTERIOR.
        nats_kT: -ln p of every token under each kernel, context included.
        weights_k: Weights of the route.
        tokens: The T tokens of the text.
        num_context: Number of first tokens that are not scored; in mode posterior they update
            the weights.
        renew: Function that renews a mixture's weights; None keeps the route's weights.

    Returns:
        Shape (S,), S = T - num_context.
    """
    scored_kS = nats_kT[:, num_context:]
    if mode is Mode.POSTERIOR:
        weights_kS = posterior_weights(weights_k, -nats_kT)[:, num_context:-1]
    else:
        num_scored = scored_kS.shape[1]
        blocks = [np.asarray(weights_k, dtype=np.float64)]
        for written in range(RENEW_EVERY, num_scored, RENEW_EVERY):
            stop = num_context + written
            first = max(0, stop - RENEW_TOKENS)
            blocks.append(blocks[0] if renew is None else renew(tokens[first:stop]))
        weights_kS = np.repeat(np.stack(blocks, axis=1), RENEW_EVERY, axis=1)[:, :num_scored]
    return -mixture_log_probs(-scored_kS, weights_kS)
