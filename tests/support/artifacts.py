"""A small trained constellation: three domains of the standard library, kernels of 100 k numbers.

Made in seconds, so that tests of serving start from real artifacts.
"""

import importlib
from pathlib import Path

import numpy as np
import torch

from constellation.coordizer.coordizer import Coordizer
from constellation.coordizer.training import train_coordizer
from constellation.domains.fit import FitOptions
from constellation.domains.record import Domain, make_domain
from constellation.kernel.files.checkpoint import save_kernel
from constellation.kernel.network.config import KernelConfig
from constellation.kernel.network.decoder import Decoder
from constellation.releases.builder import publish

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
    """Write coordizer, kernels and a release of them as training does; return `folder`."""
    torch.set_num_threads(1)
    documents = {name: documents_of(modules) for name, modules in MODULES.items()}
    texts = [text for parts in documents.values() for text in parts]
    labels = [name for name, parts in documents.items() for _ in parts]
    coordizer = train_coordizer(texts, labels, vocab_size=VOCAB_SIZE, anchored=True)
    coordizer.save(folder / "coordizer")
    for seed, (name, parts) in enumerate(documents.items()):
        _train_kernel(folder / "kernels" / name, coordizer, parts, seed=seed, steps=steps)
    _publish(folder, coordizer, documents)
    return folder


def documents_of(modules: tuple[str, ...]) -> list[str]:
    """Return the source text of modules, in documents."""
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


def _publish(folder: Path, coordizer: Coordizer, documents: dict[str, list[str]]) -> None:
    publish(folder, domains_of(coordizer, documents), coordizer, FitOptions(), change="trained")


def domains_of(coordizer: Coordizer, documents: dict[str, list[str]]) -> list[Domain]:
    """Return records of text in which every second document is held out."""
    return [
        make_domain(
            name,
            [(("first half", "second half")[row % 4 == 3], parts[row]) for row in odd(parts)],
            [("held out", part) for part in parts[::2]],
            coordizer,
        )
        for name, parts in documents.items()
    ]


def odd(parts: list[str]) -> range:
    """Return the rows of the documents that are learned from."""
    return range(1, len(parts), 2)
