"""Samples: who writes, on which prompts, and when they are made anew."""

import json
from pathlib import Path

import pytest

from constellation.curricula.corpus_store import load_prepared
from tests.training.served import back, leave
from training.report.samples import PROMPTS, SAMPLES, ensure_samples


def test_every_kernel_goes_on_from_held_out_text_of_its_domain(copied: Path) -> None:
    made = ensure_samples(copied)
    assert made is not None
    rows = made["samples"]
    test_texts = {d.source: d.text for d in load_prepared(copied / "corpus").test}
    assert [row["kernel"] for row in rows] == ["bake"] * PROMPTS + ["sea"] * PROMPTS
    for row in rows:
        assert row["domain"] == row["kernel"]
        # A cut inside a character may leave a mark at the end; words here are plain ASCII.
        assert test_texts[row["source"]].startswith(row["prompt"] + row["document"])
        assert set(row["written"]) == {"kernel", "seed", "untrained"}
        assert len(set(row["written"].values())) == 3
        assert set(row["routed_to"].values()) <= {"sea", "bake"}


def test_every_prompt_has_draws_of_its_own(copied: Path) -> None:
    made = ensure_samples(copied)
    assert made is not None
    assert [row["seed"] for row in made["samples"]] == list(range(2 * PROMPTS))
    assert len({row["written"]["untrained"] for row in made["samples"]}) == 2 * PROMPTS


@pytest.mark.slow
def test_samples_are_kept_until_a_kernel_changes(copied: Path) -> None:
    first = ensure_samples(copied)
    assert first is not None
    path = copied / SAMPLES
    marked = {**first, "samples": []}
    path.write_text(json.dumps(marked))
    assert ensure_samples(copied) == marked
    leave(copied, "bake")
    other = copied / "kernels" / "bake"
    for file in (copied / "kernels" / "sea").iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    back(copied, "bake")
    again = ensure_samples(copied)
    assert again is not None
    assert len(again["samples"]) == 2 * PROMPTS


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["{", "[]"])
def test_damaged_samples_are_made_again(copied: Path, damage: str) -> None:
    (copied / SAMPLES).write_text(damage)
    made = ensure_samples(copied)
    assert made is not None
    assert json.loads((copied / SAMPLES).read_text()) == made


def test_a_run_without_kernels_has_no_samples(tmp_path: Path) -> None:
    assert ensure_samples(tmp_path) is None
