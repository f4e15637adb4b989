"""One real HTTP server per test file, and OpenAI's own client of it."""

from collections.abc import Iterator

import openai
import pytest

from tests.wire.http.doors import Door


@pytest.fixture(scope="module")
def door() -> Iterator[Door]:
    with Door() as door:
        yield door


@pytest.fixture(scope="module")
def client(door: Door) -> Iterator[openai.OpenAI]:
    url = f"http://{door.endpoint}/v1"
    with openai.OpenAI(base_url=url, api_key="none", max_retries=0, timeout=10) as client:
        yield client
