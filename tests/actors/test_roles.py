"""A conversation behind one router: roles leave their mark where a kernel has a prompt format."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from actors.kernel.engine import KernelEngine
from actors.kernel.host import KernelHost
from actors.kernel.hugging_face_engine import HuggingFaceEngine
from actors.router.host import RouterHost
from actors.spec import RouterOptions
from constellation.errors import InvalidRequest
from constellation.kernel.files.checkpoint import LoadedKernel
from constellation.kernel.files.prompt_format import Sections, read_prompt_format
from constellation.kernel.files.transformers_folder import import_model
from constellation.kernel.hugging_face.transformers_model import load_imported
from constellation.records import Message, RoutingOptions, Sampling, transcript
from constellation.wire import convert
from tests.actors.test_engine import CONFIG, DECODER, VOCABULARY
from tests.actors.test_relaying import Bytes, Sky
from tests.support.coordizers import Fixed
from tests.support.hugging_face import build_model, qwen2, tokenizer

TEMPLATE = """{{ bos_token }}{% for message in messages %}
{{ message.role + ': ' + message.content + eos_token }}
{% endfor %}
{% if messages|length > 3 %}{{ raise_exception('too many') }}{% endif %}
{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}"""
SAID = [Message("system", "the sea"), Message("user", "abc stars")]
PROMPT = transcript([message.content for message in SAID])
GREEDY = Sampling(tokens_max=10, temperature=0)
FORMAT = Sections(marks={"user": ("<u>", "</u>"), "system": ("<s>", "</s>")}, answer="<a>")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source, target = (tmp_path_factory.mktemp(name) for name in ("source", "imported"))
    build_model(source, partial(qwen2, context=96), seed=4)
    made = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer(), eos_token="<|endoftext|>", bos_token="<|turn|>"
    )
    made.chat_template = TEMPLATE
    made.save_pretrained(source)
    import_model(source, target)
    return target


class SpeakingSky(Sky):
    """Kernel "a" is a model with a chat template, "b" one of ours with sections, "c" is plain."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        loaded = LoadedKernel(
            decoder=DECODER, config=CONFIG, tokenizer_hash="t", weights_hash="w", facts={}
        )
        model, files = load_imported(folder)
        sent_bytes, form = VOCABULARY.token_bytes(), read_prompt_format(folder)
        made: dict[str, Any] = {
            "a": HuggingFaceEngine(model, files, sent_bytes, prompt_format=form),
            "b": KernelEngine(loaded, VOCABULARY, prompt_format=FORMAT),
        }
        for name, engine in made.items():
            self.kernels[name] = KernelHost(name, engine, slots=2, queue_max=2)
        self.router = RouterHost(Fixed(Bytes()), RouterOptions(), token=None)


def run(folder: Path, story: Callable[[SpeakingSky], Coroutine[Any, Any, None]]) -> None:
    async def tell() -> None:
        async with SpeakingSky(folder) as sky:
            await story(sky)

    asyncio.run(tell())


async def answer(
    sky: Sky, kernel: str, prompt: str = PROMPT, messages: Sequence[Message] = ()
) -> tuple[str, int]:
    """Return the text and how many tokens were read for it."""
    options = RoutingOptions(kernel=kernel)
    _, reply = await sky.router.ask(prompt, GREEDY, options, timeout_s=20, messages=messages)
    piece = convert.piece_from_bytes(reply)
    assert piece.finish is not None
    return piece.text, piece.finish.num_prompt_tokens


def written(folder: Path, messages: Sequence[Message]) -> tuple[str, int]:
    """Return what the library itself answers to a conversation."""
    reader = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    given = [{"role": message.role, "content": message.content} for message in messages]
    ids = reader.apply_chat_template(
        given, add_generation_prompt=True, return_tensors="pt", return_dict=False
    )
    mask = torch.ones_like(ids)
    whole = model.generate(
        ids, attention_mask=mask, max_new_tokens=10, do_sample=False, pad_token_id=0
    )
    return str(reader.decode(whole[0, ids.shape[1] :], skip_special_tokens=True)), ids.shape[1]


def test_a_conversation_is_answered_as_the_library_answers_it(folder: Path) -> None:
    async def story(sky: SpeakingSky) -> None:
        assert await answer(sky, "a", messages=SAID) == written(folder, SAID)
        plain = await answer(sky, "a")
        assert plain != written(folder, SAID)
        assert sky.kernels["a"].describe().capabilities.reads_roles

    run(folder, story)


def test_sections_are_read_by_a_kernel_of_ours_and_a_plain_one_reads_the_text(folder: Path) -> None:
    async def story(sky: SpeakingSky) -> None:
        marked = FORMAT.render(SAID)
        assert marked == "<s>the sea</s><u>abc stars</u><a>"
        assert await answer(sky, "b", messages=SAID) == await answer(sky, "b", marked)
        assert await answer(sky, "b", messages=SAID) != await answer(sky, "b")
        assert await answer(sky, "c", messages=SAID) == await answer(sky, "c")
        assert not sky.kernels["c"].describe().capabilities.reads_roles

    run(folder, story)


def test_the_route_is_that_of_the_plain_text(folder: Path) -> None:
    async def story(sky: SpeakingSky) -> None:
        for prompt, nearest in (("abc", "a"), ("bcd", "b"), ("cde", "c")):
            asked = sky.router.ask(prompt, GREEDY, RoutingOptions(), timeout_s=20, messages=SAID)
            assert (await asked)[0].kernel == nearest

    run(folder, story)


def test_a_conversation_that_a_template_refuses_is_a_typed_error(folder: Path) -> None:
    async def story(sky: SpeakingSky) -> None:
        with pytest.raises(InvalidRequest, match="too many"):
            await answer(sky, "a", messages=SAID * 2)
        assert (await answer(sky, "a"))[0]
        assert sky.router.guard.num_unexpected == 0

    run(folder, story)


def test_a_kernel_that_goes_on_after_another_writes_in_its_own_format(folder: Path) -> None:
    """Kernel "a" is lost; "b" goes on with the text, after the conversation in sections."""

    async def story(sky: SpeakingSky) -> None:
        produced = Bytes().encode("the ship").tolist()
        reading = await sky.kernels["b"]._stepping.start([1], GREEDY, produced, SAID)
        marked = Bytes().encode(FORMAT.render(SAID)).tolist()
        same = await sky.kernels["b"]._stepping.start(marked, GREEDY, produced)
        for _ in range(2):
            one, two = [await sky.kernels["b"]._stepping.next(each) for each in (reading, same)]
            assert one == two

    run(folder, story)
