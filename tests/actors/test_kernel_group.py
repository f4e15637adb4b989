"""Kernels of one process: one server, one thread, one step for those that are stacked."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from prometheus_client import generate_latest

from actors.kernel.group import KernelGroup
from actors.kernel_link import KernelLinks, typed_loss
from actors.placing import Placed, pack_placement, read_placement
from actors.spec import DeploymentSpec, KernelOptions, RouterDoors, RouterOptions
from constellation.coordizer.coordizer import Coordizer
from constellation.coordizer.training import train_coordizer
from constellation.coordizer.vocabulary import END_ID
from constellation.errors import ArtifactError, KernelUnavailable
from constellation.files import write_whole
from constellation.kernel.checkpoint import load_kernel, save_kernel
from constellation.kernel.config import KernelConfig
from constellation.kernel.decoder import Decoder
from constellation.kernel.generation import Generation
from constellation.kernel.scoring import token_nats
from constellation.kernel.stacked_batch import StackedBatch
from constellation.records import KernelSite, Rule, Sampling, Table
from constellation.releases.store import ReleaseStore
from constellation.runtime.placement import Placement
from constellation.v1 import kernel_pb2
from constellation.wire.channel import Bind
from tests.coordizer.corpora import DOCUMENTS, LABELS
from tests.support.released import release

STACKED = ("a", "b", "c")
SAMPLING = Sampling(tokens_max=10, temperature=0)
PROMPT = [40, 50, 60, 41, 51]


@pytest.fixture(scope="module")
def coordizer() -> Coordizer:
    return train_coordizer(DOCUMENTS, LABELS, vocab_size=300)


def one_process(folder: Path, coordizer: Coordizer) -> DeploymentSpec:
    """Return a deployment with room for eight kernels in a process, and no kernel yet."""
    coordizer.save(folder / "artifacts" / "coordizer")
    return DeploymentSpec(
        namespace="test",
        artifacts=folder / "artifacts",
        run_dir=folder / "run",
        routers=(RouterDoors(member="router", listen=("127.0.0.1", 0)),),
        router=RouterOptions(),
        kernel=KernelOptions(per_actor=8),
    )


@pytest.fixture
def spec(tmp_path: Path, coordizer: Coordizer) -> DeploymentSpec:
    """Write three kernels that can be stacked and two that cannot."""
    spec = one_process(tmp_path, coordizer)
    for seed, name in enumerate(STACKED):
        save(spec, coordizer, name, seed=seed)
    save(spec, coordizer, "recurrent", seed=7, recurrent_layers=(0,), loops_max=3)
    save(
        spec, coordizer, "adaptive", seed=8, recurrent_layers=(1,), loops_max=6, depth_threshold=0.3
    )
    spec.run_dir.mkdir()
    return spec


def save(
    spec: DeploymentSpec,
    coordizer: Coordizer,
    name: str,
    *,
    seed: int,
    tokenizer_hash: str | None = None,
    **changes: Any,
) -> None:
    config = KernelConfig(
        vocab_size=coordizer.vocab_size,
        width=32,
        num_layers=2,
        num_heads=2,
        mlp_width=40,
        context=64,
        init_std=0.4,
    )
    decoder = Decoder(replace(config, **changes), seed=seed)
    folder = spec.artifacts / "kernels" / name
    spoken = tokenizer_hash or coordizer.tokenizer_hash
    save_kernel(folder, decoder, tokenizer_hash=spoken, facts={})


def publish(spec: DeploymentSpec) -> int:
    """Make what lies among the artifacts the current release; return its number."""
    kernels = spec.artifacts / "kernels"
    return release(spec.artifacts, sorted(path.name for path in kernels.iterdir()))


def decoder_of(spec: DeploymentSpec, name: str) -> Decoder:
    return load_kernel(spec.artifacts / "kernels" / name).decoder


def alone(spec: DeploymentSpec, coordizer: Coordizer, name: str) -> str:
    generation = Generation(decoder_of(spec, name), PROMPT, SAMPLING, END_ID)
    while generation.step() is not None:
        pass
    return coordizer.decode(generation.produced).decode(errors="replace")


class Sky:
    """A group that serves, and a router's ways to it."""

    def __init__(self, spec: DeploymentSpec) -> None:
        self.group = KernelGroup(spec)
        self.links = KernelLinks(None, grace_s=1)
        self.endpoint = ""
        self.release = 0

    async def start(self, *names: str) -> None:
        """Serve these kernels of a release of all that lie among the artifacts."""
        self.release = publish(self.group._spec)
        await self.group.load(names, self.release)
        self.endpoint = await self.group.server.open(Bind(), stall_s=5)
        self.follow(*names)

    def follow(self, *names: str) -> None:
        point_K = np.full(64, 1 / 64)
        sites = tuple(
            KernelSite(
                name=name,
                basin_K=point_K,
                bearing_K=point_K,
                radii=dict.fromkeys(Rule, 1.0),
                endpoint=self.endpoint,
            )
            for name in names
        )
        temperatures = dict.fromkeys(Rule, 1.0)
        self.links.follow(
            Table(
                version=1,
                coordizer_hash="",
                background_K=point_K,
                temperatures=temperatures,
                sites=sites,
            )
        )

    async def join(self, name: str) -> None:
        await self.group.join(name, self.release)

    async def stop(self) -> None:
        await self.links.close()
        await self.group.server.stop(grace_s=0)

    async def ask(self, kernel: str, *, tokens_max: int = 10) -> str:
        try:
            reply = await self.links.to(kernel).ask(request(kernel, tokens_max=tokens_max), 20)
        except grpc.aio.AioRpcError as error:
            raise typed_loss(error, kernel) from error
        return kernel_pb2.KernelGenerateReply.FromString(reply).text

    async def score(self, kernel: str) -> float:
        request = kernel_pb2.KernelScoreRequest(tokens=PROMPT, kernel=kernel)
        return (await self.links.to(kernel).score(request, 20)).nats

    def stacks(self) -> list[StackedBatch]:
        return list(self.group._loops)


def request(kernel: str, *, tokens_max: int) -> kernel_pb2.KernelGenerateRequest:
    made = kernel_pb2.KernelGenerateRequest(tokens=PROMPT, kernel=kernel)
    made.sampling.tokens_max = tokens_max
    made.sampling.temperature = 0.0
    return made


def run(spec: DeploymentSpec, story: Callable[[Sky], Coroutine[Any, Any, None]]) -> None:
    async def tell() -> None:
        sky = Sky(spec)
        try:
            await story(sky)
        finally:
            await sky.stop()

    asyncio.run(tell())


def test_every_kernel_answers_for_itself_stacked_or_beside(
    spec: DeploymentSpec, coordizer: Coordizer
) -> None:
    names = (*STACKED, "recurrent", "adaptive")

    async def story(sky: Sky) -> None:
        await sky.start(*names)
        (stack,) = sky.stacks()
        assert len(stack.stack.kernels) == len(STACKED)
        assert len({id(sky.links.to(name)) for name in names}) == 1
        said = await asyncio.gather(*(sky.ask(name) for name in names * 3))
        wanted = [alone(spec, coordizer, name) for name in names]
        assert list(said) == wanted * 3
        assert len(set(wanted)) == len(names)
        for name in names:
            nats = token_nats(decoder_of(spec, name), [END_ID, *PROMPT]).sum()
            assert await sky.score(name) == pytest.approx(float(nats), rel=1e-5)

    run(spec, story)


def test_answers_of_stacked_kernels_share_their_steps(spec: DeploymentSpec) -> None:
    async def story(sky: Sky) -> None:
        await sky.start(*STACKED)
        (stack,) = sky.stacks()
        steps: list[set[int]] = []
        step = stack.step

        def counted(writings: Any) -> Any:
            steps.append({writing.kernel for writing in writings})
            return step(writings)

        stack.step = counted  # type: ignore[method-assign]
        await asyncio.gather(*(sky.ask(name, tokens_max=30) for name in STACKED))
        assert {0, 1, 2} in steps
        assert len(steps) < 60, "three answers of 30 tokens one after the other are 90"

    run(spec, story)


def test_kernels_join_and_leave_while_others_answer(
    spec: DeploymentSpec, coordizer: Coordizer
) -> None:
    async def story(sky: Sky) -> None:
        await sky.start("a")
        said = [asyncio.create_task(sky.ask("a", tokens_max=50)) for _ in range(3)]
        await sky.join("b")
        await sky.join("recurrent")
        await sky.join("b")  # again: nothing happens
        sky.follow("a", "b", "recurrent")
        assert sky.group.names == ("a", "b", "recurrent")
        assert await sky.ask("b") == alone(spec, coordizer, "b")
        assert await sky.ask("recurrent") == alone(spec, coordizer, "recurrent")
        stream = aiter(sky.links.to("b").generate(request("b", tokens_max=50), 20))
        replies = [await anext(stream)]
        leaving = asyncio.create_task(sky.group.leave("b", 10))
        replies += [reply async for reply in stream]
        last = kernel_pb2.KernelGenerateReply.FromString(replies[-1])
        assert last.finish.num_tokens > 10, "what it had begun it finished"
        await leaving
        with pytest.raises(KernelUnavailable, match="'b'"):
            await sky.ask("b")
        assert b'kernel="b"' not in generate_latest(sky.group.server.metrics.registry)
        await sky.join("c")  # where b was
        sky.follow("a", "c", "recurrent")
        assert await sky.ask("c") == alone(spec, coordizer, "c")
        assert len({await each for each in said}) == 1
        await sky.group.leave("nobody", 1)

    run(spec, story)


def test_a_place_is_not_given_away_while_somebody_is_still_answered_there(
    spec: DeploymentSpec, coordizer: Coordizer
) -> None:
    async def story(sky: Sky) -> None:
        await sky.start("a", "b")
        whole = await sky.ask("b", tokens_max=50)
        stream = aiter(sky.links.to("b").generate(request("b", tokens_max=50), 20))
        replies = [await anext(stream)]
        await sky.group.leave("b", 0)
        await sky.join("c")
        replies += [reply async for reply in stream]
        pieces = map(kernel_pb2.KernelGenerateReply.FromString, replies)
        assert "".join(piece.text for piece in pieces) == whole
        sky.follow("a", "c")
        assert await sky.ask("c") == alone(spec, coordizer, "c")

    run(spec, story)


def test_a_request_without_a_name_is_for_the_only_kernel(spec: DeploymentSpec) -> None:
    async def story(sky: Sky) -> None:
        await sky.start("a")
        assert sky.group.server.named("").describe().name == "a"
        await sky.join("b")
        with pytest.raises(KernelUnavailable):
            sky.group.server.named("")

    run(spec, story)


def test_new_weights_are_taken_by_all_kernels_or_by_none(
    spec: DeploymentSpec, coordizer: Coordizer
) -> None:
    async def story(sky: Sky) -> None:
        await sky.start(*STACKED, "recurrent")
        group, before = sky.group, {name: await sky.ask(name) for name in STACKED}
        save(spec, coordizer, "b", seed=30)
        second = publish(spec)
        damaged = blob(spec, second, "b")
        whole = damaged.read_bytes()
        damage(damaged, whole[:-1])
        with pytest.raises(ArtifactError):
            await group.load_next(second)
        group.forget_next()
        assert group.release == sky.release
        assert {name: await sky.ask(name) for name in STACKED} == before
        damage(damaged, whole)
        lasting = asyncio.create_task(sky.ask("a", tokens_max=50))
        await group.load_next(second)
        assert await sky.ask("b") == before["b"], "until it is taken"
        await group.take_next(second)
        assert group.release == second
        assert await sky.ask("b") == alone(spec, coordizer, "b") != before["b"]
        assert await sky.ask("a") == before["a"]
        assert (await lasting).startswith(before["a"])
        assert len(sky.stacks()) == 1, "nobody holds the old one"
        await group.take_next(sky.release)  # loaded only now, as after a restart
        assert {name: await sky.ask(name) for name in STACKED} == before

    run(spec, story)


def test_a_release_that_changes_no_kernel_of_a_process_is_taken_without_a_file_being_read(
    spec: DeploymentSpec, coordizer: Coordizer
) -> None:
    async def story(sky: Sky) -> None:
        await sky.start("a", "b")
        (stack,) = sky.stacks()
        save(spec, coordizer, "c", seed=30)
        second = publish(spec)
        damage(blob(spec, second, "a"), b"nobody reads this")
        await sky.group.load_next(second)
        await sky.group.take_next(second)
        assert sky.group.release == second
        assert sky.stacks() == [stack]
        assert await sky.ask("b") == alone(spec, coordizer, "b")

    run(spec, story)


def test_a_kernel_that_joined_in_a_later_release_takes_its_weights_of_the_next(
    spec: DeploymentSpec, coordizer: Coordizer
) -> None:
    async def story(sky: Sky) -> None:
        await sky.start("a")
        save(spec, coordizer, "b", seed=30)
        await sky.group.join("b", publish(spec))
        sky.follow("a", "b")
        before = await sky.ask("b")
        save(spec, coordizer, "b", seed=31)
        third = publish(spec)
        await sky.group.load_next(third)
        await sky.group.take_next(third)
        assert await sky.ask("b") == alone(spec, coordizer, "b") != before

    run(spec, story)


def test_a_kernel_that_a_release_lacks_goes_on_until_it_leaves(spec: DeploymentSpec) -> None:
    async def story(sky: Sky) -> None:
        await sky.start("a", "b")
        before = await sky.ask("b")
        second = release(spec.artifacts, ["a", "c"])
        await sky.group.load_next(second)
        await sky.group.take_next(second)
        assert await sky.ask("b") == before
        await sky.group.leave("b", 5)
        assert sky.group.names == ("a",)

    run(spec, story)


def blob(spec: DeploymentSpec, version: int, kernel: str) -> Path:
    """Return where the weights of a kernel of a release lie."""
    store = ReleaseStore(spec.artifacts)
    store.folder(version)
    return store.blobs.path(store.read(version).kernel(kernel).files["weights.safetensors"])


def damage(path: Path, content: bytes) -> None:
    """Change a file that is never changed."""
    path.chmod(0o644)
    path.write_bytes(content)


@pytest.mark.parametrize("content", [b"short", None])
def test_a_damaged_kernel_does_not_keep_the_others_from_answering(
    spec: DeploymentSpec, coordizer: Coordizer, content: bytes | None
) -> None:
    """Whether a disk lost the end of a file or changed its content."""
    first = publish(spec)
    damaged = blob(spec, first, "b")
    damage(damaged, content or bytes(damaged.stat().st_size))

    async def story(sky: Sky) -> None:
        await sky.group.load(STACKED, first)
        sky.release = first
        sky.endpoint = await sky.group.server.open(Bind(), stall_s=5)
        sky.follow(*STACKED)
        assert sky.group.names == ("a", "c")
        assert await sky.ask("c") == alone(spec, coordizer, "c")
        with pytest.raises(ArtifactError):
            await sky.join("b")
        assert sky.group.names == ("a", "c")

    run(spec, story)
    with pytest.raises(ArtifactError):
        asyncio.run(KernelGroup(spec).load(("b",), first))


def test_a_kernel_of_another_vocabulary_does_not_join(
    spec: DeploymentSpec, coordizer: Coordizer
) -> None:
    save(spec, coordizer, "b", seed=1, tokenizer_hash="0" * 64)

    async def story(sky: Sky) -> None:
        await sky.start("a")
        with pytest.raises(ArtifactError, match="another vocabulary"):
            await sky.join("b")
        assert sky.group.names == ("a",)

    run(spec, story)


@pytest.mark.parametrize("weights", ["bfloat16", "int8"])
def test_other_precisions_are_stepped_side_by_side(spec: DeploymentSpec, weights: str) -> None:
    narrow = replace(spec, kernel=replace(spec.kernel, weights=weights))

    async def story(sky: Sky) -> None:
        await sky.start(*STACKED)
        assert sky.stacks() == []
        assert len({await sky.score(name) for name in STACKED}) == len(STACKED)
        assert all(await asyncio.gather(*(sky.ask(name) for name in STACKED)))

    run(narrow, story)


def test_a_kernel_that_is_alone_maps_its_weights(spec: DeploymentSpec) -> None:
    single = replace(spec, kernel=replace(spec.kernel, per_actor=1))

    async def story(sky: Sky) -> None:
        await sky.start("a")
        assert sky.stacks() == []
        assert len(await sky.ask("a")) > 0

    run(single, story)
    assert len(list(spec.weights_dir.iterdir())) == 1


def test_a_placement_comes_back_as_it_was_written(spec: DeploymentSpec) -> None:
    assert read_placement(spec).placement.processes == {}
    assert read_placement(spec).release_of("kernels-1") is None
    placed = Placed(placement=Placement(8, {}).fitted("abc"), release=3, ahead={"kernel-new": 4})
    write_whole(spec.placement_path, pack_placement(placed))
    assert read_placement(spec) == placed
    assert [placed.release_of(member) for member in ("kernels-1", "kernel-new")] == [3, 4]
    for damaged in ("[1]", "{", '{"processes": {}, "release": "x", "ahead": {}}'):
        spec.placement_path.write_text(damaged)
        assert read_placement(spec).placement.processes == {}  # its registry has it serve them
