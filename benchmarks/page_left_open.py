"""Does a page that is left open grow, in the browser or in the router?

    python -m benchmarks.page_left_open [--artifacts artifacts/starter] [--minutes 60]

The page of a running constellation stays open in a headless Chromium while one caller asks a
question every second. Every `--every` minutes the benchmark forces Chromium to collect garbage and
reads:

- `heap_bytes`: live JavaScript objects (Performance.getMetrics: JSHeapUsedSize);
- `nodes`: nodes of the document; `listeners`: event listeners;
- `router_bytes`: memory of the router's process, shared pages by share (PSS).

Keys of the last line, one JSON object. For each of the four figures: `first` and `last` value, and
`per_hour`, the slope of a line through all values but those of the first tenth of the time, when
caches fill, with its 95 % interval. A figure has `grown` true when the interval lies above 0 and an
hour adds more than 1 % of the last value; false is good. `grows` names the figures that grow.
"""

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

import numpy as np
import psutil
from scipy import stats

from benchmarks.query_texts import query_texts
from cluster import launcher_process
from cluster.bootstrap import prepare_environment
from cluster.state_file import RunState
from constellation.client.async_client import AsyncClient
from constellation.settings import Settings

if TYPE_CHECKING:
    from playwright.async_api import CDPSession

FIGURES = ("heap_bytes", "nodes", "listeners", "router_bytes")
WARM_SHARE = 0.1
"""Share of the time, from the start, whose values the line leaves out."""
GROWTH_MIN = 0.01
"""Share of the last value that an hour must add for a figure to count as growing."""
ASK_EVERY_S = 1.0


async def ask_every_second(endpoint: str, texts: Sequence[str]) -> None:
    """Ask one question a second."""
    async with AsyncClient(endpoint) as stars:
        for text in cycle(texts):
            await stars.ask(text, tokens_max=4)
            await asyncio.sleep(ASK_EVERY_S)


@asynccontextmanager
async def opened(url: str) -> AsyncIterator["CDPSession"]:
    """Open a page in the machine's Chromium; yield a session of the DevTools Protocol.

    Raises:
        SystemExit: Chromium is not installed, or there is no page at the address.
    """
    from playwright.async_api import async_playwright

    program = shutil.which("chromium")
    if program is None:
        raise SystemExit("chromium is not installed (Debian: apt-get install chromium)")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=program,
            args=["--no-sandbox"],  # Chromium's sandbox refuses to run as root
        )
        page = await browser.new_page()
        reply = await page.goto(url)
        if reply is None or not reply.ok:
            raise SystemExit(f"{url} is no page: {reply and reply.status}")
        session = await page.context.new_cdp_session(page)
        await session.send("Performance.enable")
        yield session
        await browser.close()


async def look(page: "CDPSession", router: psutil.Process, started_s: float) -> dict[str, float]:
    """Return the figures now, after all garbage was collected, with the minutes since the start."""
    for _ in range(2):  # once more for what finalisers gave free
        await page.send("HeapProfiler.collectGarbage")
    metrics = (await page.send("Performance.getMetrics"))["metrics"]
    found = {each["name"]: float(each["value"]) for each in metrics}
    return {
        "minutes": (time.monotonic() - started_s) / 60,
        "heap_bytes": found["JSHeapUsedSize"],
        "nodes": found["Nodes"],
        "listeners": found["JSEventListeners"],
        "router_bytes": router.memory_full_info().pss,
    }


async def watch(state: RunState, texts: Sequence[str], minutes: float, every: float) -> Any:
    """Leave the page open under load; return the figures of every look."""
    assert state.http is not None
    async with AsyncClient(state.endpoint) as stars:
        router = psutil.Process((await stars.status()).routers[0].pid)
    asking = asyncio.create_task(ask_every_second(state.endpoint, texts))
    try:
        async with opened(urljoin(state.http, "/")) as page:
            started_s = time.monotonic()
            looks = [await look(page, router, started_s)]
            while looks[-1]["minutes"] < minutes:
                due_s = started_s + len(looks) * every * 60
                await asyncio.sleep(max(0.0, due_s - time.monotonic()))
                if asking.done():
                    asking.result()
                looks.append(await look(page, router, started_s))
                print(json.dumps(looks[-1]), flush=True)
    finally:
        asking.cancel()
        with suppress(asyncio.CancelledError):
            await asking
    return looks


def growth(minutes: Sequence[float], values: Sequence[float]) -> dict[str, Any]:
    """Return the slope per hour of a line through values, with its 95 % interval.

    The interval counts only the scatter of the values around the line (ordinary least squares). At
    least three values must lie behind the first tenth of the time.
    """
    late = np.array(minutes) >= WARM_SHARE * minutes[-1]
    hours, kept = np.array(minutes)[late] / 60, np.array(values)[late]
    if len(kept) < 3:
        raise SystemExit(f"a line with an interval needs 3 values, and there are {len(kept)}")
    away = hours - hours.mean()
    slope = float(away @ kept / (away @ away))
    scatter = kept - kept.mean() - slope * away
    error = np.sqrt(scatter @ scatter / (len(kept) - 2) / (away @ away))
    half = float(stats.t.ppf(0.975, len(kept) - 2) * error)
    return {
        "first": round(values[0]),
        "last": round(values[-1]),
        "per_hour": round(slope, 1),
        "interval": [round(slope - half, 1), round(slope + half, 1)],
        "grown": bool(slope - half > 0 and slope > GROWTH_MIN * values[-1]),
    }


def run(artifacts: Path, minutes: float, every: float) -> dict[str, Any]:
    """Start a constellation, leave its page open, stop the constellation."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(
            artifacts=artifacts,
            run_dir=Path(folder) / "run",
            serve={"port": 0, "http_port": 0, "metrics_port": 0},
        )
        state = launcher_process.start(settings)
        try:
            looks = asyncio.run(watch(state, query_texts(artifacts, 1000), minutes, every))
        finally:
            launcher_process.stop(settings.run_dir)
    times = [each["minutes"] for each in looks]
    found = {name: growth(times, [each[name] for each in looks]) for name in FIGURES}
    grows = [name for name in FIGURES if found[name]["grown"]]
    return {**found, "grows": grows, "minutes": round(times[-1], 1), "looks": len(looks)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--artifacts", type=Path, default=Path("artifacts/starter"))
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--every", type=float, default=5.0, help="minutes between two looks")
    asked = parser.parse_args()
    prepare_environment()
    sys.stdout.write(json.dumps(run(asked.artifacts, asked.minutes, asked.every)) + "\n")


if __name__ == "__main__":
    main()
