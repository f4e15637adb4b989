"""Strange bodies against the HTTP door of a real constellation: is every answer a typed one?

    python -m benchmarks.fuzz_http --artifacts artifacts/starter --count 100000 --json

Starts a constellation, sends bodies of `strange_bodies` over a few connections, and counts what
comes back. `untyped` counts answers that are neither 2xx nor an error object with a status of 4xx
or 503, and errors that show a traceback; `hung` those that did not come within 30 s; `unexpected`
is the router's own count of errors that nobody intended. All three should be 0.
"""

import argparse
import http.client
import json
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.strange_bodies import strange_requests
from cluster import lifecycle
from constellation import Client
from constellation.settings import load_settings

CONNECTIONS = 4
TIMEOUT_S = 30.0


def main() -> None:
    """Run it and print the counts."""
    arguments = _arguments()
    with tempfile.TemporaryDirectory() as folder:
        settings = load_settings(
            artifacts=arguments.artifacts, run_dir=Path(folder), serve={"port": 0}
        )
        state = lifecycle.start(settings)
        try:
            assert state.http is not None
            report = _fuzz(state.http, arguments.seed, arguments.count)
            with Client(state.endpoint) as stars:
                report["unexpected"] = stars.status().num_unexpected_errors
                report["answers_after"] = bool(stars.ask("x", tokens_max=1).finish)
        finally:
            lifecycle.stop(settings.run_dir)
    sys.stdout.write(json.dumps(report) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--artifacts", type=Path, help="what training left")
    parser.add_argument("--count", type=int, default=100_000, help="bodies to send")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="accepted for uniformity")
    return parser.parse_args()


def _fuzz(url: str, seed: int, count: int) -> dict[str, Any]:
    address = urlsplit(url).netloc
    shares = [len(range(place, count, CONNECTIONS)) for place in range(CONNECTIONS)]
    started_s = time.monotonic()
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        jobs = [
            pool.submit(_send, address, seed * CONNECTIONS + place, share)
            for place, share in enumerate(shares)
        ]
        seen: Counter[str] = sum((job.result() for job in jobs), Counter())
    untyped, hung = seen.pop("untyped", 0), seen.pop("hung", 0)
    return {
        "inputs": count,
        "untyped": untyped,
        "hung": hung,
        "statuses": dict(sorted(seen.items())),
        "seconds": round(time.monotonic() - started_s, 1),
    }


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
