"""What the fuzzing benchmarks share: a real constellation, a few connections, and the counts."""

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from cluster import launcher_process
from cluster.state_file import RunState
from constellation import Client
from constellation.settings import load_settings

TIMEOUT_S = 30.0
"""Seconds after which an input counts as hung."""

Send = Callable[[int, int], Counter[str]]
"""Sends inputs, given a seed and how many; returns how often they came to what, "untyped" and
"hung" counted beside that, and "inputs" where it is not for the caller to say how many they are."""


def main(description: str, senders_to: Callable[[RunState, Path], Sequence[Send]]) -> None:
    """Start a constellation, have it attacked, and print the counts.

    Args:
        description: Of the benchmark; its first line is shown by --help.
        senders_to: As for `run`.
    """
    run(parser(description).parse_args(), senders_to)


def run(
    arguments: argparse.Namespace, senders_to: Callable[[RunState, Path], Sequence[Send]]
) -> None:
    """Do what `main` does by arguments that were read.

    Args:
        arguments: Those of `parser`.
        senders_to: Returns what sends, one a connection; takes the constellation and its run
            folder.
    """
    with tempfile.TemporaryDirectory() as folder:
        settings = load_settings(
            artifacts=arguments.artifacts, run_dir=Path(folder), serve={"port": 0}
        )
        state = launcher_process.start(settings)
        try:
            senders = senders_to(state, settings.run_dir)
            report = attack(senders, seed=arguments.seed, count=arguments.count)
            with Client(state.endpoint) as stars:
                report["unexpected"] = stars.status().num_unexpected_errors
                report["answers_after"] = bool(stars.ask("x", tokens_max=1).finish)
        finally:
            launcher_process.stop(settings.run_dir)
    sys.stdout.write(json.dumps(report) + "\n")


def attack(senders: Sequence[Send], *, seed: int, count: int) -> dict[str, Any]:
    """Have everybody send a share at the same time; return the counts."""
    num = len(senders)
    started_s = time.monotonic()
    with ThreadPoolExecutor(num) as pool:
        jobs = [
            pool.submit(send, seed * num + place, len(range(place, count, num)))
            for place, send in enumerate(senders)
        ]
        seen: Counter[str] = sum((job.result() for job in jobs), Counter())
    untyped, hung = seen.pop("untyped", 0), seen.pop("hung", 0)
    return {
        "inputs": seen.pop("inputs", count),
        "untyped": untyped,
        "hung": hung,
        "statuses": dict(sorted(seen.items())),
        "seconds": round(time.monotonic() - started_s, 1),
    }


def parser(description: str) -> argparse.ArgumentParser:
    """Return what reads the arguments of all of them."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--artifacts", type=Path, help="what training left")
    parser.add_argument("--count", type=int, default=100_000, help="inputs to send")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="accepted for uniformity")
    return parser
