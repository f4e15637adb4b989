"""What was saved is what is loaded; anything else is refused."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from constellation.errors import ArtifactError, ConfigError
from constellation.kernel.files.checkpoint import (
    KERNEL_FILE,
    WEIGHTS_FILE,
    load_kernel,
    save_kernel,
)
from constellation.kernel.network.config import ATTENTION_KINDS, AttentionKind
from tests.kernel.conftest import NETWORKS, MakeKernel


@pytest.fixture
def saved(tmp_path: Path, make_kernel: MakeKernel) -> Path:
    save_kernel(tmp_path, make_kernel(), tokenizer_hash="ab" * 32, facts={"steps": 7})
    return tmp_path


@pytest.mark.parametrize("kind", ATTENTION_KINDS)
@pytest.mark.parametrize("network", NETWORKS)
def test_a_kernel_comes_back_bit_for_bit(
    network: str,
    kind: AttentionKind,
    tmp_path: Path,
    make_kernel: MakeKernel,
    tokens_BT: torch.Tensor,
) -> None:
    decoder = make_kernel(kind, seed=3, basin_outcomes=5, **NETWORKS[network])
    weights_hash = save_kernel(tmp_path, decoder, tokenizer_hash="t", facts={"bpb": 1.5})
    loaded = load_kernel(tmp_path)
    hidden_BTC = decoder.hidden(tokens_BT)
    assert torch.equal(loaded.decoder(tokens_BT), decoder.logits(hidden_BTC))
    assert torch.equal(loaded.decoder.basin(hidden_BTC), decoder.basin(hidden_BTC))
    assert loaded.config == decoder.config
    assert (loaded.tokenizer_hash, loaded.weights_hash) == ("t", weights_hash)
    assert loaded.facts == {"bpb": 1.5}


def test_a_kernel_saved_before_there_were_other_networks_loads(
    saved: Path, make_kernel: MakeKernel, tokens_BT: torch.Tensor
) -> None:
    """The first releases wrote none of these keys; their defaults are what those kernels are."""
    newer = ("style", "recurrent_layers", "loops_min", "loops_max", "depth_threshold")
    description = json.loads((saved / KERNEL_FILE).read_text())
    for key in (*newer, "basin_outcomes"):
        del description["config"][key]
    (saved / KERNEL_FILE).write_text(json.dumps(description))
    loaded = load_kernel(saved)
    assert loaded.config == make_kernel().config
    assert torch.equal(loaded.decoder(tokens_BT), make_kernel()(tokens_BT))


@pytest.mark.parametrize("network", NETWORKS)
def test_every_network_works_in_a_narrow_dtype(
    network: str, tmp_path: Path, make_kernel: MakeKernel, tokens_BT: torch.Tensor
) -> None:
    decoder = make_kernel(basin_outcomes=5, init_std=0.05, **NETWORKS[network])
    save_kernel(tmp_path, decoder, tokenizer_hash="t", facts={})
    narrow = load_kernel(tmp_path, dtype=torch.bfloat16).decoder
    hidden_BTC = narrow.hidden(tokens_BT)
    assert hidden_BTC.dtype == torch.bfloat16
    exact = decoder.basin(decoder.hidden(tokens_BT))
    torch.testing.assert_close(narrow.basin(hidden_BTC), exact, atol=0.05, rtol=0)


def test_a_loaded_kernel_can_be_trained_further(saved: Path, tokens_BT: torch.Tensor) -> None:
    decoder = load_kernel(saved).decoder
    decoder.loss(tokens_BT, tokens_BT).backward()
    assert all(parameter.grad is not None for parameter in decoder.parameters())


def test_couplings_stay_exact_in_a_narrow_dtype(saved: Path, tokens_BT: torch.Tensor) -> None:
    decoder = load_kernel(saved, dtype=torch.bfloat16).decoder
    assert decoder.coupling is not None
    assert decoder.coupling.log_kappa_NH.dtype == torch.float32
    logits = decoder(tokens_BT)
    assert logits.dtype == torch.bfloat16
    assert torch.isfinite(logits).all()


def test_saving_again_replaces_the_kernel_and_leaves_nothing_behind(
    saved: Path, make_kernel: MakeKernel, tokens_BT: torch.Tensor
) -> None:
    decoder = make_kernel(seed=9)
    save_kernel(saved, decoder, tokenizer_hash="t", facts={})
    assert torch.equal(load_kernel(saved).decoder(tokens_BT), decoder(tokens_BT))
    assert {path.name for path in saved.iterdir()} == {WEIGHTS_FILE, KERNEL_FILE}


def test_facts_that_are_not_json_are_refused_before_anything_is_written(
    tmp_path: Path, make_kernel: MakeKernel
) -> None:
    for facts in ({"loss": float("nan")}, {"when": object()}):
        with pytest.raises(ConfigError, match="JSON"):
            save_kernel(tmp_path / "new", make_kernel(), tokenizer_hash="t", facts=facts)
    assert not (tmp_path / "new").exists()


def test_a_damaged_network_does_not_replace_a_good_one(
    saved: Path, make_kernel: MakeKernel
) -> None:
    good = load_kernel(saved).weights_hash
    decoder = make_kernel()
    assert decoder.norm is not None
    with torch.no_grad():
        decoder.norm.weight[3] = float("nan")
    with pytest.raises(ArtifactError, match=r"norm\.weight"):
        save_kernel(saved, decoder, tokenizer_hash="t", facts={})
    assert load_kernel(saved).weights_hash == good


def put_in_a_nan(folder: Path) -> None:
    """Damage the weights and mend the hash, as a faulty tool would."""
    state = load_file(folder / WEIGHTS_FILE)
    state["norm.weight"][3] = float("inf")
    save_file(state, folder / WEIGHTS_FILE)
    digest = hashlib.sha256((folder / WEIGHTS_FILE).read_bytes()).hexdigest()
    edit(lambda description: description.update(weights_sha256=digest))(folder)


def replace_by_text(folder: Path) -> None:
    (folder / WEIGHTS_FILE).write_bytes(b"not weights")
    digest = hashlib.sha256(b"not weights").hexdigest()
    edit(lambda description: description.update(weights_sha256=digest))(folder)


def flip_a_bit(folder: Path) -> None:
    content = bytearray((folder / WEIGHTS_FILE).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / WEIGHTS_FILE).write_bytes(content)


def cut_the_weights(folder: Path) -> None:
    content = (folder / WEIGHTS_FILE).read_bytes()
    (folder / WEIGHTS_FILE).write_bytes(content[: len(content) // 2])


def edit(change: Callable[[dict[str, object]], object]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        description = json.loads((folder / KERNEL_FILE).read_text())
        change(description)
        (folder / KERNEL_FILE).write_text(json.dumps(description))

    return apply


def set_config(**values: object) -> Callable[[Path], None]:
    return edit(lambda description: description["config"].update(values))  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (flip_a_bit, "sha256"),
        (cut_the_weights, "sha256"),
        (put_in_a_nan, "NaN or infinity"),
        (replace_by_text, "not a safetensors file"),
        (lambda folder: (folder / WEIGHTS_FILE).unlink(), "cannot be read"),
        (lambda folder: (folder / KERNEL_FILE).unlink(), "cannot be read"),
        (lambda folder: (folder / KERNEL_FILE).write_text("{"), "not JSON"),
        (lambda folder: (folder / KERNEL_FILE).write_bytes(b"\xff\xfe\x00"), "not JSON"),
        (lambda folder: (folder / KERNEL_FILE).write_text("[]"), "exactly"),
        (edit(lambda description: description.pop("facts")), "exactly"),
        (edit(lambda description: description.update(extra=1)), "exactly"),
        (edit(lambda description: description.update(config=None)), "'config'"),
        (edit(lambda description: description.update(format=99)), "format is 99"),
        (set_config(width=64), "do not fit"),
        (set_config(num_layers=3), "do not fit"),
        (set_config(attention="dot"), "do not fit"),
        (set_config(style="post_norm"), "do not fit"),
        (set_config(recurrent_layers=[1]), "do not fit"),
        (set_config(basin_outcomes=64), "do not fit"),
        (set_config(width=-1), "configuration is refused"),
        (set_config(colour="red"), "configuration is refused"),
    ],
)
def test_damage_is_refused(damage: Callable[[Path], None], message: str, saved: Path) -> None:
    damage(saved)
    with pytest.raises(ArtifactError, match=message):
        load_kernel(saved)


def test_weights_of_another_kernel_are_refused(
    saved: Path, tmp_path: Path, make_kernel: MakeKernel
) -> None:
    other = tmp_path / "other"
    save_kernel(other, make_kernel(seed=2), tokenizer_hash="t", facts={})
    (saved / WEIGHTS_FILE).write_bytes((other / WEIGHTS_FILE).read_bytes())
    with pytest.raises(ArtifactError, match="sha256"):
        load_kernel(saved)


def test_the_weights_file_is_plain_safetensors(saved: Path) -> None:
    state = load_file(saved / WEIGHTS_FILE)
    decoder = load_kernel(saved).decoder
    assert set(state) == set(decoder.state_dict())
    save_file(state, saved / "copy.safetensors")
    assert (saved / "copy.safetensors").read_bytes() == (saved / WEIGHTS_FILE).read_bytes()
