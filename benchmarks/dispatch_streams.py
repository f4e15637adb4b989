"""What a token costs on its way from a kernel through a router to a client.

The same kernel writes the same texts, one at a time: driven by a loop in this process, and streamed
through a kernel's server and a router, processes of their own, by the library's client. The order
alternates from text to text. A text's figure is the time from its first token to its last over the
number of tokens between; compared are the medians over the texts.
"""

import asyncio
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from actors.kernel.engine import KernelEngine
from constellation.client.async_client import AsyncClient
from constellation.coordizer.artifacts import read_vocabulary
from constellation.coordizer.coordizer import Coordizer
from constellation.kernel.files.checkpoint import load_kernel, save_kernel
from constellation.kernel.network.config import KernelConfig
from constellation.kernel.network.decoder import Decoder
from constellation.records import Sampling

TOKENS = 64
"""Tokens written after every prompt."""


def write_kernel(folder: Path, coordizer: Coordizer) -> None:
    """Write a kernel of 3 million numbers; its weights are drawn, since only time counts."""
    config = KernelConfig(
        vocab_size=coordizer.vocab_size,
        width=192,
        num_layers=4,
        num_heads=6,
        mlp_width=512,
        context=256,
    )
    decoder = Decoder(config, seed=0)
    save_kernel(folder, decoder, tokenizer_hash=coordizer.tokenizer_hash, facts={})


def measure(
    kernel: Path, coordizer: Path, endpoint: str, token: str, texts: Sequence[str]
) -> dict[str, Any]:
    """Return milliseconds a token, bare and streamed, and what lies between."""
    torch.set_num_threads(1)
    loaded = load_kernel(kernel)
    engine = KernelEngine(loaded, read_vocabulary(coordizer))
    reader = Coordizer.load(coordizer)
    bare_ms, streamed_ms = asyncio.run(_both(engine, reader, endpoint, token, texts))
    bare, streamed = statistics.median(bare_ms), statistics.median(streamed_ms)
    return {
        "stream_overhead_ms": streamed - bare,
        "bare_ms": bare,
        "streamed_ms": streamed,
        "texts": len(bare_ms),
    }


async def _both(
    engine: KernelEngine, reader: Coordizer, endpoint: str, token: str, texts: Sequence[str]
) -> tuple[list[float], list[float]]:
    bare_ms: list[float] = []
    streamed_ms: list[float] = []
    async with AsyncClient(endpoint, token=token) as stars:
        for number, text in enumerate(texts):
            if number % 2:
                streamed_ms.append(await _streamed(stars, text))
            bare_ms.append(_bare(engine, reader.encode(text).tolist()))
            if not number % 2:
                streamed_ms.append(await _streamed(stars, text))
    return bare_ms[2:], streamed_ms[2:]  # the first ones warm up


def _bare(engine: KernelEngine, tokens: list[int]) -> float:
    sampling = Sampling(tokens_max=TOKENS, tokens_min=TOKENS, temperature=0.0)
    answer = engine.start(tokens, sampling)
    times: list[float] = []
    reason = None
    while reason is None:
        (step,) = engine.step([answer])
        reason = step.reason
        times += [time.perf_counter()] * step.num_tokens
    engine.leave(answer)
    return (times[-1] - times[0]) / (len(times) - 1) * 1e3


async def _streamed(stars: AsyncClient, text: str) -> float:
    times: list[float] = []
    stream = stars.stream(text, tokens_max=TOKENS, tokens_min=TOKENS, temperature=0.0)
    async for piece in stream:
        # A piece of several tokens came when the last of them was known.
        times += [time.perf_counter()] * piece.num_tokens
    return (times[-1] - times[0]) / (len(times) - 1) * 1e3
