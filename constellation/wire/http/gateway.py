"""OpenAI's endpoints over a router port: reads a request, asks the port, writes the answer.

Every endpoint but /health asks for the token. A caller that goes away is a cancelled handler, which
closes the answer under way and frees the kernel's slot within one step.
"""

import asyncio
import json
import secrets
import time
from collections.abc import AsyncGenerator, Awaitable, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Any, NoReturn

from aiohttp import web

from constellation.errors import InvalidRequest, ServiceUnavailable, UnknownKernel
from constellation.records import Finish, Piece, Route, RoutingOptions
from constellation.wire import access_log, convert, request_tracing
from constellation.wire.callers import Caller, check_request_id, client_of_transport, fingerprint
from constellation.wire.constellation_service import RouterPort
from constellation.wire.http import bodies, kinds, openai_replies, openapi
from constellation.wire.http.error_replies import Problem, problem
from constellation.wire.services import Guard

_SERVER = {"Server": "constellation"}  # and not which versions of what
_EVENTS = {
    **_SERVER,
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",  # or a proxy would gather what is to be streamed
}
_DONE = b"data: [DONE]\n\n"
_REPEAT = "Idempotency-Key"


def encode(content: Any) -> bytes:
    """Return a JSON value as bytes; numbers that JSON does not know are a mistake of ours."""
    text = json.dumps(content, separators=(",", ":"), allow_nan=False, default=_plain)
    return text.encode()


def _plain(value: Any) -> Any:
    return value.item()  # a number of numpy's


def respond(
    content: Any, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """Return a response with a JSON body."""
    return web.Response(
        body=encode(content),
        status=status,
        headers={**_SERVER, **(headers or {})},
        content_type="application/json",
    )


def refusal(said: Problem) -> web.Response:
    """Return the response that stands for an error."""
    return respond(said.content, status=said.status, headers=said.headers)


class Gateway:
    """One coroutine per endpoint."""

    def __init__(self, host: RouterPort, guard: Guard, *, stall_s: float) -> None:
        """Take what answers.

        Args:
            host: The router.
            guard: Answers for its errors inside a stream.
            stall_s: Seconds a caller may send or take nothing before it is cut off.
        """
        self.stall_s = stall_s
        self._host = host
        self._guard = guard
        self._created_s = int(time.time())

    def routes(self) -> list[web.RouteDef]:
        """Return what is served where; HEAD is answered wherever GET is."""
        return [
            web.get("/health", self.health),
            web.get("/openapi.json", self.describe),
            web.get("/v1/models", self.models),
            web.get("/v1/models/{model}", self.model),
            web.post("/v1/chat/completions", self.chat),
            web.post("/v1/completions", self.complete),
            web.post("/v1/embeddings", self.embed),
        ]

    async def health(self, request: web.Request) -> web.Response:
        """Say whether at least one kernel can answer."""
        if all(site.endpoint is None for site in self._host.state().table.sites):
            raise ServiceUnavailable("this address", "no kernel is up")
        return respond({"status": "serving"})

    async def describe(self, request: web.Request) -> web.Response:
        """Describe the endpoints."""
        return respond(openapi.document())

    async def models(self, request: web.Request) -> web.Response:
        """List the constellation and its kernels."""
        return respond(openai_replies.models(self._host.state().table, self._created_s))

    async def model(self, request: web.Request) -> web.Response:
        """Show one of them."""
        name = request.match_info["model"]
        listed = openai_replies.models(self._host.state().table, self._created_s)["data"]
        found = next((model for model in listed if model["id"] == name), None)
        if found is None:
            raise UnknownKernel(kinds.shortened(name), [model["id"] for model in listed])
        return respond(found)

    async def embed(self, request: web.Request) -> web.Response:
        """Return the basins of texts."""
        asked = bodies.embeddings(await self._body(request))
        access_log.note_prompt("\n".join(asked.inputs))
        basins_NK, num_tokens = [], 0
        for text in asked.inputs:
            basin_K, tokens = await self._host.basin(text)
            basins_NK.append(basin_K)
            num_tokens += len(tokens)
            await asyncio.sleep(0)  # others' answers go on between two texts
        access_log.note(prompt_tokens=num_tokens)
        return respond(openai_replies.embeddings(basins_NK, num_tokens, in_base64=asked.base64))

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """Answer a conversation."""
        asked = bodies.chat(await self._body(request))
        return await self._traced(request, "chat", self._answer(request, asked, is_chat=True))

    async def complete(self, request: web.Request) -> web.StreamResponse:
        """Go on from a text."""
        asked = bodies.completion(await self._body(request))
        work = self._answer(request, asked, is_chat=False)
        return await self._traced(request, "text_completion", work)

    async def _traced(
        self, request: web.Request, operation: str, work: Awaitable[web.StreamResponse]
    ) -> web.StreamResponse:
        """Return what `work` comes to, with a span when there is tracing."""
        if self._guard.tracing is None:
            return await work
        facts = {
            "http.request.method": request.method,
            "http.route": request.path,
            "gen_ai.operation.name": operation,
        }
        name, headers = f"{request.method} {request.path}", request.headers.items()
        return await request_tracing.traced(self._guard.tracing, name, headers, facts, work)

    async def _body(self, request: web.Request) -> kinds.Body:
        # A page from elsewhere may send a browser's form here, but not JSON.
        if request.content_type != "application/json":
            raise InvalidRequest("Content-Type", request.content_type[:64], "application/json")
        coding = request.headers.get("Content-Encoding", "identity")
        if coding.lower() != "identity":
            raise InvalidRequest("Content-Encoding", coding, "identity")
        try:
            async with asyncio.timeout(self.stall_s):
                data = await request.read()
        except TimeoutError:
            raise web.HTTPRequestTimeout from None
        except (ConnectionError, web.RequestPayloadError) as error:
            raise InvalidRequest("the body", "cut off", "a whole one") from error
        return bodies.parse(data)

    async def _answer(
        self, request: web.Request, asked: bodies.Completion, *, is_chat: bool
    ) -> web.StreamResponse:
        access_log.note_prompt(asked.prompt)
        span = request_tracing.current()
        if span is not None:
            request[TRACE_ID] = span.trace_id
        writer = openai_replies.Writer(
            id=f"{'chatcmpl' if is_chat else 'cmpl'}-{secrets.token_hex(12)}",
            created_s=int(time.time()),
            model=asked.model,
            is_chat=is_chat,
            include_usage=asked.include_usage,
            adjusted=asked.adjusted,
        )
        routing = await self._routing(asked)
        caller = await _caller(request)
        try:
            if asked.stream:
                return await self._stream(request, asked, routing, caller, writer)
            return await self._whole(asked, routing, caller, writer)
        except InvalidRequest as error:
            raise bodies.as_asked(error) from None

    async def _whole(
        self,
        asked: bodies.Completion,
        routing: RoutingOptions,
        caller: Caller,
        writer: openai_replies.Writer,
    ) -> web.StreamResponse:
        route, reply = await self._host.ask(
            asked.prompt,
            asked.sampling,
            routing,
            timeout_s=None,
            caller=caller,
            messages=asked.messages,
        )
        piece = convert.piece_from_bytes(reply)
        _note(route, piece)
        return respond(writer.whole(route, piece))

    async def _routing(self, asked: bodies.Completion) -> RoutingOptions:
        if asked.turn is None or asked.turn == asked.prompt:
            return asked.routing
        basin_K, _ = await self._host.basin(asked.turn)
        return replace(asked.routing, basin_K=basin_K)

    async def _stream(
        self,
        request: web.Request,
        asked: bodies.Completion,
        routing: RoutingOptions,
        caller: Caller,
        writer: openai_replies.Writer,
    ) -> web.StreamResponse:
        answer = self._host.generate(
            asked.prompt,
            asked.sampling,
            routing,
            timeout_s=None,
            caller=caller,
            messages=asked.messages,
        )
        async with aclosing(answer):
            # Until the first piece an error still has an HTTP status of its own.
            first = await anext(answer, None)
            if first is None:
                raise ServiceUnavailable("this address", "the answer stopped before its beginning")
            response = web.StreamResponse(headers={**_EVENTS, **request_headers(request)})
            await response.prepare(request)
            last = await self._guard.attempt(
                self._pour(request, response, first, answer, writer),
                lambda error: _event(problem(error).content),
            )
            await self._send(request, response, last)
        return response

    async def _pour(
        self,
        request: web.Request,
        response: web.StreamResponse,
        first: tuple[Route | None, bytes],
        answer: AsyncGenerator[tuple[Route | None, bytes], None],
        writer: openai_replies.Writer,
    ) -> bytes:
        """Send all pieces; return what ends the stream."""
        finish = await self._send_piece(request, response, first, writer)
        async for pair in answer:
            finish = await self._send_piece(request, response, pair, writer)
        if finish is None:
            raise ServiceUnavailable("this address", "the answer stopped before its end")
        if writer.include_usage:
            await self._send(request, response, _event(writer.last_chunk(finish)))
        return _DONE

    async def _send_piece(
        self,
        request: web.Request,
        response: web.StreamResponse,
        pair: tuple[Route | None, bytes],
        writer: openai_replies.Writer,
    ) -> Finish | None:
        route, piece = pair[0], convert.piece_from_bytes(pair[1])
        _note(route, piece)
        await self._send(request, response, _event(writer.chunk(route, piece)))
        return piece.finish

    async def _send(self, request: web.Request, response: web.StreamResponse, data: bytes) -> None:
        """Send bytes; a reader that is gone or takes nothing for `stall_s` is cut off."""
        try:
            async with asyncio.timeout(self.stall_s):
                await response.write(data)
        except (TimeoutError, ConnectionError):
            cut(request)


def request_headers(request: web.Request) -> dict[str, str]:
    """Return the headers of every reply: the ids under which log and collector know the request."""
    trace_id = request.get(TRACE_ID)
    traced = {} if trace_id is None else {"x-trace-id": trace_id}
    return {"x-request-id": request[REQUEST_ID], **traced}


REQUEST_ID = web.RequestKey("request_id", str)
TRACE_ID = web.RequestKey("trace_id", str)


def cut(request: web.Request) -> NoReturn:
    """Give up on a caller that is gone or takes nothing."""
    # `close` would wait for a reader who takes nothing, with all that is buffered for him.
    if request.transport is not None:
        request.transport.abort()
    raise asyncio.CancelledError


async def _caller(request: web.Request) -> Caller:
    """Return who asks, and under which id."""
    client = client_of_transport(request.transport)
    request_id = check_request_id(_REPEAT, request.headers.get(_REPEAT, ""))
    if request_id is None:
        return Caller(client=client)
    asked = fingerprint(request.path, await request.read())  # read before; this is its copy
    return Caller(client=client, request_id=request_id, fingerprint=asked)


def _note(route: Route | None, piece: Piece) -> None:
    if route is not None:
        access_log.note_route(route)
        request_tracing.note_route(route)
    if piece.finish is not None:
        access_log.note_finish(piece.finish)
        request_tracing.note_finish(piece.finish)


def _event(content: Any) -> bytes:
    return b"data: " + encode(content) + b"\n\n"
