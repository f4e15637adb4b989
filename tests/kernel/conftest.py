"""Small kernels for tests: all kinds of attention and network, weights of a size that matters."""

from collections.abc import Callable

import pytest
import torch

from constellation.kernel.network.config import AttentionKind, KernelConfig
from constellation.kernel.network.decoder import Decoder

MakeKernel = Callable[..., Decoder]

NETWORKS: dict[str, dict[str, object]] = {
    "modern": {},
    "post_norm": {"style": "post_norm"},
    "recurrent": {"recurrent_layers": [0], "loops_max": 4},
    # At these thresholds the tokens of the tests stop after every number of passes allowed.
    "adaptive": {"recurrent_layers": [0, 1], "loops_max": 6, "depth_threshold": 0.4},
    "post_norm_adaptive": {
        "style": "post_norm",
        "recurrent_layers": [1],
        "loops_max": 6,
        "depth_threshold": 0.15,
    },
}
"""Changes to `small_config` that give every kind of network."""


def small_config(attention: AttentionKind = "qfi", **changes: object) -> KernelConfig:
    values: dict[str, object] = {
        "vocab_size": 61,
        "width": 32,
        "num_layers": 2,
        "num_heads": 2,
        "mlp_width": 40,
        "context": 24,
        "coupling_reference_length": 8,
        "attention": attention,
        # Large weights: with the usual 0.02 all logits of so small a kernel are nearly equal, and
        # a wrong one would pass.
        "init_std": 0.2,
    }
    return KernelConfig.from_dict(values | changes)


@pytest.fixture
def make_kernel() -> MakeKernel:
    def make(attention: AttentionKind = "qfi", *, seed: int = 0, **changes: object) -> Decoder:
        decoder = Decoder(small_config(attention, **changes), seed=seed)
        if decoder.coupling is not None and decoder.config.learns_beta:
            # Slopes start at 0, where a wrong number of visible keys would go unnoticed.
            torch.nn.init.constant_(decoder.coupling.beta_NH, 0.3)
        # Biases and gates start at 0 too, and one that is left out would go unnoticed.
        generator = torch.Generator().manual_seed(seed)
        for name, parameter in decoder.named_parameters():
            if name.endswith(".bias") or ".gate." in name:
                torch.nn.init.normal_(parameter, std=0.2, generator=generator)
        return decoder

    return make


@pytest.fixture(name="tokens_BT")
def random_tokens() -> torch.Tensor:
    return torch.randint(0, 61, (3, 24), generator=torch.Generator().manual_seed(7))
