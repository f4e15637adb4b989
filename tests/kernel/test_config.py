"""Configurations refuse nonsense, and their formulas equal what is counted."""

import dataclasses
import json
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from constellation.errors import ConfigError
from constellation.kernel.network.cache import KVCache
from constellation.kernel.network.config import ATTENTION_KINDS, PRESETS, KernelConfig
from constellation.kernel.network.decoder import Decoder
from constellation.kernel.network.recursion import Depths

SMALL = KernelConfig(
    vocab_size=61, width=32, num_layers=2, num_heads=2, mlp_width=40, context=24, attention="dot"
)


EVERY_NETWORK = [
    {},
    {"style": "post_norm"},
    {"recurrent_layers": [1], "loops_max": 5},
    {"style": "post_norm", "recurrent_layers": [0], "loops_max": 4},
]


@pytest.mark.parametrize(
    ("preset", "expected"),
    [
        ("spark", 2_557_664),
        ("qig-23m", 23_058_944),
        ("qig-recursive-100m", 123_552_289),
        ("hlx-100m", 101_236_836),
        ("hlx-50m", 49_965_412),
    ],
)
def test_presets_have_the_documented_size(preset: str, expected: int) -> None:
    config = PRESETS[preset]
    assert config.num_parameters() == expected
    assert sum(p.numel() for p in Decoder(config, seed=None).parameters()) == expected


def test_every_preset_has_its_size_tested() -> None:
    expected = {"spark", "qig-23m", "qig-recursive-100m", "hlx-100m", "hlx-50m"}
    assert set(PRESETS) == expected


def test_the_hlx_presets_have_nothing_but_a_plain_transformer() -> None:
    for preset in ("hlx-100m", "hlx-50m"):
        names = {name for name, _ in Decoder(PRESETS[preset], seed=None).named_parameters()}
        assert not [
            name for name in names if name.startswith(("coupling.", "basin_head.", "norm."))
        ]
        assert {"embedding", "positions", "head.weight", "head.bias"} <= names


@pytest.mark.slow
@given(
    st.sampled_from(EVERY_NETWORK),
    st.sampled_from([None, 2, 7]),
    st.sampled_from(ATTENTION_KINDS),
    st.booleans(),
    st.booleans(),
    st.integers(2, 3),
    st.integers(1, 3),
    st.integers(1, 9),
)
def test_number_of_parameters_equals_the_count(
    network: dict[str, object],
    outcomes: int | None,
    kind: str,
    running: bool,
    frozen: bool,
    num_layers: int,
    num_heads: int,
    mlp_width: int,
) -> None:
    config = KernelConfig.from_dict(
        SMALL.to_dict()
        | network
        | {
            "basin_outcomes": outcomes,
            "attention": kind,
            "running_coupling": running,
            "beta_frozen": 0.1 if frozen and running else None,
            "num_layers": num_layers,
            "num_heads": num_heads,
            "width": 4 * num_heads,
            "mlp_width": mlp_width,
        }
    )
    counted = sum(parameter.numel() for parameter in Decoder(config).parameters())
    assert config.num_parameters() == counted


def flops_of_a_decoding_step(config: KernelConfig, length: int) -> tuple[int, float | None]:
    """Return the counted FLOPs of the last of `length` tokens, and its depth."""
    decoder, cache, depths = Decoder(config), KVCache(config), Depths()
    math_only = torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH)
    with torch.no_grad(), math_only:
        if length > 1:
            decoder(torch.zeros(1, length - 1, dtype=torch.int64), cache)
        with FlopCounterMode(display=False) as counter:
            hidden_BTC = decoder.hidden(torch.zeros(1, 1, dtype=torch.int64), cache, depths=depths)
            decoder.logits(hidden_BTC)
    return counter.get_total_flops(), depths.mean


@pytest.mark.slow
@pytest.mark.parametrize("kind", ATTENTION_KINDS)
@pytest.mark.parametrize("network", EVERY_NETWORK)
@pytest.mark.parametrize("length", [1, 7, 24])
def test_flops_equal_those_of_a_decoding_step(
    length: int, network: dict[str, object], kind: str
) -> None:
    config = KernelConfig.from_dict(SMALL.to_dict() | network | {"attention": kind})
    assert config.flops_per_token(length) == flops_of_a_decoding_step(config, length)[0]


@pytest.mark.parametrize("layers", [[1], [0, 1]])
@pytest.mark.parametrize(("threshold", "depth"), [(3.1, 3), (1e-9, 5)])
def test_flops_of_adaptive_depth_equal_those_of_a_decoding_step(
    threshold: float, depth: int, layers: list[int]
) -> None:
    recursion = {"recurrent_layers": layers, "loops_max": 5, "depth_threshold": threshold}
    config = KernelConfig.from_dict(SMALL.to_dict() | recursion | {"init_std": 0.2})
    assert flops_of_a_decoding_step(config, 7) == (config.flops_per_token(7, loops=depth), depth)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_cache_bytes_equal_the_buffer(dtype: torch.dtype) -> None:
    for network in EVERY_NETWORK:
        config = KernelConfig.from_dict(SMALL.to_dict() | network)
        cache = KVCache(config, batch=3, dtype=dtype, capacity=10)
        assert cache.size_bytes == 3 * 10 * config.kv_bytes_per_token(dtype)


def test_configurations_survive_json() -> None:
    config = dataclasses.replace(
        SMALL, attention="qfi", beta_frozen=0.25, recurrent_layers=(0, 1), loops_max=4
    )
    assert KernelConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_unknown_keys_are_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="colour"):
        KernelConfig.from_dict(SMALL.to_dict() | {"colour": "red"})


def test_missing_keys_are_refused_by_name() -> None:
    values = SMALL.to_dict()
    del values["width"]
    with pytest.raises(ConfigError, match="width"):
        KernelConfig.from_dict(values)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("vocab_size", 0),
        ("num_layers", 1.5),
        ("context", True),
        ("num_heads", 3),
        ("width", 33),
        ("attention", "cosine"),
        ("attention", None),
        ("running_coupling", 1),
        ("coupling_start", float("nan")),
        ("coupling_start", 0.0),
        ("coupling_reference_length", 0),
        ("beta_frozen", float("inf")),
        ("beta_frozen", "0.4"),
        ("rotary_base", -1.0),
        ("norm_epsilon", 0),
        ("style", "pre_norm"),
        ("basin_outcomes", 1),
        ("basin_outcomes", True),
        ("basin_outcomes", 64.0),
        ("recurrent_layers", [2]),
        ("recurrent_layers", [-1]),
        ("recurrent_layers", [1, 0]),
        ("recurrent_layers", [1, 1]),
        ("recurrent_layers", ["1"]),
        ("recurrent_layers", [True]),
        ("recurrent_layers", 1),
        ("loops_min", 2),
        ("loops_min", 4),
        ("loops_min", "3"),
        ("loops_max", 2),
        ("depth_threshold", 0),
        ("depth_threshold", 4.0),
        ("depth_threshold", float("nan")),
        ("depth_threshold", 0.1),
    ],
)
def test_values_out_of_range_are_refused(field: str, value: object) -> None:
    with pytest.raises(ConfigError, match=field if field != "width" else "multiple"):
        KernelConfig.from_dict(SMALL.to_dict() | {field: value})


def test_a_depth_threshold_needs_layers_that_recur_and_room_between_the_bounds() -> None:
    settings = {"recurrent_layers": [1], "loops_max": 5, "depth_threshold": 0.1}
    assert KernelConfig.from_dict(SMALL.to_dict() | settings).has_adaptive_depth
    for change in ({"recurrent_layers": []}, {"loops_max": 3}):
        with pytest.raises(ConfigError, match="depth_threshold needs recurrent_layers"):
            KernelConfig.from_dict(SMALL.to_dict() | settings | change)


def test_a_frozen_slope_needs_a_running_coupling() -> None:
    with pytest.raises(ConfigError, match="beta_frozen"):
        dataclasses.replace(SMALL, running_coupling=False, beta_frozen=0.1)


def test_planning_needs_no_torch() -> None:
    """A fresh interpreter plans a kernel without paying torch's import time."""
    program = (
        "import sys; from constellation.kernel.network.config import PRESETS; "
        "PRESETS['spark'].num_parameters(); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == 0
