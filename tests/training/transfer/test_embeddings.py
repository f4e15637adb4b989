"""Frozen input embeddings of another model: mapping, projection, training around them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from constellation.coordizer.coordizer import Coordizer
from constellation.coordizer.training import train_coordizer
from constellation.errors import ArtifactError, ConfigError
from constellation.kernel.files.checkpoint import load_kernel, save_kernel
from constellation.kernel.network.config import KernelConfig
from constellation.kernel.network.decoder import Decoder
from training.transfer.embeddings import fill_frozen_input, project_embedding, read_embedding

TEXTS = ["the ships sail over the sea ", "stars shine behind dark clouds ", "Schöne Grüße 😀 "]
WIDTH = 48


def make(vocab_size: int) -> Coordizer:
    labels = ["sea", "sky", "talk"] * 3
    return train_coordizer(TEXTS * 3, labels, vocab_size=vocab_size, anchored=True)


@pytest.fixture(scope="module")
def coordizer() -> Coordizer:
    return make(300)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a table of another vocabulary's tokens."""
    other = make(262)
    other.tokenizer().save(str(tmp_path / "tokenizer.json"))
    table = torch.randn(other.vocab_size, WIDTH, generator=torch.Generator().manual_seed(0))
    save_file(
        {"model.embed_tokens.weight": table, "lm_head.weight": table.clone()},
        tmp_path / "model.safetensors",
    )
    return tmp_path


def kernel(vocab_size: int, **changes: object) -> Decoder:
    values = {
        "vocab_size": vocab_size,
        "width": 16,
        "num_layers": 1,
        "num_heads": 2,
        "mlp_width": 16,
        "context": 16,
        "frozen_input": True,
    }
    return Decoder(KernelConfig.from_dict({**values, **changes}))


def test_a_token_gets_the_mean_of_its_pieces(folder: Path, coordizer: Coordizer) -> None:
    """At full width the projection only turns the centred rows: all their products stay."""
    table, other = read_embedding(folder), make(262)
    projected = project_embedding(folder, coordizer, width=WIDTH)
    expected = torch.stack(
        [
            table[other.encode(coordizer.token_bytes(token)).tolist()].mean(0)
            for token in projected.known_V.nonzero()[:, 0].tolist()
        ]
    )
    expected = expected - expected.mean(0)
    found = projected.rows_VC[projected.known_V]
    torch.testing.assert_close(found @ found.T, expected @ expected.T, atol=1e-3, rtol=1e-3)
    assert projected.kept_variance == pytest.approx(1.0)


def test_tokens_that_are_no_text_have_no_counterpart(folder: Path, coordizer: Coordizer) -> None:
    projected = project_embedding(folder, coordizer, width=8)
    texts = [coordizer.token_bytes(token) for token in range(coordizer.vocab_size)]
    readable = [bool(text) and text.decode("utf-8", "replace").encode() == text for text in texts]
    assert projected.known_V.tolist() == readable
    assert not projected.known_V[coordizer.end_id]
    assert 0 < int((~projected.known_V).sum()) < 200
    assert not projected.rows_VC[~projected.known_V].any()


def test_the_kept_directions_are_the_strongest(folder: Path, coordizer: Coordizer) -> None:
    kept = [project_embedding(folder, coordizer, width=w).kept_variance for w in (4, 12, 24, WIDTH)]
    assert kept == sorted(kept)
    assert kept[0] > 4 / WIDTH
    narrow = project_embedding(folder, coordizer, width=4)
    wide = project_embedding(folder, coordizer, width=24)
    torch.testing.assert_close(narrow.rows_VC, wide.rows_VC[:, :4])


def test_a_frozen_input_stays_while_the_rest_learns(
    folder: Path, coordizer: Coordizer, tmp_path: Path
) -> None:
    decoder = kernel(coordizer.vocab_size)
    assert decoder.frozen_input is not None
    drawn = decoder.frozen_input.clone()
    kept = fill_frozen_input(decoder, folder, coordizer)
    assert 0 < kept < 1
    known = project_embedding(folder, coordizer, width=16).known_V
    frozen = decoder.frozen_input.clone()
    assert torch.equal(frozen[~known], drawn[~known])
    assert float(frozen[known].std()) == pytest.approx(decoder.config.init_std, rel=1e-3)
    optimiser = torch.optim.AdamW(decoder.parameter_groups(weight_decay=0.1), lr=1e-2)
    tokens = torch.randint(0, coordizer.vocab_size, (2, 17))
    losses = []
    for _ in range(5):
        optimiser.zero_grad()
        loss = decoder.loss(tokens[:, :-1], tokens[:, 1:])
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    assert all(p.grad is not None for p in decoder.parameters())
    save_kernel(tmp_path / "k", decoder, tokenizer_hash=coordizer.tokenizer_hash, facts={})
    again = load_kernel(tmp_path / "k").decoder
    assert again.frozen_input is not None
    assert torch.equal(again.frozen_input, frozen)
    assert torch.equal(again(tokens[:, :-1]), decoder(tokens[:, :-1]))


def test_the_input_is_read_from_the_table_and_the_output_is_not(coordizer: Coordizer) -> None:
    decoder, tokens = kernel(coordizer.vocab_size), torch.tensor([[5, 6, 7]])
    assert decoder.frozen_input is not None
    before = decoder.hidden(tokens)
    with torch.no_grad():
        decoder.embedding.mul_(2)
        assert torch.equal(decoder.hidden(tokens), before)
        decoder.frozen_input[6] += 1
    assert not torch.allclose(decoder.hidden(tokens), before)
    assert decoder.config.num_parameters() == sum(p.numel() for p in decoder.parameters())


def test_a_kernel_that_cannot_have_one_is_refused(folder: Path, coordizer: Coordizer) -> None:
    with pytest.raises(ConfigError, match="set frozen_input"):
        fill_frozen_input(kernel(300, frozen_input=False), folder, coordizer)
    with pytest.raises(ConfigError, match="the kernel has 300 tokens, the coordizer 280"):
        fill_frozen_input(kernel(300), folder, make(280))
    with pytest.raises(ConfigError, match="take a wider model"):
        project_embedding(folder, coordizer, width=WIDTH + 1)
    with pytest.raises(ConfigError, match="needs the style modern"):
        kernel(300, style="post_norm", attention="dot")


def test_a_split_model_is_read_through_its_index(folder: Path) -> None:
    expected = read_embedding(folder)
    (folder / "model.safetensors").unlink()
    save_file({"lm_head.weight": torch.zeros(2, 2)}, folder / "a.safetensors")
    save_file({"transformer.wte.weight": expected}, folder / "b.safetensors")
    weights = {"lm_head.weight": "a.safetensors", "transformer.wte.weight": "b.safetensors"}
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weights}))
    assert torch.equal(read_embedding(folder), expected)
    index.write_text('{"weight_map": 3}')
    with pytest.raises(ArtifactError, match="damaged"):
        read_embedding(folder)


def no_file(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def cut_file(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])


def not_finite(folder: Path) -> None:
    table = torch.full((262, WIDTH), torch.nan)
    save_file({"wte.weight": table}, folder / "model.safetensors")


def other_names(folder: Path) -> None:
    save_file({"some.weight": torch.zeros(262, WIDTH)}, folder / "model.safetensors")


def short_table(folder: Path) -> None:
    save_file({"wte.weight": torch.zeros(40, WIDTH)}, folder / "model.safetensors")


def no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (no_file, "no safetensors file"),
        (cut_file, "cannot be read"),
        (not_finite, "no matrix of finite numbers"),
        (other_names, "no tensor is named like an embedding"),
        (short_table, "its table not"),
        (no_tokenizer, "it has no tokenizer.json"),
    ],
)
def test_damage_is_refused(
    folder: Path, coordizer: Coordizer, spoil: Callable[[Path], None], message: str
) -> None:
    spoil(folder)
    with pytest.raises(ArtifactError, match=message):
        project_embedding(folder, coordizer, width=8)
