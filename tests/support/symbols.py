"""A vocabulary of 120 symbols and small kernels that write in it."""

import string
from pathlib import Path

from constellation.kernel.files.checkpoint import save_kernel
from constellation.kernel.files.symbol_vocabulary import SymbolVocabulary
from constellation.kernel.network.config import KernelConfig
from constellation.kernel.network.decoder import Decoder

_GREEK = "".join(map(chr, range(0x3B1, 0x3CA)))
SYMBOLS = SymbolVocabulary(
    special=("end", "pad"),
    characters=(string.ascii_letters + string.digits + string.punctuation + " \n" + _GREEK)[:118],
)


def symbol_config(
    context: int = 96, width: int = 32, num_layers: int = 2, mlp_width: int = 64
) -> KernelConfig:
    return KernelConfig(
        vocab_size=len(SYMBOLS),
        context=context,
        width=width,
        num_layers=num_layers,
        num_heads=2,
        mlp_width=mlp_width,
        attention="dot",
    )


def save_symbol_kernel(folder: Path, decoder: Decoder | None = None, *, seed: int = 3) -> Decoder:
    """Write a kernel, drawn at random unless one is given."""
    decoder = decoder or Decoder(symbol_config(), seed=seed)
    save_kernel(folder, decoder, tokenizer_hash=SYMBOLS.sha256(), facts={})
    SYMBOLS.save(folder)
    return decoder
