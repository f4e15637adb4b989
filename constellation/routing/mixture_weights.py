"""The weights of kernels that write or score a text together, as the text grows.

In mode *mixture* they are the route's, and every 8 tokens those of a route for the last 128. In
mode *posterior* the route's come first, and Bayes moves them by how likely each kernel found the
text, the latest of it above all. Pure: what reads the text, and what folds it into a basin, is
handed in.

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
"""Tokens after which the weights of a mixture are renewed."""

RENEW_TOKENS = 128
"""Latest tokens of the text by which they are."""

Renew = Callable[[Sequence[int]], FloatArray]
"""Returns the weights of all kernels for the latest tokens of a text, shape (k,)."""


def renewal(
    table: Table,
    *,
    rule: Rule,
    phi_weighting: bool,
    fold: Callable[[Sequence[int]], FloatArray],
) -> Renew:
    """Return what renews the weights of a table's kernels, all of which take part.

    Args:
        table: Of the kernels that write together; weights come in the order of its sites.
        rule: How basins are compared.
        phi_weighting: Whether a kernel's integration counts.
        fold: Turns tokens into a basin, shape (K,).
    """
    policy = RoutingPolicy(table, rule=rule, top_k=len(table.sites), phi_weighting=phi_weighting)

    def renew(tokens: Sequence[int]) -> FloatArray:
        route = policy.decide(fold(tokens), num_tokens=len(tokens))
        weight_of = {choice.kernel: choice.weight for choice in route.choices}
        return np.array([weight_of[site.name] for site in table.sites])

    return renew


class Weighing:
    """The weights while a text is written, token by token.

    Args:
        mode: MIXTURE or POSTERIOR.
        weights_k: Of the route: >= 0, sum 1.
        tokens: The prompt.
        renew: For a mixture; None leaves its weights as they are.

    Attributes:
        weights_k: For the token that comes next; 0 for a kernel that was dropped.
    """

    def __init__(
        self,
        mode: Mode,
        weights_k: NDArray[Any],
        tokens: Sequence[int],
        renew: Renew | None = None,
    ) -> None:
        if mode is Mode.NEAREST:
            raise ConfigError("one kernel alone has no weights to follow")
        self._mode = mode
        self._text = list(tokens)
        self._num_written = 0
        self._renew = renew
        self._present_k = np.ones(len(weights_k), dtype=bool)
        self._log_prior_k = self._log_weights_k = self._left(weights_k)
        self.weights_k: FloatArray = np.exp(self._log_weights_k)

    def hear_prompt(self, nats_kP: NDArray[Any]) -> None:
        """Take how unlikely each kernel found the prompt's tokens; a mixture does not ask."""
        if self._mode is Mode.POSTERIOR:
            for nats_k in np.asarray(nats_kP, dtype=np.float64).T:
                self._hear(-nats_k)
            self.weights_k = np.exp(self._log_weights_k)

    def note(self, token: int, log_prob_k: NDArray[Any]) -> None:
        """Take the token that was chosen and how likely each kernel found it."""
        self._text.append(token)
        self._num_written += 1
        if self._mode is Mode.POSTERIOR:
            self._hear(log_prob_k)
        elif self._renew is not None and self._num_written % RENEW_EVERY == 0:
            self._log_weights_k = self._left(self._renew(self._text[-RENEW_TOKENS:]))
        self.weights_k = np.exp(self._log_weights_k)

    def drop(self, place: int) -> None:
        """Leave a kernel out from now on; the others share its weight in proportion.

        Raises:
            ConfigError: It is the last.
        """
        self._present_k[place] = False
        if not self._present_k.any():
            raise ConfigError("no kernel is left to weigh")
        self._log_prior_k = self._left(np.exp(self._log_prior_k))
        self._log_weights_k = self._left(self.weights_k)
        self.weights_k = np.exp(self._log_weights_k)

    def _hear(self, log_prob_k: NDArray[Any]) -> None:
        self._log_weights_k = after_token(self._log_weights_k, log_prob_k, self._log_prior_k)

    def _left(self, weights_k: NDArray[Any]) -> FloatArray:
        """Return the logarithms of weights that those who are left share in proportion."""
        left_k = np.where(self._present_k, np.asarray(weights_k, dtype=np.float64), 0.0)
        if not left_k.any():  # those that are left had no weight at all
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
        weights_k: Of the route.
        tokens: The text, T of them.
        num_context: Tokens at its beginning that are read, not scored; a posterior hears them.
        renew: For a mixture; None leaves its weights as they are.

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
