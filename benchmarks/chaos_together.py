"""Would these kernels have written this together? The offline replay of mixtures and posteriors.

What was said is read once by each kernel, in one pass over the whole text; then the product's pure
functions (`EnsembleWeights`, `renewal`, `joint_logits`) say for every place which token was to
come. No batch, cache, wire or actor is involved. Greedy answers only.

A part whose leader died does not tell which partners it had lost; then any one may have been, at
any place. Kernels that serve read a prompt in pieces and a token at a time, so their logits differ
from these in the last digits; two tokens that are nearer to each other than `TIE_NATS` are alike.

Shapes: k kernels, T tokens of a text, V tokens of the vocabulary.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from constellation.client import Reply
from constellation.coordizer.coordizer import Coordizer
from constellation.coordizer.vocabulary import END_ID
from constellation.kernel.network.decoder import Decoder
from constellation.records import FinishReason, FloatArray, Mode, Rule, Table
from constellation.routing.mixture import joint_logits
from constellation.routing.mixture_weights import EnsembleWeights, Renew, renewal

TIE_NATS = 1e-4
"""Distance of two logits below which either token may be the likelier; float32 leaves 1e-5."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """A part of an answer that the same kernels began together."""

    mode: Mode
    first: int
    """Index of its first token among the answer's."""
    stop: int
    """Index after its last."""
    weights: Mapping[str, float]
    """Kernel -> weight before the first token."""
    lost: Mapping[str, int] | None
    """Kernels that were left out -> index of the first token written without them; None: its
    leader died and did not say."""


def is_joint(reply: Reply) -> bool:
    """Say whether several kernels wrote this, or a part of it, token by token together."""
    finish = reply.finish
    return bool(finish.weights) or any(segment.weights for segment in finish.segments)


def parts(reply: Reply) -> tuple[Part, ...]:
    """Return the parts of an answer that several kernels wrote together, as it tells them."""
    finish = reply.finish
    lost = dict(zip(finish.lost, finish.lost_at, strict=True))
    begun = [
        (segment.first, segment.weights or {segment.kernel: 1.0}) for segment in finish.segments
    ]
    if not begun:
        members = {*finish.weights, *lost}
        choices = reply.route.choices
        begun = [(0, {each.kernel: each.weight for each in choices if each.kernel in members})]
    stops = [*(first for first, _ in begun[1:]), finish.num_tokens]
    return tuple(
        Part(
            mode=reply.route.mode,
            first=first,
            stop=stop,
            weights=weights,
            lost=lost if number == len(begun) else None,
        )
        for number, ((first, weights), stop) in enumerate(zip(begun, stops, strict=True), 1)
    )


class Together:
    """Says what kernels would have written together.

    Args:
        table: Where they lie.
        coordizer: Folds what was written into basins.
        decoder: Returns a kernel's decoder by name.
        rule: By which the routers decided.
        phi_weighting: Whether a kernel's integration counted.
    """

    def __init__(
        self,
        table: Table,
        coordizer: Coordizer,
        decoder: Callable[[str], Decoder],
        *,
        rule: Rule,
        phi_weighting: bool,
    ) -> None:
        self._sites = {site.name: site for site in table.sites}
        self._table = table
        self._coordizer = coordizer
        self._decoder = decoder
        self._rule = rule
        self._phi_weighting = phi_weighting
        self._known: dict[object, str] = {}

    def objection(
        self,
        prompt: Sequence[int],
        tokens: Sequence[int],
        told: Sequence[Part],
        reason: FinishReason,
    ) -> str:
        """Return why this answer is not what its kernels would have written; "" when it is.

        Args:
            prompt: Tokens of the prompt.
            tokens: Tokens of the answer.
            told: Its parts.
            reason: Why it ended.
        """
        key = (tuple(prompt), tuple(tokens), repr(told), reason)
        if key not in self._known:
            found = (self._part(prompt, tokens, part, reason) for part in told)
            self._known[key] = next(filter(None, found), "")
        return self._known[key]

    def _part(
        self, prompt: Sequence[int], tokens: Sequence[int], part: Part, reason: FinishReason
    ) -> str:
        text = [*prompt, *tokens[: part.stop]]
        logits_kTV = np.stack([_logits(self._decoder(name), text) for name in part.weights])
        expected = list(tokens[part.first : part.stop])
        if part.stop == len(tokens) and reason is FinishReason.END:
            expected.append(END_ID)
        found = [
            self._walk(text, len(prompt), part, logits_kTV, expected, lost)
            for lost in _possible_losses(part)
        ]
        return "" if "" in found else found[0]

    def _walk(
        self,
        text: list[int],
        num_prompt: int,
        part: Part,
        logits_kTV: FloatArray,
        expected: list[int],
        lost: Mapping[str, int],
    ) -> str:
        """Return where these kernels choose another token than expected; "" when nowhere."""
        names, begun_with = list(part.weights), num_prompt + part.first
        weights_k = np.array(list(part.weights.values()))
        renew = self._renew(part, names)
        weighing = EnsembleWeights(part.mode, weights_k, text[:begun_with], renew)
        weighing.observe_prompt(_nats(logits_kTV, text[:begun_with]))
        for place, token in enumerate(expected, part.first):
            for name in (name for name, first in lost.items() if first == place):
                weighing.drop(names.index(name))
            here_kV = logits_kTV[:, num_prompt + place - 1]
            joint_V, normaliser_k = joint_logits(here_kV, weighing.weights_k)
            if joint_V.max() - joint_V[token] > TIE_NATS:
                return f"token {place} is {token}, replayed {int(joint_V.argmax())}"
            weighing.observe_token(token, here_kV[:, token] - normaliser_k)
        return ""

    def _renew(self, part: Part, names: list[str]) -> Renew | None:
        if part.mode is not Mode.MIXTURE:
            return None
        table = replace(self._table, sites=tuple(self._sites[name] for name in names))
        return renewal(
            table,
            rule=self._rule,
            phi_weighting=self._phi_weighting,
            basin_of=lambda tokens: self._coordizer.basin(np.array(tokens, dtype=np.int32)),
        )


def _possible_losses(part: Part) -> list[Mapping[str, int]]:
    if part.lost is not None:
        return [part.lost]
    places = range(part.first + 1, part.stop)
    partners = part.weights if len(part.weights) > 1 else {}
    return [{}, *({name: place} for name in partners for place in places)]


@torch.inference_mode()
def _logits(decoder: Decoder, tokens: list[int]) -> FloatArray:
    logits_TV: FloatArray = decoder(torch.tensor([tokens]))[0].float().numpy()
    return logits_TV


def _nats(logits_kTV: FloatArray, prompt: list[int]) -> FloatArray:
    """Return -ln p of the prompt's tokens but the first under each kernel, shape (k, P - 1)."""
    before_kTV = torch.from_numpy(logits_kTV[:, : len(prompt) - 1]).double()
    following_T = torch.tensor(prompt[1:])[None, :, None].expand(len(before_kTV), -1, 1)
    log_p_kT1 = before_kTV.log_softmax(-1).gather(-1, following_T)
    nats_kP: FloatArray = -log_p_kT1.squeeze(2).numpy()
    return nats_kP
