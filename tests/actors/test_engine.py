"""A kernel's engine: many answers in one batch, as text, with stop strings and logprobs."""

from dataclasses import replace

import pytest
import torch

from actors.kernel.engine import KernelAnswer, KernelEngine
from actors.kernel.engine_interface import Step
from constellation.coordizer.bytelevel import byte_characters
from constellation.coordizer.vocabulary import END_ID, END_TEXT, Vocabulary
from constellation.errors import InvalidPrompt, InvalidRequest
from constellation.kernel.files.checkpoint import LoadedKernel
from constellation.kernel.network.config import KernelConfig
from constellation.kernel.network.decoder import Decoder
from constellation.kernel.writing.generation import generate
from constellation.records import FinishReason, Sampling

VOCABULARY = Vocabulary(tokens=(END_TEXT, *byte_characters()), merges=())
CONFIG = KernelConfig(
    vocab_size=257, width=32, num_layers=2, num_heads=2, mlp_width=40, context=64, init_std=0.4
)
DECODER = Decoder(CONFIG, seed=4)
GREEDY = Sampling(tokens_max=30, temperature=0)
PROMPT = [40, 50, 60]


def engine(**options: int) -> KernelEngine:
    loaded = LoadedKernel(
        decoder=DECODER, config=CONFIG, tokenizer_hash="t", weights_hash="w", facts={}
    )
    return KernelEngine(loaded, VOCABULARY, **options)


def run(engine: KernelEngine, answers: list[KernelAnswer]) -> list[list[Step]]:
    """Step all answers to their ends; return the steps of each."""
    said: list[list[Step]] = [[] for _ in answers]
    for _ in range(200):
        going = [index for index, steps in enumerate(said) if not (steps and steps[-1].reason)]
        if not going:
            break
        for index, step in zip(going, engine.step([answers[i] for i in going]), strict=True):
            said[index] += [] if step is None else [step]
    return said


def text_of(steps: list[Step]) -> str:
    return "".join(step.text for step in steps)


def alone(sampling: Sampling = GREEDY, prompt: list[int] = PROMPT) -> str:
    tokens = generate(DECODER, prompt, sampling, END_ID)
    return b"".join(VOCABULARY.token_bytes()[t] for t in tokens).decode(errors="replace")


def test_texts_are_those_of_single_generations() -> None:
    tested = engine(prefill_tokens=2, prefix_bytes=10**6)
    prompts = [[seed + 1, 7, 9, 11, seed + 1] for seed in range(5)]
    samplings = [replace(GREEDY, tokens_max=5 + 3 * seed) for seed in range(5)]
    answers = [tested.start(p, s) for p, s in zip(prompts, samplings, strict=True)]
    texts = [text_of(steps) for steps in run(tested, answers)]
    assert texts == [alone(s, p) for p, s in zip(prompts, samplings, strict=True)]
    assert len(set(texts)) == 5


def test_a_stop_string_ends_the_text_before_it() -> None:
    whole = alone()
    stop = whole[7:10]
    tested = engine()
    stopped, other = (
        tested.start(PROMPT, replace(GREEDY, stop=("zzz", stop))),
        tested.start(PROMPT, GREEDY),
    )
    first, second = run(tested, [stopped, other])
    assert text_of(first) == whole[: whole.index(stop)]
    assert first[-1].reason is FinishReason.STOP
    assert text_of(second) == whole
    assert tested.step([stopped]) == [None]  # it has left the batch


def test_text_that_might_have_become_a_stop_string_comes_with_the_end() -> None:
    whole = alone()
    tested = engine()
    sampling = replace(GREEDY, stop=(whole[-2:] + "and more",))
    (steps,) = run(tested, [tested.start(PROMPT, sampling)])
    assert text_of(steps) == whole
    assert steps[-1].reason is FinishReason.LENGTH


def test_every_token_carries_its_logprob_and_alternatives() -> None:
    tested = engine()
    (steps,) = run(tested, [tested.start(PROMPT, replace(GREEDY, logprobs=2))])
    tokens = list(generate(DECODER, PROMPT, GREEDY, END_ID))
    logprobs = [logprob for step in steps for logprob in step.logprobs]
    assert [logprob.token for logprob in logprobs] == tokens
    with torch.inference_mode():
        log_p_TV = DECODER(torch.tensor([PROMPT + tokens[:-1]]))[0].log_softmax(-1)
    for place, logprob in enumerate(logprobs, start=len(PROMPT) - 1):
        assert logprob.logprob == pytest.approx(float(log_p_TV[place, logprob.token]), abs=1e-4)
        assert logprob.text == VOCABULARY.token_bytes()[logprob.token]
        assert logprob.top[0].token == logprob.token  # greedy
        assert len(logprob.top) == 2
        assert logprob.top[0].logprob >= logprob.top[1].logprob


def test_bad_requests_are_refused_and_harm_nothing() -> None:
    tested = engine()
    for tokens in ([], [1] * 64):
        with pytest.raises(InvalidPrompt):
            tested.start(tokens, GREEDY)
    with pytest.raises(InvalidRequest, match="logit_bias"):
        tested.start(PROMPT, replace(GREEDY, logit_bias={257: 1.0}))
    (steps,) = run(tested, [tested.start(PROMPT, GREEDY)])
    assert text_of(steps) == alone()


def test_a_score_between_steps_changes_nothing() -> None:
    tested = engine()
    answer = tested.start(PROMPT, GREEDY)
    (first,) = tested.step([answer])
    score = tested.score([1, 2, 3, 4], 1)
    assert (score.num_tokens, score.nats > 0) == (3, True)
    (rest,) = run(tested, [answer])
    assert first is not None
    assert first.text + text_of(rest) == alone()
