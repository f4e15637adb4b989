"""Models of `transformers` behind the port that all kernels are driven by."""

import math
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from actors.kernel.engine_interface import Step
from actors.kernel.hugging_face_engine import HuggingFaceEngine
from actors.kernel.own_vocabulary_engine import OwnVocabularyAnswer
from constellation.coordizer.encoding import Encoder
from constellation.errors import IncompatibleKernels, InvalidPrompt, InvalidRequest
from constellation.kernel.files.transformers_folder import import_model
from constellation.kernel.hugging_face.transformers_model import load_imported
from constellation.kernel.writing.fast_products import Weights
from constellation.records import FinishReason, Sampling
from tests.actors.test_engine import VOCABULARY
from tests.support.hugging_face import ARCHITECTURES, TEXTS, build_model, tokenizer

ENCODER = Encoder(VOCABULARY)
GREEDY = Sampling(tokens_max=12, temperature=0)
PROMPTS = ["the stars", "naïve ship 日", "a", "the sea "]


def sent(text: str) -> list[int]:
    """Return a text as a router sends it."""
    ids: list[int] = ENCODER.encode(text).tolist()
    return ids


@pytest.fixture(scope="module", params=ARCHITECTURES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    source, target = (tmp_path_factory.mktemp(name) for name in (request.param, "imported"))
    build_model(source, ARCHITECTURES[request.param], seed=2)
    import_model(source, target)
    return target


@pytest.fixture
def engine(folder: Path) -> HuggingFaceEngine:
    return made(folder)


def made(folder: Path, weights: Weights | None = None, **options: int) -> HuggingFaceEngine:
    loaded, files = load_imported(folder, weights=weights)
    return HuggingFaceEngine(loaded, files, VOCABULARY.token_bytes(), **options)


def run(engine: HuggingFaceEngine, answers: list[OwnVocabularyAnswer]) -> list[list[Step]]:
    """Step all until all have ended."""
    steps: list[list[Step]] = [[] for _ in answers]
    while running := [n for n, said in enumerate(steps) if not said or said[-1].reason is None]:
        for number, step in zip(running, engine.step([answers[n] for n in running]), strict=True):
            if step is not None:
                steps[number].append(step)
    return steps


def text_of(steps: list[Step]) -> str:
    return "".join(step.text for step in steps)


def written(folder: Path, prompt: str, tokens_max: int) -> str:
    """Return what the library itself writes."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    reader = AutoTokenizer.from_pretrained(folder)
    ids = reader(prompt, return_tensors="pt").input_ids
    whole = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=tokens_max,
        do_sample=False,
        pad_token_id=0,
    )
    return str(reader.decode(whole[0, ids.shape[1] :], skip_special_tokens=True))


@pytest.mark.slow
def test_the_text_is_what_the_library_writes_alone_and_in_company(
    folder: Path, engine: HuggingFaceEngine
) -> None:
    expected = [written(folder, prompt, 12) for prompt in PROMPTS]
    alone = [run(engine, [engine.start(sent(prompt), GREEDY)])[0] for prompt in PROMPTS]
    assert [text_of(steps) for steps in alone] == expected
    company = made(folder, "float32", prefill_tokens=5, prefix_bytes=2**20)
    together = run(company, [company.start(sent(prompt), GREEDY) for prompt in PROMPTS])
    assert [text_of(steps) for steps in together] == expected
    assert len(set(expected)) > 2


def test_steps_say_no_ids_and_count_tokens(engine: HuggingFaceEngine) -> None:
    answer = engine.start(sent(PROMPTS[0]), GREEDY)
    assert answer.num_prompt_tokens == len(tokenizer().encode(PROMPTS[0]).ids)
    (steps,) = run(engine, [answer])
    assert all(step.tokens == () for step in steps)
    assert sum(step.num_tokens for step in steps) == 12 or steps[-1].reason is FinishReason.END


def test_log_probabilities_add_up_to_the_score(engine: HuggingFaceEngine) -> None:
    held = Sampling(tokens_max=9, tokens_min=9, temperature=0, logprobs=2)
    (steps,) = run(engine, [engine.start(sent(PROMPTS[0]), held)])
    said = [logprob for step in steps for logprob in step.logprobs]
    assert len(said) == 9
    assert all(one.top[0].logprob >= one.logprob - 1e-9 for one in said)
    ids = tokenizer().encode(PROMPTS[0]).ids + [one.token for one in said]
    expected = sum(
        float(engine._loaded.network.logits(hidden)[token].double())
        - float(engine._loaded.network.logits(hidden).double().logsumexp(-1))
        for hidden, token in zip(
            engine._loaded.network.hidden(torch.tensor([ids[:-1]]))[0][-9:], ids[-9:], strict=True
        )
    )
    assert sum(one.logprob for one in said) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_scores_are_the_nats_of_the_models_own_tokens(
    folder: Path, engine: HuggingFaceEngine, seed: int
) -> None:
    from transformers import AutoModelForCausalLM

    source = random.Random(seed)
    context, text = (" ".join(source.choices(TEXTS[0].split(), k=3)) for _ in range(2))
    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    reader = tokenizer()
    before, scored = reader.encode(context).ids, reader.encode(text).ids
    logits_TV = model(input_ids=torch.tensor([[0, *before, *scored]])).logits[0]
    log_p_TV = logits_TV.detach().double().log_softmax(-1)
    nats = [-float(log_p_TV[place, token]) for place, token in enumerate([*before, *scored])]
    found = engine.score([*sent(context), *sent(text)], len(sent(context)))
    assert found.nats == pytest.approx(sum(nats[len(before) :]), abs=1e-3)
    assert found.num_tokens == len(scored)
    alone = engine.score(sent(text), 0)
    logits_TV = model(input_ids=torch.tensor([[0, *scored]])).logits[0].detach().double()
    expected = -logits_TV.log_softmax(-1)[range(len(scored)), scored].sum()
    assert alone.nats == pytest.approx(float(expected), abs=1e-3)


def test_the_end_of_a_text_is_found_by_a_stop_string(engine: HuggingFaceEngine) -> None:
    free = Sampling(tokens_max=16, tokens_min=16, temperature=0)
    whole = text_of(run(engine, [engine.start(sent(PROMPTS[0]), free)])[0])
    stop = whole[4:7]
    stopped = Sampling(tokens_max=16, tokens_min=16, temperature=0, stop=(stop,))
    (steps,) = run(engine, [engine.start(sent(PROMPTS[0]), stopped)])
    assert text_of(steps) == whole[: whole.index(stop)]
    assert steps[-1].reason is FinishReason.STOP


def test_an_answer_that_others_began_goes_on_from_their_text(
    folder: Path, engine: HuggingFaceEngine
) -> None:
    """The text is one that two vocabularies cut differently, within a character even."""
    begun = "the ships 日本"
    produced = sent(begun)[:-1]
    kept = b"".join(VOCABULARY.token_bytes()[token] for token in produced).decode(errors="ignore")
    assert begun.startswith(kept)
    room = len(produced) + 6
    free = Sampling(tokens_max=room, tokens_min=room, temperature=0)
    (steps,) = run(engine, [engine.start(sent(PROMPTS[0]), free, produced)])
    reader = tokenizer()
    ids = [*reader.encode(PROMPTS[0]).ids, *reader.encode(kept).ids]
    network = engine._loaded.network
    expected = []
    for _ in range(6):
        logits_V = network.logits(network.hidden(torch.tensor([ids])))[0, -1]
        logits_V[list(engine._loaded.end_ids)] = -math.inf
        ids.append(int(logits_V.argmax()))
        expected.append(engine._loaded.tokens.token_bytes[ids[-1]])
    assert sum(step.num_tokens for step in steps) == 6
    assert text_of(steps) == b"".join(expected).decode(errors="replace")
    assert steps[-1].reason is FinishReason.LENGTH


def test_one_that_left_costs_the_others_nothing(engine: HuggingFaceEngine) -> None:
    expected = run(engine, [engine.start(sent(PROMPTS[1]), GREEDY)])[0]
    first, second = (engine.start(sent(prompt), GREEDY) for prompt in PROMPTS[:2])
    before = engine.step([first, second])
    engine.leave(first)
    (rest,) = run(engine, [second])
    steps = rest if before[1] is None else [before[1], *rest]
    assert text_of(steps) == text_of(expected)
    assert len(engine._batch) == 0


def test_too_long_a_prompt_is_refused_with_the_models_own_count(engine: HuggingFaceEngine) -> None:
    text = "the stars " * 40
    with pytest.raises(InvalidPrompt) as error:
        engine.start(sent(text), GREEDY)
    assert error.value.length == len(tokenizer().encode(text).ids)
    assert error.value.limit == engine.context - 1
    with pytest.raises(InvalidPrompt):
        engine.start([], GREEDY)
    with pytest.raises(InvalidRequest, match="tokens"):
        engine.start([10**6], GREEDY)
    with pytest.raises(InvalidRequest, match="logit_bias"):
        engine.start(sent("a"), Sampling(logit_bias={engine.vocab_size: 1.0}))
    with pytest.raises(InvalidRequest, match="produced"):
        engine.start(sent("a"), Sampling(tokens_max=2), [5, 6])
    assert len(engine._batch) == 0


def test_what_needs_the_others_vocabulary_is_refused(engine: HuggingFaceEngine) -> None:
    with pytest.raises(IncompatibleKernels):
        engine.predict([1], is_scored=False)
    with pytest.raises(IncompatibleKernels):
        engine.lead([1], GREEDY, (), context=8)
    with pytest.raises(IncompatibleKernels):
        engine.token_nats([1])


@pytest.mark.parametrize("weights", ["bfloat16", "int8"])
def test_rounded_matrices_say_nearly_the_same(folder: Path, weights: Weights) -> None:
    plain, rounded = made(folder), made(folder, weights)
    assert rounded.num_parameters == plain.num_parameters
    ids = torch.tensor([tokenizer().encode(PROMPTS[1]).ids])
    with torch.inference_mode():
        hidden = [engine._loaded.network.hidden(ids) for engine in (plain, rounded)]
        logits = [
            engine._loaded.network.logits(each)
            for engine, each in zip((plain, rounded), hidden, strict=True)
        ]
    difference = float((logits[0] - logits[1]).abs().max())
    assert 0 < difference < 0.1 * float(logits[0].abs().max())
