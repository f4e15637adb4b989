"""A base and two branches of it, as a run leaves them, trained in a second."""

import importlib
from pathlib import Path

import numpy as np
import torch

from constellation.coordizer.coordizer import Coordizer
from constellation.coordizer.training import train_coordizer
from constellation.kernel.adapters.adapter_file import save_adapter
from constellation.kernel.adapters.attach import attach
from constellation.kernel.adapters.lora import LoraConfig
from constellation.kernel.files.checkpoint import load_kernel, save_kernel
from constellation.kernel.network.config import KernelConfig
from constellation.kernel.network.decoder import Decoder
from training.batches import Windows, join_documents

MODULES = {"mail": "email.message", "numbers": "_pydecimal"}
CONFIG = KernelConfig(vocab_size=300, width=24, num_layers=1, num_heads=2, mlp_width=48, context=32)


def build_run(out: Path) -> Path:
    """Write coordizer, tokens, seed, `kernels/NAME`, `adapters/NAME` and `held_out/NAME.txt`."""
    torch.set_num_threads(1)
    texts = {name: _pieces(module) for name, module in MODULES.items()}
    train = {name: [p for n, p in enumerate(parts) if n % 6] for name, parts in texts.items()}
    labels = [name for name, parts in train.items() for _ in parts]
    coordizer = train_coordizer(
        [part for parts in train.values() for part in parts],
        labels,
        vocab_size=CONFIG.vocab_size,
        anchored=True,
    )
    coordizer.save(out / "coordizer")
    streams = {
        name: join_documents(coordizer.encode_batch(parts), coordizer.end_id)
        for name, parts in train.items()
    }
    (out / "tokens").mkdir()
    (out / "held_out").mkdir()
    _learn(base := Decoder(CONFIG, seed=0), np.concatenate(list(streams.values())), steps=80)
    _save(out / "seed", base, coordizer, {})
    loaded = load_kernel(out / "seed")
    facts = {"base_sha256": loaded.weights_hash}
    for name, stream_N in streams.items():
        np.save(out / "tokens" / f"{name}.train.npy", stream_N)
        (out / "held_out" / f"{name}.txt").write_text("".join(texts[name][::6][:2]))
        branch = load_kernel(out / "seed").decoder
        _learn(branch, stream_N, steps=30)
        _save(out / "kernels" / name, branch, coordizer, facts)
        adapted = attach(loaded.decoder, LoraConfig(rank=4))
        _learn(adapted.decoder, stream_N, steps=30)
        save_adapter(out / "adapters" / name, adapted, base=loaded, base_folder=out / "seed")
    return out


def spoil(kernel: Path, out: Path) -> None:
    """Write a kernel of the same base that is good for nothing."""
    loaded = load_kernel(kernel)
    with torch.no_grad():
        for parameter in loaded.decoder.parameters():
            parameter.mul_(-1.0)
    save_kernel(out, loaded.decoder, tokenizer_hash=loaded.tokenizer_hash, facts=loaded.facts)


def _pieces(module: str) -> list[str]:
    text = Path(str(importlib.import_module(module).__file__)).read_text()[:20_000]
    return [text[at : at + 1000] for at in range(0, len(text), 1000)]


def _learn(decoder: Decoder, stream_N: np.ndarray, *, steps: int) -> None:
    windows = Windows.of(stream_N.astype(np.int32), context=CONFIG.context, seed=0)
    optimiser = torch.optim.AdamW(decoder.parameter_groups(weight_decay=0.0), lr=5e-3)
    decoder.train()
    for step in range(steps):
        optimiser.zero_grad()
        decoder.loss(*windows.batch(step, 8)).backward()  # type: ignore[no-untyped-call]
        optimiser.step()


def _save(folder: Path, decoder: Decoder, coordizer: Coordizer, facts: dict[str, object]) -> None:
    save_kernel(folder, decoder, tokenizer_hash=coordizer.tokenizer_hash, facts=facts)
