"""Models of `transformers` from local folders, as teachers too."""

from pathlib import Path
from typing import Any

import pytest
import torch

from constellation.coordizer.coordizer import Coordizer
from constellation.coordizer.training import train_coordizer
from constellation.errors import ArtifactError, ConfigError
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


def test_folders_without_a_model_are_refused(tmp_path: Path) -> None:
    for load in (
        hugging_face.load_model,
        hugging_face.load_tokenizer,
        hugging_face.read_tokenizer,
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
    assert writer("the sea", greedy) == writer("the sea", greedy)
