"""Adapters of one process: one base, one step for all of them, and they come and go like others."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import actors.kernel.engines
from actors.spec import DeploymentSpec
from constellation.coordizer.coordizer import Coordizer
from constellation.coordizer.vocabulary import END_ID
from constellation.errors import ArtifactError
from constellation.kernel.adapters.adapter_file import load_base, save_adapter
from constellation.kernel.adapters.attach import AdapterConfig, attach
from constellation.kernel.adapters.coordinate import CoordinateConfig
from constellation.kernel.adapters.kernel_folder import open_kernel
from constellation.kernel.adapters.lora import LoraConfig
from constellation.kernel.files.checkpoint import load_kernel
from constellation.kernel.writing.generation import Generation
from constellation.kernel.writing.scoring import token_nats
from tests.actors.groups import (
    PROMPT,
    SAMPLING,
    Sky,
    blob,
    damage,
    one_process,
    publish,
    run,
    save,
)
from tests.kernel.test_adapters import disturbed

pytestmark = pytest.mark.slow


ADAPTERS: dict[str, AdapterConfig] = {
    "a": LoraConfig(rank=2),
    "b": LoraConfig(rank=2),
    "c": LoraConfig(rank=4, targets=("qkv", "down")),
    "d": CoordinateConfig(num_coordinates=8),
}


@pytest.fixture
def spec(tmp_path: Path, coordizer: Coordizer) -> DeploymentSpec:
    """Write a base, adapters over it, and another kernel of its architecture."""
    spec = one_process(tmp_path, coordizer)
    save(spec, coordizer, "base", seed=0)
    save(spec, coordizer, "whole", seed=5)
    for seed, name in enumerate(ADAPTERS):
        adapt(spec, name, seed=seed)
    spec.run_dir.mkdir()
    return spec


def adapt(spec: DeploymentSpec, name: str, *, seed: int, base: str = "base") -> None:
    kernels = spec.artifacts / "kernels"
    loaded = load_kernel(kernels / base)
    adapted = disturbed(attach(loaded.decoder, ADAPTERS.get(name, LoraConfig())), seed)
    save_adapter(kernels / name, adapted, base=loaded, base_folder=kernels / base)


def alone(spec: DeploymentSpec, coordizer: Coordizer, name: str) -> str:
    decoder = open_kernel(spec.artifacts / "kernels" / name).decoder
    generation = Generation(decoder, PROMPT, SAMPLING, END_ID)
    while generation.step() is not None:
        pass
    return coordizer.decode(generation.produced).decode(errors="replace")


def places(sky: Sky) -> list[int]:
    """Return how many kernels each stack has, most first."""
    return sorted((len(batch.stack.kernels) for batch in sky.stacks()), reverse=True)


def test_adapters_and_their_base_answer_for_themselves_in_one_batch(
    spec: DeploymentSpec, coordizer: Coordizer
) -> None:
    names = ("base", *ADAPTERS, "whole")

    async def story(sky: Sky) -> None:
        await sky.start(*names)
        assert sky.group.names == names
        assert places(sky) == [5, 1]
        said = await asyncio.gather(*(sky.ask(name) for name in names * 2))
        wanted = [alone(spec, coordizer, name) for name in names]
        assert list(said) == wanted * 2
        assert len(set(wanted)) == len(names)
        for name in names:
            decoder = open_kernel(spec.artifacts / "kernels" / name).decoder
            nats = token_nats(decoder, [END_ID, *PROMPT]).sum()
            assert await sky.score(name) == pytest.approx(float(nats), rel=1e-4)

    run(spec, story)


def test_the_base_is_read_once_for_all_of_its_adapters(
    spec: DeploymentSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []

    def counted(path: Path, **options: Any) -> Any:
        read.append(path)
        return load_base(path, **options)

    monkeypatch.setattr(actors.kernel.engines, "load_base", counted)

    async def story(sky: Sky) -> None:
        await sky.start(*ADAPTERS)
        assert places(sky) == [4]

    run(spec, story)
    assert len(read) == 1
    assert len(list(spec.node_folder.weights_dir.iterdir())) == 1


@pytest.mark.slow
def test_adapters_join_and_leave_while_others_answer(
    spec: DeploymentSpec, coordizer: Coordizer
) -> None:
    async def story(sky: Sky) -> None:
        await sky.start("a", "whole")
        said = [asyncio.create_task(sky.ask("a", tokens_max=50)) for _ in range(3)]
        for name in ("b", "d", "base"):
            await sky.join(name)
        sky.follow("a", "b", "d", "base", "whole")
        for name in ("a", "b", "d", "base"):
            assert await sky.ask(name) == alone(spec, coordizer, name)
        await sky.group.leave("b", 10)
        await sky.join("c")  # where b was
        assert places(sky) == [4, 1]
        sky.follow("a", "c", "d", "base", "whole")
        assert await sky.ask("c") == alone(spec, coordizer, "c")
        assert len({await each for each in said}) == 1

    run(spec, story)


@pytest.mark.slow
def test_new_adapters_are_taken_by_all_or_by_none(
    spec: DeploymentSpec, coordizer: Coordizer
) -> None:
    async def story(sky: Sky) -> None:
        await sky.start(*ADAPTERS)
        before = {name: await sky.ask(name) for name in ADAPTERS}
        save(spec, coordizer, "base", seed=9)
        with pytest.raises(ArtifactError, match=r"not the one in adapter\.safetensors"):
            publish(spec)  # the adapters are over the base as it was
        for seed, name in enumerate(ADAPTERS):
            adapt(spec, name, seed=10 + seed)
        second = publish(spec)
        damaged = blob(spec, second, "base")
        whole = damaged.read_bytes()
        damage(damaged, bytes(len(whole)))
        with pytest.raises(ArtifactError):
            await sky.group.load_next(second)
        damage(damaged, whole)
        sky.group.forget_next()
        assert {name: await sky.ask(name) for name in ADAPTERS} == before
        lasting = asyncio.create_task(sky.ask("a", tokens_max=50))
        await sky.group.load_next(second)
        await sky.group.take_next(second)
        for name in ADAPTERS:
            assert await sky.ask(name) == alone(spec, coordizer, name) != before[name]
        assert (await lasting).startswith(before["a"])
        assert places(sky) == [4], "nobody holds the old one"

    run(spec, story)


def test_adapters_over_bases_that_differ_are_apart(
    spec: DeploymentSpec, coordizer: Coordizer
) -> None:
    save(
        spec, coordizer, "adaptive", seed=8, recurrent_layers=(1,), loops_max=6, depth_threshold=0.3
    )
    adapt(spec, "over-adaptive", seed=1, base="adaptive")
    adapt(spec, "over-whole", seed=2, base="whole")
    names = ("a", "b", "over-whole", "over-adaptive", "adaptive")

    async def story(sky: Sky) -> None:
        await sky.start(*names)
        assert places(sky) == [2, 1], "one base can be stacked over by nobody"
        for name in names:
            assert await sky.ask(name) == alone(spec, coordizer, name)

    run(spec, story)


@pytest.mark.slow
@pytest.mark.parametrize("weights", ["bfloat16", "int8"])
def test_adapters_are_stacked_over_a_base_in_any_precision(
    spec: DeploymentSpec, weights: str
) -> None:
    narrow = replace(spec, kernel=replace(spec.kernel, weights=weights))

    async def story(sky: Sky) -> None:
        await sky.start("base", *ADAPTERS, "whole")
        assert places(sky) == [5]
        for name in ("base", *ADAPTERS):
            decoder = open_kernel(spec.artifacts / "kernels" / name).decoder
            nats = token_nats(decoder, [END_ID, *PROMPT]).sum()
            assert await sky.score(name) == pytest.approx(float(nats), rel=0.05)
        said = await asyncio.gather(*(sky.ask(name) for name in ADAPTERS))
        assert len(set(said)) == len(ADAPTERS)

    run(narrow, story)


def test_an_adapter_that_is_alone_is_stepped_by_itself(
    spec: DeploymentSpec, coordizer: Coordizer
) -> None:
    single = replace(spec, kernel=replace(spec.kernel, per_actor=1))

    async def story(sky: Sky) -> None:
        await sky.start("c")
        assert sky.stacks() == []
        assert await sky.ask("c") == alone(spec, coordizer, "c")

    run(single, story)
    assert len(list(spec.node_folder.weights_dir.iterdir())) == 1
