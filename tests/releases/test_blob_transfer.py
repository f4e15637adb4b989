"""A blob arrives whole and right, whatever its sources do."""

import asyncio
import io
from collections.abc import Sequence

import pytest

from constellation.errors import ArtifactError
from constellation.releases.blob_sources import Fault
from constellation.releases.blob_transfer import (
    OK,
    Attempt,
    PartialBlob,
    TransferLimits,
    complete,
)
from constellation.releases.manifest import Blob
from tests.releases.scripted_source import (
    BLOB,
    CHUNK,
    CONTENT,
    FAULTY,
    ScriptedSource,
    breaks,
    lies,
    lies_and_breaks,
    trickles,
    whole,
)

LIMITS = TransferLimits(stall_s=0.05, start_s=0.3, num_rounds=1, pause_s=0.0)


def transfer(
    sources: Sequence[ScriptedSource],
    *,
    begun: bytes = b"",
    limits: TransferLimits = LIMITS,
) -> tuple[bytes, list[Attempt]]:
    """Return what arrived, and every attempt."""
    attempts: list[Attempt] = []
    file = io.BytesIO(begun)
    part = PartialBlob(BLOB, file)
    asyncio.run(complete(part, sources, limits=limits, note=attempts.append))
    return file.getvalue(), attempts


def test_every_fault_has_a_source_that_shows_it() -> None:
    assert set(FAULTY) == set(Fault)


@pytest.mark.parametrize("fault", Fault)
def test_after_every_fault_of_a_source_the_next_one_completes_the_blob(fault: Fault) -> None:
    first, second = ScriptedSource("first", FAULTY[fault]), ScriptedSource("second", whole)
    content, attempts = transfer([first, second])
    assert content == CONTENT
    assert [(each.source, each.outcome) for each in attempts] == [("first", fault), ("second", OK)]
    assert attempts[0].reason


@pytest.mark.parametrize("fault", Fault)
def test_a_fault_of_the_only_source_is_named_with_the_source(fault: Fault) -> None:
    with pytest.raises(ArtifactError, match=f"{BLOB.sha256}.*only: {fault}"):
        transfer([ScriptedSource("only", FAULTY[fault])])


def test_a_source_that_only_trickles_is_given_up() -> None:
    limits = TransferLimits(stall_s=10.0, start_s=0.05, num_rounds=1)
    _, attempts = transfer(
        [ScriptedSource("slow", trickles), ScriptedSource("quick", whole)], limits=limits
    )
    assert attempts[0].outcome == Fault.STALLED


def test_the_next_source_goes_on_where_the_last_one_died() -> None:
    first, second = ScriptedSource("first", breaks), ScriptedSource("second", whole)
    content, _ = transfer([first, second])
    assert content == CONTENT
    assert second.offsets == [CHUNK]


def test_what_an_earlier_process_fetched_is_not_fetched_again() -> None:
    source = ScriptedSource("source", whole)
    content, _ = transfer([source], begun=CONTENT[:1234])
    assert content == CONTENT
    assert source.offsets == [1234]


def test_a_source_is_not_blamed_for_damage_that_was_there_before() -> None:
    source = ScriptedSource("source", whole)
    content, attempts = transfer([source], begun=b"damaged" + CONTENT[7:1234])
    assert content == CONTENT
    assert source.offsets == [1234, 0]
    assert attempts[-1].outcome == OK


def test_too_much_of_an_earlier_process_is_dropped() -> None:
    source = ScriptedSource("source", whole)
    content, _ = transfer([source], begun=CONTENT + b"more")
    assert content == CONTENT
    assert source.offsets == [0]


def test_when_a_mixture_is_damaged_every_source_is_asked_alone() -> None:
    liar, honest = ScriptedSource("liar", lies_and_breaks), ScriptedSource("honest", whole)
    content, _ = transfer([liar, honest])
    assert content == CONTENT
    assert honest.offsets[-1] in (0, CHUNK)
    assert len(liar.offsets) <= 2


def test_an_honest_source_is_found_behind_two_liars() -> None:
    sources = [ScriptedSource("a", breaks), ScriptedSource("b", lies), ScriptedSource("c", whole)]
    content, _ = transfer(sources)
    assert content == CONTENT


def test_sources_that_all_lie_are_asked_a_bounded_number_of_times() -> None:
    sources = [ScriptedSource(name, lies_and_breaks) for name in "abcdef"]
    with pytest.raises(ArtifactError):
        transfer(sources)
    assert max(len(each.offsets) for each in sources) <= 2


def test_a_source_that_is_restarting_is_asked_in_a_later_round() -> None:
    async def second_time(content: bytes, offset: int):  # type: ignore[no-untyped-def]
        if len(source.offsets) < 3:
            async for chunk in FAULTY[Fault.UNREACHABLE](content, offset):
                yield chunk
        yield content[offset:]

    source = ScriptedSource("restarting", second_time)
    limits = TransferLimits(num_rounds=3, pause_s=0.0)
    content, attempts = transfer([source], limits=limits)
    assert content == CONTENT
    assert [each.outcome for each in attempts] == [Fault.UNREACHABLE, Fault.UNREACHABLE, OK]


def test_an_empty_blob_needs_no_source() -> None:
    empty = Blob(
        sha256="e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", size_bytes=0
    )
    asyncio.run(complete(PartialBlob(empty, io.BytesIO()), [], limits=LIMITS))


def test_an_attempt_says_how_much_a_source_delivered() -> None:
    _, attempts = transfer([ScriptedSource("first", breaks), ScriptedSource("second", whole)])
    assert [each.num_bytes for each in attempts] == [CHUNK, len(CONTENT) - CHUNK]
