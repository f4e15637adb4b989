"""Measure one text under one kernel (Phi, kappa, depth, basin), for interactive sessions.

Shapes: T tokens, C channels, K outcomes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from constellation.coordizer.coordizer import Coordizer
from constellation.errors import ConfigError
from constellation.kernel.network.decoder import Decoder
from constellation.kernel.network.recursion import Depths
from constellation.kernel.observables.kappa import kappa_measured
from constellation.kernel.observables.measurement import Measurement, absent
from constellation.kernel.observables.phi import PHI_POSITIONS, phi_integration
from constellation.kernel.observables.signature import BasinSource
from constellation.kernel.observables.signature_extract import basin_source
from constellation.records import FloatArray


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TextObservables:
    """Measurements of one text under one kernel."""

    phi: Measurement
    """Integration over the last 256 positions; the value is None for a shorter text."""
    kappa: Measurement
    """Measured coupling at the text's length, nats."""
    depth: float | None
    """Mean passes of a token through a recurrent layer; None without a recurrent layer."""
    basin_K: FloatArray
    """The text's point on the simplex."""
    basin_source: BasinSource
    """Whether the basin comes from the kernel's head or from the coordizer."""


@torch.inference_mode()
def observe_text(
    decoder: Decoder, coordizer: Coordizer, ids: Sequence[int], *, seed: int = 0
) -> TextObservables:
    """Measure a text in one pass of the kernel and one of its attention.

    The text has 1 token to the context, the token that opens a text included.

    Raises:
        ConfigError: If there is no token, or the basin head does not fit the coordizer.
        InvalidPrompt: If there are more tokens than the context.
    """
    if not ids:
        raise ConfigError("a text without tokens has no observables")
    tokens_1T = torch.tensor([list(ids)], device=decoder.embedding.device)
    depths = Depths()
    hidden_1TC = decoder.hidden(tokens_1T, depths=depths)
    if len(ids) < PHI_POSITIONS:
        phi = absent(f"needs {PHI_POSITIONS} tokens, has {len(ids)}")
    else:
        phi = phi_integration(hidden_1TC[0, -PHI_POSITIONS:], seed=seed)
    source = basin_source(decoder, coordizer)
    if source == "coordizer":
        basin_K = coordizer.basin(list(ids))
    else:
        basin_K = decoder.basin(hidden_1TC)[0].double().cpu().numpy()
    return TextObservables(
        phi=phi,
        kappa=kappa_measured(decoder, tokens_1T, seed=seed),
        depth=depths.mean,
        basin_K=basin_K,
        basin_source=source,
    )
