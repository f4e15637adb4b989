"""Clients that ask all the time, and what they were told."""

import threading
from collections import Counter

from constellation import Client
from constellation.client.retries import RetryPolicy
from constellation.errors import ConstellationError
from tests.support.artifacts import PROMPTS


class Load:
    """Eight threads that ask until told to stop."""

    def __init__(self, endpoint: str, *, retries: RetryPolicy | None) -> None:
        self.outcomes: Counter[str] = Counter()
        self.wrong: list[Exception] = []  # untyped, or typed and not retryable
        self._endpoint = endpoint
        self._retries = retries
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(8)]

    def _ask(self) -> None:
        with Client(self._endpoint, retries=self._retries) as stars:
            number = 0
            while not self._stop.is_set():
                number += 1
                domain = list(PROMPTS)[number % len(PROMPTS)]
                try:
                    stars.ask(PROMPTS[domain], tokens_max=4, seed=number, timeout_s=15)
                    self.outcomes["ok"] += 1
                except ConstellationError as error:
                    self.outcomes[type(error).__name__] += 1
                    if not error.retryable:
                        self.wrong.append(error)
                except Exception as error:  # noqa: BLE001 - what the test looks for
                    self.wrong.append(error)

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
