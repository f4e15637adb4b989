"""One browser for every file of tests of the page, and one server over a router without models."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from tests.page.browser import chromium, opened
from tests.page.page_router import PageRouter
from tests.wire.http.doors import Door


# Not for the session: while it is open, Playwright's event loop runs in this thread, where
# `asyncio.run` of other tests would fail.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def door() -> Iterator[Door]:
    with Door(router=PageRouter()) as door:
        yield door


@pytest.fixture
def page(browser: Browser, door: Door) -> Iterator[Page]:
    with opened(browser, door.endpoint) as page:
        yield page
