"""A small trained constellation: three domains of the standard library, kernels of 100 k numbers.

Made in seconds, so that tests of serving start from real artifacts.
"""

import importlib
from pathlib import Path

import numpy as np
import torch

from constellation.coordizer.coordizer import Coordizer
from constellation.coordizer.training import train_coordizer
from constellation.kernel.checkpoint import save_kernel
from constellation.kernel.config import KernelConfig
from constellation.kernel.decoder import Decoder
from constellation.routing.calibration import calibrate, make_table
from constellation.routing.sites import KernelTexts, fit_sites
from constellation.wire.table_file import save_table
from constellation.wire.texts_file import save_texts

MODULES = {
    "mail": ("email.message", "email.header", "mailbox"),
    "network": ("http.client", "asyncio.base_events", "ssl"),
    "numbers": ("_pydecimal", "fractions", "statistics"),
}
PROMPTS = {
    "mail": "def get_content_charset(self): return the charset of the message header",
    "network": "open the ssl socket connection and read the http response",
    "numbers": "return the square root of the decimal with this context precision",
}
"""A text of each domain."""

VOCAB_SIZE = 1024
_CHARACTERS = 1500


def build_artifacts(folder: Path, *, steps: int = 40) -> Path:
    """Write coordizer, kernels and table as training does; return `folder`."""
    torch.set_num_threads(1)
    documents = {name: _documents(modules) for name, modules in MODULES.items()}
    texts = [text for parts in documents.values() for text in parts]
    labels = [name for name, parts in documents.items() for _ in parts]
    coordizer = train_coordizer(texts, labels, vocab_size=VOCAB_SIZE, anchored=True)
    coordizer.save(folder / "coordizer")
    for seed, (name, parts) in enumerate(documents.items()):
        _train_kernel(folder / "kernels" / name, coordizer, parts, seed=seed, steps=steps)
    _write_table(folder, coordizer, documents)
    return folder


def _documents(modules: tuple[str, ...]) -> list[str]:
    parts = []
    for module in modules:
        text = Path(str(importlib.import_module(module).__file__)).read_text()
        parts += [text[at : at + _CHARACTERS] for at in range(0, len(text), _CHARACTERS)]
    return parts


def _train_kernel(
    folder: Path, coordizer: Coordizer, parts: list[str], *, seed: int, steps: int
) -> None:
    config = KernelConfig(
        vocab_size=VOCAB_SIZE, width=64, num_layers=2, num_heads=2, mlp_width=128, context=128
    )
    decoder = Decoder(config, seed=seed)
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=3e-3)
    stream = torch.tensor(np.concatenate([coordizer.encode(part) for part in parts]))
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        starts = torch.randint(len(stream) - 65, (8,), generator=generator)
        batch = torch.stack([stream[at : at + 65] for at in starts.tolist()]).long()
        optimizer.zero_grad()
        decoder.loss(batch[:, :-1], batch[:, 1:]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    save_kernel(folder, decoder, tokenizer_hash=coordizer.tokenizer_hash, facts={"steps": steps})


def _write_table(folder: Path, coordizer: Coordizer, documents: dict[str, list[str]]) -> None:
    kernels, held_basins, held_labels = [], [], []
    for name, parts in documents.items():
        basins_NK = np.stack([coordizer.basin(coordizer.encode(part)) for part in parts])
        texts = KernelTexts(name=name)
        for source, rows in (("first half", slice(1, None, 4)), ("second half", slice(3, None, 4))):
            texts = texts.learn(source, basins_NK[rows])
        kernels.append(texts)
        save_texts(folder, name, texts.sums(), coordizer_hash=coordizer.hash)
        held_basins.append(basins_NK[::2])
        held_labels += [name] * len(basins_NK[::2])
    background_K = coordizer.background_K
    sites = fit_sites(kernels, background_K=background_K).sites
    calibration = calibrate(
        sites, np.concatenate(held_basins), held_labels, background_K=background_K
    )
    save_table(
        folder / "table.msgpack",
        make_table(sites, calibration, background_K=background_K, coordizer_hash=coordizer.hash),
    )
