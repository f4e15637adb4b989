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
from constellation.kernel.cache import KVCache
from constellation.kernel.config import ATTENTION_KINDS, PRESETS, KernelConfig
from constellation.kernel.decoder import Decoder

SMALL = KernelConfig(
    vocab_size=61, width=32, num_layers=2, num_heads=2, mlp_width=40, context=24, attention="dot"
)


@pytest.mark.parametrize(("preset", "expected"), [("spark", 2_557_664), ("qig-23m", 23_058_944)])
def test_presets_have_the_documented_size(preset: str, expected: int) -> None:
    config = PRESETS[preset]
    assert config.num_parameters() == expected
    assert sum(p.numel() for p in Decoder(config, seed=None).parameters()) == expected


@given(
    st.sampled_from(ATTENTION_KINDS),
    st.booleans(),
    st.booleans(),
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(1, 9),
)
def test_number_of_parameters_equals_the_count(
    kind: str, running: bool, frozen: bool, num_layers: int, num_heads: int, mlp_width: int
) -> None:
    config = KernelConfig.from_dict(
        SMALL.to_dict()
        | {
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


@pytest.mark.parametrize("kind", ATTENTION_KINDS)
@pytest.mark.parametrize("length", [1, 7, 24])
def test_flops_equal_those_of_a_decoding_step(kind: str, length: int) -> None:
    config = dataclasses.replace(SMALL, attention=kind)  # type: ignore[arg-type]
    decoder, cache = Decoder(config), KVCache(config)
    math_only = torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH)
    with torch.no_grad(), math_only:
        if length > 1:
            decoder(torch.zeros(1, length - 1, dtype=torch.int64), cache)
        with FlopCounterMode(display=False) as counter:
            decoder(torch.zeros(1, 1, dtype=torch.int64), cache)
    assert config.flops_per_token(length) == counter.get_total_flops()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_cache_bytes_equal_the_buffer(dtype: torch.dtype) -> None:
    cache = KVCache(SMALL, batch=3, dtype=dtype, capacity=10)
    assert cache.size_bytes == 3 * 10 * SMALL.kv_bytes_per_token(dtype)


def test_configurations_survive_json() -> None:
    config = dataclasses.replace(SMALL, attention="qfi", beta_frozen=0.25)
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
    ],
)
def test_values_out_of_range_are_refused(field: str, value: object) -> None:
    with pytest.raises(ConfigError, match=field if field != "width" else "multiple"):
        KernelConfig.from_dict(SMALL.to_dict() | {field: value})


def test_a_frozen_slope_needs_a_running_coupling() -> None:
    with pytest.raises(ConfigError, match="beta_frozen"):
        dataclasses.replace(SMALL, running_coupling=False, beta_frozen=0.1)


def test_planning_needs_no_torch() -> None:
    """A fresh interpreter plans a kernel without paying torch's import time."""
    program = (
        "import sys; from constellation.kernel.config import PRESETS; "
        "PRESETS['spark'].num_parameters(); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == 0
