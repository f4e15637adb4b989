"""What can be a kernel of the models that others have stored, and what is refused."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BloomConfig,
    BloomForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
)

from constellation.errors import ArtifactError, ConfigError
from constellation.kernel.files import transformers_folder
from constellation.kernel.hugging_face.transformers_model import load_imported, open_model
from constellation.kernel.hugging_face.transformers_tokens import read_tokens
from tests.support.hugging_face import END, TEXTS, VOCAB_SIZE, build_model, llama, qwen2, tokenizer


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a whole model. Do not change it."""
    build_model(folder := tmp_path_factory.mktemp("stored"), qwen2)
    return folder


@pytest.fixture
def folder(stored: Path, tmp_path: Path) -> Path:
    shutil.copytree(stored, tmp_path / "model")
    return tmp_path / "model"


def change(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    path = folder / transformers_folder.WEIGHTS_FILE
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


def pickled(folder: Path) -> None:
    torch.save(load_file(folder / transformers_folder.WEIGHTS_FILE), folder / "pytorch_model.bin")
    (folder / transformers_folder.WEIGHTS_FILE).unlink()


def elsewhere(folder: Path) -> None:
    (folder / transformers_folder.WEIGHTS_FILE).rename(folder.parent / "w.safetensors")
    index = {"weight_map": {"model.norm.weight": "../w.safetensors"}}
    (folder / transformers_folder.INDEX_FILE).write_text(json.dumps(index))


def with_code(folder: Path) -> None:
    (folder / "modeling_own.py").write_text(f"open({str(folder / 'ran')!r}, 'w')")
    named = {"AutoConfig": "modeling_own.C", "AutoModelForCausalLM": "modeling_own.M"}
    change(folder / "config.json", model_type="own", auto_map=named)


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no weights": (
        lambda f: (f / transformers_folder.WEIGHTS_FILE).unlink(),
        "no model.safetensors",
    ),
    "pickled weights alone": (pickled, "pickled"),
    "no tokenizer": (
        lambda f: (f / transformers_folder.TOKENIZER_FILE).unlink(),
        r"no tokenizer\.json",
    ),
    "half a configuration": (lambda f: cut(f / transformers_folder.CONFIG_FILE), "not JSON"),
    "half the weights": (lambda f: cut(f / transformers_folder.WEIGHTS_FILE), "cannot be read"),
    "half a tokenizer": (lambda f: cut(f / transformers_folder.TOKENIZER_FILE), r"tokenizer\.json"),
    "a weight less": (lambda f: weights(f, lambda t: t.pop("model.norm.weight")), "lack"),
    "a weight of other shape": (
        lambda f: weights(f, lambda t: t.update({"model.norm.weight": torch.ones(3)})),
        "cannot be read|other shape",
    ),
    "a weight that is no number": (
        lambda f: weights(f, lambda t: t["model.norm.weight"].fill_(float("nan"))),
        "NaN",
    ),
    "an unknown architecture": (
        lambda f: change(f / transformers_folder.CONFIG_FILE, model_type="warp"),
        "no causal model of type 'warp'",
    ),
    "one that is not causal": (
        lambda f: change(
            f / transformers_folder.CONFIG_FILE, architectures=["Qwen2ForTokenClassification"]
        ),
        "Qwen2ForTokenClassification",
    ),
    "code of its own": (with_code, "no causal model of type 'own'"),
    "shards that lie elsewhere": (elsewhere, "weight_map"),
    "fewer tokens than its tokenizer": (
        lambda f: change(f / transformers_folder.CONFIG_FILE, vocab_size=VOCAB_SIZE // 2),
        "cannot be read|other shape",
    ),
}


@pytest.mark.parametrize(("spoil", "message"), DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_folder_is_refused(
    folder: Path, spoil: Callable[[Path], object], message: str
) -> None:
    spoil(folder)
    with pytest.raises(ArtifactError, match=message):
        open_model(folder)
    assert not (folder / "ran").exists()


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="whole folder"):
        open_model(tmp_path / "nothing")


def mamba() -> Any:
    return MambaForCausalLM(
        MambaConfig(vocab_size=VOCAB_SIZE, hidden_size=16, num_hidden_layers=2, state_size=4)
    )


def bloom() -> Any:
    return BloomForCausalLM(
        BloomConfig(
            vocab_size=VOCAB_SIZE, hidden_size=16, n_layer=2, n_head=2, initializer_range=0.3
        )
    )


def bert() -> Any:
    return BertForMaskedLM(
        BertConfig(
            vocab_size=VOCAB_SIZE,
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=16,
        )
    )


@pytest.mark.parametrize("make", [mamba, bloom, bert])
def test_what_cannot_be_driven_in_a_batch_is_refused(
    tmp_path: Path, make: Callable[[], Any]
) -> None:
    """States of another kind; places that are not told; tokens that see later ones."""
    build_model(tmp_path, make)
    with pytest.raises(ArtifactError, match=r"causal|one batch"):
        open_model(tmp_path)


def test_a_window_that_is_shorter_than_the_context_limits_it(tmp_path: Path) -> None:
    def mistral() -> Any:
        return MistralForCausalLM(
            MistralConfig(
                vocab_size=VOCAB_SIZE,
                hidden_size=16,
                intermediate_size=16,
                num_hidden_layers=2,
                num_attention_heads=2,
                num_key_value_heads=1,
                max_position_embeddings=64,
                sliding_window=20,
            )
        )

    build_model(tmp_path, mistral)
    assert open_model(tmp_path).network.config.context == 20


def test_shards_are_read_as_one_file_is(tmp_path: Path) -> None:
    model = build_model(tmp_path / "whole", llama)
    shutil.copytree(tmp_path / "whole", tmp_path / "parts")
    (tmp_path / "parts" / transformers_folder.WEIGHTS_FILE).unlink()
    model.save_pretrained(tmp_path / "parts", max_shard_size="100KB")
    assert len(list((tmp_path / "parts").glob("*.safetensors"))) > 1
    imported = transformers_folder.import_model(tmp_path / "parts", tmp_path / "kernel")
    ids = torch.tensor([[7, 8, 9]])
    whole, parts = open_model(tmp_path / "whole"), load_imported(tmp_path / "kernel")
    assert parts[1] == imported
    assert torch.equal(whole.network.hidden(ids), parts[0].network.hidden(ids))


@pytest.mark.parametrize(
    "name",
    [
        transformers_folder.WEIGHTS_FILE,
        transformers_folder.CONFIG_FILE,
        transformers_folder.TOKENIZER_FILE,
    ],
)
def test_every_changed_byte_of_an_imported_model_is_noticed(
    stored: Path, tmp_path: Path, name: str
) -> None:
    whole = transformers_folder.import_model(stored, tmp_path / "kernel")
    assert transformers_folder.check_model(tmp_path / "kernel") == whole
    assert transformers_folder.is_imported(tmp_path / "kernel")
    path = tmp_path / "kernel" / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ArtifactError, match="sha256"):
        transformers_folder.check_model(tmp_path / "kernel")
    path.unlink()
    with pytest.raises(ArtifactError):
        transformers_folder.check_model(tmp_path / "kernel")


def test_without_the_library_the_way_to_it_is_named(
    stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ConfigError, match=r"'dist/WHEEL\[hf\]'"):
        open_model(stored)


def test_every_token_of_a_text_has_its_bytes(stored: Path) -> None:
    tokens = read_tokens(stored, vocab_size=VOCAB_SIZE)
    for text in [*TEXTS, "tabs\tand\r\nlines", "é🙂日", " spaces  ", f"a{END}b"]:
        joined = b"".join(tokens.token_bytes[index] for index in tokens.encode(text, opens=False))
        assert joined.decode() == text.replace(END, "")
    assert tokens.token_bytes[0] == b""
    assert len(tokens.token_bytes) == VOCAB_SIZE


def spaced() -> Tokenizer:
    """Return a vocabulary of the kind that writes spaces as U+2581 and falls back on bytes."""
    words = ["<unk>", "▁the", "▁", "sea", "t", "h", "e", "s", "a"]
    tokens = {word: index for index, word in enumerate(words)}
    for byte in range(256):
        tokens[f"<0x{byte:02X}>"] = len(tokens)
    made = Tokenizer(models.BPE(tokens, [], byte_fallback=True, unk_token="<unk>"))
    made.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    made.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return made


def test_tokens_with_spaces_of_their_own_have_bytes_too(tmp_path: Path) -> None:
    spaced().save(str(tmp_path / transformers_folder.TOKENIZER_FILE))
    tokens = read_tokens(tmp_path, vocab_size=400)
    for text in ["the sea", "日本 🙂", "a  b\n"]:
        joined = b"".join(tokens.token_bytes[index] for index in tokens.encode(text, opens=False))
        assert joined.decode() == " " + text


def test_tokens_whose_bytes_cannot_be_known_are_refused(tmp_path: Path) -> None:
    made = Tokenizer(models.WordLevel({"the": 0, "[UNK]": 1}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.save(str(tmp_path / transformers_folder.TOKENIZER_FILE))
    with pytest.raises(ArtifactError, match="neither byte-level"):
        read_tokens(tmp_path, vocab_size=2)
    tokenizer().save(str(tmp_path / transformers_folder.TOKENIZER_FILE))
    with pytest.raises(ArtifactError, match="more tokens than the model"):
        read_tokens(tmp_path, vocab_size=40)


def test_a_tokenizer_that_goes_beyond_the_embedding_is_refused_with_the_first_such_token(
    tmp_path: Path,
) -> None:
    """Merged tokens and added ones, whatever a probe of some text would meet."""
    made = tokenizer()
    size = made.get_vocab_size(with_added_tokens=True)
    made.add_tokens(["<|late|>"])
    made.save(str(tmp_path / transformers_folder.TOKENIZER_FILE))
    told = (
        rf"more tokens than the model's {size}: 1 more, the first '<\|late\|>' with the id {size}"
    )
    with pytest.raises(ArtifactError, match=told):
        read_tokens(tmp_path, vocab_size=size)
    with pytest.raises(ArtifactError, match="more tokens than the model's"):
        read_tokens(tmp_path, vocab_size=size + 1, num_embeddings=size)
    assert read_tokens(tmp_path, vocab_size=size + 1).token_bytes[size] == b"<|late|>"


@pytest.mark.slow
def test_making_the_engine_of_an_own_kernel_imports_nothing_of_the_library() -> None:
    loads = "import sys; import actors.kernel.engines; print('transformers' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", loads], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "False"


def test_a_tokenizer_is_the_one_that_the_library_reads(stored: Path) -> None:
    theirs = PreTrainedTokenizerFast.from_pretrained(stored)
    ours = read_tokens(stored, vocab_size=VOCAB_SIZE)
    for text in TEXTS:
        assert ours.encode(text, opens=True) == theirs(text).input_ids
