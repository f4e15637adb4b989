"""A fourth kernel for the constellation of `artifacts.py`, ready to join."""

import shutil
from pathlib import Path

from constellation.coordizer.coordizer import Coordizer
from constellation.domains.record import Domain, make_domain
from constellation.releases.builder import save_domain

PROMPT = "the quick brown fox jumps over the lazy dog while the river sings of spring"
"""A text that is far from the other domains."""


def make_candidate(artifacts: Path, name: str, *, weights_of: str = "mail") -> Path:
    """Write a kernel's folder among the artifacts: weights of another, a text of its own."""
    folder = artifacts / "kernels" / name
    shutil.copytree(artifacts / "kernels" / weights_of, folder, dirs_exist_ok=True)
    save_domain(artifacts, _domain(artifacts, name))
    return folder


def make_domain_without(artifacts: Path, source: str, name: str = "poems") -> Domain:
    """Return the record of the text of a kernel that never read one of its sources."""
    return _domain(artifacts, name, without=source)


def _domain(artifacts: Path, name: str, without: str = "") -> Domain:
    coordizer = Coordizer.load(artifacts / "coordizer")
    words = PROMPT.split()
    texts = [" ".join(words[start:] + words[:start]) for start in range(len(words))]
    learned = [(f"text-{number}", text) for number, text in enumerate(texts[::2])]
    held_out = [("held out", text) for text in texts[1::2]]
    kept = [pair for pair in learned if pair[0] != without]
    return make_domain(name, kept, held_out, coordizer)
