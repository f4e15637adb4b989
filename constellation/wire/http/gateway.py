"""The endpoints over a router port: reads a request, asks the port, writes the answer.

Every endpoint but /health and the static files of the page asks for the token. The endpoints are
those of a Starlette application, so that other endpoints can be served beside them.
"""

import asyncio
import time

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from constellation.errors import (
    InvalidRequest,
    MessageTooLarge,
    ServiceUnavailable,
    UnknownKernel,
)
from constellation.wire import access_log
from constellation.wire.callers import Caller, check_request_id, client_of_transport, fingerprint
from constellation.wire.channel import MESSAGE_BYTES_MAX
from constellation.wire.constellation_service import RouterPort
from constellation.wire.http import bodies, openai_replies, openapi, route_bodies
from constellation.wire.http.body_model import shortened
from constellation.wire.http.page_files import SECURITY_HEADERS, page_routes, read_page
from constellation.wire.http.responses import respond
from constellation.wire.http.status_events import STREAMS_MAX, StatusEvents
from constellation.wire.http.text_answer import TextAnswer
from constellation.wire.services import Guard
from constellation.wire.status_document import status_document

_REPEAT = "Idempotency-Key"
_FRESH = {"Cache-Control": "no-store", **SECURITY_HEADERS}


class Gateway:
    """One coroutine per endpoint."""

    def __init__(
        self, host: RouterPort, guard: Guard, *, stall_s: float, streams_max: int = STREAMS_MAX
    ) -> None:
        """Take what answers.

        Args:
            host: The router.
            guard: Answers for its errors inside a stream.
            stall_s: Seconds a caller may send or take nothing before it is cut off.
            streams_max: Listeners to the events of the status that may be connected.
        """
        self.stall_s = stall_s
        self._host = host
        self._guard = guard
        self._created_s = int(time.time())
        self._page = read_page()
        self.events = StatusEvents(lambda: status_document(host.state()), streams_max=streams_max)
        """The stream of the status, and how many listen."""

    @property
    def open_paths(self) -> frozenset[str]:
        """Paths that are answered without a token: they hold nothing of the constellation."""
        return frozenset({"/health", *self._page})

    def close(self) -> None:
        """End the streams that would not end by themselves."""
        self.events.close()

    def routes(self) -> list[Route]:
        """Return what is served where; HEAD is answered wherever GET is."""
        return [
            Route("/health", self.health),
            Route("/openapi.json", self.describe),
            Route("/v1/models", self.models),
            Route("/v1/models/{model:path}", self.model),
            Route("/v1/chat/completions", self.chat, methods=["POST"]),
            Route("/v1/completions", self.complete, methods=["POST"]),
            Route("/v1/embeddings", self.embed, methods=["POST"]),
            Route("/v1/route", self.route, methods=["POST"]),
            Route("/status.json", self.status),
            Route("/status/events", self.status_events),
            *page_routes(self._page),
        ]

    async def health(self, request: Request) -> Response:
        """Say whether at least one kernel can answer."""
        if all(site.endpoint is None for site in self._host.state().table.sites):
            raise ServiceUnavailable("this address", "no kernel is up")
        return respond({"status": "serving"})

    async def describe(self, request: Request) -> Response:
        """Describe the endpoints."""
        return respond(openapi.document())

    async def models(self, request: Request) -> Response:
        """List the constellation and its kernels."""
        return respond(openai_replies.models(self._host.state().table, self._created_s))

    async def model(self, request: Request) -> Response:
        """Show one of them."""
        name = request.path_params["model"]
        listed = openai_replies.models(self._host.state().table, self._created_s)["data"]
        found = next((model for model in listed if model["id"] == name), None)
        if found is None:
            raise UnknownKernel(shortened(name), [model["id"] for model in listed])
        return respond(found)

    async def embed(self, request: Request) -> Response:
        """Return the basins of texts."""
        asked = bodies.embeddings(bodies.parse(await self._body(request)))
        access_log.note_prompt("\n".join(asked.inputs))
        basins_NK, num_tokens = [], 0
        for text in asked.inputs:
            basin_K, tokens = await self._host.basin(text)
            basins_NK.append(basin_K)
            num_tokens += len(tokens)
            await asyncio.sleep(0)  # others' answers go on between two texts
        access_log.note(prompt_tokens=num_tokens)
        return respond(openai_replies.embeddings(basins_NK, num_tokens, in_base64=asked.base64))

    async def route(self, request: Request) -> Response:
        """Return the route that a text would take, and the tokens that decided."""
        text, options = route_bodies.route_request(bodies.parse(await self._body(request)))
        access_log.note_prompt(text)
        route, _ = await self._host.route(text, options)
        access_log.note_route(route)
        return respond(route, headers=_FRESH)

    async def status(self, request: Request) -> Response:
        """Return the state of the router, kernels, nodes and releases."""
        return respond(status_document(self._host.state()), headers=_FRESH)

    async def status_events(self, request: Request) -> ASGIApp:
        """Send the state and its changes, once a second."""
        return self.events

    async def chat(self, request: Request) -> ASGIApp:
        """Answer a conversation."""
        data = await self._body(request)
        asked = bodies.chat(bodies.parse(data))
        return self._answer(request, data, asked, is_chat=True)

    async def complete(self, request: Request) -> ASGIApp:
        """Go on from a text."""
        data = await self._body(request)
        asked = bodies.completion(bodies.parse(data))
        return self._answer(request, data, asked, is_chat=False)

    async def _body(self, request: Request) -> bytes:
        # A page from elsewhere may send a browser's form here, but not JSON.
        kind = request.headers.get("content-type", "application/octet-stream")
        if kind.partition(";")[0].strip().lower() != "application/json":
            raise InvalidRequest("Content-Type", kind[:64], "application/json")
        coding = request.headers.get("content-encoding", "identity")
        if coding.lower() != "identity":
            raise InvalidRequest("Content-Encoding", coding, "identity")
        try:
            async with asyncio.timeout(self.stall_s):
                return await _read(request)
        except TimeoutError:
            raise HTTPException(408) from None

    def _answer(
        self, request: Request, data: bytes, asked: bodies.Completion, *, is_chat: bool
    ) -> TextAnswer:
        return TextAnswer(self._host, self._guard, asked, _caller(request, data), is_chat=is_chat)


async def _read(request: Request) -> bytes:
    """Return the body of a request.

    Raises:
        MessageTooLarge: The body is over 4 MiB.
    """
    length = request.headers.get("content-length", "0")
    if length.isdigit() and int(length) > MESSAGE_BYTES_MAX:
        raise MessageTooLarge(limit_bytes=MESSAGE_BYTES_MAX)
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > MESSAGE_BYTES_MAX:
            raise MessageTooLarge(limit_bytes=MESSAGE_BYTES_MAX)
    return bytes(data)


def _caller(request: Request, data: bytes) -> Caller:
    """Return who asks, and under which id."""
    client = client_of_transport(request.state.connection.transport)
    request_id = check_request_id(_REPEAT, request.headers.get(_REPEAT, ""))
    if request_id is None:
        return Caller(client=client)
    asked = fingerprint(request.url.path, data)
    return Caller(client=client, request_id=request_id, fingerprint=asked)
