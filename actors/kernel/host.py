"""KernelHost: one kernel and its mailbox. `actors/kernel/process.py` runs several of them in Ray.

Requests reach it over gRPC only (`actors/kernel/server.py`). All work on the models of a process
runs on one thread, where every step gives all running answers their next token
(`actors/kernel/step_loop.py`), so that a cancelled one stops within a step.
"""

import asyncio
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from actors.kernel.engine_interface import Engine
from actors.kernel.ensemble_leader import Leader
from actors.kernel.ensemble_partner import LocalText, Partners
from actors.kernel.pieces import Telling
from actors.kernel.server import KernelServer
from actors.kernel.step_loop import Reading, StepLoop, Stepping
from constellation.errors import IncompatibleKernels, KernelUnavailable
from constellation.records import (
    FloatArray,
    KernelDescription,
    Message,
    Piece,
    Sampling,
    Score,
    Table,
)
from constellation.runtime.admission import Admission
from constellation.telemetry.metrics import TOKEN_KINDS
from constellation.wire import request_tracing

_ONE_TOKEN = Sampling(tokens_max=1, temperature=0.0)


class KernelHost:
    """Serves one kernel. A plain class: tests build it without Ray.

    Args:
        slots: Answers it writes at the same time.
        queue_max: Requests that may wait.
        server: What it shares with the other kernels of its process; None: it is alone.
        loop: As for `replace`.
        partners: Ways to other kernels, for texts that several write.
        coordizer_folder: Says where the coordizer of a table lies; as for `Leader`.
    """

    def __init__(
        self,
        name: str,
        engine: Engine,
        *,
        slots: int,
        queue_max: int,
        server: KernelServer | None = None,
        loop: StepLoop | None = None,
        partners: Partners | None = None,
        coordizer_folder: Callable[[Table], Path] | None = None,
    ) -> None:
        self.name = name
        self.leader = Leader(self, partners or Partners(None), coordizer_folder)
        self._admission = Admission(f"kernel {name!r}", slots=slots, queue_max=queue_max)
        self._left = asyncio.Event()
        self._has_ended = False
        # Tokens in the cache of each answer under way.
        self._cached: dict[Reading, int] = {}
        self._started_s = self._moved_s = time.monotonic()
        self.server = server or KernelServer()
        self._thread = self.server.thread
        self.metrics = self.server.metrics
        self.replace(engine, loop)
        self.metrics.queue_depth.labels(name).set_function(lambda: self._admission.depth)
        self.metrics.queue_limit.labels(name).set(queue_max)
        self.metrics.running.labels(name).set_function(lambda: self._admission.num_running)
        capacity = slots * engine.context
        self.metrics.cache_usage.labels(name).set_function(
            lambda: sum(self._cached.values()) / capacity
        )
        self.server.kernels[name] = self
        self._tokens = {kind: self.metrics.tokens.labels(name, kind) for kind in TOKEN_KINDS}

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
        """Continue a prompt in pieces of whole code points; arguments as in `KernelPort`."""
        started_s = time.monotonic()
        num_before = len(produced) if num_produced is None else num_produced
        sampling = sampling.recounted(num_before, len(produced))
        span = unread = request_tracing.current()
        async with self._slot(client):
            if span is not None:
                span.event("slot taken", {})
            stepping = self._stepping
            reading = await stepping.start(tokens, sampling, produced, messages)
            telling = Telling(reading.answer.num_prompt_tokens, num_before=num_before)
            num_read = telling.num_prompt_tokens + len(produced)
            self._tokens["prompt"].inc(num_read)
            self._cached[reading] = num_read
            try:
                while telling.reason is None:
                    telling.add(await stepping.next(reading))
                    self._moved_s = time.monotonic()
                    if unread is not None:
                        unread.event("prompt read", {"tokens": num_read})
                        unread = None
                    self._cached[reading] = telling.num_prompt_tokens + telling.num_tokens
                    if telling.has_text and telling.reason is None:
                        yield telling.piece()
                self._tokens["completion"].inc(telling.num_tokens - num_before)
                last = telling.last_piece(elapsed_s=time.monotonic() - started_s)
                if span is not None and last.finish is not None:
                    span.note(request_tracing.finish_facts(last.finish))
                yield last
            finally:
                self._cached.pop(reading, None)
                stepping.leave(reading)

    @asynccontextmanager
    async def predict(
        self, tokens: Sequence[int], *, tokenizer_hash: str, is_scored: bool, client: str
    ) -> AsyncIterator[LocalText]:
        """Let a text in whose tokens somebody else chooses; it keeps its slot until it is left.

        Raises:
            IncompatibleKernels: Who chooses speaks another vocabulary.
        """
        async with self._slot(client):
            stepping = self._stepping
            engine = stepping.engine
            if engine.tokenizer_hash != tokenizer_hash or not engine.capabilities.mixes:
                raise IncompatibleKernels(self.name)
            reading = await stepping.predict(tokens, is_scored=is_scored)
            self._tokens["prompt"].inc(len(tokens))
            self._cached[reading] = len(tokens)
            try:
                yield LocalText(stepping, reading, lambda: self._cache_one_more(reading))
            finally:
                self._cached.pop(reading, None)
                stepping.leave(reading)

    def _cache_one_more(self, reading: Reading) -> None:
        self._cached[reading] += 1
        self._moved_s = time.monotonic()

    async def token_nats(self, tokens: Sequence[int], *, client: str) -> FloatArray:
        """Return -ln p of each token after those before it.

        Raises:
            IncompatibleKernels: The kernel writes in a vocabulary of its own.
        """
        async with self._slot(client):
            engine = self._stepping.engine
            if not engine.capabilities.mixes:
                raise IncompatibleKernels(self.name)
            nats: FloatArray = await self._thread.submit(lambda: engine.token_nats(tokens))
        self._tokens["score"].inc(len(tokens))
        return nats

    @property
    def engine(self) -> Engine:
        """The model that answers what comes next."""
        return self._stepping.engine

    def count_written(self, num_tokens: int) -> None:
        """Count the tokens of an answer that this kernel led."""
        self._tokens["completion"].inc(num_tokens)

    async def score(self, tokens: Sequence[int], num_context: int, *, client: str = "") -> Score:
        """Say how likely `tokens[num_context:]` is after `tokens[:num_context]`."""
        async with self._slot(client):
            engine = self._stepping.engine
            if engine.blocking:
                score = await self._thread.submit(lambda: engine.score(tokens, num_context))
            else:
                score = engine.score(tokens, num_context)
        self._tokens["score"].inc(score.num_tokens)
        return score

    def replace(self, engine: Engine, loop: StepLoop | None = None) -> None:
        """Answer with this model from now on; answers under way are finished by the old one.

        `loop` steps the model together with other kernels; None: it is stepped by itself.
        """
        observe = self.metrics.inter_token_seconds.labels(self.name).observe
        self._stepping = Stepping(engine, self._thread, observe, loop)
        if engine.kappa is not None:  # `dot` attention has no coupling
            self.metrics.kappa.labels(self.name).set(engine.kappa)

    def describe(self) -> KernelDescription:
        """Say what the kernel is and how busy."""
        return KernelDescription(
            name=self.name,
            tokenizer_hash=self._stepping.engine.tokenizer_hash,
            context=self._stepping.engine.context,
            num_parameters=self._stepping.engine.num_parameters,
            pid=os.getpid(),
            queue_depth=self._admission.depth,
            num_running=self._admission.num_running,
            uptime_s=time.monotonic() - self._started_s,
            num_unexpected_errors=self.server.guard.num_unexpected,
            capabilities=self._stepping.engine.capabilities,
            vocabulary=self._stepping.engine.vocabulary,
        )

    @property
    def is_idle(self) -> bool:
        """Whether no request is served or waits."""
        return not (self._admission.num_running or self._admission.depth)

    @property
    def moved_s(self) -> float:
        """When a token was last written, or a request ended, on the clock of `time.monotonic`."""
        return self._moved_s

    @property
    def num_failed_steps(self) -> int:
        """Steps in a row that ended by an error which nobody intended."""
        return self._stepping.loop.num_failed

    def stalled_s(self, now_s: float) -> float:
        """Return the seconds for which a text could have been stepped and was not.

        Or for which requests waited although no text could be stepped: the queue is not drained.
        Texts that wait for their next token from elsewhere keep others waiting rightly.
        """
        stepping_s = self._stepping.loop.stalled_s(now_s)
        if not self._admission.depth or any(each.is_ready or each.rests for each in self._cached):
            return stepping_s
        return max(stepping_s, now_s - self._moved_s)

    async def probe(self) -> None:
        """Write one token as for a request, through the queue; in no figure of the kernel.

        Raises:
            Exception: What the engine raises.
        """
        async with self._slot(""):
            stepping = self._stepping
            tokens = [stepping.engine.vocab_size // 2]
            reading = await stepping.start(tokens, _ONE_TOKEN, is_observed=False)
            try:
                await stepping.next(reading)
            finally:
                stepping.leave(reading)

    async def end(self) -> None:
        """Return when all who wait or are answered have their answers; refuse everybody then."""
        while self._admission.num_running:
            self._left.clear()
            await self._left.wait()
        self._has_ended = True

    @asynccontextmanager
    async def _slot(self, client: str) -> AsyncIterator[None]:
        if self._has_ended:
            raise KernelUnavailable(self.name, "it has left its process")
        # The ticket is the future that a waiting request sleeps on.
        ticket: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        displaced = self._admission.make_room(client)
        if isinstance(displaced, asyncio.Future) and not displaced.done():
            displaced.set_exception(self._admission.refusal())
        runs = self._admission.arrive(ticket, now_s=time.monotonic(), client=client)
        try:
            if not runs:
                await ticket
            runs, self._moved_s = True, time.monotonic()
            yield
        finally:
            now_s = time.monotonic()
            if runs:  # a request that goes while it waits moves nothing
                self._moved_s = now_s
            successor = self._admission.leave(ticket, now_s=now_s)
            self._left.set()
            if isinstance(successor, asyncio.Future) and not successor.done():
                successor.set_result(None)
