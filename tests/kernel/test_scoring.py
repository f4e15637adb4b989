"""Nats per token equal those computed one token at a time."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from constellation.errors import ConfigError, InvalidPrompt, InvalidRequest
from constellation.kernel.network.decoder import Decoder
from constellation.kernel.writing.scoring import bits_per_byte, token_nats
from tests.kernel.conftest import MakeKernel, small_config

DECODER = Decoder(small_config())


@torch.no_grad()
def nats_one_by_one(decoder: Decoder, ids: list[int], stride: int) -> list[float]:
    """Score each token from the window that the definition gives it."""
    context, nats = decoder.config.context, []
    for position in range(1, len(ids)):
        first = max(0, math.ceil((position - context) / stride)) * stride
        logits = decoder(torch.tensor([ids[first:position]]))[0, -1]
        nats.append(-float(torch.log_softmax(logits, -1)[ids[position]]))
    return nats


@given(st.integers(2, 90), st.integers(1, 24), st.integers(0, 10))
@settings(max_examples=25)
def test_windows_score_what_single_positions_score(length: int, stride: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, 61, (length,), generator=generator).tolist()
    ours = token_nats(DECODER, ids, stride=stride)
    assert ours.shape == (length - 1,)
    assert ours.tolist() == pytest.approx(nats_one_by_one(DECODER, ids, stride), abs=2e-4)


def test_an_unsure_kernel_needs_the_logarithm_of_the_vocabulary(make_kernel: MakeKernel) -> None:
    decoder = make_kernel()
    torch.nn.init.zeros_(decoder.embedding)
    nats = token_nats(decoder, list(range(60)))
    assert nats.tolist() == pytest.approx([math.log(61)] * 59)


def test_one_bit_for_each_byte() -> None:
    assert bits_per_byte(8 * math.log(2), 8) == pytest.approx(1.0)


def test_no_bytes_are_refused() -> None:
    with pytest.raises(ConfigError, match="byte"):
        bits_per_byte(1.0, 0)


@pytest.mark.parametrize("ids", [[], [5]])
def test_a_text_without_a_second_token_is_refused(ids: list[int]) -> None:
    with pytest.raises(InvalidPrompt):
        token_nats(DECODER, ids)


@pytest.mark.parametrize("token", [-1, 61])
def test_unknown_tokens_are_refused(token: int) -> None:
    with pytest.raises(InvalidRequest, match=str(token)):
        token_nats(DECODER, [1, token, 2])


@pytest.mark.parametrize("stride", [0, 25])
def test_strides_out_of_range_are_refused(stride: int) -> None:
    with pytest.raises(ConfigError, match="stride"):
        token_nats(DECODER, [1, 2, 3], stride=stride)
