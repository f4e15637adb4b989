"""Traces through a real router and real kernels over gRPC, into a collector that speaks OTLP."""

import asyncio
import socket
import subprocess
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from opentelemetry.sdk.trace import TracerProvider

from actors.router.listeners import Doors
from actors.spec import DeploymentSpec, KernelOptions, RouterDoors, RouterOptions
from constellation.client import AsyncClient, AsyncDirectClient
from constellation.errors import InvalidRequest
from constellation.telemetry.spans import OpenTelemetryTracing
from constellation.telemetry.tracing import TracingOptions, open_tracing
from constellation.wire.channel import Bind
from constellation.wire.http.gateway import Gateway
from constellation.wire.http.server import HttpDoor
from tests.actors.choir import Choir, decoder
from tests.support.collector import Collected, Collector

PROMPT = "a secret that nobody may read"
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACE_ID = PARENT.split("-")[1]

Story = Callable[["Traced"], Coroutine[Any, Any, None]]


class Traced:
    """A choir whose router and kernels send their spans to a collector."""

    def __init__(self, choir: Choir, endpoint: str, collector: Collector, *, ratio: float) -> None:
        self.choir = choir
        self.router = choir.router
        self.endpoint = endpoint
        self.client = AsyncClient(endpoint)
        self._collector = collector
        self._tracings: list[OpenTelemetryTracing] = []
        guards = {"router": (choir.router.guard, choir.router.metrics)}
        for name, server in choir.servers.items():
            guards[name] = (server.guard, server.metrics)
        for name, (guard, metrics) in guards.items():
            tracing = open_tracing(
                TracingOptions(endpoint=collector.endpoint, sample_ratio=ratio),
                service=name,
                instance=name,
                count=lambda outcome, num, spans=metrics.spans: spans.labels(outcome).inc(num),
            )
            guard.tracing = tracing
            self._tracings.append(tracing)

    async def spans(self) -> list[Collected]:
        """Return what has come when all that ended was sent."""
        await self.choir.settled()
        await asyncio.gather(*(asyncio.to_thread(each.flush) for each in self._tracings))
        return self._collector.spans()

    async def close(self) -> None:
        await self.client.close()
        await self.router.stop(grace_s=1)
        await asyncio.gather(*(asyncio.to_thread(each.close) for each in self._tracings))


def trace(story: Story, *, ratio: float = 1.0, names: str = "ab") -> Collector:
    """Tell a story; return the collector with all that came."""

    async def tell(collector: Collector) -> None:
        async with Choir({name: decoder(number) for number, name in enumerate(names)}) as choir:
            endpoint = await choir.router.serve(Bind(), stall_s=5.0)
            traced = Traced(choir, endpoint, collector, ratio=ratio)
            try:
                await story(traced)
            finally:
                await traced.close()

    with Collector() as collector:
        asyncio.run(tell(collector))
    return collector


def only(spans: list[Collected], **facts: Any) -> Collected:
    """Return the one span that is so."""
    found = [
        span
        for span in spans
        if all(getattr(span, name, None) == value for name, value in facts.items())
    ]
    assert len(found) == 1, [(span.service, span.name) for span in spans]
    return found[0]


@pytest.mark.parametrize("streamed", [False, True])
def test_spans_of_client_router_and_kernel_are_one_tree(streamed: bool) -> None:
    heard = ""

    async def story(traced: Traced) -> None:
        nonlocal heard
        with TracerProvider().get_tracer("caller").start_as_current_span("caller") as own:
            if streamed:
                stream = traced.client.stream(PROMPT, tokens_max=9)
                heard = "".join([piece.text async for piece in stream])
                reply = stream.reply()
            else:
                reply = await traced.client.ask(PROMPT, tokens_max=9)
                heard = reply.text
        context = own.get_span_context()
        assert reply.trace_id == f"{context.trace_id:032x}"
        spans = await traced.spans()
        assert {span.trace_id for span in spans} == {reply.trace_id}
        method = "Generate" if streamed else "Ask"
        request = only(spans, name=f"constellation.v1.ConstellationService/{method}")
        assert request.service == "router"
        assert request.parent_id == f"{context.span_id:016x}"
        parts = {span.name: span for span in spans if span.parent_id == request.span_id}
        assert set(parts) == {"basin", "route", "kernel"}
        kernel = reply.route.kernel
        assert parts["kernel"].facts["constellation.kernel"] == kernel
        served = only(spans, name=f"constellation.v1.KernelService/{method}")
        assert (served.service, served.parent_id) == (kernel, parts["kernel"].span_id)
        assert served.events == ["slot taken", "prompt read"]
        assert served.facts["gen_ai.usage.output_tokens"] == reply.finish.num_tokens
        assert request.facts["gen_ai.usage.input_tokens"] == len(PROMPT)
        assert request.facts["gen_ai.request.max_tokens"] == 9
        assert request.facts["constellation.kernel"] == kernel
        assert request.facts["constellation.mode"] == "nearest"
        assert request.facts["constellation.margin_radians"] == reply.route.margin
        assert request.facts["constellation.distance_radians"] == reply.route.distances[0]
        assert not any(span.is_failure for span in spans)
        name = "constellation_spans_total"
        counted = traced.router.metrics.registry.get_sample_value(name, {"outcome": "exported"})
        assert counted == 4

    raw = b"".join(trace(story).raw)
    assert len(heard) > 3
    for text in (PROMPT, "secret", heard):
        assert text.encode() not in raw


def test_partners_of_a_mixture_follow_from_the_kernel_that_leads() -> None:
    async def story(traced: Traced) -> None:
        reply = await traced.client.ask(
            PROMPT, tokens_max=3, mode="mixture", top_k=3, traceparent=PARENT
        )
        score = await traced.client.score("more of it", mode="posterior", top_k=2)
        assert reply.trace_id == TRACE_ID
        assert len(score.trace_id) == 32
        assert score.trace_id != TRACE_ID
        spans = await traced.spans()
        led = only(spans, name="constellation.v1.KernelService/Ask")
        assert led.service == reply.route.kernel
        partners = [span for span in spans if span.name.endswith("/Predict")]
        assert {span.parent_id for span in partners} == {led.span_id}
        assert {span.service for span in partners} == set("abc") - {led.service}
        assert {span.trace_id for span in partners} == {TRACE_ID}
        scores = [span for span in spans if span.name.endswith("KernelService/Score")]
        assert {span.trace_id for span in scores} == {score.trace_id}
        assert len(scores) == 2
        leads = only(scores, parent_id=only(spans, name="kernel", trace_id=score.trace_id).span_id)
        assert only(scores, parent_id=leads.span_id).service != leads.service

    trace(story, names="abc")


def test_a_kernel_that_is_lost_is_an_event_and_a_failed_try() -> None:
    async def story(traced: Traced) -> None:
        first = (await traced.client.route(PROMPT)).kernel
        await traced.choir.servers[first].stop(grace_s=0)
        reply = await traced.client.ask(PROMPT, tokens_max=3)
        assert reply.route.reason == "failover"
        spans = await traced.spans()
        request = only(spans, name="constellation.v1.ConstellationService/Ask")
        assert request.events == ["failover"]
        tries = {
            span.facts["constellation.kernel"]: span for span in spans if span.name == "kernel"
        }
        assert set(tries) == {first, reply.route.kernel}
        assert tries[first].is_failure
        assert tries[first].facts["error.type"] == "KernelUnavailable"
        assert not tries[reply.route.kernel].is_failure
        served = only(spans, name="constellation.v1.KernelService/Ask")
        assert served.parent_id == tries[reply.route.kernel].span_id

    trace(story)


def test_a_refusal_is_told_by_its_class_alone() -> None:
    async def story(traced: Traced) -> None:
        with pytest.raises(InvalidRequest):
            await traced.client.ask(PROMPT, top_k=77)
        request = only(await traced.spans(), name="constellation.v1.ConstellationService/Ask")
        assert request.is_failure
        assert request.facts["error.type"] == "InvalidRequest"

    assert PROMPT.encode() not in b"".join(trace(story).raw)


def test_a_direct_client_is_its_kernels_parent() -> None:
    async def story(traced: Traced) -> None:
        client = AsyncDirectClient(traced.endpoint, traced.choir.coordizer)
        reply = await client.ask(PROMPT, tokens_max=2, traceparent=PARENT)
        await client.close()
        served = only(await traced.spans(), name="constellation.v1.KernelService/Ask")
        assert served.service == reply.route.kernel
        assert (served.trace_id, served.parent_id) == (TRACE_ID, PARENT.split("-")[2])

    trace(story)


@pytest.mark.parametrize(
    "given",
    [
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
        "x" * 4000,
    ],
)
def test_a_malformed_parent_is_none_and_our_client_sends_none(given: str) -> None:
    tracing = open_tracing(
        TracingOptions(endpoint="http://127.0.0.1:9/"),
        service="s",
        instance="i",
        count=lambda outcome, num: None,
    )
    assert TRACE_ID not in tracing.begin("x", [("traceparent", given)], {}).trace_id
    assert tracing.begin("x", [("Traceparent", PARENT)], {}).trace_id == TRACE_ID
    twice = [("traceparent", PARENT), ("traceparent", PARENT)]
    assert tracing.begin("x", twice, {}).trace_id != TRACE_ID

    async def ask() -> None:
        async with AsyncClient("127.0.0.1:9") as client:
            with pytest.raises(InvalidRequest, match="traceparent"):
                await client.ask("x", traceparent=given)

    asyncio.run(ask())
    tracing.close()


def test_the_http_door_takes_a_parent_and_names_the_trace() -> None:
    async def story(traced: Traced) -> None:
        gateway = Gateway(traced.router, traced.router.guard, stall_s=5.0)
        door = HttpDoor(gateway, traced.router.guard, Bind())
        url = f"http://{await door.start()}/v1/completions"
        body = {"model": "constellation", "prompt": PROMPT, "max_tokens": 3}
        async with aiohttp.ClientSession() as session:
            for stream in (False, True):
                asked = {**body, "stream": stream}
                headers = {"traceparent": PARENT, "tracestate": "theirs=1"}
                async with session.post(url, json=asked, headers=headers) as answer:
                    await answer.read()
                    assert answer.status == 200
                    assert answer.headers["x-trace-id"] == TRACE_ID
            async with session.post(url, json={**body, "seed": -1}) as answer:
                assert answer.status == 400
                assert "x-trace-id" not in answer.headers
        await door.stop(grace_s=1)
        spans = await traced.spans()
        doors = [span for span in spans if span.name == "POST /v1/completions"]
        assert [span.parent_id for span in doors] == [PARENT.split("-")[2]] * 2
        assert {span.facts["gen_ai.operation.name"] for span in doors} == {"text_completion"}
        assert {span.facts["gen_ai.usage.output_tokens"] for span in doors} == {3}
        assert len([span for span in spans if "KernelService" in span.name]) == 2

    trace(story)


def test_a_trace_that_is_not_kept_is_named_all_the_same_and_sends_nothing() -> None:
    async def story(traced: Traced) -> None:
        reply = await traced.client.ask(PROMPT, tokens_max=2)
        assert len(reply.trace_id) == 32
        assert await traced.spans() == []
        kept = await traced.client.ask(PROMPT, tokens_max=2, traceparent=PARENT)
        assert {span.trace_id for span in await traced.spans()} == {kept.trace_id}

    trace(story, ratio=0.0)


@pytest.mark.slow
def test_a_collector_that_is_gone_costs_spans_and_no_answer() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{nobody.getsockname()[1]}/v1/traces"
        outcomes: dict[str, int] = {}

        def count(outcome: str, num: int) -> None:
            outcomes[outcome] = outcomes.get(outcome, 0) + num

        async def story() -> None:
            async with Choir({"a": decoder(0)}) as choir:
                options = TracingOptions(endpoint=endpoint)
                tracing = open_tracing(options, service="s", instance="i", count=count)
                choir.router.guard.tracing = tracing
                at = await choir.router.serve(Bind(), stall_s=5.0)
                async with AsyncClient(at) as client:
                    reply = await client.ask(PROMPT, tokens_max=2)
                    assert reply.finish.num_tokens == 2
                await asyncio.to_thread(tracing.close)
                await choir.router.stop(grace_s=1)

        asyncio.run(story())
    assert outcomes == {"failed": 4}


def test_what_a_slow_collector_does_not_take_is_dropped_and_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("constellation.telemetry.spans.QUEUE_MAX", 8)
    monkeypatch.setattr("constellation.telemetry.spans.BATCH_MAX", 2)
    outcomes = {"exported": 0, "dropped": 0}

    def count(outcome: str, num: int) -> None:
        outcomes[outcome] += num

    with Collector() as collector:
        collector.go.clear()
        options = TracingOptions(endpoint=collector.endpoint)
        tracing = open_tracing(options, service="s", instance="i", count=count)
        for _ in range(2):
            tracing.begin("first", [], {}).end()
        assert collector.asked.wait(5)  # the batch is on its way and takes no room
        for _ in range(20):
            tracing.begin("more", [], {}).end()
        collector.go.set()
        tracing.close()
        assert outcomes == {"exported": 10, "dropped": 12}
        assert len(collector.spans()) == 10


@pytest.mark.slow
def test_without_tracing_nothing_of_it_is_loaded_by_a_served_request() -> None:
    program = """
import asyncio, sys
from tests.actors.test_hosts import PLAIN, SAMPLING, Sky

async def story():
    async with Sky() as sky:
        await sky.router.ask("abc", SAMPLING, PLAIN, timeout_s=5)

asyncio.run(story())
print(*sorted({name.split(".")[0] for name in sys.modules}))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    loaded = set(done.stdout.split())
    assert "actors" in loaded
    assert "opentelemetry" not in loaded


def test_a_router_traces_where_its_deployment_says_so_and_sends_the_rest_when_it_ends(
    tmp_path: Path,
) -> None:
    async def story(endpoint: str | None) -> str:
        async with Choir({"a": decoder(0)}) as choir:
            spec = DeploymentSpec(
                namespace="n",
                artifacts=tmp_path,
                run_dir=tmp_path,
                routers=(RouterDoors(member="router-2", listen=("127.0.0.1", 0)),),
                router=RouterOptions(),
                kernel=KernelOptions(),
                tracing=None if endpoint is None else TracingOptions(endpoint=endpoint),
            )
            doors = Doors(choir.router, spec, "router-2", "127.0.0.1")
            async with AsyncClient(await doors.open()) as client:
                trace_id = (await client.ask(PROMPT, tokens_max=2)).trace_id
            await doors.close(grace_s=1)
            return trace_id

    with Collector() as collector:
        assert asyncio.run(story(None)) == ""
        trace_id = asyncio.run(story(collector.endpoint))
        spans = collector.spans()
    assert len(spans) == 4
    assert {span.service for span in spans} == {"constellation-router"}
    assert {span.trace_id for span in spans} == {trace_id}
