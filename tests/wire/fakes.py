"""A router and a kernel without models, and a real gRPC server around them in a thread."""

import asyncio
import threading
from collections import Counter, deque
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import Future
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Self

import grpc
import numpy as np

from constellation.errors import OutOfDomain, UnknownKernel
from constellation.geometry.bearings import bearing
from constellation.records import (
    Change,
    Changed,
    Choice,
    Finish,
    FinishReason,
    FloatArray,
    KernelDescription,
    KernelHealth,
    KernelSite,
    Message,
    Mode,
    Piece,
    Progress,
    Route,
    RoutingOptions,
    Rule,
    Sampling,
    Score,
    Table,
    TokenArray,
    TokenInfluence,
)
from constellation.v1 import kernel_pb2
from constellation.wire import convert
from constellation.wire.callers import Caller
from constellation.wire.channel import Bind, serve
from constellation.wire.constellation_service import (
    ConstellationServicer,
    RouterState,
    RoutingTerms,
)
from constellation.wire.kernel_service import KernelServicer
from constellation.wire.services import CONSTELLATION, KERNEL, Guard, handlers

NAMES = ("python", "poetry", "law")
DISTANCES = (0.5, 0.75, 1.25)


def make_table(num_outcomes: int = 64) -> Table:
    """Return a table of three kernels, the last of which is down."""
    random = np.random.default_rng(7)
    points = random.dirichlet(np.ones(num_outcomes), size=4)
    sites = tuple(
        KernelSite(
            name=name,
            basin_K=points[index],
            bearing_K=points[index] - points[3],
            radii={Rule.GEODESIC: 1.0, Rule.BEARING: 1.25},
            seat=None if index == 1 else index * 7,
            phi_gauge=None if index == 1 else 0.25 * index,
            endpoint=None if name == "law" else f"127.0.0.1:{7000 + index}",
        )
        for index, name in enumerate(NAMES)
    )
    two_BK = points[:2]
    law = replace(sites[2], basins_BK=two_BK, bearings_BK=bearing(two_BK, points[3]))
    return Table(
        version=5,
        coordizer_hash="ab" * 32,
        background_K=points[3],
        temperatures={Rule.GEODESIC: 0.125, Rule.BEARING: 0.25},
        sites=(replace(sites[0], arrived=0.75, num_held_out=40), sites[1], law),
    )


class FakeRouter:
    """Answers every prompt with its own words; fails first with what it was told to."""

    def __init__(self) -> None:
        self.table = make_table()
        self.failures: deque[Exception] = deque()
        """What the next calls raise, before anything else."""
        self.failure_after: tuple[int, Exception] | None = None
        """After so many pieces of an answer, raise this once."""
        self.num_repeats = 1
        """How often an answer says its prompt."""
        self.hold = asyncio.Event()
        """An answer goes past its first piece only when this is set."""
        self.hold.set()
        self.stopped: Future[None] = Future()
        """Done when an answer was left before its end."""
        self.calls: list[tuple[str, Any, RoutingOptions | None]] = []
        self.timeouts: list[float | None] = []
        self.messages: list[tuple[Message, ...]] = []
        self.callers: list[Caller] = []
        self.rejected: Counter[str] = Counter()

    def _enter(self, text: str, detail: Any, options: RoutingOptions | None) -> None:
        self.calls.append((text, detail, options))
        if self.failures:
            raise self.failures.popleft()

    async def generate(
        self,
        prompt: str,
        sampling: Sampling,
        options: RoutingOptions,
        *,
        timeout_s: float | None,
        caller: Caller,
        messages: Sequence[Message] = (),
    ) -> AsyncGenerator[tuple[Route | None, bytes], None]:
        self.messages.append(tuple(messages))
        self.timeouts.append(timeout_s)
        self.callers.append(caller)
        self._enter(prompt, sampling, options)
        route: Route | None = self.decide(options)
        words = prompt.split(" ") * self.num_repeats
        complete = False
        try:
            for index, word in enumerate(words):
                await self._before(index)
                piece = Piece(text=word if index == 0 else f" {word}", num_tokens=1)
                yield route, convert.piece_to_message(piece).SerializeToString()
                route = None
            reason = FinishReason.END
            together = options.mode is not Mode.NEAREST
            finish = Finish(
                reason=reason,
                num_prompt_tokens=9,
                num_tokens=len(words),
                elapsed_s=0.25,
                weights={NAMES[0]: 0.75, NAMES[1]: 0.25} if together else {},
                lost=NAMES[2:] if together else (),
            )
            last = Piece(text="", num_tokens=0, finish=finish)
            complete = True
            yield None, convert.piece_to_message(last).SerializeToString()
        finally:
            if not complete and not self.stopped.done():
                self.stopped.set_result(None)

    async def ask(
        self,
        prompt: str,
        sampling: Sampling,
        options: RoutingOptions,
        *,
        timeout_s: float | None,
        caller: Caller,
        messages: Sequence[Message] = (),
    ) -> tuple[Route, bytes]:
        answer = self.generate(
            prompt, sampling, options, timeout_s=timeout_s, caller=caller, messages=messages
        )
        async with aclosing(answer):
            pairs = [pair async for pair in answer]
        route = pairs[0][0]
        assert route is not None
        texts = (kernel_pb2.KernelGenerateReply.FromString(reply) for _, reply in pairs)
        whole = kernel_pb2.KernelGenerateReply()
        for reply in texts:
            joined = whole.text + reply.text
            whole.MergeFrom(reply)
            whole.text = joined
        return route, whole.SerializeToString()

    async def _before(self, index: int) -> None:
        if index == 1:
            await self.hold.wait()
        if self.failure_after is not None and self.failure_after[0] == index:
            failure, self.failure_after = self.failure_after[1], None
            raise failure

    async def score(
        self,
        context: str,
        text: str,
        options: RoutingOptions,
        *,
        timeout_s: float | None,
        caller: Caller,
    ) -> tuple[Route, Score]:
        self.timeouts.append(timeout_s)
        self.callers.append(caller)
        self._enter(text, context, options)
        await self.hold.wait()
        return self.decide(options), Score(nats=2.5 * len(text), num_tokens=len(text.split()))

    async def route(self, text: str, options: RoutingOptions) -> tuple[Route, FloatArray]:
        self._enter(text, None, options)
        basin_K = options.basin_K if options.basin_K is not None else self.basin_of(text)
        return self.decide(options), basin_K

    async def basin(self, text: str) -> tuple[FloatArray, TokenArray]:
        self._enter(text, None, None)
        return self.basin_of(text), np.frombuffer(text.encode(), dtype=np.uint8).astype(np.int32)

    def basin_of(self, text: str) -> FloatArray:
        counts_K: FloatArray = np.ones(64)
        np.add.at(counts_K, [ord(character) % 64 for character in text], 1)
        return counts_K / counts_K.sum()

    def decide(self, options: RoutingOptions) -> Route:
        if options.kernel is not None and options.kernel not in NAMES:
            raise UnknownKernel(options.kernel, list(NAMES))
        distances = dict(zip(NAMES, DISTANCES, strict=True))
        if options.refuse_out_of_domain:
            raise OutOfDomain(distances, dict.fromkeys(NAMES, 0.25))
        choices = tuple(
            Choice(kernel=name, seat=None, distance=distance, weight=0.25, radius=0.25)
            for name, distance in distances.items()
        )
        influence = TokenInfluence(text="gather", position=3, shift=0.125)
        return Route(
            choices=choices,
            kernel=options.kernel or NAMES[0],
            reason="pinned" if options.kernel else "nearest",
            rule=options.rule or Rule.BEARING,
            mode=options.mode,
            margin=0.25,
            out_of_domain=True,
            no_evidence=False,
            num_tokens=9,
            table_version=self.table.version,
            influences=(influence,) if options.explain else (),
            beyond_own=0.025,
            beyond_foreign=0.75,
        )

    async def change(self, change: Change) -> Changed:
        self._enter(getattr(change, "name", ""), change, None)
        return Changed(
            release=7, table_version=6, joined=("a",), left=("b", "c"), reloaded=("python", "law")
        )

    def terms(self) -> RoutingTerms:
        return RoutingTerms(table=self.table, rule=Rule.BEARING, top_k=2, phi_weighting=True)

    def state(self) -> RouterState:
        """A state whose numbers are all different."""
        health = KernelHealth(
            name="python", up=True, pid=11, num_restarts=2, queue_depth=3, num_running=4
        )
        return RouterState(
            table=self.table,
            health={"python": health},
            num_routed={"python": 6},
            pid=12,
            uptime_s=1.5,
            load_entropy_ratio=0.75,
            num_unexpected_errors=0,
            registry_pid=13,
            start_problem="none can be forked",
        )


class FakeKernel:
    """Counts the prompt's tokens down."""

    async def generate(
        self,
        tokens: Sequence[int],
        sampling: Sampling,
        *,
        produced: Sequence[int] = (),
        num_produced: int | None = None,
        client: str = "",
        messages: Sequence[Message] = (),
    ) -> AsyncGenerator[Piece, None]:
        for token in tokens[len(produced) :]:
            yield Piece(text=f"{token};", num_tokens=1, tokens=(token,))
        yield Piece(
            text="",
            num_tokens=0,
            finish=Finish(
                reason=FinishReason.LENGTH,
                num_prompt_tokens=len(tokens),
                num_tokens=sampling.tokens_max,
                elapsed_s=0.5,
            ),
        )

    async def score(self, tokens: Sequence[int], num_context: int, *, client: str = "") -> Score:
        return Score(nats=float(sum(tokens[num_context:])), num_tokens=len(tokens) - num_context)

    def describe(self) -> KernelDescription:
        return KernelDescription(
            name="python",
            tokenizer_hash="cd" * 32,
            context=128,
            num_parameters=10**7,
            pid=11,
            queue_depth=1,
            num_running=2,
            uptime_s=2.5,
            num_unexpected_errors=3,
        )


class FakeKernels:
    """A process with one kernel, whatever it is called."""

    def named(self, kernel: str) -> FakeKernel:
        return FakeKernel()

    def every(self) -> list[FakeKernel]:
        return [FakeKernel()]

    def progress(self) -> Progress:
        return Progress()


class Served:
    """A real server in its own thread and loop, with both services. Use with `with`."""

    def __init__(
        self,
        bind: Bind | None = None,
        *,
        stall_s: float = 20.0,
        router: FakeRouter | None = None,
    ) -> None:
        self.stall_s = stall_s
        self.router = router or FakeRouter()
        self._bind = bind or Bind()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._server: grpc.aio.Server | None = None
        self.endpoint = ""

    def __enter__(self) -> Self:
        self._thread.start()
        self.run(self._start())
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.run(self._loop.shutdown_asyncgens())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def run(self, work: Any) -> Any:
        """Run a coroutine in the server's loop and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=10)

    def soon(self, function: Any, *arguments: Any) -> None:
        """Run a function in the server's loop."""
        self._loop.call_soon_threadsafe(function, *arguments)

    def num_tasks(self, *, at_most: int = 1_000_000) -> int:
        """Return how many tasks the server's loop has, once there are `at_most`.

        Gives up after two seconds and then returns how many there are.
        """
        return int(self.run(self._num_tasks(at_most)))

    async def _num_tasks(self, at_most: int) -> int:
        deadline_s = self._loop.time() + 2
        current = asyncio.current_task()
        while len(tasks := asyncio.all_tasks()) > at_most and self._loop.time() < deadline_s:
            others = tasks - {current}
            await asyncio.wait(others, timeout=0.1, return_when=asyncio.FIRST_COMPLETED)
        return len(asyncio.all_tasks())

    def stop(self) -> None:
        """Stop the server at once, like a death."""
        if self._server is not None:
            self.run(self._server.stop(None))
            self._server = None

    def start_again(self) -> None:
        """Start a new server on the same port."""
        port = int(self.endpoint.rpartition(":")[2])
        self._bind = Bind(host=self._bind.host, port=port, token=self._bind.token)
        self.run(self._start())

    async def _start(self) -> None:
        if not self.endpoint:
            self.guard = Guard(lambda reason: self.router.rejected.update([reason]))
        services = [
            handlers(
                CONSTELLATION, ConstellationServicer(self.router, stall_s=self.stall_s), self.guard
            ),
            handlers(KERNEL, KernelServicer(FakeKernels(), stall_s=self.stall_s), self.guard),
        ]
        names = [CONSTELLATION.full_name, KERNEL.full_name]
        self._server, self.endpoint = await serve(
            self._bind, services, names, note_refused=self.guard.count_unauthenticated
        )
