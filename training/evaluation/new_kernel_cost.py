"""Measure what a new kernel costs the other domains: held-out bits with and without it.

Documents are routed by their first 32 tokens and scored after them, as in `held_out_figures.py`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from constellation.coordizer.coordizer import Coordizer
from constellation.curricula.corpus import Document
from constellation.errors import UnknownSymbol
from constellation.kernel.network.decoder import Decoder
from constellation.kernel.writing.text_model import TextModel, score_text
from constellation.records import Table, TokenArray
from constellation.routing.policy import RoutingPolicy
from constellation.wire.table_file import load_table
from training.evaluation.held_out_figures import (
    INTERVAL_DOCUMENTS_MIN,
    PREFIX_TOKENS,
    difference_interval,
    scored_nats,
)
from training.evaluation.parallel import side_by_side

READ_MAX = 1024
"""Tokens read of a document when every kernel that reads it has its own vocabulary."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GrowthCost:
    """Bits per byte of held-out text before and after a kernel joined."""

    num_documents: int
    num_bytes: int
    num_moved: int
    """Documents that are routed to another kernel after the change."""
    before: float
    after: float
    interval: tuple[float, float] | None
    """After minus before, 95 %, a paired bootstrap over documents; None for fewer than 8."""

    @property
    def ratio(self) -> float:
        """After over before: 1.005 is half a per cent more."""
        return self.after / self.before


@dataclass(frozen=True, slots=True)
class DocumentReader:
    """A kernel that reads held-out documents."""

    nats: Callable[[TokenArray, Coordizer], float]
    """Returns the nats of a document after the prefix, which is read and not scored."""
    context: int | None = None
    """Tokens of the coordizer that the kernel reads at once; None: it counts in other tokens."""


def token_reader(decoder: Decoder) -> DocumentReader:
    """Return the reader of a kernel that speaks the coordizer's tokens."""
    return DocumentReader(partial(scored_nats, decoder), decoder.config.context)


def text_reader(model: TextModel) -> DocumentReader:
    """Return the reader of a kernel with a vocabulary of its own, which reads text.

    A document that the vocabulary cannot spell has no likelihood there: infinitely many nats.
    """

    def nats(ids: TokenArray, coordizer: Coordizer) -> float:
        parts = (ids[:PREFIX_TOKENS], ids[PREFIX_TOKENS:])
        context, text = (coordizer.decode(part).decode(errors="replace") for part in parts)
        try:
            return score_text(model, context, text).nats
        except UnknownSymbol:
            return math.inf

    return DocumentReader(nats)


@dataclass(frozen=True, kw_only=True, slots=True)
class Routing:
    """The routing policy of one release."""

    coordizer: Coordizer
    table: Table

    def routes(self, texts: Sequence[TokenArray]) -> list[str]:
        """Return the name of the kernel that each text is routed to."""
        policy = RoutingPolicy(self.table)
        return [
            policy.decide(self.coordizer.basin(ids), num_tokens=len(ids)).kernel for ids in texts
        ]


def routing_of(view: Path) -> Routing:
    """Return the routing policy of the release in a folder.

    Raises:
        ArtifactError: A file is missing or damaged.
    """
    return Routing(
        coordizer=Coordizer.load(view / "coordizer"), table=load_table(view / "table.msgpack")
    )


def growth_cost(
    documents: Sequence[Document],
    *,
    before: Routing,
    after: Routing,
    kernel: Callable[[str], DocumentReader],
) -> GrowthCost | None:
    """Score the same held-out tokens, routed as before and as after a kernel joined.

    Args:
        documents: Text that no kernel learned from; documents of under 64 tokens are left out, and
            documents with a symbol that the vocabulary of a kernel they are routed to lacks.
        before: Routing before the kernel joined.
        after: Routing after the kernel joined.
        kernel: Returns a kernel by name; called once for each that is used.

    Returns:
        None when no document is long enough.
    """
    coordizer = after.coordizer
    tokens = coordizer.encode_batch([document.text for document in documents])
    long_enough = [ids for ids in tokens if len(ids) >= 2 * PREFIX_TOKENS]
    if not long_enough:
        return None
    prefixes = [ids[:PREFIX_TOKENS] for ids in long_enough]
    routes = list(zip(before.routes(prefixes), after.routes(prefixes), strict=True))
    readers = {name: kernel(name) for name in sorted({each for pair in routes for each in pair})}
    contexts = [reader.context for reader in readers.values() if reader.context is not None]
    context = min(contexts, default=READ_MAX)

    def score(number: int) -> tuple[float, float]:
        ids = long_enough[number][:context]
        old, new = routes[number]
        nats = readers[old].nats(ids, coordizer)
        return nats, nats if old == new else readers[new].nats(ids, coordizer)

    nats_N2 = np.array(side_by_side(score, range(len(routes))))
    spelt_N = np.isfinite(nats_N2).all(axis=1)
    if not spelt_N.any():
        return None
    bytes_N = np.array([len(coordizer.decode(ids[PREFIX_TOKENS:context])) for ids in long_enough])
    nats_N2, bytes_N = nats_N2[spelt_N], bytes_N[spelt_N]
    low_high = difference_interval(nats_N2[:, 1] - nats_N2[:, 0], bytes_N)
    bits_2 = nats_N2.sum(axis=0) / math.log(2) / bytes_N.sum()
    return GrowthCost(
        num_documents=len(nats_N2),
        num_bytes=int(bytes_N.sum()),
        num_moved=sum(
            old != new for (old, new), spelt in zip(routes, spelt_N, strict=True) if spelt
        ),
        before=float(bits_2[0]),
        after=float(bits_2[1]),
        interval=(low_high[0], low_high[1]) if len(nats_N2) >= INTERVAL_DOCUMENTS_MIN else None,
    )
