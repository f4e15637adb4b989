"""Is anything lost while everything dies? Mixed load on a real constellation that is being killed.

    python -m benchmarks.chaos --minutes 10 --artifacts artifacts/starter --json

Questions whole and streamed in every mode, scores, cancellations, slow readers, input that must be
refused and connections that say nothing go on, while kernels, routers and the registry get SIGKILL
and SIGSTOP at random (one event after the other, so that each recovery can be timed; a stopped
process is left to the supervisor or goes on after a second). What counts:

* `lost`: requests with neither an answer nor a typed error within their deadline and 3 s;
* `wrong`: greedy answers of which an offline replay of the reply's own route differs;
* `untyped`: errors that are none of ours, and errors that nobody intended, in logs too;
* `recovery_seconds_max`: longest from a SIGKILL until every router serves the whole table again
  (`hang_seconds_max` the same for SIGSTOP, which takes three missed heartbeats to notice);
* `memory_growth_ratio`: largest growth of any process of ours that lives all the time, median PSS
  of the last fifth of the run over that of the second fifth (minutes 9-10 over 3-4 of ten). One
  kernel and one router, drawn, are spared so that there are such processes. Before, load of all
  kinds and, for runs of five minutes or more, questions by the thousand fill the caches.

Callers pause for up to .2 s between requests, so that the machine is busy and not choked.
"""

import argparse
import json
import statistics
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.chaos_deaths import Deaths, recovery_seconds
from benchmarks.chaos_memory import Memory
from benchmarks.chaos_replay import Replay
from benchmarks.chaos_together import is_joint
from benchmarks.chaos_traffic import Asked, Tally, Traffic
from cluster import launcher_process
from cluster.state_file import RunState
from constellation import Client
from constellation.client import AskOptions, RouterStatus
from constellation.records import Piece
from constellation.runtime.idempotency import ANSWERS_MAX, BYTES_MAX
from constellation.settings import Settings, load_settings
from constellation.wire import convert

NUM_PROMPTS = 64
PROMPT_CHARACTERS = (60, 240)
ROUTERS = 2
PREFIX_MIB = 1
WARM_SHARE, WARM_MAX_S = 0.15, 60.0
"""Length of the load before the clock runs, of the run's and in seconds."""
FILL_FROM_S = 300.0
"""Shorter runs do not fill the spared router's memory of answers: that takes over a minute."""
FILLERS = 8
FILL_TOKENS, FILL_LOGPROBS = 8, 20
"""What fills it: answers of 4 KB, about as large as those of the traffic are on average, so that
as many are kept later as at first."""
_OURS = ("ray::KernelProcess", "ray::RouterProcess", "ray::RegistryProcess", "python")


def main() -> None:
    """Run it and print the counts."""
    arguments = _arguments()
    with tempfile.TemporaryDirectory() as folder:
        settings = load_settings(
            artifacts=arguments.artifacts,
            run_dir=Path(folder),
            serve={"port": 0, "routers": ROUTERS},
            # Small, so that both ends are reached: readers are cut off, caches are full.
            kernel={"stall_s": 3.0, "prefix_mib": PREFIX_MIB},
        )
        report = run(settings, seconds=arguments.minutes * 60, seed=arguments.seed, say=_say)
    sys.stdout.write(json.dumps(report) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--artifacts", type=Path, help="what training left")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="accepted for uniformity")
    return parser.parse_args()


def run(settings: Settings, *, seconds: float, seed: int, say: Any) -> dict[str, Any]:
    """Start a constellation, do it all for so long, stop it; return the report."""
    state = launcher_process.start(settings)
    deaths = Deaths(state, seed)
    try:
        deaths.spare_some()
        _warm(state, deaths, seconds=seconds, seed=seed)
        with Memory(state.pid) as memory:
            tally = _storm(state, deaths, seconds=seconds, seed=seed, say=say)
    finally:
        deaths.close()
        launcher_process.stop(settings.run_dir)
    say("replaying")
    serve = settings.serve
    replay = Replay(settings.artifacts, rule=serve.rule, phi_weighting=serve.phi_weighting)
    differences = replay.differences(tally.answers)
    unexpected = unexpected_errors(settings.run_dir)
    return _report(tally, deaths, memory, differences, unexpected, seconds)


def prompts() -> list[str]:
    """Return pieces of the standard library's sources, of several lengths."""
    files = sorted(Path(json.__file__).parent.parent.glob("*.py"))[:NUM_PROMPTS]
    shortest, longest = PROMPT_CHARACTERS
    texts = [file.read_text("utf-8", errors="replace") for file in files]
    return [
        text[500 : 500 + shortest + (longest - shortest) * place // NUM_PROMPTS]
        for place, text in enumerate(texts)
        if len(text) > 500 + longest
    ]


def _warm(state: RunState, deaths: Deaths, *, seconds: float, seed: int) -> None:
    """Do everything once, and fill the caches of those whose memory is watched to the end."""
    assert state.http is not None
    with Client(state.endpoints) as stars:
        for kernel in state.kernels:
            for prompt in prompts():
                stars.ask(prompt, kernel=kernel, tokens_max=2)
    pause = threading.Event()
    with Traffic(state.endpoints, state.http, prompts(), seed=seed + 1):
        pause.wait(min(WARM_MAX_S, WARM_SHARE * seconds))
    if seconds >= FILL_FROM_S:
        spared = next(iter(deaths.spared & {router.name for router in _routers(state)}))
        _fill(next(each.endpoint for each in _routers(state) if each.name == spared), state)


def _fill(endpoint: str, state: RunState) -> None:
    """Have a router answer until it remembers all it can: requests with an id, as all of ours."""
    with Client(endpoint) as stars, ThreadPoolExecutor(FILLERS) as pool:

        def ask(number: int) -> int:
            kernel = state.kernels[number % len(state.kernels[:2])]
            options = AskOptions(tokens_max=FILL_TOKENS, logprobs=FILL_LOGPROBS, kernel=kernel)
            reply = stars.ask("import os", **options)
            piece = Piece(text=reply.text, num_tokens=0, logprobs=reply.logprobs)
            return convert.piece_to_message(piece).ByteSize()

        num_bytes = num_asked = 0
        while num_bytes < BYTES_MAX and num_asked < ANSWERS_MAX:
            asked = range(num_asked, num_asked + FILLERS)
            num_bytes += sum(pool.map(ask, asked))
            num_asked += len(asked)


def _routers(state: RunState) -> tuple[RouterStatus, ...]:
    with Client(state.endpoints) as stars:
        return stars.status().routers


def _storm(state: RunState, deaths: Deaths, *, seconds: float, seed: int, say: Any) -> Tally:
    assert state.http is not None
    started_s = time.monotonic()
    with Traffic(state.endpoints, state.http, prompts(), seed=seed) as traffic:
        while time.monotonic() - started_s < seconds:
            death = deaths.strike()
            say(f"{time.monotonic() - started_s:6.1f} s  {death}")
            deaths.rest()
        deaths.wait_whole({}, started_s=time.monotonic())
    return traffic.tally


def unexpected_errors(run_dir: Path) -> list[str]:
    """Return what the logs of all processes say that nobody intended."""
    found = []
    for path in sorted((run_dir / "logs").glob("*.jsonl")):
        for line in path.read_text("utf-8", errors="replace").splitlines():
            if '"unexpected error"' in line:
                found.append(f"{path.name}: {line[:2000]}")
    return found


def _report(
    tally: Tally,
    deaths: Deaths,
    memory: Memory,
    differences: list[str],
    unexpected: list[str],
    seconds: float,
) -> dict[str, Any]:
    growth = {
        name: round(ratio, 4) for name, ratio in memory.growth().items() if name.startswith(_OURS)
    }
    kills = [death.seconds for death in deaths.done if death.kind == "kill"]
    return {
        "lost": tally.lost,
        "wrong": len(differences),
        "untyped": tally.untyped + len(unexpected),
        "recovery_seconds_max": _rounded(recovery_seconds(deaths.done, "kill")),
        "memory_growth_ratio": max(growth.values(), default=None),
        "recovery_seconds_p50": _rounded(statistics.median(kills) if kills else None),
        "hang_seconds_max": _rounded(recovery_seconds(deaths.done, "hang")),
        "requests": sum(tally.seen.values()),
        "replayed": len(tally.answers),
        "failed_over": sum(map(_taken_over, tally.answers)),
        "written_together": sum(is_joint(asked.reply) for asked in tally.answers),
        "deaths": len(deaths.done),
        "spared": sorted(deaths.spared),
        "minutes": round(seconds / 60, 2),
        "growth": growth,
        "seen": dict(sorted(tally.seen.items())),
        "examples": [*tally.examples, *differences[:5], *unexpected[:5]],
    }


def _taken_over(asked: Asked) -> bool:
    return asked.reply.route.reason == "failover" or len(asked.reply.finish.segments) > 1


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


if __name__ == "__main__":
    main()
