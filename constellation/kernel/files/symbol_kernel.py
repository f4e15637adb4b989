"""Reading a kernel with a vocabulary of symbols: our own network, and `symbols.json` beside it."""

from dataclasses import dataclass
from pathlib import Path

import torch

from constellation.errors import ArtifactError
from constellation.kernel.files.checkpoint import LoadedKernel, load_kernel
from constellation.kernel.files.own_vocabulary import check_symbols
from constellation.kernel.files.symbol_vocabulary import SymbolVocabulary, read_symbols
from constellation.kernel.network.decoder import Decoder


@dataclass(frozen=True, kw_only=True, slots=True)
class SymbolKernel:
    """A network of our own and the symbols that it reads and writes."""

    name: str
    """Of its folder."""
    kernel: LoadedKernel
    tokens: SymbolVocabulary

    @property
    def network(self) -> Decoder:
        """Computes the next symbol."""
        return self.kernel.decoder

    @property
    def opening_id(self) -> int:
        """Stands before a text whose first symbol is scored."""
        return self.tokens.end_id


def load_symbol_kernel(
    folder: Path,
    *,
    shared: Path | None = None,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
) -> SymbolKernel:
    """Read a kernel and its vocabulary; other arguments are those of `load_kernel`.

    Raises:
        ArtifactError: A file is missing or damaged, or kernel and vocabulary do not belong
            together.
    """
    kernel = load_kernel(folder, shared=shared, dtype=dtype, device=device)
    tokens = read_symbols(folder)
    check_symbols(folder, kernel.tokenizer_hash)
    if len(tokens) != kernel.config.vocab_size:
        raise ArtifactError(
            folder, f"it writes {kernel.config.vocab_size} tokens and has {tokens.name}"
        )
    return SymbolKernel(name=folder.name, kernel=kernel, tokens=tokens)
