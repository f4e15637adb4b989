"""Soft targets: the divergence, its gradients in chunks, a student that comes near its teacher."""

import math
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from constellation.coordizer.coordizer import Coordizer
from constellation.coordizer.training import train_coordizer
from constellation.errors import ArtifactError, ConfigError, InvalidPrompt
from constellation.kernel.files.checkpoint import save_kernel
from constellation.kernel.network.config import KernelConfig
from constellation.kernel.network.decoder import Decoder
from constellation.kernel.network.loss import IGNORED
from constellation.records import Sampling
from tests.training import tiny
from training.recipe_transfer import DistilSection
from training.transfer import distil
from training.transfer.distil import SoftTargets, soft_target_nats
from training.transfer.teachers import load_teacher, load_writer, write_texts


def logits(seed: int, rows: int = 5, tokens: int = 7) -> Tensor:
    return 3 * torch.randn(rows, tokens, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_the_divergence_is_that_of_the_softened_distributions(temperature: float) -> None:
    student, teacher = logits(0), logits(1)
    p = (teacher.double() / temperature).softmax(-1)
    q = (student.double() / temperature).softmax(-1)
    expected = temperature**2 * (p * (p / q).log()).sum(-1)
    found = soft_target_nats(student, teacher, temperature)
    torch.testing.assert_close(found.double(), expected, atol=1e-4, rtol=1e-4)
    assert torch.equal(soft_target_nats(teacher, teacher, temperature), torch.zeros(5))


def test_the_gradient_is_the_difference_of_the_distributions() -> None:
    student, teacher, temperature = logits(2).requires_grad_(), logits(3).requires_grad_(), 3.0
    soft_target_nats(student, teacher, temperature).sum().backward()  # type: ignore[no-untyped-call]
    gap = (student / temperature).softmax(-1) - (teacher / temperature).softmax(-1)
    assert student.grad is not None
    torch.testing.assert_close(student.grad, (temperature * gap).detach(), atol=1e-5, rtol=1e-4)
    assert teacher.grad is None


def test_one_vocabulary_is_needed() -> None:
    with pytest.raises(ConfigError, match="need one vocabulary"):
        soft_target_nats(logits(0, tokens=7), logits(0, tokens=8), 1.0)


def test_chunks_change_neither_value_nor_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs, targets = tiny.windows().batch(0, 3)
    targets = targets.clone()
    targets[0, :5] = IGNORED
    teacher = tiny.decoder(1).eval().requires_grad_(False)

    def evaluate(chunk_logits: int) -> tuple[Tensor, list[Tensor]]:
        monkeypatch.setattr(distil, "CHUNK_LOGITS", chunk_logits)
        student = tiny.decoder(0)
        term = SoftTargets(teacher, DistilSection(teacher=Path(), temperature=2.0))
        value = term(student, student.hidden(inputs), inputs, targets)
        value.backward()  # type: ignore[no-untyped-call]
        return value.detach(), [p.grad for p in student.parameters() if p.grad is not None]

    whole, gradients = evaluate(1 << 20)
    # Three rows at a time: the last chunk is a part.
    parts, part_gradients = evaluate(3 * tiny.CONFIG.vocab_size)
    assert float(whole) > 0
    torch.testing.assert_close(parts, whole)
    for found, expected in zip(part_gradients, gradients, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-7, rtol=1e-4)
    student = tiny.decoder(0)
    with torch.no_grad():
        nats = soft_target_nats(student(inputs), tiny.decoder(1)(inputs), 2.0)  # type: ignore[arg-type]
    counted = targets != IGNORED
    torch.testing.assert_close(whole, nats[counted].mean())


def test_nothing_counted_costs_nothing() -> None:
    inputs, targets = tiny.windows().batch(0, 2)
    student = tiny.decoder(0)
    term = SoftTargets(tiny.decoder(1).eval().requires_grad_(False), DistilSection(teacher=Path()))
    value = term(student, student.hidden(inputs), inputs, torch.full_like(targets, IGNORED))
    value.backward()  # type: ignore[no-untyped-call]
    assert float(value.detach()) == 0
    assert all(float(p.grad.abs().sum()) == 0 for p in student.parameters() if p.grad is not None)


@pytest.mark.parametrize("seed", range(3))
def test_a_student_comes_near_its_teacher(seed: int) -> None:
    """Soft targets alone: the student never sees which token came."""
    inputs, targets = tiny.windows(seed).batch(0, 8)
    teacher = tiny.decoder(seed + 10).eval().requires_grad_(False)
    student = tiny.decoder(seed)
    term = SoftTargets(teacher, DistilSection(teacher=Path(), weight=1.0, temperature=1.0))
    optimiser = torch.optim.AdamW(student.parameters(), lr=1e-2)
    values = []
    for _ in range(15):
        optimiser.zero_grad()
        value = term(student, student.hidden(inputs), inputs, targets)
        value.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        values.append(float(value.detach()))
    assert values[-1] < 0.5 * values[0]


@pytest.mark.parametrize(
    "values",
    [{"weight": 0.0}, {"weight": 1.5}, {"temperature": 0.0}, {"temperature": math.inf}],
)
def test_wrong_settings_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        DistilSection(teacher=Path("t"), **values)


# --- kernels as teachers ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def coordizer() -> Coordizer:
    texts = ["the ships sail over the sea ", "stars shine behind dark clouds "]
    return train_coordizer(texts * 3, ["sea", "sky"] * 3, vocab_size=270, anchored=True)


@pytest.fixture
def folder(coordizer: Coordizer, tmp_path: Path) -> Path:
    config = KernelConfig.from_dict(
        {**tiny.CONFIG.to_dict(), "vocab_size": coordizer.vocab_size, "init_std": 0.5}
    )
    save_kernel(tmp_path / "k", Decoder(config), tokenizer_hash=coordizer.tokenizer_hash, facts={})
    return tmp_path / "k"


def test_a_kernel_teaches_kernels_of_its_own_tokens(
    folder: Path, coordizer: Coordizer, tmp_path: Path
) -> None:
    teacher = load_teacher(folder, coordizer)
    assert teacher.logits(teacher.hidden(torch.tensor([[1, 2]]))).shape == (1, 2, 270)
    save_kernel(tmp_path / "mute", tiny.decoder(), tokenizer_hash="00" * 32, facts={})
    with pytest.raises(ConfigError, match="let it write text instead"):
        load_teacher(tmp_path / "mute", coordizer)


def test_a_kernel_writes_texts(folder: Path, coordizer: Coordizer, tmp_path: Path) -> None:
    writer = load_writer(folder, coordizer)
    sampling = Sampling(tokens_max=5, temperature=1.0, seed=1)
    texts = write_texts(writer, ["the sea", "the sea"], sampling)
    assert all(text.startswith("the sea") for text in texts)
    assert texts[0] != texts[1]
    assert texts == write_texts(writer, ["the sea", "the sea"], sampling)
    with pytest.raises(InvalidPrompt, match="the prompt has"):
        writer("stars " * 30, sampling)
    with pytest.raises(ConfigError, match="give the coordizer"):
        load_writer(folder)
    save_kernel(tmp_path / "mute", tiny.decoder(), tokenizer_hash="00" * 32, facts={})
    with pytest.raises(ArtifactError, match="another coordizer"):
        load_writer(tmp_path / "mute", coordizer)
