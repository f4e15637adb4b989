"""The kernels of a process are of one release, and take the next one whole or not at all."""

import asyncio

import pytest

from actors.kernel.kernel_group import KernelGroup
from actors.spec import DeploymentSpec
from constellation.coordizer.coordizer import Coordizer
from constellation.errors import ArtifactError
from constellation.wire.channel import Bind
from tests.actors.groups import STACKED, Sky, alone, blob, damage, publish, run, save
from tests.support.released import release

pytestmark = pytest.mark.slow


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
