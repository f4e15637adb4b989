"""Score held-out documents under every kernel of a constellation, as input of collective Phi.

Shapes: N documents, M kernels, T tokens.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from constellation.coordizer.coordizer import Coordizer
from constellation.curricula.corpus import Document
from constellation.errors import CorpusError
from constellation.kernel.network.decoder import Decoder
from constellation.kernel.writing.scoring import token_nats
from constellation.routing.collective_phi import CollectiveScores, uniform_nats
from constellation.routing.policy import RoutingPolicy
from training.evaluation.held_out_figures import PREFIX_TOKENS
from training.evaluation.parallel import side_by_side

DOCUMENTS_PER_DOMAIN = 16
"""Held-out documents per domain that every kernel scores; the cost is documents x kernels."""


def score_collective(
    documents: Sequence[Document],
    *,
    coordizer: Coordizer,
    policy: RoutingPolicy,
    kernels: Mapping[str, Decoder],
    documents_per_domain: int = DOCUMENTS_PER_DOMAIN,
) -> CollectiveScores:
    """Score held-out documents under every kernel, after the tokens they are routed by.

    Args:
        documents: Text nothing was fitted on; those of under 64 tokens are left out, and of each
            domain's rest as many as `documents_per_domain`, spread evenly, are read.
        coordizer: Coordizer of the kernels.
        policy: The router's own policy.
        kernels: Name -> kernel.
        documents_per_domain: Most documents of a domain, from 1.

    Raises:
        CorpusError: No document is long enough.
    """
    names = tuple(kernels)
    context = min(decoder.config.context for decoder in kernels.values())

    def score(ids: list[int]) -> tuple[list[float], float, float, int]:
        single_MT = torch.stack([_nats(kernels[name], ids, coordizer.end_id) for name in names])
        single_M = single_MT.sum(dim=1)
        basin_K = coordizer.basin(ids[:PREFIX_TOKENS])
        chosen = policy.decide(basin_K, num_tokens=PREFIX_TOKENS).kernel
        return (
            single_M.tolist(),
            float(single_M[names.index(chosen)]),
            float(uniform_nats(single_MT.numpy()).sum()),
            len(coordizer.decode(ids[PREFIX_TOKENS:])),
        )

    rows = side_by_side(score, _chosen(documents, coordizer, context, documents_per_domain))
    if not rows:
        raise CorpusError("held-out text", f"no document has {2 * PREFIX_TOKENS} tokens; add text")
    single, routed, ensemble, num_bytes = zip(*rows, strict=True)
    return CollectiveScores(
        kernels=names,
        single_NM=np.array(single),
        routed_N=np.array(routed),
        ensemble_N=np.array(ensemble),
        num_bytes_N=np.array(num_bytes, dtype=np.float64),
    )


def _chosen(
    documents: Sequence[Document], coordizer: Coordizer, context: int, per_domain: int
) -> list[list[int]]:
    """Return the tokens of the documents that are scored, cut to the context."""
    usable: dict[str, list[list[int]]] = {}
    encoded = coordizer.encode_batch([document.text for document in documents])
    for document, ids in zip(documents, encoded, strict=True):
        if len(ids[:context]) >= 2 * PREFIX_TOKENS:
            usable.setdefault(document.domain, []).append(ids[:context].tolist())
    return [
        rows[place * len(rows) // min(per_domain, len(rows))]
        for rows in usable.values()
        for place in range(min(per_domain, len(rows)))
    ]


def _nats(decoder: Decoder, ids: list[int], end_id: int) -> Tensor:
    """Return the nats of each token after the prefix; the end token opens the document."""
    return token_nats(decoder, [end_id, *ids])[PREFIX_TOKENS:].double()
