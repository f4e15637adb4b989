"""Recursive integrator: one block that is passed several times with the same weights.

    x <- x + sigma(gate(x)) (F(x) - x),   F a decoder block, `loops_min` to `loops_max` passes

**Adaptive depth.** After each pass from `loops_min` on, a token stops when the pass moved its
next-token distribution by less than `depth_threshold` (Fisher-Rao, radians). The distributions are
read off the residual stream as it stands, through the last norm and the head; after a recurrent
last layer that is the kernel's own distribution, after an earlier one a preview of it.

Every token decides for itself, from its own step alone. A mean of steps over the tokens of a call
would let later tokens, or other sequences of a batch, change what an earlier token computes; here
causality holds, and a text gives the same result alone, in a batch, in pieces and at once. (Up to
rounding: a step within rounding of the threshold may fall on either side.) The mean over tokens is
what is reported, see `Depths`.

A token that has stopped keeps its state. For tokens that continue, its keys and values at the
further passes are those of this state; with a cache they are stored when the last token of a call
stops. Every pass has a cache of its own. The decision itself takes no gradient.

Shapes: B sequences, T positions, C channels, R tokens read out, V vocabulary.
Sources: Dehghani et al. (2019), Universal Transformers, for shared weights and kept states; Graves
(2016), adaptive computation time; Schwarzschild et al. (2021) for depth chosen when it is used.
"""

from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from constellation.geometry import distance
from constellation.kernel.network.block import make_block
from constellation.kernel.network.cache import LayerCache
from constellation.kernel.network.config import KernelConfig
from constellation.kernel.network.loss import CHUNK_LOGITS

Readout = Callable[[Tensor], Tensor]
"""Function from a residual stream (R, C) to next-token logits (R, V)."""


class Depths:
    """Counts the passes that tokens make through recurrent layers.

    The caller makes one, passes it to `Decoder.hidden` or `Decoder.loss`, and reads it afterwards.
    The network itself stores nothing, so several threads may use one network.
    """

    def __init__(self) -> None:
        self._num_tokens = 0
        self._num_passes: Tensor | int = 0

    def add(self, num_passes: Tensor | int, num_tokens: int) -> None:
        """Count the passes of some tokens through one layer, summed over the tokens."""
        self._num_passes = self._num_passes + num_passes
        self._num_tokens += num_tokens

    @property
    def mean(self) -> float | None:
        """Mean passes per token and recurrent layer; None without a recurrent layer."""
        return float(self._num_passes) / self._num_tokens if self._num_tokens else None


class Gate(nn.Module):
    """Learned step size of each token towards F(x): a share in (0, 1), one half before training."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(width))
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, x_BTC: Tensor) -> Tensor:
        """Return each token's step size, in (0, 1), shape (B, T, 1)."""
        return (x_BTC @ self.weight + self.bias).sigmoid().unsqueeze(-1)


class RecurrentBlock(nn.Module):
    """A block F that is passed several times, with a learned step size."""

    def __init__(self, config: KernelConfig) -> None:
        super().__init__()
        self.config = config
        self.block = make_block(config)
        self.gate = Gate(config.width)

    def forward(
        self,
        x_BTC: Tensor,
        phases: Tensor | None,
        scale: Tensor | None,
        caches: Sequence[LayerCache] | None,
        readout: Readout,
        depths: Depths | None = None,
    ) -> Tensor:
        """Return the residual stream after all passes.

        Args:
            x_BTC: Residual stream of the new positions.
            phases: Rotary phases, as for a block.
            scale: The layer's coupling, as for a block; every pass uses the same.
            caches: One per pass; None without a cache.
            readout: For adaptive depth: returns the stream's next-token logits.
            depths: Counts the passes.

        Returns:
            Shape (B, T, C).
        """
        num_tokens = x_BTC.shape[0] * x_BTC.shape[1]
        per_pass: Sequence[LayerCache | None] = caches or [None] * self.config.loops_max
        num_passes: Tensor | int
        if self.config.has_adaptive_depth:
            x_BTC, num_passes = self._until_still(x_BTC, phases, scale, per_pass, readout)
        else:
            for cache in per_pass:
                x_BTC = self._pass(x_BTC, phases, scale, cache)
            num_passes = self.config.loops_max * num_tokens
        if depths is not None:
            depths.add(num_passes, num_tokens)
        return x_BTC

    def initialise(self, generator: torch.Generator, std: float, num_residuals: int) -> None:
        """Draw the block's matrices; the gate starts at one half."""
        self.block.initialise(generator, std, num_residuals)
        self.gate.weight.zero_()
        self.gate.bias.zero_()

    def _pass(
        self, x_BTC: Tensor, phases: Tensor | None, scale: Tensor | None, cache: LayerCache | None
    ) -> Tensor:
        share = self.gate(x_BTC)
        return cast(Tensor, x_BTC + share * (self.block(x_BTC, phases, scale, cache) - x_BTC))

    def _until_still(
        self,
        x_BTC: Tensor,
        phases: Tensor | None,
        scale: Tensor | None,
        per_pass: Sequence[LayerCache | None],
        readout: Readout,
    ) -> tuple[Tensor, Tensor]:
        """Pass tokens until each has stopped; return the stream and the number of passes of all."""
        config = self.config
        goes_on_BT = torch.ones(x_BTC.shape[:2], dtype=torch.bool, device=x_BTC.device)
        num_passes = torch.zeros((), dtype=torch.int64, device=x_BTC.device)
        for index, cache in enumerate(per_pass):
            before_BTC = x_BTC
            moved_BTC = self._pass(before_BTC, phases, scale, cache)
            x_BTC = torch.where(goes_on_BT.unsqueeze(-1), moved_BTC, before_BTC)
            num_passes += goes_on_BT.sum()
            if not config.loops_min <= index + 1 < config.loops_max:
                continue
            goes_on_BT = self._still_moving(before_BTC, x_BTC, goes_on_BT, readout)
            # Elsewhere than on a CPU, to ask would be to wait; further passes change nothing more.
            if x_BTC.device.type == "cpu" and not goes_on_BT.any():
                left = [cache for cache in per_pass[index + 1 :] if cache is not None]
                if left:
                    self.block.remember(x_BTC, phases, scale, left)
                break
        return x_BTC, num_passes

    @torch.no_grad()
    def _still_moving(
        self, before_BTC: Tensor, after_BTC: Tensor, goes_on_BT: Tensor, readout: Readout
    ) -> Tensor:
        """Return which of the continuing tokens took a step as large as the threshold."""
        threshold = self.config.depth_threshold
        assert threshold is not None
        rows = max(1, CHUNK_LOGITS // self.config.vocab_size)
        if before_BTC.device.type != "cpu":  # to choose tokens by a mask would be to wait
            before_RC, after_RC = before_BTC.flatten(0, 1), after_BTC.flatten(0, 1)
            with torch.autocast(before_BTC.device.type, enabled=False):
                steps_R = next_token_steps(before_RC, after_RC, readout, rows=rows)
            return goes_on_BT & (steps_R.view_as(goes_on_BT) >= threshold)
        # In full precision: rounding of the logits alone would look like a step.
        with torch.autocast(before_BTC.device.type, enabled=False):
            steps_R = next_token_steps(
                before_BTC[goes_on_BT], after_BTC[goes_on_BT], readout, rows=rows
            )
        still_BT = torch.zeros_like(goes_on_BT)
        still_BT[goes_on_BT] = steps_R >= threshold
        return still_BT


def next_token_steps(before_RC: Tensor, after_RC: Tensor, readout: Readout, *, rows: int) -> Tensor:
    """Return the Fisher-Rao distances between next-token distributions before and after a pass.

    Args:
        before_RC: Residual stream before it, of one token or more.
        after_RC: Residual stream after it.
        readout: Logits of the stream.
        rows: Tokens whose distributions are held at once.

    Returns:
        Radians in [0, pi], shape (R,), float32.
    """
    steps: list[Tensor] = []
    for start in range(0, len(before_RC), rows):
        p_RV = readout(before_RC[start : start + rows]).float().softmax(-1)
        q_RV = readout(after_RC[start : start + rows]).float().softmax(-1)
        steps.append(distance(p_RV, q_RV))
    return torch.cat(steps)
