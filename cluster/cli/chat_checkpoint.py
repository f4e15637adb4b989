"""`chat --checkpoint`: a session with one kernel, which prints measurements below each reply.

The kernel is loaded from its folder; no constellation runs. The measurements are Phi (integration
of the hidden states), kappa (attention coupling), recursion depth and the basin of the text.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from cluster.cli import output_format
from cluster.cli.kernel_folder import KernelFolder
from cluster.cli.terminal_session import Session

if TYPE_CHECKING:
    from constellation.kernel.observables.text_observables import TextObservables
    from constellation.records import Sampling


class CheckpointSession(Session):
    """A session whose turns are answered by one loaded kernel, with measurements of each reply."""

    help = "/forget drops the context, /quit ends; measurements are printed below each reply"

    def __init__(self, loaded: KernelFolder, sampling: "Sampling", *, context: int) -> None:
        """Store the kernel and derive the token limits of prompt and reply.

        Args:
            loaded: The kernel and its coordizer.
            sampling: How the tokens of every reply are drawn.
            context: Largest number of tokens of earlier turns, the new turn and its reply together;
                lowered to what the kernel reads.
        """
        self._decoder = loaded.kernel.decoder
        self._coordizer = loaded.coordizer
        limit = min(context, loaded.kernel.config.context)
        # One place is for the token that opens a text; the answer gets at most half of the rest.
        room = max(1, min(sampling.tokens_max, (limit - 1) // 2))
        self._sampling = replace(sampling, tokens_max=room)
        self._prompt_max = max(1, limit - 1 - room)
        self._kept: list[int] = []

    def commands(self) -> Mapping[str, Callable[[], None]]:
        """Return the session's only command, /forget."""
        return {"/forget": self._kept.clear}

    def turn(self, text: str) -> None:
        """Continue the earlier turns and `text`, and print measurements of the whole."""
        from constellation.kernel.observables.text_observables import observe_text

        prompt = [*self._kept, *self._coordizer.encode(text).tolist()][-self._prompt_max :]
        opened = [self._coordizer.end_id, *prompt]
        written = self._answer(opened)
        read = [*opened, *written][: self._decoder.config.context]
        output_format.stderr().print(
            summary(observe_text(self._decoder, self._coordizer, read)), style="dim"
        )
        self._kept = [*prompt, *written, *self._coordizer.encode("\n").tolist()]

    def _answer(self, opened: Sequence[int]) -> list[int]:
        from constellation.coordizer.text_stream import TextStream
        from constellation.kernel.writing.generation import generate

        stream = TextStream(self._coordizer.token_bytes)
        written: list[int] = []
        try:
            for token in generate(self._decoder, opened, self._sampling, self._coordizer.end_id):
                written.append(token)
                output_format.print_answer(stream.feed(token))
        finally:
            output_format.print_answer(f"{stream.flush()}\n")
        return written


def summary(observed: "TextObservables") -> str:
    """Return one line with the measurements of a turn and its reply."""
    phi = observed.phi
    parts = [
        f"Phi {phi.method}" if phi.value is None else f"Phi {phi.value:.3f} (null {phi.null:.3f})",
        f"kappa {observed.kappa.value:.3f} nats (null {observed.kappa.null:.3f})",
        "no layer recurs" if observed.depth is None else f"depth {observed.depth:.2f}",
        f"basin {output_format.outcomes(observed.basin_K.tolist())} ({observed.basin_source})",
    ]
    return " · ".join(parts)
