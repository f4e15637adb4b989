"""The training objective: cross-entropy, and weighted terms that a recipe may add.

    lambda_lm CE                                                        nats per token
  + lambda_basin mean_b d(basin(h_b), target_b)^2                       radians^2
  + lambda_phi mean_b (Phi_surrogate(h_b) - phi_target)^2
  + lambda_kappa mean_h ln(kappa_h / kappa_target)^2
  + lambda_beta mean_h (beta_h - beta_target)^2
  + lambda_entropy mean_b max(0, entropy_floor_nats - H_b)^2            nats^2
  + lambda_step max(0, d(mean basin, mean basin of the last batch) - step_cap)^2   radians^2
  + w T^2 KL(teacher || student), with a teacher; CE then counts 1 - w    nats per token

Only terms with a weight above 0 are computed; with none the loss is `Decoder.loss`, untouched. All
terms but the last are means over sequences, so that workers' and micro-batches' shares sum to the
batch's value; the last caps each share's own mean basin.

Shapes: B sequences, T positions, C channels, V tokens, M positions looked at, K outcomes.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import torch
from pydantic import model_validator
from torch import Tensor
from torch.nn import functional

from constellation.errors import ConfigError
from constellation.geometry import distance, from_root, hellinger_mean, to_root
from constellation.kernel.network.config import KernelConfig
from constellation.kernel.network.decoder import Decoder
from constellation.kernel.network.loss import output_entropy_nats
from training.basin_targets import BasinTarget
from training.loop.phi_surrogate import phi_surrogate
from training.recipe import ObjectiveSection
from training.transfer.distil import SoftTargets

ENTROPY_POSITIONS: Final = 16
"""Positions of each sequence whose output entropy is computed: all of them would double a step."""

PHI_GROUPS: Final = 8
"""Groups of hidden units of the Phi surrogate, as in the reported statistic."""


class ObjectiveConfig(ObjectiveSection):
    """Weights of the terms, and what they aim at: a section whose preset is filled in."""

    @model_validator(mode="after")
    def _check(self) -> "ObjectiveConfig":
        weights = (name for name in type(self).model_fields if name.startswith("lambda_"))
        if not any(getattr(self, name) > 0 for name in weights):
            raise ConfigError("an objective without any term trains nothing; set lambda_lm to 1")
        return self

    @property
    def needs_basin_head(self) -> bool:
        """Whether a term reads the kernel's own basin."""
        return self.lambda_basin > 0 or self.lambda_step > 0


PRESETS: Final[Mapping[str, ObjectiveConfig]] = MappingProxyType(
    {
        # The E8 constellation: cross-entropy with light terms.
        "s1": ObjectiveConfig(
            lambda_kappa=1e-5, lambda_phi=1e-4, lambda_entropy=1e-3, lambda_step=1e-3
        ),
        # The recursive kernel: geometry weighs as much as the text.
        "s2": ObjectiveConfig(lambda_lm=1.0, lambda_basin=2.0, lambda_phi=1.0, lambda_beta=1.5),
    }
)
"""Term weights of the systems that this project continues; the targets are this project's
defaults."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Evaluated:
    """The objective of one part of a batch."""

    loss: Tensor
    """Weighted sum, to be differentiated."""
    nats: Tensor
    """Cross-entropy alone, detached."""
    extra_E: Tensor | None
    """Unweighted terms in the order of `Objective.terms`, then sums that `Objective.took` wants;
    all of them add up over parts in proportion to their sequences. None without terms."""


class Objective:
    """Evaluates an objective on a network."""

    def __init__(
        self,
        config: ObjectiveConfig,
        decoder: Decoder,
        *,
        basin_target: BasinTarget | None = None,
        soft_targets: SoftTargets | None = None,
    ) -> None:
        """Check that the network has what the terms read.

        Raises:
            ConfigError: A term is on and the network lacks its parameters, or its target.
        """
        _check_network(config, decoder, basin_target)
        self._config = config
        self._decoder = decoder
        self._basin_target = basin_target
        self._soft_targets = soft_targets
        self._share_taught = 0.0 if soft_targets is None else soft_targets.config.weight
        self._last_basin_K: Tensor | None = None
        weights = {
            "basin": config.lambda_basin,
            "phi": config.lambda_phi,
            "kappa": config.lambda_kappa,
            "beta": config.lambda_beta,
            "entropy": config.lambda_entropy,
            "basin_step": config.lambda_step,
            "distil": self._share_taught,
        }
        self._weights = {name: weight for name, weight in weights.items() if weight > 0}

    @property
    def terms(self) -> tuple[str, ...]:
        """Names of the extra terms whose weight is not 0."""
        return tuple(self._weights)

    @property
    def num_extra(self) -> int:
        """Number of entries in `Evaluated.extra_E`."""
        outcomes = self._decoder.config.basin_outcomes if "basin_step" in self._weights else 0
        return len(self._weights) + (outcomes or 0)

    def __call__(self, inputs_BT: Tensor, targets_BT: Tensor) -> Evaluated:
        """Evaluate on one part of a batch."""
        if not self._weights and self._config.lambda_lm == 1:
            loss = self._decoder.loss(inputs_BT, targets_BT)
            return Evaluated(loss=loss, nats=loss.detach(), extra_E=None)
        hidden_BTC = self._decoder.hidden(inputs_BT)
        loss, nats = self._cross_entropy(hidden_BTC, targets_BT)
        with torch.autocast(hidden_BTC.device.type, enabled=False):
            values, roots_K = self._terms(inputs_BT, targets_BT, hidden_BTC.float())
        for name, value in values.items():
            loss = loss + self._weights[name] * value
        parts = [value.detach().reshape(1) for value in values.values()]
        extra_E = torch.cat(parts if roots_K is None else [*parts, roots_K]) if parts else None
        return Evaluated(loss=loss, nats=nats, extra_E=extra_E)

    def took(self, extra_E: Tensor) -> dict[str, float]:
        """Return the terms' values, given the sum of `extra_E` over the whole batch."""
        num_terms = len(self._weights)
        if "basin_step" in self._weights:
            self._last_basin_K = from_root(extra_E[num_terms:].clone())
        return dict(zip(self._weights, extra_E[:num_terms].tolist(), strict=True))

    def state(self) -> dict[str, Any]:
        """Return everything that later values depend on, as JSON values."""
        last_K = self._last_basin_K
        return {"last_basin": None if last_K is None else last_K.tolist()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a value that `state` returned."""
        last = state["last_basin"]
        device = self._decoder.embedding.device
        self._last_basin_K = None if last is None else torch.tensor(last, device=device)

    def _cross_entropy(self, hidden_BTC: Tensor, targets_BT: Tensor) -> tuple[Tensor, Tensor]:
        """Return the weighted cross-entropy and the plain one, detached."""
        weight = self._config.lambda_lm * (1 - self._share_taught)
        with torch.set_grad_enabled(weight > 0):
            nats = self._decoder.mean_nats(hidden_BTC, targets_BT)
        return weight * nats if weight > 0 else torch.zeros_like(nats), nats.detach()

    def _terms(
        self, inputs_BT: Tensor, targets_BT: Tensor, hidden_BTC: Tensor
    ) -> tuple[dict[str, Tensor], Tensor | None]:
        """Return the terms that are on, and the sum of the basins' roots where it is wanted."""
        compute: dict[str, Callable[[], Tensor]] = {
            "phi": lambda: self._phi(hidden_BTC),
            "kappa": self._kappa,
            "beta": self._beta,
            "entropy": lambda: self._entropy(hidden_BTC),
            "distil": lambda: self._distil(inputs_BT, targets_BT, hidden_BTC),
        }
        roots_K = None
        if self._config.needs_basin_head:
            basins_BK = self._decoder.basin(hidden_BTC)
            compute["basin"] = lambda: self._basin(inputs_BT, basins_BK)
            compute["basin_step"] = lambda: self._basin_step(basins_BK)
            if "basin_step" in self._weights:
                # Mean, not sum: shares of the batch add up to its mean; its length is immaterial.
                roots_K = to_root(basins_BK.detach()).mean(0)
        return {name: compute[name]() for name in self._weights}, roots_K

    def _basin(self, inputs_BT: Tensor, basins_BK: Tensor) -> Tensor:
        assert self._basin_target is not None
        return distance(basins_BK, self._basin_target(inputs_BT)).square().mean()

    def _basin_step(self, basins_BK: Tensor) -> Tensor:
        if self._last_basin_K is None:
            return basins_BK.new_zeros(())
        moved = distance(hellinger_mean(basins_BK), self._last_basin_K)
        return functional.relu(moved - self._config.step_cap_radians).square()

    def _distil(self, inputs_BT: Tensor, targets_BT: Tensor, hidden_BTC: Tensor) -> Tensor:
        assert self._soft_targets is not None
        return self._soft_targets(self._decoder, hidden_BTC, inputs_BT, targets_BT)

    def _phi(self, hidden_BTC: Tensor) -> Tensor:
        gap_B = phi_surrogate(hidden_BTC, num_groups=PHI_GROUPS) - self._config.phi_target
        return gap_B.square().mean()

    def _kappa(self) -> Tensor:
        coupling = self._decoder.coupling
        assert coupling is not None
        aim = self._config.kappa_target or self._decoder.config.coupling_start
        return (coupling.log_kappa_NH.float() - math.log(aim)).square().mean()

    def _beta(self) -> Tensor:
        coupling = self._decoder.coupling
        assert coupling is not None
        return (coupling.beta_NH.float() - self._config.beta_target).square().mean()

    def _entropy(self, hidden_BTC: Tensor) -> Tensor:
        length = hidden_BTC.shape[1]
        places = torch.linspace(0, length - 1, min(ENTROPY_POSITIONS, length)).long()
        rows_BMC = hidden_BTC[:, places.to(hidden_BTC.device)]
        entropy_BM = output_entropy_nats(self._decoder.logits(rows_BMC))
        shortfall_B = functional.relu(self._config.entropy_floor_nats - entropy_BM.mean(-1))
        return shortfall_B.square().mean()


def _check_network(
    config: ObjectiveConfig, decoder: Decoder, basin_target: BasinTarget | None
) -> None:
    if config.needs_basin_head and decoder.config.basin_outcomes is None:
        raise ConfigError(
            "lambda_basin and lambda_step need a kernel with a basin head; set basin_outcomes to "
            "the coordizer's number of outcomes"
        )
    if config.lambda_basin > 0 and basin_target is None:
        raise ConfigError("lambda_basin is above 0 and no basin target is given")
    check_shape(config, decoder.config)


def check_shape(config: ObjectiveConfig, shape: KernelConfig) -> None:
    """Refuse terms that a network of this shape has nothing for.

    Raises:
        ConfigError: Names the term and what it needs.
    """
    if config.lambda_kappa > 0 and not shape.has_coupling:
        raise ConfigError("lambda_kappa needs learned couplings, and `dot` attention has none")
    if config.lambda_beta > 0 and not shape.learns_beta:
        raise ConfigError("lambda_beta needs learned slopes; this kernel learns none")
    if config.lambda_phi > 0 and shape.width < PHI_GROUPS:
        raise ConfigError(f"lambda_phi needs a width of {PHI_GROUPS} or more, not {shape.width}")
