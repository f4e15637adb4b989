"""Leading other kernels: texts that several write or score together, in mixture or posterior.

The kernel that is asked leads. It lets the text into its own batch and, over gRPC, into those of
its partners; all of them say what may come next, the leader weighs that, draws one token, and tells
them. A partner that is lost before the first token is named to the router, which decides anew; one
that is lost later is left out.

Shapes: k kernels, T tokens of a text, V tokens of the vocabulary.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from actors.kernel.engine_interface import Engine, Led, Step
from actors.kernel.ensemble_partner import Partners
from actors.kernel.pieces import Telling
from constellation.coordizer.token_basins import read_estimator
from constellation.errors import ArtifactError, InvalidRequest, KernelUnavailable
from constellation.records import FloatArray, Mode, Piece, Sampling, Score, Table
from constellation.routing.mixture import joint_logits
from constellation.routing.mixture_weights import EnsembleWeights, Renew, joint_nats, renewal
from constellation.wire import request_tracing
from constellation.wire.ensembles import Ensemble, Member, Predicted, Predicting

if TYPE_CHECKING:
    from actors.kernel.host import KernelHost

logger = logging.getLogger(__name__)


class Together:
    """An answer that several kernels are writing.

    Args:
        texts: Name -> the text in that kernel's batch, in the order of the weights.
        own: Name of the leader, whose loss is everybody's.
        num_before: Tokens of the answer that others wrote before.

    Attributes:
        lost: Partners that were left out -> index of the first token written without them.
    """

    def __init__(
        self,
        led: Led,
        texts: dict[str, Predicting],
        own: str,
        weighing: EnsembleWeights,
        *,
        num_before: int,
    ) -> None:
        self.lost: dict[str, int] = {}
        self._num_written = num_before
        self._led = led
        self._texts = texts
        self._own = own
        self._names = tuple(texts)
        self._weighing = weighing
        self._has_begun = False

    @property
    def weights(self) -> dict[str, float]:
        """Name -> weight for the token that comes next, of those that are left."""
        weights = zip(self._names, self._weighing.weights_k.tolist(), strict=True)
        return {name: weight for name, weight in weights if name in self._texts}

    async def step(self) -> Step:
        """Write one token.

        Raises:
            KernelUnavailable: A kernel was lost before the first.
        """
        predicted = await self._ask()
        places = [place for place, name in enumerate(self._names) if name in self._texts]
        if not self._has_begun:
            self._has_begun = True
            nats_kP = np.array([predicted[name].prompt_nats for name in self._names])
            self._weighing.observe_prompt(nats_kP)
        logits_kV = np.stack([predicted[name].logits_V for name in self._texts])
        joint_V, normaliser_k = joint_logits(logits_kV, self._weighing.weights_k[places])
        token, step = self._led.choose(joint_V)
        self._num_written += step.num_tokens
        if step.reason is None:
            log_prob_k = np.zeros(len(self._names))
            log_prob_k[places] = logits_kV[:, token] - normaliser_k
            self._weighing.observe_token(token, log_prob_k)
            for text in self._texts.values():
                text.tell(token)
        return step

    async def _ask(self) -> dict[str, Predicted]:
        """Ask all for what may come next; leave out who was lost."""
        names = list(self._texts)
        answers = await asyncio.gather(
            *(text.next() for text in self._texts.values()), return_exceptions=True
        )
        predicted = {}
        for name, answer in zip(names, answers, strict=True):
            if isinstance(answer, Predicted):
                predicted[name] = answer
            elif isinstance(answer, KernelUnavailable) and self._has_begun and name != self._own:
                self._leave_out(name, answer)
            else:
                raise answer
        return predicted

    def _leave_out(self, name: str, error: KernelUnavailable) -> None:
        logger.warning("partner lost", extra={"kernel": name, "why": str(error)})
        del self._texts[name]
        self._weighing.drop(self._names.index(name))
        self.lost[name] = self._num_written


class Leader:
    """Writes and scores texts together with other kernels.

    Args:
        coordizer_folder: Says where the coordinates of a table lie, by which a mixture's weights
            follow its text; they are read when a text needs them. None: the weights stay as they
            are.
    """

    def __init__(
        self,
        kernel: "KernelHost",
        partners: Partners,
        coordizer_folder: Callable[[Table], Path] | None = None,
    ) -> None:
        self._kernel = kernel
        self._partners = partners
        self._coordizer_folder = coordizer_folder

    async def generate(
        self,
        tokens: Sequence[int],
        sampling: Sampling,
        ensemble: Ensemble,
        *,
        produced: Sequence[int],
        client: str,
        timeout_s: float,
    ) -> AsyncGenerator[Piece, None]:
        """Continue a prompt, a piece per token, text in whole code points."""
        started_s = time.monotonic()
        text = [*tokens, *produced]
        engine = self._kernel.engine
        renew = await self._renew(ensemble)
        async with self._texts(text, engine, ensemble, client, timeout_s) as texts:
            span = request_tracing.current()
            if span is not None:
                span.event("slots taken", {"kernels": len(texts)})
            context = min(each.context for each in texts.values())
            led = engine.lead(tokens, sampling, produced, context=context)
            weighing = EnsembleWeights(ensemble.mode, _weights(ensemble), text, renew)
            num_before = len(produced)
            together = Together(led, texts, self._kernel.name, weighing, num_before=num_before)
            telling = Telling(led.num_prompt_tokens, num_before=num_before)
            while telling.reason is None:
                telling.add(await together.step())
                if telling.has_text and telling.reason is None:
                    yield telling.piece()
        self._kernel.count_written(telling.num_tokens - len(produced))
        yield telling.last_piece(
            elapsed_s=time.monotonic() - started_s,
            weights=together.weights,
            lost=together.lost,
        )

    async def score(
        self,
        tokens: Sequence[int],
        num_context: int,
        ensemble: Ensemble,
        *,
        client: str,
        timeout_s: float,
    ) -> Score:
        """Say how likely `tokens[num_context:]` is after the tokens before.

        Raises:
            KernelUnavailable: A kernel was lost; names it.
            InvalidRequest: Nothing is left to be scored.
        """
        if not 0 <= num_context < len(tokens):
            raise InvalidRequest("num_context", num_context, f"0 to {len(tokens) - 1}")
        renew = await self._renew(ensemble)
        try:
            async with asyncio.TaskGroup() as group:
                asked = [
                    group.create_task(self._token_nats(member, tokens, client, timeout_s))
                    for member in ensemble.members
                ]
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        nats_kT = np.stack([task.result() for task in asked])
        nats_S = await asyncio.to_thread(  # a long text is folded many times
            joint_nats, ensemble.mode, nats_kT, _weights(ensemble), tokens, num_context, renew
        )
        return Score(nats=float(nats_S.sum()), num_tokens=len(nats_S))

    async def close(self) -> None:
        """Close the ways to the partners."""
        await self._partners.close()

    @asynccontextmanager
    async def _texts(
        self,
        text: Sequence[int],
        engine: Engine,
        ensemble: Ensemble,
        client: str,
        timeout_s: float,
    ) -> AsyncIterator[dict[str, Predicting]]:
        """Let the text into every member's batch.

        One after the other, by name: two texts that wait for each other's slots would otherwise
        wait for ever.
        """
        joined: dict[str, Predicting] = {}
        is_scored = ensemble.mode is Mode.POSTERIOR
        async with AsyncExitStack() as stack:
            for member in sorted(ensemble.members, key=lambda member: member.kernel):
                entering: AbstractAsyncContextManager[Predicting]
                if member.kernel == self._kernel.name:
                    entering = self._kernel.predict(
                        text,
                        tokenizer_hash=engine.tokenizer_hash,
                        is_scored=is_scored,
                        client=client,
                    )
                else:
                    entering = self._partners.predict(
                        member,
                        text,
                        tokenizer_hash=engine.tokenizer_hash,
                        vocab_size=engine.vocab_size,
                        is_scored=is_scored,
                        client=client,
                        timeout_s=timeout_s,
                    )
                joined[member.kernel] = await stack.enter_async_context(entering)
            yield {member.kernel: joined[member.kernel] for member in ensemble.members}

    async def _token_nats(
        self, member: Member, tokens: Sequence[int], client: str, timeout_s: float
    ) -> FloatArray:
        if member.kernel == self._kernel.name:
            return await self._kernel.token_nats(tokens, client=client)
        return await self._partners.token_nats(member, tokens, client=client, timeout_s=timeout_s)

    async def _renew(self, ensemble: Ensemble) -> Renew | None:
        """Return what renews the weights, in the order of the members.

        Raises:
            KernelUnavailable: The coordinates cannot be read, or are others than the table's: it
                cannot lead, and another may have read them before.
        """
        asked = ensemble.renewal
        find = self._coordizer_folder
        if asked is None or find is None:
            return None
        try:
            estimator, loaded_hash = await asyncio.to_thread(
                lambda: read_estimator(find(asked.table))
            )
        except ArtifactError as error:
            raise KernelUnavailable(self._kernel.name, f"it cannot lead: {error}") from error
        if loaded_hash != asked.table.coordizer_hash:
            reason = "it cannot lead: its coordinates are others than the table's"
            raise KernelUnavailable(self._kernel.name, reason)
        renew = renewal(
            asked.table,
            rule=asked.rule,
            phi_weighting=asked.phi_weighting,
            basin_of=estimator.basin,
        )
        order = [site.name for site in asked.table.sites]
        places = [order.index(member.kernel) for member in ensemble.members]
        return lambda tokens: renew(tokens)[places]


def _weights(ensemble: Ensemble) -> FloatArray:
    return np.array([member.weight for member in ensemble.members])
