"""What `benchmarks.chaos` sends: questions of every kind, and what nobody should send.

Everything is drawn from a seed. A request counts as *lost* when neither an answer nor a typed error
came within its deadline and a grace, as *untyped* when what came is no error of ours or says that
nobody intended it.
"""

import contextlib
import http.client
import json
import random
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import grpc

from benchmarks.strange_bodies import strange_requests
from constellation import Client
from constellation.client import AskOptions, Reply
from constellation.errors import ConstellationError, InternalError, ServiceUnavailable
from constellation.records import Mode
from constellation.wire import channel, error_status, services

TIMEOUT_S = 20.0
"""Deadline of every request."""
GRACE_S = 3.0
"""Seconds after it at which a request that has not ended counts as lost."""
THINK_S = 0.2
"""Longest pause of a caller between two requests: the machine is to be busy, not choked."""
TOKENS_MAX = (8, 24, 64)
"""Lengths of answers."""
_SLOW_S = 6.0
_OPEN_MAX = 32
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_LINGER_S = 0.05


@dataclass(frozen=True, slots=True)
class Asked:
    """A greedy question and what came of it."""

    prompt: str
    tokens_max: int
    mode: str
    reply: Reply


@dataclass
class Tally:
    """What was seen so far; shared by all threads."""

    seen: Counter[str] = field(default_factory=Counter)
    """Kind and outcome -> how often."""
    lost: int = 0
    untyped: int = 0
    examples: deque[str] = field(default_factory=lambda: deque(maxlen=20))
    """The latest of what should not be."""
    answers: list[Asked] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, kind: str, outcome: str, *, lost: bool = False, untyped: bool = False) -> None:
        """Count one request."""
        with self._lock:
            self.seen[f"{kind} {outcome}"] += 1
            self.lost += lost
            self.untyped += untyped
            if lost or untyped:
                self.examples.append(f"{kind}: {outcome}")

    def note_answer(self, asked: Asked) -> None:
        """Keep an answer for the replay."""
        with self._lock:
            self.answers.append(asked)


def modes() -> tuple[str, ...]:
    """Return the modes that a client can ask for here."""
    return tuple(map(str, Mode)) if "mode" in AskOptions.__annotations__ else ("nearest",)


class Traffic:
    """Threads that ask until they are told to stop. Use with `with`."""

    def __init__(
        self, endpoints: Sequence[str], http_url: str, prompts: Sequence[str], *, seed: int
    ) -> None:
        self.tally = Tally()
        self._endpoints = tuple(endpoints)
        self._address = urlsplit(http_url).netloc
        self._prompts = prompts
        self._stop = threading.Event()
        kinds: list[tuple[str, Callable[[Client, random.Random], None]]] = [
            *[("mixed", self._mixed)] * 4,
            ("slow", self._slow),
            ("bad", self._bad),
        ]
        self._threads = [
            threading.Thread(
                target=self._work, args=(name, act, seed * 100 + place), name=f"{name}-{place}"
            )
            for place, (name, act) in enumerate(kinds)
        ]
        self._threads += [
            threading.Thread(target=self._strange_bodies, args=(seed,), name="http"),
            threading.Thread(target=self._half_open, args=(seed,), name="half-open"),
        ]

    def __enter__(self) -> "Traffic":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        deadline_s = time.monotonic() + TIMEOUT_S + _SLOW_S + GRACE_S
        for thread in self._threads:
            thread.join(max(0.0, deadline_s - time.monotonic()))
            if thread.is_alive():
                self.tally.note(thread.name, "hangs", lost=True)

    def _work(self, name: str, act: Callable[[Client, random.Random], None], seed: int) -> None:
        chance = random.Random(seed)
        endpoints = list(self._endpoints)
        chance.shuffle(endpoints)  # so that every router has callers
        with Client(endpoints) as stars:
            while not self._stop.wait(THINK_S * chance.random()):
                act(stars, chance)

    def _attempt(self, kind: str, work: Callable[[], object], *, pauses_s: float = 0.0) -> None:
        """Do one request, in a thread of its own, and count how it ended."""
        pool = ThreadPoolExecutor(1)
        done = pool.submit(work)
        pool.shutdown(wait=False)
        (ended, _) = wait([done], timeout=TIMEOUT_S + GRACE_S + pauses_s)
        if not ended:
            self.tally.note(kind, "no end", lost=True)
            return
        error = done.exception()
        if error is None:
            self.tally.note(kind, "ok")
        elif isinstance(error, ConstellationError) and not isinstance(error, InternalError):
            self.tally.note(kind, type(error).__name__)
        else:
            self.tally.note(kind, repr(error), untyped=True)

    def _mixed(self, stars: Client, chance: random.Random) -> None:
        prompt, tokens_max = chance.choice(self._prompts), chance.choice(TOKENS_MAX)
        mode = chance.choice(modes()) if chance.random() < 0.3 else "nearest"
        options: dict[str, Any] = {"tokens_max": tokens_max, "temperature": 0.0}
        if mode != "nearest":
            options["mode"] = mode
        elif chance.random() < 0.3:
            options["handoff"] = True

        def keep(reply: Reply) -> None:
            self.tally.note_answer(Asked(prompt, tokens_max, mode, reply))

        def stream() -> None:
            with stars.stream(prompt, timeout_s=TIMEOUT_S, **options) as pieces:
                for _ in pieces:
                    pass
                keep(pieces.reply())

        def leave() -> None:
            with stars.stream(prompt, timeout_s=TIMEOUT_S, **options) as pieces:
                for _ in zip(range(chance.randrange(4)), pieces, strict=False):
                    pass

        draw = chance.random()
        if draw < 0.35:
            self._attempt(
                f"ask {mode}", lambda: keep(stars.ask(prompt, timeout_s=TIMEOUT_S, **options))
            )
        elif draw < 0.7:
            self._attempt(f"stream {mode}", stream)
        elif draw < 0.85:
            self._attempt(
                "score", lambda: stars.score(prompt[20:], context=prompt[:20], timeout_s=TIMEOUT_S)
            )
        else:
            self._attempt("cancel", leave)

    def _slow(self, stars: Client, chance: random.Random) -> None:
        """Read a little, pause, read on; with so much told of every token that buffers fill."""

        def read() -> None:
            options = AskOptions(tokens_max=128, logprobs=20, temperature=0.0)
            prompt = chance.choice(self._prompts)
            with stars.stream(prompt, timeout_s=TIMEOUT_S + _SLOW_S, **options) as pieces:
                next(pieces, None)
                self._stop.wait(_SLOW_S * chance.random())
                for _ in pieces:
                    pass

        self._attempt("slow", read, pauses_s=_SLOW_S)

    def _bad(self, stars: Client, chance: random.Random) -> None:
        """Send what must be refused: options, bytes, sizes."""
        work, kind = chance.choice(
            [
                (lambda: stars.ask("x", kernel="nobody", timeout_s=TIMEOUT_S), "unknown kernel"),
                (lambda: stars.ask("", timeout_s=TIMEOUT_S), "empty"),
                (lambda: stars.route("x", basin=[2.0] * 64, timeout_s=TIMEOUT_S), "basin"),
                (lambda: stars.ask("x" * 5_000_000, timeout_s=TIMEOUT_S), "too large"),
                (lambda: self._send_bytes(chance), "malformed"),
            ]
        )
        self._attempt(kind, work)

    def _send_bytes(self, chance: random.Random) -> None:
        """Send bytes that are no message; return, or raise the typed error that came back."""
        endpoint = chance.choice(self._endpoints)
        method = chance.choice(services.CONSTELLATION.methods)
        data = chance.randbytes(chance.randrange(1, 400))
        if method.name == "Change":
            method = services.CONSTELLATION.methods_by_name["Ask"]
        with grpc.insecure_channel(endpoint, options=channel.CHANNEL_OPTIONS) as opened:
            make = opened.unary_stream if method.server_streaming else opened.unary_unary
            try:
                reply = make(services.path(method))(data, timeout=TIMEOUT_S)
                list(reply) if method.server_streaming else None
            except grpc.RpcError as error:
                raise error_status.from_rpc_error(
                    error, endpoint=endpoint, limit_bytes=0
                ) from error

    def _strange_bodies(self, seed: int) -> None:
        """Send strange bodies to HTTP; a connection that is refused is tried again."""
        connection = http.client.HTTPConnection(self._address, timeout=TIMEOUT_S)
        for path, body in strange_requests(seed, 10**9):
            if self._stop.is_set():
                break
            self._attempt("http", partial(self._post, connection, path, body))
            self._stop.wait(_LINGER_S)
        connection.close()

    def _post(self, connection: http.client.HTTPConnection, path: str, body: bytes) -> None:
        deadline_s = time.monotonic() + TIMEOUT_S
        while not self._stop.is_set():
            try:
                connection.request("POST", path, body, {"Content-Type": "application/json"})
                response = connection.getresponse()
                return _check_answer(response.status, response.read())
            except TimeoutError:
                connection.close()  # counted by the time it took
                return None
            except (OSError, http.client.HTTPException):  # its router is being restarted
                connection.close()
                if time.monotonic() > deadline_s:
                    raise ServiceUnavailable(self._address, "nobody listens there") from None
                self._stop.wait(0.2)
        return None

    def _half_open(self, seed: int) -> None:
        """Open connections that say nothing, or half of a greeting, and keep them."""
        chance = random.Random(seed)
        held: deque[socket.socket] = deque()
        while not self._stop.wait(0.2):
            host, _, port = chance.choice([*self._endpoints, self._address]).rpartition(":")
            with contextlib.suppress(OSError):
                opened = socket.create_connection((host.strip("[]"), int(port)), timeout=1.0)
                held.append(opened)
                opened.sendall(_PREFACE[: chance.randrange(len(_PREFACE))])
            if len(held) > _OPEN_MAX:
                held.popleft().close()
        for opened in held:
            opened.close()


def _check_answer(code: int, content: bytes) -> None:
    """Raise `ValueError` for a refusal that is not typed."""
    if code < 400:
        return
    error = json.loads(content)["error"]
    if code == 500 or not {"message", "type", "param", "code"} <= set(error):
        raise ValueError(f"status {code}: {content[:200]!r}")
