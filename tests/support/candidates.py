"""A fourth kernel for the constellation of `artifacts.py`, ready to join."""

import shutil
from pathlib import Path

import numpy as np

from constellation.coordizer.coordizer import Coordizer
from constellation.routing.candidate import fit_candidate
from constellation.routing.sites import KernelTexts
from constellation.wire.table_file import SITE_FILE, save_table
from constellation.wire.texts_file import save_texts

PROMPT = "the quick brown fox jumps over the lazy dog while the river sings of spring"
"""A text that is far from the other domains."""


def make_candidate(artifacts: Path, name: str, *, weights_of: str = "mail") -> Path:
    """Write a kernel's folder among the artifacts: weights of another, a basin of its own."""
    folder = artifacts / "kernels" / name
    shutil.copytree(artifacts / "kernels" / weights_of, folder, dirs_exist_ok=True)
    coordizer = Coordizer.load(artifacts / "coordizer")
    words = PROMPT.split()
    texts = [" ".join(words[start:] + words[:start]) for start in range(len(words))]
    basins_NK = np.stack([coordizer.basin(coordizer.encode(text)) for text in texts])
    kernel_texts = KernelTexts(name=name)
    for number, basin_K in enumerate(basins_NK[::2]):
        kernel_texts = kernel_texts.learn(f"text-{number}", basin_K[None])
    save_texts(artifacts, name, kernel_texts.sums(), coordizer_hash=coordizer.hash)
    candidate = fit_candidate(
        kernel_texts,
        basins_NK[1::2],
        background_K=coordizer.background_K,
        coordizer_hash=coordizer.hash,
    )
    save_table(folder / SITE_FILE, candidate)
    return folder
