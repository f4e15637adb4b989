"""A generation writes what a full recomputation would, ends for the right reason, and can be
interleaved with others.
"""

import pytest
import torch

from constellation.errors import InvalidPrompt, InvalidRequest
from constellation.kernel.network.config import ATTENTION_KINDS, AttentionKind
from constellation.kernel.network.decoder import Decoder
from constellation.kernel.network.recursion import Depths
from constellation.kernel.writing.generation import Generation, generate
from constellation.records import Sampling
from tests.kernel.conftest import NETWORKS, MakeKernel

GREEDY = Sampling(tokens_max=15, temperature=0)


def write(generation: Generation) -> list[int]:
    while generation.step() is not None:
        pass
    return generation.produced


@torch.no_grad()
def greedy_by_recomputation(decoder: Decoder, prompt: list[int], num_tokens: int) -> list[int]:
    tokens = list(prompt)
    for _ in range(num_tokens):
        tokens.append(int(decoder(torch.tensor([tokens]))[0, -1].argmax()))
    return tokens[len(prompt) :]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ATTENTION_KINDS)
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("prompt", [[5], [3, 1, 4, 1, 5, 9, 2, 6]])
def test_greedy_text_equals_full_recomputation(
    network: str, kind: AttentionKind, prompt: list[int], make_kernel: MakeKernel
) -> None:
    texts = []
    for seed in range(2):
        decoder = make_kernel(kind, seed=seed, init_std=0.5, **NETWORKS[network])
        texts.append(greedy_by_recomputation(decoder, prompt, 9))
        written = list(generate(decoder, prompt, Sampling(tokens_max=9, temperature=0), None))
        assert written == texts[-1]
    # Some of these kernels repeat one token for ever, which a wrong one might do as well.
    assert max(len(set(text)) for text in texts) > 1


@torch.no_grad()
def test_a_generation_tells_its_depth(make_kernel: MakeKernel) -> None:
    decoder, depths = make_kernel(**NETWORKS["adaptive"]), Depths()
    generation = Generation(decoder, [5, 7], GREEDY, None)
    assert generation.mean_depth is None
    text = write(generation)
    decoder.hidden(torch.tensor([[5, 7, *text[:-1]]]), depths=depths)
    assert generation.mean_depth == pytest.approx(depths.mean)


def test_the_seed_decides_the_text(make_kernel: MakeKernel) -> None:
    decoder = make_kernel()
    texts = [
        list(generate(decoder, [1], Sampling(tokens_max=12, temperature=2, seed=seed), None))
        for seed in (1, 1, 2)
    ]
    assert texts[0] == texts[1] != texts[2]


def test_interleaved_generations_write_what_they_write_alone(make_kernel: MakeKernel) -> None:
    decoder = make_kernel()
    samplings = [Sampling(tokens_max=10, temperature=2, seed=seed) for seed in range(3)]
    alone = [write(Generation(decoder, [seed], s, None)) for seed, s in enumerate(samplings)]
    together = [Generation(decoder, [seed], s, None) for seed, s in enumerate(samplings)]
    dropped = Generation(decoder, [9, 9], GREEDY, None)
    for turn in range(10):
        if turn < 3:
            dropped.step()
        for generation in together:
            generation.step()
    assert [generation.produced for generation in together] == alone


def test_the_end_token_ends_a_text_and_is_not_part_of_it(make_kernel: MakeKernel) -> None:
    decoder = make_kernel()
    text = greedy_by_recomputation(decoder, [5], 15)
    end_id = text[4]
    generation = Generation(decoder, [5], GREEDY, end_id)
    assert write(generation) == text[: text.index(end_id)]
    assert generation.finish_reason == "end"
    assert generation.step() is None


def test_the_token_limit_ends_a_text(make_kernel: MakeKernel) -> None:
    generation = Generation(make_kernel(), [5], Sampling(tokens_max=3, temperature=0), None)
    steps = [(generation.step() is None, generation.finished) for _ in range(4)]
    assert steps == [(False, False), (False, False), (False, True), (True, True)]
    assert generation.finish_reason == "length"


@pytest.mark.parametrize(("num_prompt", "num_written"), [(24, 1), (20, 5)])
def test_the_context_ends_a_text(
    num_prompt: int, num_written: int, make_kernel: MakeKernel
) -> None:
    generation = Generation(
        make_kernel(), [1] * num_prompt, Sampling(tokens_max=50, temperature=0), None
    )
    assert len(write(generation)) == num_written
    assert generation.finish_reason == "context"


def test_generating_first_leaves_the_kernel_trainable(make_kernel: MakeKernel) -> None:
    """Tables made under inference mode would refuse to be part of a backward pass."""
    decoder = make_kernel(context=23)  # a shape no other test uses, so its tables are new
    write(Generation(decoder, [1], Sampling(tokens_max=2, temperature=0), None))
    tokens = torch.tensor([[1, 2, 3]])
    decoder.loss(tokens, tokens).backward()
    assert decoder.embedding.grad is not None


@pytest.mark.parametrize(("length", "message"), [(0, "empty"), (25, "25 tokens")])
def test_prompts_of_the_wrong_length_are_refused(
    length: int, message: str, make_kernel: MakeKernel
) -> None:
    with pytest.raises(InvalidPrompt, match=message):
        Generation(make_kernel(), [1] * length, GREEDY, None)


@pytest.mark.parametrize("token", [-1, 61])
def test_unknown_tokens_are_refused(token: int, make_kernel: MakeKernel) -> None:
    with pytest.raises(InvalidRequest, match=str(token)):
        Generation(make_kernel(), [1, token], GREEDY, None)
