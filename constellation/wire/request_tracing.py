"""Trace requests: protocols of spans, the current request's span, and the facts that spans hold.

With tracing on, a process's gRPC and HTTP servers begin a span for every request of the RPCs in
`TRACED` and of the HTTP endpoints that answer; code that handles the request finds the span by a
context variable. With tracing off there is no span, at the cost of one look-up. A span holds
numbers and names, never a text of a request or an answer. `constellation/telemetry/spans.py`
implements the protocols.

Sources: W3C, "Trace Context" (2021); OpenTelemetry semantic conventions for RPC, HTTP and GenAI.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol, TypeVar

from constellation.records import Finish, Route, RoutingOptions, Sampling
from constellation.wire import access_log

Fact = str | int | float | bool
Facts = Mapping[str, Fact]
ResultT = TypeVar("ResultT")

TRACED = frozenset({"Generate", "Ask", "Score", "Predict"})
"""RPCs that get a span: those in which a model computes."""


class Span(Protocol):
    """Interface of a tracing span: one timed piece of work on a request."""

    @property
    def trace_id(self) -> str:
        """Id shared by all spans of the request: 32 hexadecimal digits."""

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """Headers for a call, so that spans of the called process become this span's children."""

    def child(self, name: str, facts: Facts, *, is_call: bool = False) -> "Span":
        """Begin a child span; `is_call` marks work that another process does."""

    def note(self, facts: Facts) -> None:
        """Add attributes to the span."""

    def event(self, name: str, facts: Facts) -> None:
        """Add an event with the current time."""

    def end(self, error: BaseException | None = None) -> None:
        """End the span; only the class of an error is kept, since its message may quote a text."""


class Tracing(Protocol):
    """Interface of a tracer: begins the span of a request."""

    def begin(self, name: str, headers: Iterable[tuple[str, str]], facts: Facts) -> Span:
        """Begin a request's span, as a child of the span in the headers if there is one."""


_current: ContextVar[Span | None] = ContextVar("request_span", default=None)


def current() -> Span | None:
    """Return the span of the current request; None without tracing."""
    return _current.get()


async def traced(
    tracing: Tracing,
    name: str,
    headers: Iterable[tuple[str, str]],
    facts: Facts,
    work: Awaitable[ResultT],
) -> ResultT:
    """Await `work` with a span of its own, and return its result."""
    span = tracing.begin(name, headers, facts)
    token = _current.set(span)
    access_log.note(trace_id=span.trace_id)
    with _ended(span, BaseException):
        try:
            return await work
        finally:
            _current.reset(token)


@contextmanager
def _ended(span: Span, kind: type[BaseException]) -> Iterator[None]:
    """End a span with the block, by the block's error if that is of this kind."""
    failure: BaseException | None = None
    try:
        yield
    except kind as error:
        failure = error
        raise
    finally:
        span.end(failure)


def during(
    span: Span | None,
    name: str,
    work: Callable[[], ResultT],
    facts_of: Callable[[ResultT], Facts] | None = None,
) -> ResultT:
    """Run `work` as a child of `span`; `facts_of` gives the child's attributes from the result."""
    if span is None:
        return work()
    part = span.child(name, {})
    with _ended(part, Exception):
        result = work()
        if facts_of is not None:
            part.note(facts_of(result))
        return result


async def during_wait(
    span: Span | None, name: str, work: Callable[[], Awaitable[ResultT]]
) -> ResultT:
    """Await `work` as a child of `span`, and return its result."""
    if span is None:
        return await work()
    with _ended(span.child(name, {}), Exception):
        return await work()


def rpc_facts(path: str) -> Facts:
    """Return the attributes of an RPC call, from its HTTP/2 path."""
    service, _, method = path.strip("/").partition("/")
    return {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method}


def asked_facts(sampling: Sampling, options: RoutingOptions) -> Facts:
    """Return the attributes of a request's sampling and routing options."""
    return {
        "gen_ai.request.max_tokens": sampling.tokens_max,
        "gen_ai.request.temperature": sampling.temperature,
        "gen_ai.request.top_p": sampling.top_p,
        "constellation.mode": str(options.mode),
    }


def route_facts(route: Route) -> Facts:
    """Return the attributes of a route."""
    told: dict[str, Fact] = {
        "constellation.kernel": route.kernel,
        "constellation.reason": route.reason,
        "constellation.mode": str(route.mode),
        "constellation.rule": str(route.rule),
        "constellation.margin_radians": route.margin,
        "constellation.out_of_domain": route.out_of_domain,
        "constellation.table_version": route.table_version,
    }
    for choice in route.choices:
        if choice.kernel == route.kernel:
            told["constellation.distance_radians"] = choice.distance
    return told


def finish_facts(finish: Finish) -> Facts:
    """Return the attributes of a finished answer."""
    return {
        "gen_ai.usage.input_tokens": finish.num_prompt_tokens,
        "gen_ai.usage.output_tokens": finish.num_tokens,
        "constellation.finish_reason": str(finish.reason),
    }


def note_route(route: Route) -> None:
    """Add the kernel that answers, and the reason, to the request's span."""
    span = _current.get()
    if span is not None:
        span.note({**route_facts(route), "gen_ai.response.model": route.kernel})


def note_finish(finish: Finish) -> None:
    """Add the numbers of tokens read and written to the request's span."""
    span = _current.get()
    if span is not None:
        span.note(finish_facts(finish))


def note_refusal(kind: str) -> None:
    """Add the class of the error that the caller gets to the request's span."""
    span = _current.get()
    if span is not None:
        span.note({"error.type": kind})
