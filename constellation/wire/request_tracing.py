"""Traces of requests: what a door begins, and what those behind it add.

With tracing on, the door of a process begins a span for every request of the RPCs in `TRACED` and
of the HTTP endpoints that answer; whoever works on the request finds it by context. With tracing
off there is none, and nobody does more than look. A span holds numbers and names of ours, never a
text of a request or an answer. `constellation/telemetry/spans.py` is what fulfils the protocols.

Sources: W3C, "Trace Context" (2021); OpenTelemetry semantic conventions for RPC, HTTP and GenAI.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextvars import ContextVar
from typing import Protocol, TypeVar

from constellation.records import Finish, Route, RoutingOptions, Sampling
from constellation.wire import access_log

Fact = str | int | float | bool
Facts = Mapping[str, Fact]
ResultT = TypeVar("ResultT")

TRACED = frozenset({"Generate", "Ask", "Score", "Predict"})
"""RPCs that have a span: those by which a model works."""


class Span(Protocol):
    """A piece of work on a request."""

    @property
    def trace_id(self) -> str:
        """What all spans of the request have in common: 32 hexadecimal digits."""
        ...

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """What accompanies a call, so that its spans follow from this one."""
        ...

    def child(self, name: str, facts: Facts, *, is_call: bool = False) -> "Span":
        """Begin a part of this work; `is_call` has somebody else do it."""
        ...

    def note(self, facts: Facts) -> None:
        """Add facts."""
        ...

    def event(self, name: str, facts: Facts) -> None:
        """Add something that happened just now."""
        ...

    def end(self, error: BaseException | None = None) -> None:
        """End the work; of an error only its class is kept, since its message may quote a text."""
        ...


class Tracing(Protocol):
    """What a door needs to trace requests."""

    def begin(self, name: str, headers: Iterable[tuple[str, str]], facts: Facts) -> Span:
        """Begin a request's span, after the one that the headers name, if they do."""
        ...


_current: ContextVar[Span | None] = ContextVar("request_span", default=None)


def current() -> Span | None:
    """Return the span of the request that is being handled; None without tracing."""
    return _current.get()


async def traced(
    tracing: Tracing,
    name: str,
    headers: Iterable[tuple[str, str]],
    facts: Facts,
    work: Awaitable[ResultT],
) -> ResultT:
    """Return what `work` comes to, which has a span of its own meanwhile."""
    span = tracing.begin(name, headers, facts)
    token = _current.set(span)
    access_log.note(trace_id=span.trace_id)
    failure: BaseException | None = None
    try:
        return await work
    except BaseException as error:
        failure = error
        raise
    finally:
        _current.reset(token)
        span.end(failure)


def during(
    span: Span | None,
    name: str,
    work: Callable[[], ResultT],
    facts_of: Callable[[ResultT], Facts] | None = None,
) -> ResultT:
    """Return what `work` comes to, as a part of `span`; `facts_of` says what is told of it."""
    if span is None:
        return work()
    part, failure = span.child(name, {}), None
    try:
        result = work()
        if facts_of is not None:
            part.note(facts_of(result))
        return result
    except Exception as error:
        failure = error
        raise
    finally:
        part.end(failure)


async def during_wait(
    span: Span | None, name: str, work: Callable[[], Awaitable[ResultT]]
) -> ResultT:
    """Return what `work` comes to, as a part of `span`; others may go on meanwhile."""
    if span is None:
        return await work()
    part, failure = span.child(name, {}), None
    try:
        return await work()
    except Exception as error:
        failure = error
        raise
    finally:
        part.end(failure)


def rpc_facts(path: str) -> Facts:
    """Return what is told of a call of an RPC, by its HTTP/2 path."""
    service, _, method = path.strip("/").partition("/")
    return {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method}


def asked_facts(sampling: Sampling, options: RoutingOptions) -> Facts:
    """Return what is told of how an answer is wanted."""
    return {
        "gen_ai.request.max_tokens": sampling.tokens_max,
        "gen_ai.request.temperature": sampling.temperature,
        "gen_ai.request.top_p": sampling.top_p,
        "constellation.mode": str(options.mode),
    }


def route_facts(route: Route) -> Facts:
    """Return what is told of a route."""
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
    """Return what is told of a finished answer."""
    return {
        "gen_ai.usage.input_tokens": finish.num_prompt_tokens,
        "gen_ai.usage.output_tokens": finish.num_tokens,
        "constellation.finish_reason": str(finish.reason),
    }


def note_route(route: Route) -> None:
    """Tell the request's span which kernel answers, and why."""
    span = _current.get()
    if span is not None:
        span.note({**route_facts(route), "gen_ai.response.model": route.kernel})


def note_finish(finish: Finish) -> None:
    """Tell the request's span how many tokens were read and written."""
    span = _current.get()
    if span is not None:
        span.note(finish_facts(finish))


def note_refusal(kind: str) -> None:
    """Tell the request's span the class of the error that its caller hears."""
    span = _current.get()
    if span is not None:
        span.note({"error.type": kind})
