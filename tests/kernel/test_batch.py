"""A batch writes what every text's own `Generation` writes, whoever keeps it company."""

import random
from collections.abc import Iterator

import pytest
import torch

from constellation.errors import ConfigError, InvalidPrompt, InvalidRequest
from constellation.kernel.network.config import ATTENTION_KINDS, AttentionKind
from constellation.kernel.network.decoder import Decoder
from constellation.kernel.writing.batch import Batch, Writing
from constellation.kernel.writing.generation import Generation
from constellation.kernel.writing.prefix_cache import PrefixStore
from constellation.kernel.writing.sampling import logprobs_of
from constellation.records import FinishReason, Sampling
from tests.kernel.conftest import NETWORKS, MakeKernel

END = 3


def alone(decoder: Decoder, prompt: list[int], sampling: Sampling) -> tuple[list[int], str | None]:
    generation = Generation(decoder, prompt, sampling, END)
    while generation.step() is not None:
        pass
    return generation.produced, generation.finish_reason


def requests(rng: random.Random, num: int, *, greedy: bool) -> list[tuple[list[int], Sampling]]:
    """Return prompts, some of which begin alike, and options."""
    common = [rng.randrange(61) for _ in range(12)]
    drawn = []
    for index in range(num):
        own = [rng.randrange(61) for _ in range(rng.randint(1, 10))]
        prompt = [*common[: rng.choice([0, 0, 5, 12])], *own]
        sampling = Sampling(tokens_max=rng.randint(1, 14), temperature=0)
        if not greedy and index % 2:
            sampling = Sampling(
                tokens_max=rng.randint(1, 14),
                seed=index,
                temperature=1.5,
                top_p=0.9,
                repetition_penalty=1.3,
                presence_penalty=0.5,
            )
        drawn.append((prompt, sampling))
    return drawn


def written_together(
    batch: Batch, wanted: list[tuple[list[int], Sampling]], rng: random.Random
) -> dict[int, Writing]:
    """Let texts join at random steps; pause and cancel some; return those not cancelled."""
    waiting = list(enumerate(wanted))
    kept: dict[int, Writing] = {}
    cancelled: list[Writing] = []
    while waiting or len(batch):
        while waiting and rng.random() < 0.6:
            index, (prompt, sampling) = waiting.pop()
            kept[index] = batch.add(prompt, sampling)
            if rng.random() < 0.3:
                cancelled.append(batch.add(prompt[::-1], sampling))
        if cancelled and rng.random() < 0.3:
            batch.remove(cancelled.pop(rng.randrange(len(cancelled))))
        awake = [w for w in (*kept.values(), *cancelled) if rng.random() < 0.8]
        for written in batch.step(awake):
            assert written.writing in awake
    return kept


@pytest.mark.slow
@pytest.mark.parametrize("kind", ATTENTION_KINDS)
@pytest.mark.parametrize("network", NETWORKS)
def test_texts_in_company_are_what_they_are_alone(
    network: str, kind: AttentionKind, make_kernel: MakeKernel
) -> None:
    for seed in range(3):
        rng = random.Random(seed)
        decoder = make_kernel(kind, seed=seed, init_std=0.5, **NETWORKS[network])
        prefixes = PrefixStore(200_000, tokens_min=3) if seed else None
        batch = Batch(decoder, end_id=END, prefill_tokens=rng.choice([1, 4, 50]), prefixes=prefixes)
        wanted = requests(rng, 9, greedy=seed != 2)
        kept = written_together(batch, wanted, rng)
        for index, (prompt, sampling) in enumerate(wanted):
            writing = kept[index]
            expected = alone(decoder, prompt, sampling)
            assert (writing.produced, writing.finish_reason) == expected
        assert len({tuple(writing.produced) for writing in kept.values()}) > 3
        assert prefixes is None or len(prefixes) > 1


@torch.inference_mode()
@pytest.mark.parametrize("network", NETWORKS)
def test_logits_in_company_differ_by_rounding_only(network: str, make_kernel: MakeKernel) -> None:
    decoder = make_kernel(init_std=0.5, **NETWORKS[network])
    heard: list[torch.Tensor] = []
    batch = Batch(decoder, end_id=None, prefill_tokens=5)
    take = decoder.logits
    decoder.logits = lambda x: heard.append(take(x)) or heard[-1]  # type: ignore
    texts = [[7], [1, 2, 3], list(range(12))]
    writings = [batch.add(text, Sampling(tokens_max=5, temperature=0)) for text in texts]
    while any(len(w.produced) < 2 for w in writings):
        last = batch.step()
    decoder.logits = take  # type: ignore[method-assign]
    for row, written in enumerate(last):
        writing = written.writing
        read = [*writing.prompt_ids, *writing.produced[:-1]]
        expected_V = decoder(torch.tensor([read]))[0, -1]
        torch.testing.assert_close(heard[-1][row], expected_V, atol=2e-4, rtol=1e-5)


def test_a_long_prompt_does_not_hold_up_what_is_being_written(make_kernel: MakeKernel) -> None:
    batch = Batch(make_kernel(), end_id=None, prefill_tokens=4)
    quick = batch.add([1], Sampling(tokens_max=20, temperature=0))
    batch.step()
    slow = batch.add(list(range(14)), Sampling(tokens_max=2, temperature=0))
    for num_steps in range(1, 5):
        assert quick in [written.writing for written in batch.step()]
        assert len(slow.produced) == (num_steps == 4)


@pytest.mark.slow
def test_a_text_that_leaves_makes_room_at_once(make_kernel: MakeKernel) -> None:
    batch = Batch(make_kernel(), end_id=None)
    sampling = Sampling(tokens_max=20, temperature=0)
    for _ in range(50):
        batch.add([5, 6], sampling)
        writing = batch.add([1, 2], sampling)
        batch.step()
        batch.remove(writing)
        batch.remove(writing)
        batch.remove(batch.add([9], sampling))
        assert batch.step(()) == []
        while len(batch):
            batch.step()
    assert batch.cache_bytes == 2 * make_kernel().config.kv_bytes_per_token(torch.float32) * 24


def test_reused_beginnings_are_not_read_again(make_kernel: MakeKernel) -> None:
    decoder = make_kernel()
    num_read: list[int] = []
    hidden = decoder.hidden
    decoder.hidden = lambda x, cache: num_read.append(x.shape[1]) or hidden(x, cache)  # type: ignore
    batch = Batch(decoder, end_id=None, prefixes=PrefixStore(10**6, tokens_min=2))
    for prompt in ([1, 2, 3, 4, 5], [1, 2, 3, 9], [1, 2, 3, 4, 5], [1, 7, 7], [8, 9]):
        batch.add(prompt, Sampling(tokens_max=1, temperature=0))
        batch.step()
    assert num_read == [5, 1, 1, 3, 2]


def test_a_store_forgets_what_was_used_longest_ago() -> None:
    def held(length: int) -> torch.Tensor:
        return torch.zeros(1, 2, 1, length, 1)  # 8 bytes a token

    store = PrefixStore(100, tokens_min=2)
    store.keep([1, 2, 3, 4], lambda: held(4))
    store.keep([5, 6, 7, 8], lambda: held(4))
    store.keep([9], lambda: pytest.fail("too short to keep"))
    store.keep([1, 2, 3], lambda: pytest.fail("held already"))
    assert (len(store), store.size_bytes) == (2, 64)
    found = store.longest([1, 2, 3, 4, 9])
    assert found is not None
    assert found.shape[3] == 4
    store.keep([9, 9, 9, 9, 9, 9, 9], lambda: held(7))
    assert store.longest([5, 6, 7, 8, 9]) is None
    assert store.size_bytes == 88
    store.keep([1, 2, 3, 4, 5], lambda: held(5))  # takes the place of its beginning
    assert (len(store), store.size_bytes) == (2, 96)
    store.keep([2] * 20, lambda: held(20))
    assert (len(store), store.size_bytes) == (2, 96)


def test_logprobs_are_the_kernels_own(make_kernel: MakeKernel) -> None:
    decoder = make_kernel()
    batch = Batch(decoder, end_id=None)
    batch.add([1, 2], Sampling(tokens_max=1, temperature=0, logprobs=3, logit_bias={40: 100.0}))
    (written,) = batch.step()
    assert written.token == 40
    with torch.inference_mode():
        log_p = decoder(torch.tensor([[1, 2]]))[0, -1].double().log_softmax(-1)
    assert written.logprob == pytest.approx(float(log_p[40]), abs=1e-5)
    best = sorted(range(61), key=lambda token: -log_p[token])[:3]
    assert [token for token, _ in written.top] == best
    assert [p for _, p in written.top] == pytest.approx([float(log_p[t]) for t in best], abs=1e-5)
    assert logprobs_of(log_p, 40, 0)[1] == []


def test_the_end_leaves_a_text_finished(make_kernel: MakeKernel) -> None:
    batch = Batch(make_kernel(), end_id=END)
    bias = {END: 100.0}
    ends = batch.add([1], Sampling(temperature=0, logit_bias=bias))
    later = batch.add([1], Sampling(temperature=0, logit_bias=bias, tokens_min=2))
    tokens: Iterator[int | None] = (w.token for _ in range(3) for w in batch.step([later]))
    assert [token == END or token is None for token in tokens] == [False, False, True]
    assert [written.token for written in batch.step()] == [None]
    assert ends.finish_reason is later.finish_reason is FinishReason.END
    assert len(batch) == 0


@pytest.mark.parametrize(
    ("prompt", "error"),
    [
        ([], InvalidPrompt),
        ([1] * 25, InvalidPrompt),
        ([61], InvalidRequest),
        ([-1], InvalidRequest),
    ],
)
def test_bad_prompts_are_refused(
    prompt: list[int], error: type[Exception], make_kernel: MakeKernel
) -> None:
    batch = Batch(make_kernel(), end_id=None)
    with pytest.raises(error):
        batch.add(prompt, Sampling())
    with pytest.raises(InvalidRequest, match="logit_bias is 61"):
        batch.add([1], Sampling(logit_bias={61: 1.0}))
    assert len(batch) == 0


def test_bad_limits_are_refused(make_kernel: MakeKernel) -> None:
    with pytest.raises(ConfigError, match="prefill_tokens"):
        Batch(make_kernel(), end_id=None, prefill_tokens=0)
    with pytest.raises(ConfigError, match="limit_bytes"):
        PrefixStore(-1)
