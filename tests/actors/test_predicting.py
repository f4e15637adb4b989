"""The stream by which kernels ask each other: what is wrong in it is refused and harms nobody."""

import asyncio
from collections.abc import Sequence
from typing import Any

import grpc
import pytest

from actors.kernel import ensemble_partner
from constellation.errors import ConstellationError, InvalidPrompt, InvalidRequest
from constellation.records import RoutingOptions, Sampling
from constellation.v1 import kernel_pb2
from constellation.wire import channel, error_status, services
from constellation.wire.ensembles import Member
from tests.actors.choir import Choir, decoder, sing

GREEDY = Sampling(tokens_max=8, temperature=0, logit_bias={0: -100})


def start(**changes: Any) -> kernel_pb2.PredictRequest:
    given = {"kernel": "a", "tokens": [5, 6, 7], "tokenizer_hash": "t"} | changes
    return kernel_pb2.PredictRequest(start=kernel_pb2.PredictStart(**given))


def token(number: int) -> kernel_pb2.PredictRequest:
    return kernel_pb2.PredictRequest(token=number)


async def predict(
    choir: Choir, requests: Sequence[Any], encode: Any = None
) -> list[kernel_pb2.PredictReply]:
    """Send these messages, each after a reply to the one before; return all replies."""
    endpoint = choir.table.sites[0].endpoint
    async with grpc.aio.insecure_channel(endpoint, options=channel.CHANNEL_OPTIONS) as way:
        call = way.stream_stream(
            services.path(services.KERNEL.methods_by_name["Predict"]),
            request_serializer=encode or kernel_pb2.PredictRequest.SerializeToString,
            response_deserializer=kernel_pb2.PredictReply.FromString,
        )(timeout=10)
        replies = []
        try:
            for place, request in enumerate(requests):
                await call.write(request)
                for _ in range(2 if place == 0 else 1):
                    replies.append(await call.read())
            await call.done_writing()
            assert await call.read() is grpc.aio.EOF
        except grpc.aio.AioRpcError as error:
            raise error_status.from_rpc_error(error, endpoint="a", limit_bytes=1) from error
        return replies


@pytest.mark.parametrize(
    ("requests", "kind", "named"),
    [
        ([token(5)], InvalidRequest, "start"),
        ([start(tokens=[])], InvalidPrompt, "empty"),
        ([start(tokens=[5] * 65)], InvalidPrompt, "65"),
        ([start(tokens=[257])], InvalidRequest, "257"),
        ([start(), token(257)], InvalidRequest, "token"),
        ([start(tokens=[5] * 63), token(5), token(5)], InvalidRequest, "64 tokens"),
        ([start(tokenizer_hash="other")], ConstellationError, "vocabulary"),
        ([start(kernel="z")], ConstellationError, "'z'"),
    ],
)
def test_what_is_out_of_range_is_refused_and_harms_nobody(
    requests: list[Any], kind: type[Exception], named: str
) -> None:
    async def story(choir: Choir) -> None:
        _, before = await choir.ask("xx", GREEDY, RoutingOptions(kernel="a"))
        beside = asyncio.create_task(choir.ask("xx", GREEDY, RoutingOptions(kernel="a")))
        with pytest.raises(kind, match=named):
            await predict(choir, requests)
        assert (await beside)[1].text == before.text
        await choir.settled()
        assert choir.servers["a"].guard.num_unexpected == 0

    sing(story, {"a": decoder(0)})


def test_bytes_that_are_no_message_are_refused() -> None:
    async def story(choir: Choir) -> None:
        for requests in ([b"\xff"], [start().SerializeToString(), b"\xff\xff"]):
            with pytest.raises(InvalidRequest):
                await predict(choir, requests, encode=bytes)
        await choir.settled()
        assert choir.servers["a"].guard.num_unexpected == 0

    sing(story, {"a": decoder(0)})


def test_who_asks_ends_the_prediction_and_the_slot_is_free() -> None:
    async def story(choir: Choir) -> None:
        replies = await predict(choir, [start(is_scored=True), token(9), token(11)])
        assert [reply.context for reply in replies] == [64, 0, 0, 0]
        assert [len(reply.logits) for reply in replies] == [0, *[257 * 4] * 3]
        assert [len(reply.prompt_token_nats) for reply in replies] == [0, 2, 0, 0]
        assert all(nats > 0 for nats in replies[1].prompt_token_nats)
        await choir.settled()

    sing(story, {"a": decoder(0)})


def test_an_ensemble_that_is_none_is_refused() -> None:
    async def story(choir: Choir) -> None:
        endpoint = choir.table.sites[0].endpoint
        wrong = kernel_pb2.Ensemble(mode=2)
        async with grpc.aio.insecure_channel(endpoint) as way:
            stub = services.Stub(way, services.KERNEL)
            asked = kernel_pb2.KernelGenerateRequest(tokens=[5], ensemble=wrong)
            scored = kernel_pb2.KernelScoreRequest(tokens=[5], ensemble=wrong)
            for call in (stub.Ask(asked, timeout=5), stub.Score(scored, timeout=5)):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await call
                assert "ensemble.members" in str(caught.value.details())

    sing(story, {"a": decoder(0)})


def test_a_context_that_leaves_nothing_to_score_is_refused() -> None:
    async def story(choir: Choir) -> None:
        members = [
            kernel_pb2.Member(kernel=site.name, endpoint=site.endpoint, weight=0.5)
            for site in choir.table.sites
        ]
        request = kernel_pb2.KernelScoreRequest(
            tokens=[5, 6],
            num_context=2,
            ensemble=kernel_pb2.Ensemble(mode=2, members=members),
        )
        async with grpc.aio.insecure_channel(choir.table.sites[0].endpoint) as way:
            with pytest.raises(grpc.aio.AioRpcError, match="num_context"):
                await services.Stub(way, services.KERNEL).Score(request, timeout=5)

    sing(story, {"a": decoder(0), "b": decoder(1)})


def test_ways_to_partners_are_kept_followed_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ensemble_partner, "MEMBERS_MAX", 3)

    def member(kernel: str, port: int) -> Member:
        return Member(kernel=kernel, endpoint=f"127.0.0.1:{port}", weight=0.5)

    async def story() -> None:
        partners = ensemble_partner.Partners(None)
        first = await partners.to(member("a", 1001))
        assert await partners.to(member("a", 1001)) is first
        moved = await partners.to(member("a", 1002))
        assert (moved is first, moved.endpoint) == (False, "127.0.0.1:1002")
        for number, name in enumerate("bca"):
            await partners.to(member(name, 1002 if name == "a" else 1003 + number))
        await partners.to(member("d", 1010))  # one too many: "b" was used longest ago
        assert await partners.to(member("a", 1002)) is moved
        assert [each.rpartition(":")[2] for each in partners._links] == ["1004", "1010", "1002"]
        await partners.close()
        assert not partners._links

    asyncio.run(story())
