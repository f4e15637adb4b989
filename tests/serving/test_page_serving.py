"""The page in a real browser over a real constellation: the right kernel lights up, and why."""

import http.client
import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from cluster.state_file import RunState
from tests.page.browser import ask, chosen, chromium, needs_chromium, opened
from tests.support.artifacts import PROMPTS

pytestmark = [pytest.mark.ray, needs_chromium]

NUMBERS = "square root of the decimal"
WORDS = f"{NUMBERS} email message header charset content mailbox"
"""A text of which most words belong to one kernel and the first to another."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, constellation: RunState) -> Iterator[Page]:
    with opened(browser, address(constellation)) as page:
        yield page


def address(constellation: RunState) -> str:
    assert constellation.http is not None
    return urlsplit(constellation.http).netloc


def call(constellation: RunState, path: str, body: Any = None) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(address(constellation), timeout=30)
    data = None if body is None else json.dumps(body)
    headers = {"Content-Type": "application/json"}
    connection.request("GET" if body is None else "POST", path, data, headers)
    response = connection.getresponse()
    content = json.loads(response.read())
    connection.close()
    return response.status, content


def test_a_question_lights_up_the_kernel_of_its_domain(page: Page) -> None:
    for domain, prompt in PROMPTS.items():
        ask(page, prompt)
        assert chosen(page) == domain
        assert page.inner_text("#chosen").startswith(f"{domain} is nearest, by ")
        assert page.locator("#words .shade-5").count() >= 1


def test_striking_words_and_leaving_a_kernel_out_change_the_route(page: Page) -> None:
    ask(page, WORDS)
    before = chosen(page)
    assert before == "mail"
    words = page.locator("#words button")
    for place in range(len(NUMBERS.split()), words.count()):
        words.nth(place).click()
    page.wait_for_selector("#map .kernel.chosen[data-name=numbers]")
    expect(page.locator("#change")).to_contain_text("the query goes to numbers instead of mail")
    page.click("#reset")
    page.wait_for_selector("#map .kernel.chosen[data-name=mail]")
    page.get_by_label("Leave out mail").check()
    page.wait_for_selector("#map .kernel.chosen:not([data-name=mail])")


def test_an_answer_is_written_and_shows_in_traffic_and_recent_routes(page: Page) -> None:
    ask(page, PROMPTS["network"])
    page.click("#answer-button")
    expect(page.locator("#writers")).to_contain_text("Written by network")
    assert page.inner_text("#written")
    expect(page.locator("#recent tbody tr").first).to_contain_text("network")
    assert PROMPTS["network"] not in page.inner_text("#recent")
    expect(page.locator("#requests-rate")).not_to_have_text(re.compile(r"^(0|\W)$"))


def test_the_status_names_kernels_routers_and_the_release(constellation: RunState) -> None:
    status, found = call(constellation, "/status.json")
    assert status == 200
    assert {kernel["name"] for kernel in found["kernels"]} == set(PROMPTS)
    assert all(kernel["up"] for kernel in found["kernels"])
    assert len(found["routers"]) == 2
    assert found["router"]["name"] in {router["name"] for router in found["routers"]}
    assert found["release"]["number"] >= 1
    assert PROMPTS["network"] not in json.dumps(found)


def test_a_route_leaves_kernels_out_and_an_unknown_name_is_refused(
    constellation: RunState,
) -> None:
    text = {"input": PROMPTS["mail"]}
    status, route = call(constellation, "/v1/route", {**text, "without": ["mail"]})
    assert status == 200
    assert "mail" not in {choice["kernel"] for choice in route["choices"]}
    status, refused = call(constellation, "/v1/route", {**text, "without": ["nobody"]})
    assert (status, refused["error"]["constellation"]["error"]) == (404, "UnknownKernel")
    status, refused = call(constellation, "/v1/route", {**text, "without": sorted(PROMPTS)})
    assert status == 400
    assert "without" in refused["error"]["message"]
