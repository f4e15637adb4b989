"""Strange bodies against the HTTP door of a real constellation: is every answer a typed one?

    python -m benchmarks.fuzz_http --artifacts artifacts/starter --count 100000 --json

Starts a constellation, sends bodies of `strange_bodies` over a few connections, and counts what
comes back. `untyped` counts answers that are neither 2xx nor an error object with a status of 4xx
or 503, and errors that show a traceback; `hung` those that did not come within 30 s; `unexpected`
is the router's own count of errors that nobody intended. All three should be 0.
"""

import http.client
import json
import sys
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks import fuzzing
from benchmarks.fuzzing import TIMEOUT_S, Send
from benchmarks.strange_bodies import strange_requests
from cluster.state_file import RunState

CONNECTIONS = 4


def main() -> None:
    """Run it and print the counts."""
    fuzzing.main(__doc__, _senders)


def _senders(state: RunState, run_dir: Path) -> Sequence[Send]:
    assert state.http is not None
    return [partial(_send, urlsplit(state.http).netloc)] * CONNECTIONS


def _send(address: str, seed: int, count: int) -> Counter[str]:
    seen: Counter[str] = Counter()
    connection = http.client.HTTPConnection(address, timeout=TIMEOUT_S)
    for path, body in strange_requests(seed, count):
        try:
            connection.request("POST", path, body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            content = response.read()
        except TimeoutError:
            connection.close()
            seen["hung"] += 1
            continue
        seen[str(response.status)] += 1
        if not _is_typed(response.status, content):
            seen["untyped"] += 1
            sys.stderr.write(f"untyped: {path} {body!r}: {response.status} {content!r}\n")
    connection.close()
    return seen


def _is_typed(status: int, content: bytes) -> bool:
    if 200 <= status < 300:
        return True  # kernels that read documentation write of tracebacks now and then
    if b"Traceback" in content:
        return False
    if not (400 <= status < 500 or status == 503):
        return False
    error = json.loads(content).get("error")
    return isinstance(error, dict) and {"message", "type", "param", "code"} <= set(error)


if __name__ == "__main__":
    main()
