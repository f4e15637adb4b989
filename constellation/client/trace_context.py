"""Passes the caller's trace on, so that its spans and those of the constellation are one tree.

OpenTelemetry is not imported here: a program that uses OpenTelemetry has imported it.

Source: W3C, "Trace Context" (2021).
"""

import re
import sys

from constellation.errors import InvalidRequest

_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def trace_headers(traceparent: str | None) -> tuple[tuple[str, str], ...]:
    """Return the metadata that names the caller's span; empty when there is none.

    Args:
        traceparent: As in W3C's header of that name; None takes OpenTelemetry's current span, if
            the program has one.

    Raises:
        InvalidRequest: `traceparent` has another form.
    """
    if traceparent is not None:
        if _TRACEPARENT.fullmatch(traceparent) is None:
            allowed = "00-(32 hex digits)-(16 hex digits)-(2 hex digits), in lower case"
            raise InvalidRequest("traceparent", traceparent, allowed)
        return (("traceparent", traceparent),)
    api = sys.modules.get("opentelemetry.trace")
    if api is None:
        return ()
    context = api.get_current_span().get_span_context()
    if not context.is_valid:
        return ()
    name = f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"
    state = context.trace_state.to_header()
    return (("traceparent", name), *((("tracestate", state),) if state else ()))
