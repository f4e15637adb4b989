"""Three LoRA adapters over one Hugging Face base that is in memory once: texts and memory."""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from actors.kernel.adapted_model_engine import AdaptedModelEngine, SharedModel
from actors.kernel.engine_interface import Step
from actors.kernel.hugging_face_engine import HuggingFaceEngine
from constellation.errors import ArtifactError, ConfigError
from constellation.kernel.files.peft_folder import check_peft, import_peft
from constellation.kernel.files.transformers_folder import import_model
from constellation.kernel.hugging_face.model_stack import ModelStack, load_adapted_model
from constellation.kernel.hugging_face.peft_adapter import read_peft
from constellation.kernel.hugging_face.transformers_model import load_imported, open_model
from constellation.kernel.writing.text_model import score_text
from constellation.records import Sampling
from tests.actors.test_engine import VOCABULARY
from tests.actors.test_hugging_face import sent, text_of
from tests.support.hugging_face import END, VOCAB_SIZE, build_model, gpt2, qwen2, tokenizer
from tests.support.peft_adapters import greedy_of_peft, write_adapter

pytestmark = pytest.mark.slow


PROMPTS = ["the stars", "the sea ", "naïve ship 日"]
LONG = Sampling(tokens_max=12, temperature=0)
TOKENIZER = tokenizer()


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    build_model(folder, partial(qwen2, context=96), seed=4)
    return folder


@pytest.fixture(scope="module")
def adapters(base: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return adapters of other ranks, targets and scales."""
    folder = tmp_path_factory.mktemp("adapters")
    return [
        write_adapter(base, folder / "one", seed=1),
        write_adapter(base, folder / "two", seed=2, rank=2, targets=("q_proj", "v_proj")),
        write_adapter(base, folder / "three", seed=3, rank=6, use_rslora=True),
    ]


def shared_model(base: Path) -> SharedModel:
    return SharedModel.of(open_model(base), prefill_tokens=8, prefix_bytes=2**20)


def over(shared: SharedModel, name: str, folder: Path | None) -> AdaptedModelEngine:
    return AdaptedModelEngine(
        name,
        shared,
        None if folder is None else read_peft(folder),
        tokenizer_hash="t",
        weights_hash=name,
        token_bytes=VOCABULARY.token_bytes(),
    )


def together(engines: list[Any], prompts: list[str]) -> list[str]:
    """Return what engines of one batch write, each after its prompt, stepped together."""
    answers = [
        engine.start(sent(prompt), LONG) for engine, prompt in zip(engines, prompts, strict=True)
    ]
    said: list[list[Step]] = [[] for _ in answers]
    while running := [n for n, steps in enumerate(said) if not steps or steps[-1].reason is None]:
        steps = engines[0].step([answers[n] for n in running])
        for number, step in zip(running, steps, strict=True):
            said[number] += [] if step is None else [step]
    return [text_of(steps) for steps in said]


def of_peft(base: Path, folder: Path, prompt: str) -> str:
    ids = torch.tensor([TOKENIZER.encode(prompt).ids])
    return str(TOKENIZER.decode(greedy_of_peft(base, folder, ids, 12)))


@pytest.mark.slow
def test_texts_are_those_of_peft_alone_and_in_company(base: Path, adapters: list[Path]) -> None:
    shared = shared_model(base)
    engines = [over(shared, folder.name, folder) for folder in adapters]
    for prompt in PROMPTS:
        expected = [of_peft(base, folder, prompt) for folder in adapters]
        alone = [together([engine], [prompt])[0] for engine in engines]
        assert alone == expected
        assert together(engines, [prompt] * 3) == expected
        assert len(set(expected)) == 3
    mixed = [of_peft(base, folder, p) for folder, p in zip(adapters, PROMPTS, strict=True)]
    assert together(engines, PROMPTS) == mixed


def test_the_base_by_itself_answers_beside_its_adapters(base: Path, adapters: list[Path]) -> None:
    shared = shared_model(base)
    plain, adapted = over(shared, "base", None), over(shared, "one", adapters[0])
    target = base.parent / "imported"
    import_model(base, target)
    alone = HuggingFaceEngine(*load_imported(target), VOCABULARY.token_bytes())
    expected = together([alone], PROMPTS[:1])
    assert together([plain], PROMPTS[:1]) == expected
    assert together([plain, adapted], [PROMPTS[0]] * 2)[0] == expected[0]
    assert plain.stacked is adapted.stacked is shared.batch


def test_one_that_left_is_forgotten_and_others_write_on(base: Path, adapters: list[Path]) -> None:
    shared = shared_model(base)
    engines = [over(shared, folder.name, folder) for folder in adapters]
    before = together(engines[1:], PROMPTS[:2])
    engines[0].close()
    assert together(engines[1:], PROMPTS[:2]) == before
    again = over(shared, "one", adapters[0])
    assert together([again], PROMPTS[:1]) == [of_peft(base, adapters[0], PROMPTS[0])]


def test_gpt_2_whose_matrices_lie_on_their_side_takes_adapters_too(tmp_path: Path) -> None:
    build_model(tmp_path / "base", gpt2, seed=5)
    folder = write_adapter(
        tmp_path / "base",
        tmp_path / "one",
        seed=1,
        targets=("c_attn", "c_fc", "c_proj"),
        fan_in_fan_out=True,
    )
    engine = over(shared_model(tmp_path / "base"), "one", folder)
    for prompt in PROMPTS[:2]:
        assert together([engine], [prompt]) == [of_peft(tmp_path / "base", folder, prompt)]


def test_an_imported_adapter_is_scored_as_peft_would(
    base: Path, adapters: list[Path], tmp_path: Path
) -> None:
    known = import_model(base, tmp_path / "part").weights_hash
    (tmp_path / "bases").mkdir()
    (tmp_path / "part").rename(tmp_path / "bases" / known)
    target = tmp_path / "kernels" / "one"
    import_peft(adapters[0], target, base_hash=known)
    assert check_peft(target).base_hash == known
    score = score_text(load_adapted_model(target), "", PROMPTS[0])
    plain = score_text(open_model(base), "", PROMPTS[0])
    assert score.num_tokens == plain.num_tokens
    assert score.nats != pytest.approx(plain.nats, rel=1e-3)
    weights = target / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(ArtifactError, match="sha256"):
        check_peft(target)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("peft_type", "IA3"),
        ("use_dora", True),
        ("bias", "all"),
        ("r", 0),
        ("rank_pattern", {"a": 1}),
    ],
)
def test_what_peft_can_do_and_this_cannot_is_refused_by_name(
    adapters: list[Path], tmp_path: Path, field: str, value: object
) -> None:
    for path in adapters[0].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = json.loads((tmp_path / "adapter_config.json").read_text("utf-8"))
    config[field] = value
    (tmp_path / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(ArtifactError, match=f"its {field} is"):
        read_peft(tmp_path)


def test_an_adapter_of_another_base_is_refused(adapters: list[Path], tmp_path: Path) -> None:
    build_model(tmp_path, gpt2)
    with pytest.raises(ConfigError, match="has no matrix"):
        ModelStack(open_model(tmp_path).network).put(read_peft(adapters[0]))


MEASURED = """
import gc, json, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from actors.kernel.adapted_model_engine import AdaptedModelEngine, SharedModel
from constellation.kernel.hugging_face.peft_adapter import read_peft
from constellation.kernel.hugging_face.transformers_model import open_model

def resident():
    gc.collect()
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("Rss:")).split()[1])

warm, base, *folders = map(Path, sys.argv[1:])
open_model(warm)
before = resident()
shared = SharedModel.of(open_model(base), prefill_tokens=64, prefix_bytes=0)
alone = resident() - before
adapters = [read_peft(folder) for folder in folders]
engines = [
    AdaptedModelEngine(f.name, shared, a, tokenizer_hash="t", weights_hash="w", token_bytes=[b"a"])
    for f, a in zip(folders, adapters)
]
whole = resident() - before
sizes = sum(pair.size_bytes for adapter in adapters for pair in adapter.values())
print(json.dumps({"alone": alone, "whole": whole, "adapters": sizes}))
"""


def big() -> Any:
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCAB_SIZE,
            hidden_size=512,
            intermediate_size=1536,
            num_hidden_layers=6,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=96,
            bos_token_id=0,
            eos_token_id=0,
        )
    )


@pytest.mark.slow
def test_three_adapters_take_a_tenth_more_than_their_base_and_themselves(tmp_path: Path) -> None:
    build_model(tmp_path / "warm", qwen2)
    big().save_pretrained(tmp_path / "base")
    made = PreTrainedTokenizerFast(tokenizer_object=tokenizer(), eos_token=END)
    made.save_pretrained(tmp_path / "base")
    base = tmp_path / "base"
    folders = [write_adapter(base, tmp_path / str(seed), seed=seed, rank=8) for seed in range(3)]
    command = [sys.executable, "-P", "-c", MEASURED, tmp_path / "warm", base, *folders]
    done = subprocess.run(
        [str(each) for each in command],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=300,
        check=True,
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["alone"] > 70e6
    assert found["adapters"] > 3e6
    assert found["whole"] <= 1.1 * found["alone"] + found["adapters"], found
