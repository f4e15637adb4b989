"""Engines of every kind on another device: the texts of the CPU, one transfer out per step.

The device is Python's own (`tests/kernel/far_device.py`), which finds mistakes without a GPU.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from actors.kernel.engines import Engines
from actors.spec import DeploymentSpec
from constellation.coordizer.coordizer import Coordizer
from constellation.errors import ConfigError
from constellation.kernel.files.checkpoint import load_kernel
from constellation.kernel.files.peft_folder import import_peft
from constellation.kernel.files.transformers_folder import import_model
from constellation.kernel.network.devices import ON_CPU, ServingDevice, check_weights, open_device
from constellation.records import Sampling
from tests.actors.groups import PROMPT, STACKED
from tests.actors.test_adapter_group import ADAPTERS, adapt
from tests.kernel.far_device import NAME, Crossings, FarTensor, far_device
from tests.support.hugging_face import ARCHITECTURES, build_model, qwen2
from tests.support.peft_adapters import write_adapter
from tests.support.symbols import save_symbol_kernel

SAMPLINGS = [
    Sampling(tokens_max=6, temperature=0),
    Sampling(tokens_max=6, temperature=1.0, seed=3, top_p=0.9, top_k=50, logprobs=2),
    Sampling(tokens_max=6, temperature=0.8, seed=4, repetition_penalty=1.3, min_p=0.01),
]


def texts(
    spec: DeploymentSpec, names: Sequence[str], where: ServingDevice, moved: Crossings | None = None
) -> list[tuple[str, str]]:
    """Return what the kernels write, stepped as their process does."""
    maker = Engines(spec, spec.artifacts / "coordizer", where=where)
    kernels = spec.artifacts / "kernels"
    engines = [maker.read(kernels / name).place() for name in names]
    said = []
    for batch in {id(engine._batch): engine for engine in engines}.values():  # type: ignore[attr-defined]
        together = [(n, e) for n, e in zip(names, engines, strict=True) if e._batch is batch._batch]  # type: ignore[attr-defined]
        said += _said(together, moved)
    return sorted(said)


def _said(engines: list[tuple[str, Any]], moved: Crossings | None) -> list[tuple[str, str]]:
    answers = [
        (name, engine.start(PROMPT[: 3 + number], sampling))
        for name, engine in engines
        for number, sampling in enumerate(SAMPLINGS)
    ]
    written = [""] * len(answers)
    running = list(range(len(answers)))
    while running:
        before = 0 if moved is None else moved.out
        steps = engines[0][1].step([answers[number][1] for number in running])
        assert moved is None or moved.out - before <= 1
        for number, step in zip(list(running), steps, strict=True):
            if step is not None:
                written[number] += step.text
                if step.reason is not None:
                    running.remove(number)
    return [(name, text) for (name, _), text in zip(answers, written, strict=True)]


def compare(spec: DeploymentSpec, *names: str) -> None:
    """See that kernels write the same on the CPU and on the far device."""
    near = texts(spec, names, ON_CPU)
    with far_device() as crossings:
        far = texts(spec, names, ServingDevice(device=torch.device(NAME, 0)), crossings)
    assert far == near
    assert len({text for _, text in near}) > len(names)


@pytest.mark.parametrize("per_actor", [1, 8])
def test_kernels_of_our_own(spec: DeploymentSpec, per_actor: int) -> None:
    spec = replace(spec, kernel=replace(spec.kernel, per_actor=per_actor))
    compare(spec, *STACKED, "recurrent", "adaptive")


@pytest.mark.slow
def test_adapters_over_one_base(spec: DeploymentSpec) -> None:
    (spec.artifacts / "kernels" / "a").rename(spec.artifacts / "kernels" / "base")
    for seed, name in enumerate(ADAPTERS):
        adapt(spec, f"{name}-over", seed=seed)
    compare(spec, *(f"{name}-over" for name in ADAPTERS), "base")


def test_kernels_with_symbols(spec: DeploymentSpec) -> None:
    save_symbol_kernel(spec.artifacts / "kernels" / "symbols")
    compare(spec, "symbols")


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_models_of_hugging_face(spec: DeploymentSpec, tmp_path: Path, architecture: str) -> None:
    build_model(tmp_path / "model", ARCHITECTURES[architecture], seed=2)
    import_model(tmp_path / "model", spec.artifacts / "kernels" / "model")
    compare(spec, "model")


@pytest.mark.slow
def test_adapters_over_a_model_of_hugging_face(spec: DeploymentSpec, tmp_path: Path) -> None:
    build_model(tmp_path / "model", qwen2, seed=4)
    known = import_model(tmp_path / "model", tmp_path / "part").weights_hash
    (spec.artifacts / "bases").mkdir()
    (tmp_path / "part").rename(spec.artifacts / "bases" / known)
    for seed, name in enumerate(("one", "two")):
        adapter = write_adapter(tmp_path / "model", tmp_path / name, seed=seed)
        import_peft(adapter, spec.artifacts / "kernels" / name, base_hash=known)
    compare(spec, "one", "two")


def test_weights_in_bfloat16_are_those_of_the_decoder(
    spec: DeploymentSpec, coordizer: Coordizer
) -> None:
    folder = spec.artifacts / "kernels" / "a"
    with far_device() as crossings:
        loaded = load_kernel(folder, dtype=torch.bfloat16, device=NAME)
        values = dict(loaded.decoder.named_parameters())
        assert all(isinstance(value, FarTensor) for value in values.values())
        formats = {name.split(".")[0]: value.dtype for name, value in values.items()}
        assert formats["embedding"] == formats["blocks"] == torch.bfloat16
        assert formats["coupling"] == torch.float32
        assert not any(value.requires_grad for value in values.values())
        assert crossings.into == len(loaded.decoder.state_dict())
        assert crossings.out == 0
        where = ServingDevice(device=torch.device(NAME, 0), dtype=torch.bfloat16)
        weights = replace(spec, kernel=replace(spec.kernel, weights="bfloat16"))
        rounded = texts(weights, STACKED, where, crossings)
    assert len(rounded) == len(STACKED) * len(SAMPLINGS)


def test_the_memory_of_keys_and_values_is_planned(spec: DeploymentSpec) -> None:
    kernels = spec.artifacts / "kernels"
    with far_device():
        where = ServingDevice(device=torch.device(NAME, 0))
        maker = Engines(spec, spec.artifacts / "coordizer", where=where)
        engines: list[Any] = [maker.read(kernels / name).place() for name in STACKED]
        batch = engines[0]._batch
        assert all(engine._batch is batch for engine in engines)
        assert batch.cache_bytes == 0
        engines[0].start(PROMPT, SAMPLINGS[0])
        config = load_kernel(kernels / "a").config
        rows = spec.kernel.slots * len(STACKED)
        per_token = config.kv_bytes_per_token(torch.float32)
        assert batch.cache_bytes == rows * config.context * per_token
        before = batch.cache_bytes
        for engine in engines:
            for _ in range(spec.kernel.slots - (engine is engines[0])):
                engine.start(PROMPT, SAMPLINGS[0])
        assert batch.cache_bytes == before


def test_a_gpu_that_is_not_there_is_refused_with_the_way_out() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(ConfigError, match=r"finds no GPU.*kernel.device to 'cpu'"):
        open_device("cuda")


def test_int8_on_a_gpu_is_refused_with_the_way_out() -> None:
    with pytest.raises(ConfigError, match=r"'int8'.*'bfloat16'"):
        check_weights("cuda", "int8")
