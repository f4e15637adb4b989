"""Collective Phi of live traffic: every kernel scores a sample of prompts while no request runs.

Off by default. One prompt of every period is kept, each as likely as any other, until no request is
under way; then all kernels score the prompt by `Score`, and the prompt is dropped. Only a few
numbers of each prompt stay. As with held-out documents, a prompt is routed by its beginning alone
and scored on the rest, so that the route does not depend on the scored text.

Shapes: M kernels, N prompts, K outcomes, T tokens, the scored ones after the beginning.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import grpc
import numpy as np
from prometheus_client import Gauge

from actors.background_tasks import begin, repeat
from actors.kernel_connections import KernelLinks, typed_loss
from actors.router.interfaces import TextGeometry
from constellation.errors import ConstellationError
from constellation.records import FloatArray, LiveCollectivePhi, TokenArray
from constellation.routing.collective_phi import (
    INTERVAL_TEXTS_MIN,
    CollectiveScores,
    Integration,
    integrate,
    uniform_nats,
)
from constellation.routing.policy import RoutingPolicy
from constellation.v1 import kernel_pb2

logger = logging.getLogger(__name__)

TOKENS_MAX = 256
"""Tokens of a prompt that are kept and scored, from the beginning of the prompt."""
TOKENS_MIN = 16
"""Shorter prompts are left out."""
PREFIX_TOKENS = 32
"""Tokens that a prompt is routed by; half of the prompt when that is less."""
PROMPTS_MAX = 256
"""Prompts behind the statistic, the latest ones."""
SCORE_S = 20.0
"""Seconds that a kernel may take for one prompt, waiting included."""
PAUSE_S = 0.05
"""Seconds between two checks whether the router is idle."""
PAUSES_MAX = 200
"""Checks before a prompt is dropped unscored."""
CLIENT = "collective phi"
"""Client name of these requests in a kernel's queue."""


@dataclass(frozen=True, slots=True, eq=False)
class _Row:
    """One prompt: nats over its scored tokens."""

    single_M: FloatArray
    routed: float
    ensemble: float
    num_bytes: int


class CollectiveSampler:
    """Measures on live prompts how much better the kernels are together than alone.

    Args:
        links: Connections to the kernels.
        rate: Prompts a minute.
        draw: Uniform numbers in [0, 1).
        gauge: Metric that is set to phi_bits, NaN while there is no value.
    """

    def __init__(
        self,
        links: KernelLinks,
        *,
        rate: float,
        draw: Callable[[], float],
        gauge: Gauge,
    ) -> None:
        self._links = links
        self._routing: tuple[RoutingPolicy, TextGeometry] | None = None
        self._period_s = 60.0 / rate
        self._draw = draw
        self._gauge = gauge
        self._sites: list[tuple[str, FloatArray]] = []
        self._release = 0
        self._kept: TokenArray | None = None
        self._num_offered = 0
        self._rows: deque[_Row] = deque(maxlen=PROMPTS_MAX)
        self._found: Integration | None = None
        self._task: asyncio.Task[None] | None = None

    def offer(self, tokens: TokenArray) -> None:
        """Keep a prompt for this period by chance: the n-th prompt with probability 1 / n."""
        if len(tokens) < TOKENS_MIN:
            return
        self._num_offered += 1
        if self._draw() * self._num_offered < 1:
            self._kept = tokens[:TOKENS_MAX].copy()

    def follow(self, policy: RoutingPolicy, coordizer: TextGeometry) -> None:
        """Route by this from now on; begin anew when the release or a basin is another.

        Args:
            policy: Routes by a table.
            coordizer: Knows the bytes of tokens, and their basins as the table's.
        """
        self._routing = policy, coordizer
        sites = [(site.name, site.basins_BK) for site in policy.table.sites]
        release, self._release = self._release, policy.table.release
        is_same = (
            release == self._release
            and len(sites) == len(self._sites)
            and all(
                name == old and np.array_equal(basins_BK, old_BK)
                for (name, basins_BK), (old, old_BK) in zip(sites, self._sites, strict=True)
            )
        )
        self._sites = sites
        if not is_same:
            self.forget()

    def forget(self) -> None:
        """Drop all measurements, which were made of other kernels."""
        self._rows = deque(maxlen=PROMPTS_MAX)  # another one, so that a row under way is dropped
        self._found = None
        self._gauge.set(float("nan"))

    def state(self) -> LiveCollectivePhi:
        """Return the latest statistic."""
        found, num_needed = self._found, INTERVAL_TEXTS_MIN
        if found is None:
            return LiveCollectivePhi(num_prompts=len(self._rows), num_needed=num_needed)
        return LiveCollectivePhi(
            num_prompts=found.phi_bits.n,
            num_needed=num_needed,
            phi_bits=found.phi_bits.value,
            interval=found.phi_bits.interval,
            random_routing_bits=found.random_routing.value,
            uniform_ensemble_bits=found.uniform_ensemble.value,
            best_kernel=found.best_kernel,
        )

    def start(self) -> None:
        """Sample from now on; needs a running event loop."""
        self._task = begin(
            "collective phi", repeat("collective phi sample", self.sample, self._period_s)
        )

    async def stop(self) -> None:
        """Sample no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def sample(self) -> bool:
        """Have the prompt of this period scored; return whether that succeeded."""
        tokens, self._kept, self._num_offered = self._kept, None, 0
        names = [name for name, _ in self._sites]
        routing, rows = self._routing, self._rows
        if tokens is None or routing is None or len(names) < 2 or self._links.down:
            return False
        row = await self._score(tokens, names, routing)
        if row is None or rows is not self._rows:
            return False
        rows.append(row)
        if len(rows) >= INTERVAL_TEXTS_MIN:
            found = await asyncio.to_thread(integrate, _scores(names, list(rows)))
            if rows is self._rows:
                self._found = found
                self._gauge.set(found.phi_bits.value or 0.0)
        return True

    async def _score(
        self, tokens: TokenArray, names: list[str], routing: tuple[RoutingPolicy, TextGeometry]
    ) -> _Row | None:
        """Have one kernel after the other score a prompt; None when one did not answer."""
        num_prefix = min(PREFIX_TOKENS, len(tokens) // 2)
        listed = tokens.tolist()
        policy, coordizer = routing
        nats = []
        try:
            basin_K = coordizer.basin(tokens[:num_prefix])
            chosen = names.index(policy.decide(basin_K, num_tokens=num_prefix).kernel)
            for name in names:
                if not await self._is_idle():
                    return None
                request = kernel_pb2.KernelScoreRequest(
                    tokens=listed,
                    num_context=num_prefix,
                    kernel=name,
                    client=CLIENT,
                    per_token=True,
                )
                nats.append(await self._links.to(name).token_nats(request, SCORE_S))
        except (grpc.aio.AioRpcError, ConstellationError) as error:
            name = names[len(nats)]
            kind = type(typed_loss(error, name)).__name__
            logger.info("prompt not scored", extra={"kernel": name, "error": kind})
            return None
        single_MT = np.stack(nats)
        single_M = single_MT.sum(axis=1)
        num_bytes = len(coordizer.decode(tokens[num_prefix:]))
        if not num_bytes or not np.isfinite(single_M).all():
            return None
        return _Row(
            single_M=single_M,
            routed=float(single_M[chosen]),
            ensemble=float(uniform_nats(single_MT).sum()),
            num_bytes=num_bytes,
        )

    async def _is_idle(self) -> bool:
        """Wait until no request is under way; return False when that takes too long."""
        for _ in range(PAUSES_MAX):
            if self._links.is_idle:
                return True
            await asyncio.sleep(PAUSE_S)
        return False


def _scores(names: list[str], rows: list[_Row]) -> CollectiveScores:
    return CollectiveScores(
        kernels=tuple(names),
        single_NM=np.stack([row.single_M for row in rows]),
        routed_N=np.array([row.routed for row in rows]),
        ensemble_N=np.array([row.ensemble for row in rows]),
        num_bytes_N=np.array([row.num_bytes for row in rows], dtype=np.float64),
    )
