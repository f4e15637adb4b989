"""Score a text under a kernel: nats per token, and bits per byte.

Shapes: n tokens of a text, W windows, T context, C channels, R tokens scored at once.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from constellation.errors import ConfigError, InvalidPrompt, InvalidRequest
from constellation.kernel.network import loss
from constellation.kernel.writing.network_interface import Network

WINDOWS_PER_BATCH = 8
"""Windows read in one forward pass."""


@torch.inference_mode()
def token_nats(decoder: Network, ids: Sequence[int], *, stride: int | None = None) -> Tensor:
    """Return -ln p(token | what comes before it) for every token but the first.

    A text longer than the context is read in overlapping windows; each counts only tokens no
    earlier window counted, which therefore see at least `context - stride` tokens before them.

    Args:
        decoder: The kernel.
        ids: The text's tokens, at least 2. The first is given, not scored: put the token that
            separates texts in front to score all of a text.
        stride: Tokens that each further window adds, 1 to context; None means half the context.

    Returns:
        Shape (n - 1,), float32, nats, at least 0.

    Raises:
        InvalidPrompt: If there are fewer than 2 tokens.
        InvalidRequest: If a token is not in the vocabulary.
    """
    config = decoder.config
    stride = max(1, config.context // 2) if stride is None else stride
    if not 1 <= stride <= config.context:
        raise ConfigError(f"stride is {stride}; allowed: 1 to the context {config.context}")
    if len(ids) < 2:
        raise InvalidPrompt(length=len(ids), limit=2**31 - 1)
    tokens = torch.as_tensor(ids, dtype=torch.int64)
    unknown = tokens[(tokens < 0) | (tokens >= config.vocab_size)]
    if len(unknown):
        raise InvalidRequest("ids", int(unknown[0]), f"token ids 0 to {config.vocab_size - 1}")
    inputs_WT, targets_WT = _windows(tokens, config.context, stride)
    nats = [
        _counted_nats(decoder, inputs, targets)
        for inputs, targets in zip(
            torch.split(inputs_WT, WINDOWS_PER_BATCH),
            torch.split(targets_WT, WINDOWS_PER_BATCH),
            strict=True,
        )
    ]
    return torch.cat(nats)


def bits_per_byte(nats_total: float, num_bytes: int) -> float:
    """Return `nats_total / (ln 2 * num_bytes)`: comparable between tokenizers.

    Raises:
        ConfigError: If there are no bytes.
    """
    if num_bytes < 1:
        raise ConfigError(f"bits per byte need at least one byte, got {num_bytes}")
    return nats_total / (math.log(2) * num_bytes)


def _windows(tokens: Tensor, context: int, stride: int) -> tuple[Tensor, Tensor]:
    """Return inputs and targets, shape (W, T); targets already counted or padded are ignored."""
    width = min(context, len(tokens) - 1)
    num_windows = 1 + math.ceil((len(tokens) - 1 - width) / stride)
    inputs = torch.zeros(num_windows, width, dtype=torch.int64)
    targets = torch.full((num_windows, width), loss.IGNORED, dtype=torch.int64)
    for row in range(num_windows):
        first = row * stride
        piece = tokens[first : first + width + 1]
        known = 0 if row == 0 else width - stride
        inputs[row, : len(piece) - 1] = piece[:-1]
        targets[row, known : len(piece) - 1] = piece[1 + known :]
    return inputs, targets


def _counted_nats(decoder: Network, inputs_WT: Tensor, targets_WT: Tensor) -> Tensor:
    device = decoder.embedding.device
    hidden_WTC = decoder.hidden(inputs_WT.to(device))
    counted = (targets_WT != loss.IGNORED).to(device)
    rows = max(1, loss.CHUNK_LOGITS // decoder.config.vocab_size)
    # By the decoder's own logits: a kernel whose matrices are rounded scores as it writes.
    nats = [
        functional.cross_entropy(decoder.logits(hidden_RC).float(), targets_R, reduction="none")
        for hidden_RC, targets_R in zip(
            torch.split(hidden_WTC[counted], rows),
            torch.split(targets_WT.to(device)[counted], rows),
            strict=True,
        )
    ]
    return torch.cat(nats).cpu()
