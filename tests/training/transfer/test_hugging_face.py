"""Models of `transformers` from local folders: LoRA on them through `peft`, and as teachers."""

from pathlib import Path
from typing import Any

import pytest
import torch

from constellation.coordizer.coordizer import Coordizer
from constellation.coordizer.training import train_coordizer
from constellation.errors import ArtifactError, ConfigError
from constellation.kernel.adapters.lora import LoraConfig
from constellation.records import Sampling
from tests.training.foreign import build_llama
from training.transfer import hugging_face
from training.transfer.teachers import load_teacher, load_writer, write_texts

TEXTS = ["the ships sail over the sea ", "stars shine behind the dark clouds "]


@pytest.fixture(scope="module")
def coordizer() -> Coordizer:
    return train_coordizer(
        [text * n for text in TEXTS for n in (2, 3)],
        ["sea", "sea", "sky", "sky"],
        vocab_size=280,
        anchored=True,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, coordizer: Coordizer) -> Path:
    """Return the folder of a tiny model. Do not change it."""
    build_llama(path := tmp_path_factory.mktemp("llama"), coordizer)
    return path


def windows(coordizer: Coordizer) -> tuple[torch.Tensor, torch.Tensor]:
    tokens_BT = torch.tensor([coordizer.encode(text).tolist()[:12] for text in TEXTS])
    return tokens_BT[:, :-1], tokens_BT[:, 1:]


def test_an_adapter_is_trained_alone_saved_and_loaded(
    folder: Path, coordizer: Coordizer, tmp_path: Path
) -> None:
    model = hugging_face.load_model(folder)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    inputs, targets = windows(coordizer)
    plain = model(input_ids=inputs).logits
    torch.manual_seed(0)
    adapted = hugging_face.attach_lora(model, LoraConfig(rank=4, targets=("q_proj", "down_proj")))
    assert torch.equal(adapted.eval()(input_ids=inputs).logits, plain)
    optimiser = hugging_face.adapter_optimiser(adapted, 2e-2)
    losses = [hugging_face.train_step(adapted, optimiser, inputs, targets) for _ in range(12)]
    assert losses[-1] < losses[0] - 0.2
    hugging_face.save_lora(adapted, tmp_path / "adapter")
    assert (tmp_path / "adapter" / "adapter_model.safetensors").stat().st_size < 100_000
    fresh = hugging_face.load_model(folder)
    assert all(torch.equal(before[name], t) for name, t in fresh.state_dict().items())
    again = hugging_face.load_lora(fresh, tmp_path / "adapter")
    expected = adapted.eval()(input_ids=inputs).logits
    torch.testing.assert_close(again(input_ids=inputs).logits, expected)
    assert not torch.allclose(expected, plain, atol=1e-2)


def test_the_whole_model_can_be_the_target(folder: Path) -> None:
    adapted = hugging_face.attach_lora(hugging_face.load_model(folder), LoraConfig(rank=2))
    trained = [name for name, p in adapted.named_parameters() if p.requires_grad]
    # Seven matrices in each of two layers, two factors each; the head is left alone.
    assert len(trained) == 28
    assert all("lora_" in name for name in trained)


def test_unknown_targets_and_folders_are_refused(folder: Path, tmp_path: Path) -> None:
    model = hugging_face.load_model(folder)
    with pytest.raises(ConfigError, match=r"qkv; there are: .*q_proj"):
        hugging_face.attach_lora(model, LoraConfig(targets=("qkv",)))
    for load in (
        hugging_face.load_model,
        hugging_face.load_tokenizer,
        hugging_face.read_tokenizer,
        lambda place: hugging_face.load_lora(model, place),
    ):
        with pytest.raises(ArtifactError, match="give the local folder"):
            load(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "llama"')
    (tmp_path / "tokenizer.json").write_text("{}")
    for damaged in (hugging_face.load_model, hugging_face.read_tokenizer):
        with pytest.raises(ArtifactError):
            damaged(tmp_path)


def test_a_teacher_of_the_same_tokens_gives_the_models_logits(
    folder: Path, coordizer: Coordizer
) -> None:
    teacher = load_teacher(folder, coordizer)
    inputs, _ = windows(coordizer)
    with torch.no_grad():
        expected = hugging_face.load_model(folder)(input_ids=inputs).logits
        torch.testing.assert_close(teacher.logits(teacher.hidden(inputs)), expected)


def test_a_teacher_of_other_tokens_gives_no_soft_targets(folder: Path) -> None:
    other = train_coordizer(TEXTS * 3, ["sea", "sky"] * 3, vocab_size=270, anchored=True)
    with pytest.raises(ConfigError, match="let it write text instead"):
        load_teacher(folder, other)


def test_a_model_that_changes_its_logits_gives_no_soft_targets(
    folder: Path, coordizer: Coordizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = hugging_face.load_model

    def capped(place: Path) -> Any:
        model = load(place)
        model.register_forward_hook(
            lambda _module, _inputs, output: output.__setitem__("logits", output.logits.tanh())
        )
        return model

    monkeypatch.setattr(hugging_face, "load_model", capped)
    with pytest.raises(ConfigError, match="changes its logits"):
        load_teacher(folder, coordizer)


def test_a_model_writes_the_same_text_for_the_same_seed(folder: Path) -> None:
    writer = load_writer(folder)
    sampling = Sampling(tokens_max=6, temperature=1.0, seed=3)
    texts = write_texts(writer, ["the ships", "the ships"], sampling)
    assert all(text.startswith("the ships") for text in texts)
    assert texts[0] != texts[1]
    assert texts == write_texts(writer, ["the ships", "the ships"], sampling)
    greedy = Sampling(tokens_max=4, temperature=0.0)
    assert writer.write("the sea", greedy) == writer.write("the sea", greedy)
