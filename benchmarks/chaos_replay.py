"""The offline replay of `benchmarks.chaos`: what the kernels of a route write.

Kernels are loaded from the artifacts into this process. Where one wrote after the other, each
writes again by `Generation`, which shares no batch, cache or wire with the engine that served.
Where several wrote together, `benchmarks.chaos_together` says whether they would have.
"""

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import torch

from benchmarks.chaos_together import Together, is_joint, parts
from benchmarks.chaos_traffic import Asked
from constellation.coordizer.coordizer import Coordizer
from constellation.coordizer.text_stream import TextStream
from constellation.kernel.adapters.kernel_folder import open_kernel
from constellation.kernel.network.decoder import Decoder
from constellation.kernel.writing.generation import Generation
from constellation.records import FinishReason, Rule, Sampling
from constellation.releases.store import ReleaseStore


class Replay:
    """Writes again what was answered.

    Args:
        artifacts: Whose current release is served.
        rule: By which the routers decided.
        phi_weighting: Whether a kernel's integration counted.
    """

    def __init__(
        self, artifacts: Path, *, rule: Rule = Rule.BEARING, phi_weighting: bool = True
    ) -> None:
        torch.set_num_threads(1)
        store = ReleaseStore(artifacts)
        release = store.read_current()
        self._artifacts = store.folder(release.version)
        self._coordizer = Coordizer.load(self._artifacts / "coordizer")
        self._decoder = lru_cache(maxsize=None)(self._load)
        self._written = lru_cache(maxsize=4096)(self._write)
        self._together = Together(
            store.table(release),
            self._coordizer,
            self._decoder,
            rule=rule,
            phi_weighting=phi_weighting,
        )

    def differences(self, answers: Iterable[Asked]) -> list[str]:
        """Return a line for every answer that its route's kernels would not have written."""
        return [line for each in answers if (line := self._difference(each))]

    def _difference(self, asked: Asked) -> str:
        prompt = tuple(int(token) for token in self._coordizer.encode(asked.prompt))
        if is_joint(asked.reply):
            return self._difference_together(asked, prompt)
        tokens: tuple[int, ...] = ()
        for kernel, count in _segments(asked):
            left = asked.tokens_max - len(tokens)
            written = self._written(kernel, prompt + tokens, left)
            tokens += written[:count]  # one that was lost wrote less than it might have
        text = _text(self._coordizer, tokens)
        if text == asked.reply.text and len(tokens) == asked.reply.finish.num_tokens:
            return ""
        return (
            f"{asked.mode} {_segments(asked)} after {asked.prompt[:40]!r}: said "
            f"{asked.reply.text!r}, replayed {text!r}"
        )

    def _difference_together(self, asked: Asked, prompt: tuple[int, ...]) -> str:
        reply = asked.reply
        why = self._together.objection(prompt, reply.tokens, parts(reply), reply.finish.reason)
        if not why and reply.finish.reason is FinishReason.LENGTH:
            why = "" if len(reply.tokens) == asked.tokens_max else "it is of another length"
        if not why and _text(self._coordizer, reply.tokens) != reply.text:
            why = "the text is not that of the tokens"
        return why and f"{asked.mode} {parts(reply)} after {asked.prompt[:40]!r}: {why}"

    def _write(self, kernel: str, prompt: tuple[int, ...], tokens_max: int) -> tuple[int, ...]:
        sampling = Sampling(tokens_max=tokens_max, temperature=0.0)
        writing = Generation(self._decoder(kernel), prompt, sampling, self._coordizer.end_id)
        while writing.step() is not None:
            pass
        return tuple(writing.produced)

    def _load(self, kernel: str) -> Decoder:
        return open_kernel(self._artifacts / "kernels" / kernel).decoder


def _segments(asked: Asked) -> list[tuple[str, int]]:
    """Return which kernel wrote how many tokens, in order."""
    finish = asked.reply.finish
    if not finish.segments:
        return [(asked.reply.route.kernel, finish.num_tokens)]
    ends = [*(segment.first for segment in finish.segments[1:]), finish.num_tokens]
    return [
        (segment.kernel, end - segment.first)
        for segment, end in zip(finish.segments, ends, strict=True)
    ]


def _text(coordizer: Coordizer, tokens: tuple[int, ...]) -> str:
    stream = TextStream(coordizer.token_bytes)
    return "".join(map(stream.feed, tokens)) + stream.flush()
