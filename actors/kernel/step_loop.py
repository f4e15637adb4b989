"""Continuous batching: all answers of one engine are stepped together on the model's thread.

Answers join and leave between steps. A reader that is slower than the model gets up to `AHEAD_MAX`
steps ahead of itself; then its answer rests, without holding up the others.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from actors.background_tasks import begin
from actors.kernel.engine_interface import Answer, Engine, Step
from constellation.errors import Cancelled, ConstellationError
from constellation.records import Message, Sampling

ResultT = TypeVar("ResultT")

AHEAD_MAX = 32
"""Steps of an answer that may wait for its reader."""


class ModelThread:
    """The one thread that touches models: whatever is asked of it happens one after the other."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model")
        self._closed = False
        self._num_submitted = 0
        self._moved_s = 0.0

    def submit(self, work: Callable[[], ResultT]) -> "asyncio.Future[ResultT]":
        """Have `work` done when it is its turn.

        Raises:
            Cancelled: The thread was closed.
        """
        if self._closed:
            raise Cancelled("the kernel has stopped")
        submitted = asyncio.get_running_loop().run_in_executor(self._pool, work)
        if not self._num_submitted:
            self._moved_s = time.monotonic()
        self._num_submitted += 1
        submitted.add_done_callback(self._count_done)
        return submitted

    def _count_done(self, work: "asyncio.Future[Any]") -> None:
        self._num_submitted -= 1
        self._moved_s = time.monotonic()

    def stalled_s(self, now_s: float) -> float:
        """Return the seconds since work was last finished; 0 when no work was submitted."""
        return now_s - self._moved_s if self._num_submitted else 0.0

    @property
    def closed(self) -> bool:
        """Whether no more work is taken."""
        return self._closed

    def close(self) -> None:
        """Take no more work and drop what waits; what is under way is finished."""
        self._closed = True
        self._pool.shutdown(wait=False, cancel_futures=True)


class Reading:
    """One answer and its reader.

    Args:
        answer: State of the answer in the engine.
        observe: Called with the seconds between two tokens of the answer.
    """

    def __init__(self, answer: Answer, observe: Callable[[float], None]) -> None:
        self.answer = answer
        self._observe = observe
        self.since_s = time.monotonic()
        """When its newest token came, or its reader was ready for another."""
        self.is_over = False
        """Whether nothing more will come."""
        self.rests = False
        """Whether it waits to be told its next token."""
        self._steps: deque[Step] = deque(maxlen=AHEAD_MAX)
        self._error: BaseException | None = None
        self._arrived = asyncio.Event()

    @property
    def is_ahead(self) -> bool:
        """Whether the reader has to catch up first."""
        return len(self._steps) == AHEAD_MAX

    @property
    def is_ready(self) -> bool:
        """Whether the answer can be stepped."""
        return not (self.is_ahead or self.is_over or self.rests)

    def put(self, step: Step, now_s: float) -> None:
        """Hand over a step that was taken at `now_s`."""
        self._observe(now_s - self.since_s)
        self.since_s = now_s
        self._steps.append(step)
        self.is_over = step.reason is not None
        self.rests = step.predicted is not None
        self._arrived.set()

    def fail(self, error: BaseException) -> None:
        """End the answer by an error."""
        self._error = error
        self.is_over = True
        self._arrived.set()

    async def take(self) -> Step:
        """Return the next step, when it is there; raises what ended the answer."""
        while not self._steps:
            if self._error is not None:
                raise self._error
            self._arrived.clear()
            await self._arrived.wait()
        return self._steps.popleft()


class StepLoop:
    """Steps answers together for as long as there are any.

    Args:
        step: Gives each of the answers its next step, as `Engine.step`. Engines whose answers are
            in one batch share a loop.
        thread: Where that is done.
    """

    def __init__(
        self,
        step: Callable[[Sequence[Any]], Sequence[Step | None]],
        thread: ModelThread,
    ) -> None:
        self._step = step
        self._thread = thread
        self._readings: list[Reading] = []
        self._caught_up = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._stepped_s = 0.0
        self.num_failed = 0
        """Steps and starts in a row that ended by an error which nobody intended."""

    def stalled_s(self, now_s: float) -> float:
        """Return the seconds for which an answer could have been stepped and was not."""
        waiting = [reading.since_s for reading in self._readings if reading.is_ready]
        return now_s - max(self._stepped_s, min(waiting)) if waiting else 0.0

    def note_failure(self, error: BaseException) -> None:
        """Count an error of the engine, unless it is a refusal."""
        self.num_failed += not isinstance(error, ConstellationError)

    def join(self, reading: Reading) -> None:
        """Let an answer take part from the next step on."""
        self._readings.append(reading)
        if self._task is None:
            self._task = begin("stepping", self._run())
        self._caught_up.set()

    def leave(self, reading: Reading) -> None:
        """Let an answer take part no more, if it did."""
        if reading in self._readings:
            self._readings.remove(reading)
            self._caught_up.set()

    def wake(self) -> None:
        """Look again who is ready."""
        self._caught_up.set()

    async def _run(self) -> None:
        try:
            await self._step_all()
        except BaseException as error:  # or readers would wait for a loop that is no more
            for reading in self._readings:
                reading.fail(error)
            self._readings.clear()
            raise
        finally:
            self._task = None

    async def _step_all(self) -> None:
        while self._readings:
            ready = [reading for reading in self._readings if reading.is_ready]
            if ready:
                await self._step_together(ready)
            else:
                self._caught_up.clear()
                await self._caught_up.wait()

    async def _step_together(self, ready: list[Reading]) -> None:
        answers = [reading.answer for reading in ready]
        error: BaseException | None = Cancelled("the kernel has stopped")
        steps: Sequence[Step | None] = ()
        if not self._thread.closed:
            working = self._thread.submit(lambda: self._step(answers))
            await asyncio.wait([working])
            if not working.cancelled():
                error = working.exception()
                steps = () if error is not None else working.result()
        if error is not None:
            self.note_failure(error)
            for reading in ready:
                reading.fail(error)
            return
        self._stepped_s = now_s = time.monotonic()
        self.num_failed = 0
        for reading, step in zip(ready, steps, strict=True):
            if step is not None:
                reading.put(step, now_s)


def _ignore(_: float) -> None:
    """Observe nothing."""


class Stepping:
    """Drives one engine.

    Args:
        thread: Where it runs, if it is `blocking`; others are stepped where they are.
        observe: Called with the seconds between two tokens of an answer.
        loop: Steps its answers; None: one of its own.
    """

    def __init__(
        self,
        engine: Engine,
        thread: ModelThread,
        observe: Callable[[float], None],
        loop: StepLoop | None = None,
    ) -> None:
        self.engine = engine
        self._thread = thread
        self._observe = observe
        self.loop = loop or StepLoop(engine.step, thread)

    async def start(
        self,
        tokens: Sequence[int],
        sampling: Sampling,
        produced: Sequence[int] = (),
        messages: Sequence[Message] = (),
        *,
        is_observed: bool = True,
    ) -> Reading:
        """Let an answer join; raises what the engine raises.

        Messages are read in place of `tokens` by an engine with a prompt format of its own. An
        answer that is not observed takes no part in the figures of the kernel.
        """
        engine, observe = self.engine, self._observe if is_observed else _ignore

        def begun() -> Answer:
            if messages and engine.capabilities.reads_roles:
                return engine.start_chat(messages, sampling, produced)
            return engine.start(tokens, sampling, produced)

        return await self._join(begun, observe) if engine.blocking else Reading(begun(), observe)

    async def predict(self, tokens: Sequence[int], *, is_scored: bool) -> Reading:
        """Let a text join whose tokens are chosen elsewhere; raises what the engine raises."""
        return await self._join(
            lambda: self.engine.predict(tokens, is_scored=is_scored), self._observe
        )

    def tell(self, reading: Reading, token: int) -> None:
        """Go on with such a text, whose last step was taken; raises what the engine raises."""
        self.engine.tell(reading.answer, token)  # it rests, so no step is looking at it
        reading.rests = False
        reading.since_s = time.monotonic()
        self.loop.wake()

    async def _join(self, start: Callable[[], Answer], observe: Callable[[float], None]) -> Reading:
        joining = self._thread.submit(start)
        try:
            answer = await asyncio.shield(joining)
        except asyncio.CancelledError:
            joining.add_done_callback(self._send_away)
            raise
        except Exception as error:
            self.loop.note_failure(error)
            raise
        reading = Reading(answer, observe)
        self.loop.join(reading)
        return reading

    async def next(self, reading: Reading) -> Step:
        """Return an answer's next step."""
        if not self.engine.blocking:
            return self._step_at_once(reading)
        was_ahead = reading.is_ahead
        step = await reading.take()
        if was_ahead:
            reading.since_s = time.monotonic()
            self.loop.wake()
        return step

    def leave(self, reading: Reading) -> None:
        """Forget an answer, finished or not: it takes part in no further step."""
        if not self.engine.blocking:
            self.engine.leave(reading.answer)
            return
        self.loop.leave(reading)
        if not self._thread.closed:
            self._thread.submit(lambda: self.engine.leave(reading.answer))

    def _send_away(self, joining: "asyncio.Future[Answer]") -> None:
        # Its caller went while it joined.
        if not joining.cancelled() and joining.exception() is None:
            self.leave(Reading(joining.result(), self._observe))

    def _step_at_once(self, reading: Reading) -> Step:
        while True:
            before_s = time.monotonic()
            (step,) = self.engine.step((reading.answer,))
            if step is not None:
                self._observe(time.monotonic() - before_s)
                return step
