"""A question lights up its kernel, and the page says what a word or a kernel changes."""

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.page.browser import ask, chosen, needs_chromium, opened
from tests.page.page_router import PageRouter
from tests.wire.http.doors import Door

pytestmark = [needs_chromium, pytest.mark.slow]


def test_a_question_lights_up_the_nearest_kernel_and_says_by_how_much(page: Page) -> None:
    assert chosen(page) is None
    ask(page, "some python here")
    assert chosen(page) == "python"
    said = page.inner_text("#chosen")
    assert said.startswith("python is nearest, by 1.33 rad: 0.67 rad from the text.")
    assert page.locator("#map .edge.chosen").count() == 1
    assert page.locator("#choices tbody tr").count() == 3


def test_the_route_follows_what_one_types(page: Page) -> None:
    ask(page, "python")
    page.press("#question", "End")
    page.type("#question", " poetry poetry")
    page.wait_for_selector("#map .kernel.chosen[data-name=poetry]")
    page.fill("#question", "")
    page.wait_for_selector("#decision", state="hidden")
    assert chosen(page) is None


def test_words_are_shaded_by_how_far_they_moved_the_basin(page: Page) -> None:
    ask(page, "the python and poetry")
    shades = page.locator("#words button").evaluate_all("all => all.map(each => each.className)")
    assert shades == ["word shade-0", "word shade-5", "word shade-0", "word shade-3"]


def test_a_word_that_is_struck_out_changes_the_route_and_comes_back(page: Page, door: Door) -> None:
    ask(page, "poetry and python python")
    assert chosen(page) == "python"
    for place in (2, 3):
        page.locator("#words button").nth(place).click()
    page.wait_for_selector("#map .kernel.chosen[data-name=poetry]")
    assert door.router.calls[-1][0].split() == ["poetry", "and"]
    change = page.inner_text("#change")
    assert change == "Without “python”, “python” the query goes to poetry instead of python."
    assert page.locator("#map .kernel.was").get_attribute("data-name") == "python"
    assert page.locator("#map .edge.was").count() == 1
    page.click("#reset")
    page.wait_for_selector("#map .kernel.chosen[data-name=python]")
    assert page.is_hidden("#change")


def test_a_kernel_that_is_left_out_changes_the_route(page: Page, door: Door) -> None:
    ask(page, "python python law")
    page.get_by_label("Leave out python").check()
    page.wait_for_selector("#map .kernel.chosen[data-name=law]")
    assert door.router.calls[-1][2].without == ("python",)
    assert "Without the kernel python the query goes to law" in page.inner_text("#change")
    page.get_by_label("Leave out python").uncheck()
    page.wait_for_selector("#map .kernel.chosen[data-name=python]")


def test_an_error_is_shown_in_words_and_goes_again(browser: Browser, door: Door) -> None:
    with opened(browser, door.endpoint, errors=True) as page:
        problem = page.locator("#ask-problem")
        ask(page, "python")
        page.click("#words button")
        problem.wait_for(state="visible")
        assert "nothing left to route" in problem.inner_text()
        page.click("#reset")
        problem.wait_for(state="hidden")
        for name in ("python", "poetry", "law"):
            page.get_by_label(f"Leave out {name}").check()
        problem.wait_for(state="visible")
        assert "allowed: at least one kernel is left" in problem.inner_text()


def test_an_answer_is_written_in_place_with_the_kernel_that_wrote_it(page: Page) -> None:
    ask(page, "python wrote this")
    page.click("#answer-button")
    expect(page.locator("#writers")).to_contain_text("Written by")
    assert page.inner_text("#written") == "python wrote this"  # the fake says its prompt
    assert page.inner_text("#writers").startswith("Written by python, 3 tokens")


def test_the_keyboard_is_enough(page: Page) -> None:
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the question"
    page.keyboard.press("Enter")
    page.keyboard.type("python law law")
    page.keyboard.press("Enter")
    page.wait_for_selector("#map .kernel.chosen[data-name=law]")
    while page.evaluate("document.activeElement.textContent") != "law":
        page.keyboard.press("Tab")
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    page.wait_for_selector("#map .kernel.chosen[data-name=python]")
    page.focus("#question")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#writers")).to_contain_text("Written by")


@pytest.mark.parametrize("count", [1, 24, 240])
def test_names_on_the_map_cover_neither_each_other_nor_a_mark(browser: Browser, count: int) -> None:
    names = tuple(f"kernel-{index}" for index in range(count))
    router = PageRouter(names, seated=count - count // 10)
    with Door(router=router) as door, opened(browser, door.endpoint) as page:
        assert page.locator("#map .kernel").count() == count
        boxes = page.locator("#map .label").evaluate_all(
            "all => all.map(each => each.getBBox()).map(b => [b.x, b.y, b.width, b.height])"
        )
        assert min(count, 12) <= len(boxes) <= count
        assert not any(_overlap(one, two) for i, one in enumerate(boxes) for two in boxes[:i])


def _overlap(one: list[float], other: list[float]) -> bool:
    """Say whether more than the free space around the letters of two names is shared."""
    width = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    height = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    return width > 2 and height > 0.4 * one[3]
