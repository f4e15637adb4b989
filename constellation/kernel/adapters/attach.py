"""Attach an adapter to a kernel, copy its tensors out, or merge it into the kernel's matrices.

`attach` returns a decoder of its own over the very tensors of the base: thousands of adapters cost
their own numbers and some Python objects each. Only the adapter takes gradients.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from constellation.errors import ConfigError
from constellation.kernel.adapters.coordinate import (
    CoordinateConfig,
    Coordinates,
    install_coordinates,
)
from constellation.kernel.adapters.lora import LoraConfig, LowRank, install_lora, low_rank_parts
from constellation.kernel.network.decoder import Decoder

AdapterConfig = LoraConfig | CoordinateConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Adapted:
    """A kernel with an attached adapter."""

    decoder: Decoder
    """Network that reads, trains and generates; the base's weights in it are shared and frozen."""
    config: AdapterConfig
    """Kind and size of the adapter."""

    def parameters(self) -> dict[str, nn.Parameter]:
        """Return the adapter's own parameters by name, in a fixed order."""
        named = self.decoder.named_parameters()
        return {name: parameter for name, parameter in named if parameter.requires_grad}

    def state(self) -> dict[str, Tensor]:
        """Return copies of the adapter's tensors, on the CPU."""
        return {name: p.detach().cpu().clone() for name, p in self.parameters().items()}

    @torch.no_grad()
    def load(self, state: Mapping[str, Tensor]) -> None:
        """Overwrite the adapter's numbers.

        Raises:
            ConfigError: If names or shapes are not those of this adapter.
        """
        mine = self.parameters()
        expected = {name: tuple(parameter.shape) for name, parameter in mine.items()}
        found = {name: tuple(tensor.shape) for name, tensor in state.items()}
        if expected != found:
            wrong = sorted(set(expected.items()) ^ set(found.items()))[:4]
            raise ConfigError(f"the tensors do not fit the adapter and its base: {wrong}")
        for name, tensor in state.items():
            mine[name].copy_(tensor)

    def num_parameters(self) -> int:
        """Return the number of trained parameters."""
        return sum(parameter.numel() for parameter in self.parameters().values())


def attach(base: Decoder, config: AdapterConfig, *, seed: int = 0) -> Adapted:
    """Put a new adapter on a base; its output equals the base's to the bit.

    Args:
        base: Any kernel without an adapter; it is not changed, and training it further changes
            what is shared.
        config: Kind and size of the adapter.
        seed: Of the numbers that do not start at zero.

    Raises:
        ConfigError: If the base already has an adapter, or a target is not one of its matrices.
    """
    view = frozen_view(base)
    generator = torch.Generator().manual_seed(seed)
    if isinstance(config, LoraConfig):
        install_lora(view.blocks, config, generator)
    else:
        install_coordinates(view.blocks, view.config.width, config, generator)
    return Adapted(decoder=view.train(base.training), config=config)


def frozen_view(base: Decoder) -> Decoder:
    """Return a copy of the modules around the same storage, without gradients.

    Raises:
        ConfigError: If the base already has an adapter.
    """
    if any(isinstance(module, LowRank | Coordinates) for module in base.modules()):
        raise ConfigError("the kernel already has an adapter; merge it, or attach to its base")
    # What is in the memo is not copied: the modules are new, the tensors are not.
    memo: dict[int, object] = {
        id(parameter): nn.Parameter(parameter.detach(), requires_grad=False)
        for parameter in base.parameters()
    }
    memo |= {id(buffer): buffer for buffer in base.buffers()}
    memo[id(base.config)] = base.config
    return copy.deepcopy(base, memo)


def merged(adapted: Adapted) -> Decoder:
    """Return a plain kernel with every W + scale * B A, equal to the live one up to rounding.

    All of its tensors are its own. A basin-coordinate adapter is refused with `ConfigError`: it
    is not linear.
    """
    return _moved(adapted.decoder, adapted, 1.0)


def unmerged(decoder: Decoder, adapted: Adapted) -> Decoder:
    """Return `decoder` with every scale * B A subtracted again: the inverse of `merged`."""
    return _moved(decoder, adapted, -1.0)


def _moved(start: Decoder, adapted: Adapted, sign: float) -> Decoder:
    if not isinstance(adapted.config, LoraConfig):
        raise ConfigError(
            f"an adapter of kind {adapted.config.kind!r} cannot be merged; serve it live"
        )
    plain = Decoder(start.config, seed=None)
    values = start.state_dict()
    state = {name: values[name].detach().clone() for name in plain.state_dict()}
    for path, part in low_rank_parts(adapted.decoder):
        weight = state[f"{path}.weight"]
        weight.copy_(weight.float() + sign * part.delta())
    plain.load_state_dict(state, assign=True)
    return plain.requires_grad_().train(start.training)
