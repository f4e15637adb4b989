"""One request for text: asks the router port and sends the answer, whole or as events.

A caller that goes away cancels the task that works here, which closes the answer under way and
frees the kernel's slot within one step.
"""

import secrets
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from constellation.errors import InvalidRequest, ServiceUnavailable
from constellation.records import Finish, Piece, Route, RoutingOptions
from constellation.wire import access_log, convert, request_tracing
from constellation.wire.callers import Caller
from constellation.wire.constellation_service import RouterPort
from constellation.wire.http import bodies
from constellation.wire.http.error_replies import problem
from constellation.wire.http.openai_replies import Writer
from constellation.wire.http.responses import encode, respond
from constellation.wire.services import Guard

_EVENTS = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # or a proxy would gather what is to be streamed
]
_DONE = b"data: [DONE]\n\n"

Pair = tuple[Route | None, bytes]
"""The route, with the first piece only, and a piece as the kernel sent it."""


class TextAnswer:
    """The answer to one request, as an ASGI application that is called once."""

    def __init__(
        self,
        host: RouterPort,
        guard: Guard,
        asked: bodies.Completion,
        caller: Caller,
        *,
        is_chat: bool,
    ) -> None:
        """Take what answers, what is asked, and by whom."""
        self._host = host
        self._guard = guard
        self._asked = asked
        self._caller = caller
        self._writer = Writer(
            id=f"{'chatcmpl' if is_chat else 'cmpl'}-{secrets.token_hex(12)}",
            created_s=int(time.time()),
            model=asked.model,
            is_chat=is_chat,
            include_usage=asked.include_usage,
            adjusted=asked.adjusted,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer, with a span when there is tracing."""
        access_log.note_prompt(self._asked.prompt)
        if self._guard.tracing is None:
            await self._answer(scope, receive, send)
            return
        method, path = scope["method"], scope["path"]
        facts = {
            "http.request.method": method,
            "http.route": path,
            "gen_ai.operation.name": "chat" if self._writer.is_chat else "text_completion",
        }
        headers, work = Request(scope).headers.items(), self._answer(scope, receive, send)
        await request_tracing.traced(self._guard.tracing, f"{method} {path}", headers, facts, work)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        span = request_tracing.current()
        if span is not None:
            scope["state"]["trace_id"] = span.trace_id
        try:
            if self._asked.stream:
                await self._stream(send, await self._routing())
            else:
                whole = await self._whole(await self._routing())
                await respond(whole)(scope, receive, send)
        except InvalidRequest as error:
            raise bodies.as_asked(error) from None

    async def _routing(self) -> RoutingOptions:
        asked = self._asked
        if asked.turn is None or asked.turn == asked.prompt:
            return asked.routing
        basin_K, _ = await self._host.basin(asked.turn)
        return replace(asked.routing, basin_K=basin_K)

    async def _whole(self, routing: RoutingOptions) -> dict[str, Any]:
        asked = self._asked
        route, reply = await self._host.ask(
            asked.prompt,
            asked.sampling,
            routing,
            timeout_s=None,
            caller=self._caller,
            messages=asked.messages,
        )
        piece = convert.piece_from_bytes(reply)
        _note(route, piece)
        return self._writer.whole(route, piece)

    async def _stream(self, send: Send, routing: RoutingOptions) -> None:
        asked = self._asked
        answer = self._host.generate(
            asked.prompt,
            asked.sampling,
            routing,
            timeout_s=None,
            caller=self._caller,
            messages=asked.messages,
        )
        async with aclosing(answer):
            # Until the first piece an error still has an HTTP status of its own.
            first = await anext(answer, None)
            if first is None:
                raise ServiceUnavailable("this address", "the answer stopped before its beginning")
            head = {"type": "http.response.start", "status": 200, "headers": list(_EVENTS)}
            await send(head)
            last = await self._guard.attempt(
                self._send_pieces(send, first, answer),
                lambda error: _event(problem(error).content),
            )
            await _send(send, last, is_last=True)

    async def _send_pieces(
        self, send: Send, first: Pair, answer: AsyncGenerator[Pair, None]
    ) -> bytes:
        """Send all pieces; return what ends the stream."""
        finish = await self._send_piece(send, first)
        async for pair in answer:
            finish = await self._send_piece(send, pair)
        if finish is None:
            raise ServiceUnavailable("this address", "the answer stopped before its end")
        if self._writer.include_usage:
            await _send(send, _event(self._writer.last_chunk(finish)))
        return _DONE

    async def _send_piece(self, send: Send, pair: Pair) -> Finish | None:
        route, piece = pair[0], convert.piece_from_bytes(pair[1])
        _note(route, piece)
        await _send(send, _event(self._writer.chunk(route, piece)))
        return piece.finish


async def _send(send: Send, data: bytes, *, is_last: bool = False) -> None:
    await send({"type": "http.response.body", "body": data, "more_body": not is_last})


def _note(route: Route | None, piece: Piece) -> None:
    if route is not None:
        access_log.note_route(route)
        request_tracing.note_route(route)
    if piece.finish is not None:
        access_log.note_finish(piece.finish)
        request_tracing.note_finish(piece.finish)


def _event(content: Any) -> bytes:
    return b"data: " + encode(content) + b"\n\n"
