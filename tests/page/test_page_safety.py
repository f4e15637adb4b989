"""Names are text and nothing else, and the token of the constellation is stored nowhere."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from constellation.wire.channel import Bind
from tests.page.browser import ask, chosen, needs_chromium, opened
from tests.page.page_router import PageRouter
from tests.wire.http.doors import Door

pytestmark = [needs_chromium, pytest.mark.slow]

TOKEN = "a secret of many characters"
HOSTILE = (
    "plain",
    "<img/src=x/onerror=alert(1)>",
    "</title><script>alert(2)</script>",
    "\u202eexe.won\u2066",
    "'\"&amp;{{7*7}}",
    "y" * 200,
)


@pytest.fixture(scope="module")
def guarded() -> Iterator[Door]:
    with Door(Bind(token=TOKEN), router=PageRouter()) as door:
        yield door


def test_hostile_names_are_shown_as_their_characters(browser: Browser) -> None:
    size = {"width": 360, "height": 700}
    with (
        Door(router=PageRouter(HOSTILE)) as door,
        opened(browser, door.endpoint, viewport=size) as page,
    ):
        page.on("dialog", lambda dialog: pytest.fail(f"a script ran: {dialog.message}"))
        for name in HOSTILE:
            ask(page, f"{name} {name}")
            page.locator("#words button").first.click()
            page.wait_for_selector("#change:not([hidden])")
        assert page.locator("img, script:not([src])").count() == 0
        shown = page.inner_text("#kernels") + page.inner_text("#choices")
        assert not any(turned in shown for turned in "\u202e\u2066")
        named = page.locator("#kernels tbody th").all_inner_texts()
        assert set(named) >= {name for name in HOSTILE if name.isascii()}
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]


def test_the_token_is_asked_for_once_and_kept_in_memory_only(
    browser: Browser, guarded: Door
) -> None:
    with opened(browser, guarded.endpoint, ready=False, errors=True) as page:
        dialog = page.locator("#token-dialog")
        dialog.wait_for(state="visible")
        page.fill("#token", "a wrong token of many characters")
        page.keyboard.press("Enter")
        expect(page.locator("#token-problem")).not_to_be_empty()
        page.fill("#token", TOKEN)
        page.keyboard.press("Enter")
        page.wait_for_selector("body[data-ready]")
        assert dialog.is_hidden()
        ask(page, "python")
        assert chosen(page) == "python"
        stores = "{...localStorage}, {...sessionStorage}, document.cookie, location.href"
        assert TOKEN not in page.evaluate(f"JSON.stringify([{stores}])")
        assert TOKEN not in page.content()
        assert page.input_value("#token") == ""


def test_without_the_token_nothing_of_the_constellation_is_shown(
    browser: Browser, guarded: Door
) -> None:
    with opened(browser, guarded.endpoint, ready=False, errors=True) as page:
        page.locator("#token-dialog").wait_for(state="visible")
        page.get_by_role("button", name="Cancel").click()
        expect(page.locator("#connection-text")).to_contain_text("token")
        assert "python" not in page.content()


def test_a_lost_connection_is_said_and_made_again(browser: Browser) -> None:
    door = Door(router=PageRouter())
    with door, opened(browser, door.endpoint, errors=True) as page:
        door.stop()
        expect(page.locator("#connection-text")).to_contain_text("next try in")
        assert "old" in page.inner_text("#connection-text")
        assert page.get_attribute("#connection", "class") == "lost"
        door.start_again()
        page.click("#connect")
        page.wait_for_selector("#connection.live")
