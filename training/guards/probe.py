"""Measure a kernel on held-out windows while it trains: output entropy, Phi, basin, depth.

Cheap by construction: a few windows, one forward pass each. Changes neither weights nor torch's
random state, so that probing does not alter a run.

Shapes: B windows, T positions, C channels, V tokens, P positions measured, K outcomes.
"""

import statistics
from dataclasses import dataclass, fields
from typing import Final

import torch
from torch import Tensor

from constellation.errors import ConfigError
from constellation.geometry import distance
from constellation.kernel.network.decoder import Decoder
from constellation.kernel.network.loss import output_entropy_nats, token_nats
from constellation.kernel.network.recursion import Depths
from constellation.kernel.observables.phi import (
    PHI_POSITIONS,
    PhiReference,
    phi_gauge,
    phi_integration,
)
from training.basin_targets import BasinTarget
from training.batches import Batches

POSITIONS: Final = 32
"""Number of positions per window whose output is measured."""

NULLS: Final = 20
"""Number of shuffles behind one Phi: a fifth of the full measurement's, for speed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ProbeConfig:
    """Which held-out measurements a probe takes, and how often."""

    every_steps: int | None = None
    """Steps between probes; None probes with every checkpoint."""
    windows: int = 4
    """Number of held-out windows read."""
    output: bool = False
    """Whether entropy and repetition of the output are measured."""
    phi: bool = False
    """Whether Phi is measured; needs a context of 256 tokens or more."""
    gauge: bool = False
    """Whether Phi is put on the reference's scale and the phase tracked; needs `phi`."""

    def __post_init__(self) -> None:
        if (self.every_steps is not None and self.every_steps < 1) or self.windows < 1:
            raise ConfigError(
                f"probes need every_steps >= 1 and windows >= 1, got {self.every_steps} and "
                f"{self.windows}"
            )
        if self.gauge and not self.phi:
            raise ConfigError("the gauge is a scale of Phi; set phi as well")


@dataclass(frozen=True, kw_only=True, slots=True)
class Probed:
    """Results of one probe; a field is None where it was not asked for or is undefined."""

    entropy_nats: float | None = None
    """Mean entropy of the next-token distribution."""
    cross_entropy_nats: float | None = None
    """Mean cross-entropy at the same positions."""
    repetition: float | None = None
    """Share of positions that have the most frequent likeliest token, in (0, 1]."""
    phi: float | None = None
    """Median integration over the windows, in [0, 1)."""
    phi_gauge: float | None = None
    """Phi on the scale of the reference, in [0, 1]."""
    basin_distance: float | None = None
    """Mean distance of the basin head to its targets, radians."""
    depth: float | None = None
    """Mean passes of a token through a recurrent layer."""

    def to_numbers(self) -> list[float]:
        """Return the fields in order, NaN for None, for workers to exchange."""
        values = (getattr(self, field.name) for field in fields(self))
        return [float("nan") if value is None else value for value in values]

    @classmethod
    def from_numbers(cls, numbers: list[float]) -> "Probed":
        """Build from `to_numbers`."""
        names = [field.name for field in fields(cls)]
        pairs = zip(names, numbers, strict=True)
        return cls(**{name: None if value != value else value for name, value in pairs})


class Probe:
    """Measures one kernel on the same held-out windows every time."""

    def __init__(
        self,
        config: ProbeConfig,
        dev: Batches,
        basin_target: BasinTarget | None = None,
        *,
        depth: bool = False,
    ) -> None:
        """Choose the windows; basin distances need a basin target, mean passes need `depth`."""
        self._config = config
        self._depth = depth
        self._dev = dev
        self._basin_target = basin_target
        self.reference: PhiReference | None = None
        """Scale of the gauge."""

    @property
    def measures(self) -> bool:
        """Whether a probe measures anything."""
        config = self._config
        return config.output or config.phi or self._depth or self._basin_target is not None

    @torch.no_grad()
    def __call__(self, decoder: Decoder) -> Probed:
        """Measure `decoder`, whose training or evaluation mode is not changed."""
        inputs_BT, targets_BT = self._windows(decoder)
        depths = Depths()
        hidden_BTC = decoder.hidden(inputs_BT, depths=depths).float()
        if not torch.isfinite(hidden_BTC).all():
            return Probed()  # the loss says so as well, and that is watched
        entropy = nats = repetition = None
        if self._config.output:
            entropy, nats, repetition = _output(decoder, hidden_BTC, targets_BT)
        phi = self._phi(hidden_BTC)
        gauged = phi is not None and self.reference is not None
        return Probed(
            entropy_nats=entropy,
            cross_entropy_nats=nats,
            repetition=repetition,
            phi=phi,
            phi_gauge=phi_gauge(phi, self.reference) if gauged else None,  # type: ignore[arg-type]
            basin_distance=self._basin_distance(decoder, inputs_BT, hidden_BTC),
            depth=depths.mean,
        )

    @torch.no_grad()
    def scale_of(self, decoder: Decoder) -> PhiReference | None:
        """Return the robust scale of Phi of these weights; None where it has no spread."""
        inputs_BT, _ = self._windows(decoder)
        phis = _phis(decoder.hidden(inputs_BT).float())
        return PhiReference.where_spread(phis, checkpoint_hash="start")

    def _windows(self, decoder: Decoder) -> tuple[Tensor, Tensor]:
        device = decoder.embedding.device
        inputs, targets = self._dev.batch(0, min(self._config.windows, self._dev.per_epoch))
        return inputs.to(device), targets.to(device)

    def _phi(self, hidden_BTC: Tensor) -> float | None:
        phis = _phis(hidden_BTC) if self._config.phi else []
        return statistics.median(phis) if phis else None

    def _basin_distance(
        self, decoder: Decoder, inputs_BT: Tensor, hidden_BTC: Tensor
    ) -> float | None:
        if self._basin_target is None:
            return None
        targets_BK = self._basin_target(inputs_BT)
        return float(distance(decoder.basin(hidden_BTC).float(), targets_BK).mean())


def _phis(hidden_BTC: Tensor) -> list[float]:
    """Return Phi of every window; empty where windows are shorter than 256 positions."""
    if hidden_BTC.shape[1] < PHI_POSITIONS:
        return []
    measured = (
        phi_integration(hidden_TC[:PHI_POSITIONS], num_nulls=NULLS).value
        for hidden_TC in hidden_BTC
    )
    return [phi for phi in measured if phi is not None]


def _output(decoder: Decoder, hidden_BTC: Tensor, targets_BT: Tensor) -> tuple[float, float, float]:
    """Return mean entropy, mean cross-entropy and repetition over a few positions per window."""
    length = hidden_BTC.shape[1]
    places = torch.linspace(0, length - 1, min(POSITIONS, length)).long().to(hidden_BTC.device)
    hidden_PC = hidden_BTC[:, places].flatten(0, 1)
    targets_P = targets_BT[:, places].flatten()
    logits_PV = decoder.logits(hidden_PC)
    entropy = float(output_entropy_nats(logits_PV).mean())
    weight_VC, bias_V = decoder.output_weight, decoder.output_bias
    nats = float(token_nats(hidden_PC, weight_VC, targets_P, bias_V).mean())
    likeliest_P = logits_PV.argmax(-1)
    most = int(likeliest_P.bincount().max())
    return entropy, nats, most / len(likeliest_P)
