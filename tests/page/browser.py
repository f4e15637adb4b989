"""A real Chromium that opens the page; a test fails when the page asks any other server."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

CHROMIUM = Path("/usr/bin/chromium")
WAIT_MS = 10_000
needs_chromium = pytest.mark.skipif(
    not CHROMIUM.exists(), reason=f"{CHROMIUM} is missing: apt install chromium"
)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Yield a browser without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()


@contextmanager
def opened(
    browser: Browser, endpoint: str, *, ready: bool = True, errors: bool = False, **options: Any
) -> Iterator[Page]:
    """Open the page in a window of its own.

    Args:
        browser: The browser.
        endpoint: The host:port of the HTTP server.
        ready: Whether to wait until the page shows the status.
        errors: Whether the page may write errors to the console, such as of a lost connection.
        options: How the browser is set up, such as `color_scheme` or `viewport`.
    """
    context = browser.new_context(**options)
    context.set_default_timeout(WAIT_MS)
    page = context.new_page()
    seen, said = _watch(context, page)
    page.goto(f"http://{endpoint}/")
    if ready:
        page.wait_for_selector("body[data-ready]")
    yield page
    context.close()
    assert {urlsplit(url).netloc for url in seen} == {endpoint}
    assert errors or said == []


def _watch(context: BrowserContext, page: Page) -> tuple[list[str], list[str]]:
    """Collect the addresses that the page asks, and the errors that the page reports."""
    seen: list[str] = []
    said: list[str] = []
    context.on("request", lambda request: seen.append(request.url))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("console", lambda message: said.append(message.text) if _is_bad(message) else None)
    return seen, said


def _is_bad(message: Any) -> bool:
    return message.type in {"error", "warning"}


def ask(page: Page, text: str) -> None:
    """Type a question and wait for its route."""
    page.fill("#question", text)
    page.press("#question", "Enter")
    page.wait_for_selector("#decision:not([hidden])")
    page.wait_for_selector("#question:not([aria-busy])")


def chosen(page: Page) -> str | None:
    """Return the kernel that is lit up on the map; None without one."""
    marks = page.locator("#map .kernel.chosen")
    return marks.first.get_attribute("data-name") if marks.count() else None
