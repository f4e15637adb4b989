"""Adapters on disk: small, tied to their base, refused when damaged."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from constellation.errors import ArtifactError, ConfigError
from constellation.kernel.adapters.adapter_file import (
    ADAPTER_FILE,
    copy_adapter,
    load_adapted,
    load_adapter,
    read_adapter,
    save_adapter,
)
from constellation.kernel.adapters.attach import Adapted, AdapterConfig, attach
from constellation.kernel.adapters.coordinate import CoordinateConfig
from constellation.kernel.adapters.kernel_folder import open_kernel
from constellation.kernel.adapters.lora import LoraConfig
from constellation.kernel.files.checkpoint import LoadedKernel, load_kernel, save_kernel
from constellation.kernel.network.config import PRESETS
from constellation.kernel.network.decoder import Decoder
from tests.kernel.conftest import MakeKernel
from tests.kernel.test_adapters import disturbed, each_kind

LORA = LoraConfig(rank=3, targets=("qkv", "down"))


@pytest.fixture
def base(make_kernel: MakeKernel, tmp_path: Path) -> LoadedKernel:
    save_kernel(tmp_path / "base", make_kernel(), tokenizer_hash="ab" * 32, facts={})
    return load_kernel(tmp_path / "base")


def stored(base: LoadedKernel, folder: Path, config: AdapterConfig = LORA) -> Adapted:
    adapted = disturbed(attach(base.decoder, config))
    save_adapter(folder, adapted, base=base, base_folder=folder.parent / "base", facts={"n": 1})
    return adapted


@each_kind
def test_an_adapter_comes_back_as_it_was(
    base: LoadedKernel, tmp_path: Path, tokens_BT: Tensor, config: AdapterConfig
) -> None:
    adapted = stored(base, tmp_path / "a", config)
    again = load_adapter(tmp_path / "a", base)
    assert again.config == config
    assert torch.equal(again.decoder(tokens_BT), adapted.decoder(tokens_BT))
    assert read_adapter(tmp_path / "a").facts == {"n": 1}
    shared = {tensor.data_ptr() for tensor in base.decoder.state_dict().values()}
    assert shared < {tensor.data_ptr() for tensor in again.decoder.state_dict().values()}


def test_a_folder_with_an_adapter_opens_as_a_kernel(
    base: LoadedKernel, tmp_path: Path, tokens_BT: Tensor
) -> None:
    adapted = stored(base, tmp_path / "a")
    opened = open_kernel(tmp_path / "a")
    assert torch.equal(opened.decoder(tokens_BT), adapted.decoder.eval()(tokens_BT))
    assert opened.tokenizer_hash == base.tokenizer_hash
    assert opened.weights_hash != base.weights_hash
    assert opened.facts == {"n": 1}
    plain = open_kernel(tmp_path / "base")
    assert plain.weights_hash == base.weights_hash
    base_in_half = load_kernel(tmp_path / "base", dtype=torch.bfloat16)
    half = load_adapted(tmp_path / "a", base=base_in_half).decoder
    assert half(tokens_BT).dtype == torch.bfloat16


def test_a_copy_says_where_the_base_lies_from_there(base: LoadedKernel, tmp_path: Path) -> None:
    adapted = stored(base, tmp_path / "a")
    copy_adapter(tmp_path / "a", tmp_path / "far" / "away", base_folder=tmp_path / "base")
    opened = open_kernel(tmp_path / "far" / "away")
    state = opened.decoder.state_dict()
    assert all(torch.equal(state[name], number) for name, number in adapted.state().items())
    assert read_adapter(tmp_path / "far" / "away").base == "../../base"


def test_an_adapter_without_a_place_needs_its_base(base: LoadedKernel, tmp_path: Path) -> None:
    save_adapter(tmp_path / "a", attach(base.decoder, LORA), base=base)
    with pytest.raises(ArtifactError, match="does not say where its base lies"):
        open_kernel(tmp_path / "a")


def test_the_wrong_base_is_refused(
    base: LoadedKernel, make_kernel: MakeKernel, tmp_path: Path
) -> None:
    stored(base, tmp_path / "a")
    save_kernel(tmp_path / "other", make_kernel(seed=1), tokenizer_hash="ab" * 32, facts={})
    with pytest.raises(ArtifactError, match="it belongs to the base"):
        load_adapter(tmp_path / "a", load_kernel(tmp_path / "other"))
    same_hash = replace(base, decoder=make_kernel(width=16))
    with pytest.raises(ArtifactError, match="do not fit the adapter and its base"):
        load_adapter(tmp_path / "a", same_hash)


@pytest.mark.parametrize("config", [LoraConfig(rank=4), CoordinateConfig()])
def test_the_file_of_a_23_m_kernel_is_small(tmp_path: Path, config: AdapterConfig) -> None:
    decoder = Decoder(PRESETS["qig-23m"], seed=None)
    base = LoadedKernel(
        decoder=decoder, config=decoder.config, tokenizer_hash="", weights_hash="", facts={}
    )
    adapted = attach(decoder, config)
    size_bytes = save_adapter(tmp_path, adapted, base=base).stat().st_size
    assert size_bytes < 4 * adapted.num_parameters() + 16_384
    assert size_bytes < 1_000_000


def test_a_number_that_is_not_finite_is_not_written(base: LoadedKernel, tmp_path: Path) -> None:
    adapted = attach(base.decoder, LORA)
    adapted.load({name: tensor.fill_(torch.nan) for name, tensor in adapted.state().items()})
    with pytest.raises(ArtifactError, match="NaN or infinity"):
        save_adapter(tmp_path / "a", adapted, base=base)
    assert not (tmp_path / "a").exists()


def test_facts_must_be_json(base: LoadedKernel, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="JSON values"):
        save_adapter(tmp_path, attach(base.decoder, LORA), base=base, facts={"x": object()})


def test_damage_is_refused(base: LoadedKernel, tmp_path: Path) -> None:
    stored(base, tmp_path / "a")
    path = tmp_path / "a" / ADAPTER_FILE
    whole = path.read_bytes()
    for content, message in (
        (b"", "cannot be read as an adapter"),
        (whole[:100], "cannot be read as an adapter"),
        (whole[:-1], "cannot be read as an adapter"),
        (b"\xff" * 64, "cannot be read as an adapter"),
    ):
        path.write_bytes(content)
        with pytest.raises(ArtifactError, match=message):
            load_adapter(path, base)
    path.unlink()
    with pytest.raises(ArtifactError, match="cannot be read"):
        load_adapter(path, base)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "9"}, "metadata are not those"),
        ({"kind": "prefix"}, "its kind is 'prefix'"),
        ({"config": "{}{"}, "not JSON"),
        ({"config": "[1]"}, "something else than an object"),
        ({"config": json.dumps({"rank": 0})}, "configuration is refused"),
        ({"config": json.dumps({"ranks": 3})}, "configuration is refused"),
        ({"config": json.dumps({"rank": 2, "targets": ["qkv", "down"]})}, "do not fit"),
        ({"base": "../nowhere"}, "cannot be read"),
    ],
)
def test_wrong_metadata_are_refused(
    base: LoadedKernel, tmp_path: Path, change: dict[str, str], message: str
) -> None:
    stored(base, tmp_path / "a")
    path = tmp_path / "a" / ADAPTER_FILE
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    save_file(load_file(path), path, metadata | change)
    with pytest.raises(ArtifactError, match=message):
        open_kernel(tmp_path / "a")


def test_nan_in_a_file_is_refused(base: LoadedKernel, tmp_path: Path) -> None:
    stored(base, tmp_path / "a")
    path = tmp_path / "a" / ADAPTER_FILE
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    next(iter(tensors.values()))[0] = torch.inf
    save_file(tensors, path, metadata)
    with pytest.raises(ArtifactError, match="NaN or infinity"):
        read_adapter(path)
