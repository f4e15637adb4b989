"""A fourth kernel for the constellation of `artifacts.py`, ready to join."""

import random
import shutil
from pathlib import Path

from constellation.coordizer.coordizer import Coordizer
from constellation.domains.record import Domain, make_domain
from constellation.releases.builder import save_domain

PROMPT = "the quick brown fox jumps over the lazy dog while the river sings of spring"
"""A text that is far from the other domains."""


def make_candidate(
    artifacts: Path, name: str, *, weights_of: str = "mail", text: str = PROMPT
) -> Path:
    """Write a kernel's folder among the artifacts: weights of another, a text of its own."""
    folder = artifacts / "kernels" / name
    shutil.copytree(artifacts / "kernels" / weights_of, folder, dirs_exist_ok=True)
    save_domain(artifacts, _domain(artifacts, name, text))
    return folder


def invented_text(seed: int) -> str:
    """Return sixteen words of random letters; texts of different seeds are far from each other."""
    letters = random.Random(seed)
    words = ["".join(letters.choices("abcdefghijklmnopqrstuvwxyz", k=5)) for _ in range(16)]
    return " ".join(words)


def make_domain_without(artifacts: Path, source: str, name: str = "poems") -> Domain:
    """Return the record of the text of a kernel that never read one of its sources."""
    return _domain(artifacts, name, PROMPT, without=source)


def _domain(artifacts: Path, name: str, text: str, without: str = "") -> Domain:
    coordizer = Coordizer.load(artifacts / "coordizer")
    words = text.split()
    turns = [" ".join(words[start:] + words[:start]) for start in range(len(words))]
    learned = [(f"text-{number}", turn) for number, turn in enumerate(turns[::2])]
    held_out = [("held out", turn) for turn in turns[1::2]]
    kept = [pair for pair in learned if pair[0] != without]
    return make_domain(name, kept, held_out, coordizer)
