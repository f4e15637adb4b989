"""KernelHost: one kernel, its mailbox and its gRPC server. `KernelActor` is the same under Ray.

Requests reach it over gRPC only; Ray starts and restarts it. All work on the model runs on one
thread, where every step gives all running answers their next token (`actors/stepping.py`), so that
a cancelled one stops within a step.
"""

import asyncio
import ctypes
import gc
import logging
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import ray
from prometheus_client import CollectorRegistry

from actors import _ray
from actors.engine_port import Engine, Step
from actors.spec import Announcement, DeploymentSpec
from actors.stepping import ModelThread, Reading, Stepping
from constellation.errors import ArtifactError
from constellation.records import Finish, FinishReason, KernelDescription, Piece, Sampling, Score
from constellation.runtime.admission import Admission
from constellation.telemetry.logs import set_up_logging
from constellation.telemetry.metrics import KernelMetrics, serve_metrics
from constellation.wire import channel, services
from constellation.wire.kernel_service import KernelServicer

if TYPE_CHECKING:
    from actors.engine import KernelEngine

logger = logging.getLogger(__name__)


class KernelHost:
    """Serves one kernel. A plain class: tests build it without Ray."""

    def __init__(self, name: str, engine: Engine, *, slots: int, queue_max: int) -> None:
        self.name = name
        self._admission = Admission(f"kernel {name!r}", slots=slots, queue_max=queue_max)
        # Tokens in the cache of each answer under way.
        self._cached: dict[Reading, int] = {}
        self._thread = ModelThread()
        self._started_s = time.monotonic()
        self.metrics = KernelMetrics(CollectorRegistry())
        self.guard = services.Guard(lambda reason: self.metrics.rejected.labels(reason).inc())
        self.replace(engine)
        self.metrics.queue_depth.labels(name).set_function(lambda: self._admission.depth)
        self.metrics.running.labels(name).set_function(lambda: self._admission.num_running)
        capacity = slots * engine.context
        self.metrics.cache_usage.labels(name).set_function(
            lambda: sum(self._cached.values()) / capacity
        )
        self._tokens = {
            kind: self.metrics.tokens.labels(name, kind)
            for kind in ("prompt", "completion", "score")
        }

    async def generate(
        self, tokens: Sequence[int], sampling: Sampling
    ) -> AsyncGenerator[Piece, None]:
        """Continue a prompt, a piece per token, text in whole code points."""
        started_s = time.monotonic()
        async with self._slot():
            stepping = self._stepping
            reading = await stepping.start(tokens, sampling)
            telling = Telling(reading.answer.num_prompt_tokens)
            self._tokens["prompt"].inc(telling.num_prompt_tokens)
            self._cached[reading] = telling.num_prompt_tokens
            try:
                while telling.reason is None:
                    telling.add(await stepping.next(reading))
                    self._cached[reading] = telling.num_prompt_tokens + telling.num_tokens
                    if telling.has_text and telling.reason is None:
                        yield telling.piece()
                self._tokens["completion"].inc(telling.num_tokens)
                yield telling.last_piece(elapsed_s=time.monotonic() - started_s)
            finally:
                self._cached.pop(reading, None)
                stepping.leave(reading)

    async def score(self, tokens: Sequence[int], num_context: int) -> Score:
        """Say how likely `tokens[num_context:]` is after `tokens[:num_context]`."""
        async with self._slot():
            engine = self._stepping.engine
            if engine.blocking:
                score = await self._thread.submit(lambda: engine.score(tokens, num_context))
            else:
                score = engine.score(tokens, num_context)
        self._tokens["score"].inc(score.num_tokens)
        return score

    def replace(self, engine: Engine) -> None:
        """Answer with this model from now on; answers under way are finished by the old one."""
        self._stepping = Stepping(engine, self._thread, self.metrics.inter_token_seconds.observe)
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
            num_unexpected_errors=self.guard.num_unexpected,
        )

    async def serve(self, bind: channel.Bind, *, stall_s: float) -> str:
        """Start the gRPC server; return its host:port."""
        servicer = KernelServicer(self, stall_s=stall_s)
        handler = services.handlers(services.KERNEL, servicer, self.guard)
        self._server, endpoint = await channel.serve(bind, [handler], [services.KERNEL.full_name])
        return endpoint

    async def stop(self, *, grace_s: float) -> None:
        """Refuse new calls, finish the running ones within `grace_s`, then stop."""
        await self._server.stop(grace_s)
        self._thread.close()

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        # The ticket is the future that a waiting request sleeps on.
        ticket: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        started = self._admission.arrive(ticket, now_s=time.monotonic())
        try:
            if not started:
                await ticket
            yield
        finally:
            successor = self._admission.leave(ticket, now_s=time.monotonic())
            if isinstance(successor, asyncio.Future) and not successor.done():
                successor.set_result(None)


class Telling:
    """Makes pieces of steps: text comes late when a token ends inside a character.

    Attributes:
        num_tokens: Tokens written so far.
        has_text: Whether there is text that no piece holds yet.
        reason: Why the answer ended; None while it goes on.
    """

    def __init__(self, num_prompt_tokens: int) -> None:
        self.num_prompt_tokens = num_prompt_tokens
        self.num_tokens = 0
        self.has_text = False
        self.reason: FinishReason | None = None
        self._steps: list[Step] = []

    def add(self, step: Step) -> None:
        """Take a step."""
        self._steps.append(step)
        self.num_tokens += step.num_tokens
        self.has_text |= bool(step.text)
        self.reason = step.reason

    def piece(self, finish: Finish | None = None) -> Piece:
        """Return what no piece holds yet."""
        steps, self._steps, self.has_text = self._steps, [], False
        return Piece(
            text="".join(step.text for step in steps),
            num_tokens=sum(step.num_tokens for step in steps),
            finish=finish,
            logprobs=tuple(logprob for step in steps for logprob in step.logprobs),
        )

    def last_piece(self, *, elapsed_s: float) -> Piece:
        """Return the rest, with the finish."""
        assert self.reason is not None
        return self.piece(
            Finish(
                reason=self.reason,
                num_prompt_tokens=self.num_prompt_tokens,
                num_tokens=self.num_tokens,
                elapsed_s=elapsed_s,
            )
        )


class KernelProcess:
    """A KernelHost inside a Ray actor: loads, serves, announces itself."""

    async def __init__(self, spec: DeploymentSpec, kernel: str) -> None:  # type: ignore[misc]
        # Ray awaits this on the actor's event loop, also after a restart.
        set_up_logging(spec.log_path(_ray.kernel_member(kernel)))
        self._load = partial(_load_engine, spec, kernel)
        self._engine: KernelEngine = await asyncio.to_thread(self._load)
        self._next: KernelEngine | None = None
        host = KernelHost(
            kernel, self._engine, slots=spec.kernel.slots, queue_max=spec.kernel.queue_max
        )
        endpoint = await host.serve(spec.internal_bind, stall_s=spec.kernel.stall_s)
        metrics_endpoint, _ = serve_metrics(host.metrics.registry, spec.host)
        self._host = host
        self._announcement = Announcement(
            member=_ray.kernel_member(kernel),
            endpoint=endpoint,
            metrics_endpoint=metrics_endpoint,
            pid=os.getpid(),
            node=_ray.node_name(),
        )
        told = _ray.announce(spec, self._announcement)
        logger.info("kernel serves", extra={"endpoint": endpoint, "registry_told": told})

    async def where(self) -> Announcement:
        """Say where this kernel listens: asked by a registry that has just started."""
        return self._announcement

    async def load_next(self) -> bool:
        """Load what training has written beside what is served; say whether it is another.

        Raises:
            ArtifactError: A file is damaged, or speaks another vocabulary than what is served.
        """
        loaded = await asyncio.to_thread(self._load)
        if loaded.tokenizer_hash != self._engine.tokenizer_hash:
            raise ArtifactError(self._host.name, "was trained with another vocabulary")
        changed = loaded.weights_hash != self._engine.weights_hash
        self._next = loaded if changed else None
        return changed

    async def take_next(self) -> None:
        """Serve what `load_next` loaded; nothing to do after a restart, which loads anew."""
        if self._next is not None:
            self._engine, self._next = self._next, None
            self._host.replace(self._engine)
            logger.info("kernel reloaded", extra={"weights": self._engine.weights_hash})
            await asyncio.to_thread(_return_memory)

    async def forget_next(self) -> None:
        """Drop what `load_next` loaded."""
        self._next = None

    async def drain(self, grace_s: float) -> None:
        """Refuse new calls and finish the running ones."""
        await self._host.stop(grace_s=grace_s)


def _load_engine(spec: DeploymentSpec, kernel: str) -> "KernelEngine":
    # torch is imported here, before serving: importing it later would stop the event loop.
    from actors.engine import KernelEngine

    engine = KernelEngine.load(
        spec.artifacts / "kernels" / kernel,
        spec.artifacts / "coordizer",
        num_threads=spec.kernel.num_threads,
        prefill_tokens=spec.kernel.prefill_tokens,
        prefix_bytes=spec.kernel.prefix_mib * 2**20,
        weights=spec.kernel.weights,
    )
    _return_memory()
    return engine


def _return_memory() -> None:
    """Give what importing and loading freed back to the system: glibc keeps it otherwise."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc only
    if trim is not None:
        trim(0)


KernelActor = ray.remote(KernelProcess)
