"""An answer that another engine of the same weights goes on with is the undisturbed one."""

from dataclasses import replace

import pytest

from actors.kernel.engine import KernelAnswer
from actors.kernel.engine_interface import Step
from constellation.errors import InvalidPrompt, InvalidRequest
from constellation.records import FinishReason, Sampling, TokenLogprob
from tests.actors.test_engine import GREEDY, PROMPT, engine, run, text_of

SAMPLINGS = {
    "greedy": GREEDY,
    "drawn": Sampling(tokens_max=24, temperature=1.2, seed=5),
    "narrowed": Sampling(tokens_max=24, temperature=1.0, top_k=9, top_p=0.9, seed=11),
    "penalised": Sampling(
        tokens_max=24,
        temperature=0.9,
        seed=7,
        presence_penalty=0.8,
        frequency_penalty=0.5,
        repetition_penalty=1.4,
    ),
    "held back": Sampling(tokens_max=24, temperature=1.5, seed=2, tokens_min=20),
    "named": Sampling(tokens_max=12, temperature=1.0, seed=3, logprobs=3),
    "to the end of the context": Sampling(tokens_max=4096, temperature=1.0, seed=1, tokens_min=99),
}


def whole_of(sampling: Sampling) -> list[Step]:
    (steps,) = run(tested := engine(), [tested.start(PROMPT, sampling)])
    return steps


def tokens_of(steps: list[Step]) -> list[int]:
    return [token for step in steps for token in step.tokens]


def logprobs_of(steps: list[Step]) -> list[TokenLogprob]:
    return [logprob for step in steps for logprob in step.logprobs]


@pytest.mark.slow
@pytest.mark.parametrize("sampling", SAMPLINGS.values(), ids=SAMPLINGS)
def test_whatever_was_written_before_the_rest_is_the_undisturbed_rest(sampling: Sampling) -> None:
    """Cut after every token, all of them in one batch, on an engine that has read the prompt."""
    whole = whole_of(sampling)
    tested = engine(prefill_tokens=16, prefix_bytes=10**6)
    run(tested, [tested.start(PROMPT, GREEDY)])
    cuts = range(min(len(tokens_of(whole)), sampling.tokens_max))
    answers: list[KernelAnswer] = [
        tested.start(PROMPT, sampling, tokens_of(whole)[:cut]) for cut in cuts
    ]
    for cut, steps in zip(cuts, run(tested, answers), strict=True):
        assert tokens_of(steps) == tokens_of(whole)[cut:]
        assert text_of(steps) == text_of(whole[cut:])
        assert steps[-1].reason is whole[-1].reason
        for own, before in zip(logprobs_of(steps), logprobs_of(whole)[cut:], strict=True):
            assert own.token == before.token
            assert own.logprob == pytest.approx(before.logprob, abs=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_a_stop_string_is_found_across_the_break(seed: int) -> None:
    free = Sampling(tokens_max=24, temperature=1.0, seed=seed, tokens_min=24)
    letters = text_of(whole_of(free))
    sampling = replace(free, stop=(letters[6:10],))
    whole, tested = whole_of(sampling), engine()
    assert whole[-1].reason is FinishReason.STOP
    for cut in range(len(whole)):
        (steps,) = run(tested, [tested.start(PROMPT, sampling, tokens_of(whole)[:cut])])
        assert text_of(whole[:cut]) + text_of(steps) == text_of(whole)
        assert steps[-1].reason is FinishReason.STOP


def test_what_cannot_be_gone_on_with_is_refused_and_harms_nothing() -> None:
    tested = engine()
    with pytest.raises(InvalidRequest, match="produced"):
        tested.start(PROMPT, replace(GREEDY, tokens_max=2), [5, 6])
    with pytest.raises(InvalidRequest, match="produced"):
        tested.start(PROMPT, GREEDY, [257])
    with pytest.raises(InvalidPrompt):
        tested.start(PROMPT, replace(GREEDY, tokens_max=99), [5] * 62)
    assert text_of(run(tested, [tested.start(PROMPT, GREEDY)])[0]) == text_of(whole_of(GREEDY))
