"""`chat --checkpoint`: one kernel on disk answers, and every reply is measured."""

import re
from pathlib import Path

import pytest
import torch

from constellation.coordizer.coordizer import Coordizer
from constellation.errors import ConfigError, InvalidPrompt
from constellation.kernel.files.checkpoint import load_kernel, save_kernel
from constellation.kernel.network.config import KernelConfig
from constellation.kernel.network.decoder import Decoder
from constellation.kernel.observables.kappa import kappa_measured
from constellation.kernel.observables.phi import phi_integration
from constellation.kernel.observables.text_observables import observe_text
from tests.cli.conftest import Run

FLAGS = ("--tokens-max", 8, "--temperature", 0)


def test_every_reply_shows_what_was_measured(run: Run, artifacts: Path) -> None:
    kernel = artifacts / "kernels" / "mail"
    result = run("chat", "--checkpoint", kernel, *FLAGS, typed="one\n\ntwo\n/quit\nthree\n")
    assert result.exit_code == 0, result.stderr
    lines = [line for line in result.stderr.splitlines() if "kappa" in line]
    assert len(lines) == 2
    for line in lines:
        assert re.search(r"Phi needs 256 tokens, has \d+", line)
        assert re.search(r"kappa \d\.\d{3} nats \(null \d\.\d{3}\)", line)
        assert "no layer recurs" in line
        assert "(coordizer)" in line


def test_answers_are_the_kernels_own_and_follow_the_context(run: Run, artifacts: Path) -> None:
    """Greedy answers: the same turn is answered alike after /forget, and as a fresh session."""
    kernel = artifacts / "kernels" / "mail"
    typed = "import email\n/forget\nimport email\n"
    first, second = run("chat", "--checkpoint", kernel, *FLAGS, typed=typed).stdout.splitlines()[:2]
    alone = run("chat", "--checkpoint", kernel, *FLAGS, typed="import email\n").stdout
    assert first == second == alone.splitlines()[0]


@pytest.mark.slow
def test_a_long_session_never_outgrows_the_kernel(run: Run, artifacts: Path) -> None:
    kernel = artifacts / "kernels" / "mail"  # reads 128 tokens
    typed = "import email and ssl and http and json\n" * 12
    result = run(
        "chat", "--checkpoint", kernel, "--tokens-max", 4096, "--context", 4096, typed=typed
    )
    assert result.exit_code == 0
    assert "error" not in result.stderr
    has = [int(number) for number in re.findall(r"has (\d+)", result.stderr)]
    assert len(has) == 12
    assert max(has) <= 128


@pytest.mark.parametrize(
    "flags", [("--kernel", "mail"), ("--endpoint", "x:1"), ("--timeout", 1), ("--rule", "bearing")]
)
def test_flags_of_a_served_session_are_refused(
    run: Run, artifacts: Path, flags: tuple[object, ...]
) -> None:
    result = run("chat", "--checkpoint", artifacts / "kernels" / "mail", *flags)
    assert result.exit_code == 2
    assert str(flags[0]) in result.stderr


def test_a_coordizer_without_a_checkpoint_is_refused(run: Run, artifacts: Path) -> None:
    result = run("chat", "--coordizer", artifacts / "coordizer")
    assert (result.exit_code, "--coordizer" in result.stderr) == (2, True)


def test_a_missing_checkpoint_is_an_error_line(run: Run) -> None:
    result = run("chat", "--checkpoint", "nowhere")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")


# --- what is measured ---------------------------------------------------------------------------


def recursive(coordizer: Coordizer) -> Decoder:
    config = KernelConfig(
        vocab_size=coordizer.vocab_size,
        width=32,
        num_layers=2,
        num_heads=2,
        mlp_width=32,
        context=300,
        recurrent_layers=(1,),
        loops_max=4,
        basin_outcomes=len(coordizer.background_K),
    )
    return Decoder(config, seed=0).eval()


def test_a_text_is_measured_as_the_definitions_say(artifacts: Path) -> None:
    coordizer = Coordizer.load(artifacts / "coordizer")
    decoder = recursive(coordizer)
    ids = torch.randint(0, coordizer.vocab_size, (280,), generator=torch.Generator().manual_seed(0))
    seen = observe_text(decoder, coordizer, ids.tolist())
    with torch.no_grad():
        hidden = decoder.hidden(ids[None])
        assert seen.basin_K == pytest.approx(decoder.basin(hidden)[0].numpy(), abs=1e-6)
        assert seen.phi == phi_integration(hidden[0, -256:])
        assert seen.kappa == kappa_measured(decoder, ids[None])
    assert seen.depth == 4
    assert seen.basin_source == "basin head"


def test_a_kernel_with_a_basin_head_and_recursion_shows_both(
    run: Run, artifacts: Path, tmp_path: Path
) -> None:
    coordizer = Coordizer.load(artifacts / "coordizer")
    hash_ = load_kernel(artifacts / "kernels" / "mail").tokenizer_hash
    save_kernel(tmp_path / "k", recursive(coordizer), tokenizer_hash=hash_, facts={})
    flags = ("--coordizer", artifacts / "coordizer", "--tokens-max", 4)
    result = run("chat", "--checkpoint", tmp_path / "k", *flags, typed="one\n")
    assert "depth 4.00" in result.stderr
    assert "(basin head)" in result.stderr


def test_texts_that_cannot_be_measured_are_refused(artifacts: Path) -> None:
    coordizer = Coordizer.load(artifacts / "coordizer")
    decoder = recursive(coordizer)
    with pytest.raises(ConfigError, match="without tokens"):
        observe_text(decoder, coordizer, [])
    with pytest.raises(InvalidPrompt):
        observe_text(decoder, coordizer, [1] * 301)
