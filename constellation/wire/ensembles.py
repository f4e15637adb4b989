"""Ensembles: records and messages of several kernels (models) that write or score together.

Shapes: V tokens of the vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from constellation.errors import ArtifactError, InternalError, InvalidRequest
from constellation.records import Mode, Route, Rule, Table
from constellation.v1 import kernel_pb2
from constellation.wire.convert import MODE_NUMBER, RULE_NUMBER, RULE_OF
from constellation.wire.record_messages import from_message, to_message
from constellation.wire.table_file import pack_table, unpack_table

MEMBERS_MAX = 240
"""Most kernels of one ensemble: the number of seats."""

TABLE_BYTES_MAX = 3 * 1024 * 1024
"""Largest table in bytes of an ensemble's members: 240 kernels of 16 basins each."""

_MODES = {MODE_NUMBER[mode]: mode for mode in (Mode.MIXTURE, Mode.POSTERIOR)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """One kernel of an ensemble, with its address and weight."""

    kernel: str
    endpoint: str
    """host:port of its KernelService."""
    weight: float
    """Weight before the first token, in [0, 1]."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Renewal:
    """Table and settings from which a mixture's weights are renewed as the text grows."""

    table: Table
    """Routing table of the members only."""
    rule: Rule
    phi_weighting: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Ensemble:
    """Kernels that write or score together, led by the kernel that gets the request."""

    mode: Mode
    """MIXTURE or POSTERIOR."""
    members: tuple[Member, ...]
    """At least two kernels, including the leader; their weights sum to 1."""
    renewal: Renewal | None = None
    """How a mixture's weights are renewed; None keeps the weights of the route."""

    @property
    def weights(self) -> dict[str, float]:
        """Kernel -> its weight before the first token."""
        return {member.kernel: member.weight for member in self.members}


def ensemble_of(
    route: Route, table: Table, *, top_k: int, rule: Rule, phi_weighting: bool, follows_text: bool
) -> Ensemble | None:
    """Return the ensemble that a route asks for; None when one kernel answers.

    Args:
        route: The routing decision.
        table: Table of the decision, with endpoints.
        top_k: Number of kernels that share the weight; fewer when fewer can be reached.
        rule: Rule by which basins are compared, before any fallback.
        phi_weighting: Whether a kernel's integration (Phi) scales its weight.
        follows_text: Whether the weights of a mixture are renewed as the text grows.
    """
    choices = route.choices[:top_k]
    if route.mode is Mode.NEAREST or len(choices) < 2:
        return None
    site_of = {site.name: site for site in table.sites}
    sites = tuple(site_of[choice.kernel] for choice in choices)
    renewal = None
    if route.mode is Mode.MIXTURE and follows_text:
        renewal = Renewal(table=replace(table, sites=sites), rule=rule, phi_weighting=phi_weighting)
    return Ensemble(
        mode=route.mode,
        members=tuple(
            Member(kernel=site.name, endpoint=site.endpoint or "", weight=choice.weight)
            for site, choice in zip(sites, choices, strict=True)
        ),
        renewal=renewal,
    )


@dataclass(frozen=True, slots=True, eq=False)
class Predicted:
    """A kernel's prediction of the next token of a text."""

    logits_V: NDArray[np.float32]
    """Unnormalised log-probabilities."""
    prompt_nats: Sequence[float] = ()
    """-ln p of each prompt token except the first; only in the first prediction, if requested."""


class Predicting(Protocol):
    """A text that a kernel predicts token by token, while another kernel chooses the tokens."""

    context: int
    """Most tokens of prompt and answer together."""

    async def next(self) -> Predicted:
        """Return the prediction of the next token after all tokens so far."""

    def tell(self, token: int) -> None:
        """Append the token that was chosen.

        Raises:
            InvalidRequest: The token is not in the vocabulary, or the context is full.
        """


def ensemble_to_message(ensemble: Ensemble) -> kernel_pb2.Ensemble:
    """Return an ensemble as a message."""
    members = [to_message(kernel_pb2.Member, member) for member in ensemble.members]
    message = kernel_pb2.Ensemble(mode=MODE_NUMBER[ensemble.mode], members=members)
    renewal = ensemble.renewal
    if renewal is not None:
        message.renewal.table = pack_table(renewal.table)
        message.renewal.rule = RULE_NUMBER[renewal.rule]
        message.renewal.phi_weighting = renewal.phi_weighting
    return message


def ensemble_from_message(message: kernel_pb2.Ensemble, *, leader: str) -> Ensemble:
    """Return the ensemble in a router's message to the kernel that leads it, checked.

    Raises:
        InvalidRequest: A field is out of its range; the message names the field.
    """
    if message.mode not in _MODES:
        raise InvalidRequest("ensemble.mode", message.mode, "mixture or posterior")
    members = tuple(from_message(member, Member) for member in message.members)
    _check_members(members, leader)
    return Ensemble(
        mode=_MODES[message.mode],
        members=members,
        renewal=_renewal(message.renewal, members) if message.HasField("renewal") else None,
    )


def _check_members(members: tuple[Member, ...], leader: str) -> None:
    names = [member.kernel for member in members]
    if not 2 <= len(names) <= MEMBERS_MAX or len(set(names)) < len(names) or leader not in names:
        raise InvalidRequest(
            "ensemble.members", names[:8], f"2 to {MEMBERS_MAX} different kernels, {leader!r} too"
        )
    weights = [member.weight for member in members]
    if not all(isfinite(w) and w >= 0 for w in weights) or abs(sum(weights) - 1) > 1e-6:
        raise InvalidRequest("ensemble.members.weight", weights[:8], "numbers >= 0 that sum to 1")


def _renewal(message: kernel_pb2.Renewal, members: tuple[Member, ...]) -> Renewal:
    if len(message.table) > TABLE_BYTES_MAX:
        size = f"{len(message.table)} bytes"
        raise InvalidRequest("ensemble.renewal.table", size, f"at most {TABLE_BYTES_MAX} bytes")
    if message.rule not in RULE_OF:
        raise InvalidRequest("ensemble.renewal.rule", message.rule, " or ".join(Rule))
    try:
        table = unpack_table(message.table, source="ensemble.renewal.table")
    except ArtifactError as error:
        raise InvalidRequest("ensemble.renewal.table", "damaged", "a packed table") from error
    if {site.name for site in table.sites} != {member.kernel for member in members}:
        named = [site.name for site in table.sites][:8]
        raise InvalidRequest("ensemble.renewal.table", named, "a site for each member")
    return Renewal(table=table, rule=RULE_OF[message.rule], phi_weighting=message.phi_weighting)


def predicted_to_message(predicted: Predicted) -> kernel_pb2.PredictReply:
    """Return a prediction as a message."""
    data = predicted.logits_V.astype("<f4", copy=False).tobytes()
    return kernel_pb2.PredictReply(logits=data, prompt_token_nats=predicted.prompt_nats)


def predicted_from_message(message: Any, *, vocab_size: int) -> Predicted:
    """Return the prediction in a reply.

    Raises:
        InternalError: The number of logits is not the size of the vocabulary.
    """
    logits_V = np.frombuffer(message.logits, dtype="<f4")
    if len(logits_V) != vocab_size:
        raise InternalError(f"a prediction has {len(logits_V)} logits for {vocab_size} tokens")
    return Predicted(logits_V, tuple(message.prompt_token_nats))
