"""What `add` takes a path for, and what it refuses by name instead of reading it as text."""

import json
from functools import partial
from pathlib import Path

import pytest

from cluster.added_path import Arrival, arrival_at, check_text
from constellation.errors import ArtifactError, ConfigError, CorpusError
from tests.support.hugging_face import build_model, qwen2


@pytest.fixture
def model(tmp_path: Path) -> Path:
    build_model(tmp_path / "model", partial(qwen2, context=64))
    return tmp_path / "model"


def touch(folder: Path, *names: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"{}")
    return folder


def test_every_kind_that_becomes_a_kernel_is_known(model: Path, tmp_path: Path) -> None:
    assert arrival_at(model) is Arrival.MODEL
    assert arrival_at(touch(tmp_path / "whole", "kernel.json")) is Arrival.KERNEL
    assert arrival_at(touch(tmp_path / "own", "adapter.safetensors")) is Arrival.ADAPTER
    text = touch(tmp_path / "text", "a.txt", "config.json", "README.md", "figures.npz")
    assert arrival_at(text) is Arrival.TEXT
    assert arrival_at(text / "a.txt") is Arrival.TEXT


def test_an_adapter_of_peft_is_no_text(tmp_path: Path) -> None:
    folder = touch(tmp_path / "peft", "adapter_model.safetensors", "README.md")
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA"}))
    for path in (folder, folder / "README.md"):
        with pytest.raises(ArtifactError, match=r"peft|file of the model"):
            arrival_at(path)
    with pytest.raises(ArtifactError, match="merge_and_unload"):
        arrival_at(folder)
    touch(folder, "config.json", "tokenizer.json")
    with pytest.raises(ArtifactError, match="merge_and_unload"):
        arrival_at(folder)


@pytest.mark.parametrize("name", ["model.gguf", "MODEL.GGUF", "model"])
def test_a_gguf_file_is_no_text_whatever_its_name(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    path = tmp_path / "folder" / name
    path.write_bytes(b"GGUF\x03\x00\x00\x00")
    for given in (path, path.parent):
        with pytest.raises(ArtifactError, match="GGUF format, which is not served"):
            arrival_at(given)


@pytest.mark.parametrize(
    "name", ["model.safetensors", "pytorch_model.bin", "model.pt", "tokenizer.json", "net.onnx"]
)
def test_a_folder_with_a_part_of_a_model_is_no_text(tmp_path: Path, name: str) -> None:
    with pytest.raises(ArtifactError, match=f"holds {name}, so it is no folder of text"):
        arrival_at(touch(tmp_path / "part", name, "README.md"))


def test_a_file_of_a_model_points_to_its_folder(model: Path) -> None:
    with pytest.raises(ArtifactError, match=f"is a file of the model in {model}; give the folder"):
        arrival_at(model / "config.json")


def test_a_path_that_is_not_there_is_said_to_be_missing(tmp_path: Path) -> None:
    for asked in (arrival_at, check_text):
        with pytest.raises(CorpusError, match="mistyped: no such file or folder"):
            asked(tmp_path / "mistyped")


def test_a_kernel_is_no_text_of_a_domain(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="which is a Hugging Face model; give the text"):
        check_text(model)
    check_text(touch(tmp_path / "text", "a.txt"))
