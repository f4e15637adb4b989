"""How fast, how large and how accessible is the page at `/` of a running constellation?

    python -m benchmarks.page [--artifacts artifacts/starter] [--loads 7]

Starts a constellation, opens its page in a headless Chromium, each time in a new window without a
cache, asks a question, and lets axe-core judge the page in light, dark and 360 px wide. Keys of the
last line, one JSON object:

- `ready_s`: median over the loads of the seconds from the request for the page until the page shows
  the state of the constellation; lower is better, the bar is 1. `ready_s_all`: all of them.
- `route_s`: median of the seconds from pressing Enter until the kernel of the question is lit up;
  lower is better.
- `bytes`: all that one load fetches except the stream of events; lower is better, the bar is
  200,000. `requests`: how many requests that takes.
- `axe_violations`: rules of axe-core that the page breaks, all views together; 0 is the bar.

`benchmarks.page_left_open` measures whether a page that stays open grows.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cluster import launcher_process
from cluster.bootstrap import prepare_environment
from constellation.settings import Settings

CHROMIUM = "/usr/bin/chromium"
QUESTION = "Redistribution of the source code must retain the copyright notice"
WAIT_MS = 15_000
VIEWS: tuple[dict[str, Any], ...] = (
    {"color_scheme": "light", "viewport": {"width": 1280, "height": 900}},
    {"color_scheme": "dark", "viewport": {"width": 1280, "height": 900}},
    {"color_scheme": "light", "viewport": {"width": 360, "height": 740}},
)


def ask(page: Any) -> float:
    """Ask the question; return the seconds until its kernel is lit up."""
    page.fill("#question", QUESTION)
    started_s = time.perf_counter()
    page.press("#question", "Enter")
    page.wait_for_selector("#map .kernel.chosen")
    return time.perf_counter() - started_s


def load(browser: Any, url: str) -> dict[str, Any]:
    """Open the page once in a new window; return what the load took."""
    context = browser.new_context()
    context.set_default_timeout(WAIT_MS)
    page = context.new_page()
    sizes: list[int] = []
    page.on("requestfinished", lambda request: sizes.append(_size(request)))
    started_s = time.perf_counter()
    page.goto(url, wait_until="commit")
    page.wait_for_selector("body[data-ready]")
    ready_s = time.perf_counter() - started_s
    fetched = {"bytes": sum(sizes), "requests": len(sizes)}
    route_s = ask(page)
    context.close()
    return {"ready_s": ready_s, "route_s": route_s, **fetched}


def _size(request: Any) -> int:
    sizes = request.sizes()
    return int(sizes["responseBodySize"]) + int(sizes["responseHeadersSize"])


def violations(browser: Any, url: str) -> list[str]:
    """Return the rules of axe-core that the page breaks, with a route shown."""
    from axe_playwright_python.sync_playwright import Axe

    found: list[str] = []
    for view in VIEWS:
        context = browser.new_context(reduced_motion="reduce", **view)
        page = context.new_page()
        page.goto(url)
        page.wait_for_selector("body[data-ready]")
        ask(page)
        found += [each["id"] for each in Axe().run(page).response["violations"]]
        context.close()
    return found


def measure(url: str, num_loads: int) -> dict[str, Any]:
    """Return all figures of the page at `url`."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Chromium's sandbox refuses to run as root.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        loads = [load(browser, url) for _ in range(num_loads)]
        broken = violations(browser, url)
        browser.close()
    return {
        "ready_s": round(statistics.median(each["ready_s"] for each in loads), 3),
        "ready_s_all": [round(each["ready_s"], 3) for each in loads],
        "route_s": round(statistics.median(each["route_s"] for each in loads), 3),
        "bytes": max(each["bytes"] for each in loads),
        "requests": max(each["requests"] for each in loads),
        "axe_violations": len(broken),
        "axe_rules": broken,
    }


def main() -> None:
    """Run it and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--artifacts", type=Path, default=Path("artifacts/starter"))
    parser.add_argument("--loads", type=int, default=7)
    asked = parser.parse_args()
    if not Path(CHROMIUM).exists():
        sys.exit(f"{CHROMIUM} is missing (Debian: apt-get install chromium)")
    prepare_environment()
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(artifacts=asked.artifacts, run_dir=Path(folder), serve={"port": 0})
        state = launcher_process.start(settings)
        try:
            assert state.http is not None
            print(json.dumps(measure(f"http://{urlsplit(state.http).netloc}/", asked.loads)))
        finally:
            launcher_process.stop(settings.run_dir)


if __name__ == "__main__":
    main()
