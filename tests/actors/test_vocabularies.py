"""Kernels with different vocabularies behind one router: answers pass between them as text."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from actors.kernel.engine_interface import Step
from actors.kernel.host import KernelHost
from actors.kernel.hugging_face_engine import HuggingFaceEngine
from actors.kernel.own_vocabulary_engine import OwnVocabularyEngine
from actors.kernel.symbol_engine import SymbolEngine
from actors.router.host import RouterHost
from actors.router.query_reader import Query
from actors.spec import RouterOptions
from constellation.errors import IncompatibleKernels, UnknownSymbol
from constellation.kernel.files.symbol_kernel import load_symbol_kernel
from constellation.kernel.files.symbol_vocabulary import has_symbols
from constellation.kernel.files.transformers_folder import import_model
from constellation.kernel.hugging_face.transformers_model import load_imported
from constellation.records import (
    COORDIZER_TOKENS,
    EVERYTHING,
    Mode,
    Piece,
    RoutingOptions,
    Sampling,
)
from constellation.wire import convert
from tests.actors.test_engine import VOCABULARY
from tests.actors.test_relaying import Bytes, Mortal, Sky
from tests.support.coordizers import Fixed
from tests.support.hugging_face import build_model, qwen2
from tests.support.symbols import SYMBOLS, save_symbol_kernel

WHOLE = Sampling(tokens_max=24, tokens_min=24, temperature=0)
PROMPT = "abc"  # what `Sky.stream` asks


@pytest.fixture(scope="module", params=["transformers", "symbols"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    source, target = (tmp_path_factory.mktemp(name) for name in ("source", "imported"))
    if request.param == "symbols":
        save_symbol_kernel(target)
        return target
    build_model(source, partial(qwen2, context=96), seed=4)
    import_model(source, target)
    return target


def engine_of(folder: Path) -> OwnVocabularyEngine:
    sent_bytes = VOCABULARY.token_bytes()
    if has_symbols(folder):
        return SymbolEngine(load_symbol_kernel(folder), sent_bytes)
    return HuggingFaceEngine(*load_imported(folder), sent_bytes)


class MortalModel(OwnVocabularyEngine):
    """A model whose process can be lost at a step."""

    def __init__(self, folder: Path) -> None:
        vars(self).update(vars(engine_of(folder)))
        self.before_step: Callable[[], None] = lambda: None
        self.was_left = threading.Event()

    def leave(self, answer: Any) -> None:
        super().leave(answer)
        self.was_left.set()

    def step(self, answers: Sequence[Any]) -> list[Step | None]:
        self.before_step()
        return super().step(answers)


class MixedSky(Sky):
    """The kernels of `Sky`, one of which is a model of `transformers`."""

    def __init__(self, model: str, folder: Path) -> None:
        super().__init__()
        self.engines: dict[str, Any] = {**self.engines, model: MortalModel(folder)}
        self.kernels[model] = KernelHost(model, self.engines[model], slots=2, queue_max=2)
        self.router = RouterHost(Fixed(Bytes()), RouterOptions(handoff_tokens=4), token=None)


def run(model: str, folder: Path, story: Callable[[MixedSky], Coroutine[Any, Any, None]]) -> None:
    async def tell() -> None:
        async with MixedSky(model, folder) as sky:
            await story(sky)

    asyncio.run(tell())


def sent(text: str) -> list[int]:
    ids: list[int] = Bytes().encode(text).tolist()
    return ids


def rest_of(engine: Any, sampling: Sampling, produced: list[int]) -> str:
    """Return what an engine writes after what others wrote."""
    answer = engine.start(sent(PROMPT), sampling, produced)
    text, reason = "", None
    while reason is None:
        (step,) = engine.step([answer])
        if step is not None:
            text, reason = text + step.text, step.reason
    return text


def parts(pieces: list[Piece], num_first: int) -> tuple[str, str]:
    """Return the text of the first tokens and of the others."""
    said, first, second = 0, "", ""
    for piece in pieces:
        if said < num_first:
            first += piece.text
        else:
            second += piece.text
        said += piece.num_tokens
    return first, second


@pytest.mark.slow
@pytest.mark.parametrize("step", [5, 11])
def test_another_vocabulary_goes_on_from_the_text_of_a_model(folder: Path, step: int) -> None:
    async def story(sky: MixedSky) -> None:
        undisturbed = await sky.stream(WHOLE)
        assert undisturbed.whole.tokens == ()
        sky.die_at_step("a", step, once_heard=2)
        told = await sky.stream(WHOLE)
        first, second = told.finish.segments
        assert (first.kernel, second.kernel, second.reason) == ("a", "b", "failover")
        begun, rest = parts(told.pieces, second.first)
        assert begun
        assert undisturbed.whole.text.startswith(begun)
        left = WHOLE.recounted(second.first, len(sent(begun)))
        assert rest == rest_of(Mortal(), left, sent(begun))
        assert told.whole.num_tokens == told.finish.num_tokens == 24

    run("a", folder, story)


@pytest.mark.slow
@pytest.mark.parametrize("step", [5, 11])
def test_a_model_goes_on_from_the_text_of_another_vocabulary(folder: Path, step: int) -> None:
    async def story(sky: MixedSky) -> None:
        sky.die_at_step("a", step, once_heard=2)
        told = await sky.stream(WHOLE)
        first, second = told.finish.segments
        if has_symbols(folder):  # the text of a kernel of bytes has symbols that are none of ours
            assert (first.kernel, second.kernel) == ("a", "c")
            return
        assert (first.kernel, second.kernel) == ("a", "b")
        _, rest = parts(told.pieces, second.first)
        produced = list(told.whole.tokens)
        assert len(produced) == second.first
        assert rest == rest_of(MortalModel(folder), WHOLE, produced)
        assert told.whole.num_tokens == told.finish.num_tokens == 24

    run("b", folder, story)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["a", "b"])
@pytest.mark.parametrize("mode", [Mode.MIXTURE, Mode.POSTERIOR])
def test_a_text_that_both_would_have_to_write_together_is_refused(
    folder: Path, mode: Mode, model: str
) -> None:
    async def story(sky: MixedSky) -> None:
        options = RoutingOptions(mode=mode, top_k=2)
        with pytest.raises(IncompatibleKernels):
            await sky.stream(WHOLE, options)
        with pytest.raises(IncompatibleKernels):
            await sky.router.score("", PROMPT, options, timeout_s=20)
        assert (await sky.stream(WHOLE)).whole.num_tokens == 24
        assert sky.router.guard.num_unexpected == 0

    run(model, folder, story)


def test_a_caller_who_goes_away_frees_the_slot(folder: Path) -> None:
    async def story(sky: MixedSky) -> None:
        model = sky.engines["a"]
        long = Sampling(tokens_max=90, tokens_min=90, temperature=0)
        answer = sky.router.generate(PROMPT, long, RoutingOptions(), timeout_s=20)
        async with aclosing(answer):
            async for _, reply in answer:
                assert convert.piece_from_bytes(reply).finish is None
                assert len(model._batch) == 1
                break
        assert await asyncio.to_thread(model.was_left.wait, 10)
        assert len(model._batch) == 0
        assert sky.kernels["a"].describe().num_running == 0

    run("a", folder, story)


def test_an_answer_of_a_model_is_handed_over_by_its_text(folder: Path) -> None:
    async def story(sky: MixedSky) -> None:
        looked: list[list[int]] = []

        def lead(query: Query, produced: list[int], kernel: str, *_: Any) -> tuple[str, float]:
            if kernel == "a":
                looked.append(list(produced))
            return "b", 1.0 if kernel == "a" else 0.0

        sky.router._decider.nearest_to_answer = lead
        told = await sky.stream(WHOLE, RoutingOptions(handoff=True))
        first, second = told.finish.segments
        assert (first.kernel, second.kernel, second.reason) == ("a", "b", "handoff")
        begun, rest = parts(told.pieces, second.first)
        assert looked[-1] == sent(begun)
        left = WHOLE.recounted(second.first, len(sent(begun)))
        assert rest == rest_of(Mortal(), left, sent(begun))

    run("a", folder, story)


def test_what_an_engine_cannot_do_is_declared(folder: Path) -> None:
    async def story(sky: MixedSky) -> None:
        foreign, own = (sky.kernels[name].describe() for name in "ab")
        assert not foreign.capabilities.mixes
        assert not foreign.capabilities.continues_ids
        assert foreign.capabilities.scores
        assert foreign.capabilities.looks_inside is has_symbols(folder)
        assert foreign.vocabulary == ("120 symbols" if has_symbols(folder) else "hugging face")
        assert (own.capabilities, own.vocabulary) == (EVERYTHING, COORDIZER_TOKENS)

    run("a", folder, story)


def test_a_prompt_with_an_unknown_symbol_is_refused_and_others_answer_it(tmp_path: Path) -> None:
    save_symbol_kernel(tmp_path)

    async def story(sky: MixedSky) -> None:
        with pytest.raises(UnknownSymbol, match="at character 3") as error:
            async for _ in sky.router.generate("abc日", WHOLE, RoutingOptions(), timeout_s=20):
                pass
        assert (error.value.symbol, error.value.position) == ("日", 3)
        with pytest.raises(UnknownSymbol):
            await sky.router.score("a", "日", RoutingOptions(), timeout_s=20)
        other = RoutingOptions(kernel="b")
        _, reply = await sky.router.ask("abc日", WHOLE, other, timeout_s=20)
        assert convert.piece_from_bytes(reply).num_tokens == 24
        assert sky.router.guard.num_unexpected == 0

    run("a", tmp_path, story)


def test_every_symbol_that_is_written_is_in_the_vocabulary(tmp_path: Path) -> None:
    save_symbol_kernel(tmp_path)

    async def story(sky: MixedSky) -> None:
        drawn = Sampling(tokens_max=80, tokens_min=80, seed=3)
        told = await sky.stream(drawn)
        assert set(told.whole.text) <= set(SYMBOLS.characters)
        assert told.whole.num_tokens == 80 >= len(told.whole.text) > 60

    run("a", tmp_path, story)
