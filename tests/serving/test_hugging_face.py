"""A model of `transformers` joins a live constellation, answers in its own tokens, and leaves."""

import hashlib
from functools import partial
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from cluster.kernel_changes import join, make_kernel
from cluster.state_file import RunState
from constellation import Client
from constellation.errors import IncompatibleKernels
from constellation.records import Mode
from constellation.settings import Settings
from tests.serving.test_growth import bits, content, say, weights
from tests.support.artifacts import PROMPTS
from tests.support.candidates import PROMPT
from tests.support.hugging_face import build_model, qwen2, tokenizer
from training.progress.events import ignore

pytestmark = pytest.mark.ray


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """Return text of the model's domain, enough of it to calibrate on."""
    words = PROMPT.split()
    turns = [" ".join(words[at:] + words[:at]) for at in range(len(words))]
    (tmp_path / "text").mkdir()
    for number in range(40):
        lines = (turns[(number * 7 + line) % len(turns)] for line in range(9))
        (tmp_path / "text" / f"{number}.txt").write_text("\n".join(lines) + f"\n{number}\n")
    return tmp_path / "text"


def digests(folder: Path) -> dict[str, str]:
    """Return the sha256 of every file of the kernels that were there before."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.parent.name in PROMPTS
    }


def test_a_model_joins_answers_in_its_own_tokens_and_leaves(
    constellation: RunState, settings: Settings, artifacts: Path, tmp_path: Path, text: Path
) -> None:
    build_model(tmp_path / "model", partial(qwen2, context=200), seed=6)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    ids = torch.tensor([tokenizer().encode(PROMPT).ids])
    whole = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False, pad_token_id=0
    )
    written = [token for token in whole[0, ids.shape[1] :].tolist() if token not in (0, 1)]
    expected = tokenizer().decode(written)
    before = (digests(artifacts / "kernels"), weights(artifacts), content(artifacts))
    with Client(constellation.endpoint) as stars:
        table = bits(stars, settings.run_dir / "table.msgpack")
        said = {name: say(stars, name) for name in PROMPTS}
        new = make_kernel(artifacts, "fables", tmp_path / "model", text, ignore)
        added = join(artifacts, new, stars)
        assert added.own is not None
        assert added.own.num_moved > 0
        assert added.others is None  # these artifacts hold no corpus
        stream = stars.stream(PROMPT, tokens_max=12, temperature=0.0)
        streamed = "".join(piece.text for piece in stream)
        reply = stream.reply()
        assert reply.route.kernel == "fables"
        assert (streamed, reply.text) == (expected, expected)
        assert reply.finish.num_prompt_tokens == ids.shape[1]
        options = {"kernel": "fables", "tokens_max": 12, "seed": 5, "temperature": 1.0}
        drawn = [stars.ask(PROMPT, logprobs=1, **options) for _ in range(2)]
        assert drawn[0].text == drawn[1].text
        assert len(drawn[0].logprobs) == drawn[0].finish.num_tokens
        score = stars.score(expected or "a", context=PROMPT, kernel="fables")
        assert score.nats > 0
        with pytest.raises(IncompatibleKernels):
            stars.ask(PROMPT, mode=Mode.MIXTURE, top_k=4)
        assert stars.retire("fables").left == ("fables",)
        assert stars.ask(PROMPT, tokens_max=2).route.kernel != "fables"
        assert {name: say(stars, name) for name in PROMPTS} == said
        assert stars.status().num_unexpected_errors == 0
        assert bits(stars, settings.run_dir / "table.msgpack") == table
    after = (digests(artifacts / "kernels"), weights(artifacts), content(artifacts))
    assert after == before
