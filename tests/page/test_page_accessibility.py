"""axe-core finds no violation, in light and dark, on a desk and on a telephone."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ViewportSize

from tests.page.browser import ask, needs_chromium, opened
from tests.wire.http.doors import Door

pytestmark = [needs_chromium, pytest.mark.slow]

DESK: ViewportSize = {"width": 1280, "height": 900}
TELEPHONE: ViewportSize = {"width": 360, "height": 740}


def violations(page: object) -> list[str]:
    found = Axe().run(page).response["violations"]
    return [f"{each['id']}: {each['nodes'][0]['html'][:160]}" for each in found]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [DESK, TELEPHONE])
def test_axe_finds_nothing(
    browser: Browser, door: Door, scheme: str, viewport: ViewportSize
) -> None:
    motion = {"reduced_motion": "reduce"}  # colours are judged when they have come to rest
    with opened(browser, door.endpoint, color_scheme=scheme, viewport=viewport, **motion) as page:
        assert violations(page) == []
        ask(page, "python and poetry and a law of python")
        page.click("#answer-button")
        page.wait_for_selector("#stop", state="hidden")
        page.locator("#words button").first.click()
        page.wait_for_selector("#change:not([hidden])")
        assert violations(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]


def test_the_check_finds_what_it_looks_for(browser: Browser, door: Door) -> None:
    with opened(browser, door.endpoint) as page:
        page.evaluate("document.querySelector('label[for=question]').remove()")
        page.evaluate("document.querySelector('#question').placeholder = ''")
        assert any(each.startswith("label:") for each in violations(page))


def test_nothing_moves_for_those_who_want_nothing_to_move(browser: Browser, door: Door) -> None:
    with opened(browser, door.endpoint, reduced_motion="reduce") as page:
        ask(page, "python")
        moved = "getComputedStyle(document.querySelector('.edge')).animationName"
        assert page.evaluate(moved) == "none"
