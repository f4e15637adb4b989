"""Kernels of one process: one server, one thread, one step for those that are stacked."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import generate_latest

from actors.placement_file import Placed, pack_placement, read_placement
from actors.spec import DeploymentSpec
from constellation.atomic_files import write_whole
from constellation.coordizer.coordizer import Coordizer
from constellation.coordizer.vocabulary import END_ID
from constellation.errors import KernelUnavailable
from constellation.kernel.writing.scoring import token_nats
from constellation.runtime.placement import Placement
from constellation.v1 import kernel_pb2
from tests.actors.groups import (
    PROMPT,
    STACKED,
    Sky,
    alone,
    decoder_of,
    request,
    run,
)


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_request_without_a_name_is_for_the_only_kernel(spec: DeploymentSpec) -> None:
    async def story(sky: Sky) -> None:
        await sky.start("a")
        assert sky.group.server.named("").describe().name == "a"
        await sky.join("b")
        with pytest.raises(KernelUnavailable):
            sky.group.server.named("")

    run(spec, story)


@pytest.mark.slow
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
    assert len(list(spec.node_folder.weights_dir.iterdir())) == 1


def test_a_placement_comes_back_as_it_was_written(spec: DeploymentSpec) -> None:
    assert read_placement(spec).placement.processes == {}
    assert read_placement(spec).release_of("kernels-1") is None
    placed = Placed(placement=Placement(8, {}).fitted("abc"), release=3, ahead={"kernel-new": 4})
    write_whole(spec.run_folder.placement_path, pack_placement(placed))
    assert read_placement(spec) == placed
    assert [placed.release_of(member) for member in ("kernels-1", "kernel-new")] == [3, 4]
    for damaged in ("[1]", "{", '{"processes": {}, "release": "x", "ahead": {}}'):
        spec.run_folder.placement_path.write_text(damaged)
        assert read_placement(spec).placement.processes == {}  # its registry has it serve them
