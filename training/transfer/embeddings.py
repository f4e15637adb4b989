"""Project the input embeddings of a Hugging Face model to a kernel's width and freeze them.

Every token of the coordizer gets the mean of the pieces that the other model's tokenizer cuts its
text into. The principal directions of these rows, weighted by how often they vary together, are
kept: the best rows of that width in the least-squares sense (Eckart & Young, 1936). They are scaled
to the standard deviation of the kernel's initial embedding, so that training starts as usual.

Tokens whose bytes are no text of their own (a part of a character) and the end token have no
counterpart; they keep the kernel's own drawn rows, and are counted.

Reads `*.safetensors` and `tokenizer.json`; needs no `transformers`.

Shapes: V tokens and C channels of the kernel, U tokens and W channels of the other model.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError, safe_open
from tokenizers import Tokenizer
from torch import Tensor

from constellation.coordizer.coordizer import Coordizer
from constellation.errors import ArtifactError, ConfigError
from constellation.kernel.network.decoder import Decoder
from training.transfer.hugging_face import read_tokenizer

EMBEDDING_NAMES: Final = (
    "model.embed_tokens.weight",
    "transformer.wte.weight",
    "wte.weight",
    "embed_tokens.weight",
    "gpt_neox.embed_in.weight",
    "model.decoder.embed_tokens.weight",
    "embeddings.word_embeddings.weight",
    "bert.embeddings.word_embeddings.weight",
    "transformer.word_embeddings.weight",
)
"""Names of the input embedding in the usual architectures."""

INDEX_FILE: Final = "model.safetensors.index.json"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ProjectedEmbedding:
    """Projected rows for a kernel's input embedding."""

    rows_VC: Tensor
    """Rows, float32; zero for tokens without a counterpart in the other model."""
    known_V: Tensor
    """Whether the token has a counterpart."""
    kept_variance: float
    """Share of the rows' variance that the projection keeps, in [0, 1]."""


def fill_frozen_input(decoder: Decoder, folder: Path | str, coordizer: Coordizer) -> float:
    """Fill a kernel's frozen input table with the projected embedding of the model in `folder`.

    Returns:
        Share of the variance that the projection keeps.

    Raises:
        ArtifactError: The folder has no readable embedding or tokenizer.
        ConfigError: The kernel has no frozen input or is of another vocabulary.
    """
    table_VC = decoder.frozen_input
    if table_VC is None:
        raise ConfigError("the kernel's input embedding is trained; set frozen_input")
    if decoder.config.vocab_size != coordizer.vocab_size:
        raise ConfigError(
            f"the kernel has {decoder.config.vocab_size} tokens, the coordizer "
            f"{coordizer.vocab_size}; give the kernel's own"
        )
    projected = project_embedding(folder, coordizer, width=decoder.config.width)
    known_V = projected.known_V
    scale = decoder.config.init_std / projected.rows_VC[known_V].std()
    table_VC[known_V] = (projected.rows_VC[known_V] * scale).to(table_VC)
    return projected.kept_variance


def project_embedding(
    folder: Path | str, coordizer: Coordizer, *, width: int
) -> ProjectedEmbedding:
    """Read another model's embedding, map it to the kernel's tokens and project it.

    Raises:
        ArtifactError: The folder has no readable embedding or tokenizer.
        ConfigError: The other model is narrower than `width`, or shares too few tokens.
    """
    folder = Path(folder)
    table_UW = read_embedding(folder)
    if table_UW.shape[1] < width:
        raise ConfigError(
            f"{folder} has embeddings of {table_UW.shape[1]} channels, fewer than the kernel's "
            f"{width}; take a wider model"
        )
    rows_VW, known_V = _mapped(table_UW, read_tokenizer(folder), coordizer, folder)
    if int(known_V.sum()) <= width:
        raise ConfigError(
            f"{int(known_V.sum())} tokens have a counterpart in {folder}, too few to find "
            f"{width} directions; use a larger vocabulary"
        )
    centred_VW = rows_VW[known_V] - rows_VW[known_V].mean(0)
    left, strengths, _ = torch.linalg.svd(centred_VW, full_matrices=False)
    rows_VC = torch.zeros(len(rows_VW), width)
    rows_VC[known_V] = left[:, :width] * strengths[:width]
    total = float(strengths.square().sum())
    kept = float(strengths[:width].square().sum()) / total if total else 1.0
    return ProjectedEmbedding(rows_VC=rows_VC, known_V=known_V, kept_variance=kept)


def read_embedding(folder: Path | str) -> Tensor:
    """Return the input embedding of a Hugging Face folder, shape (U, W), float32.

    Raises:
        ArtifactError: No safetensors file holds one, or it is damaged or not finite.
    """
    folder = Path(folder)
    for path in _weight_files(folder):
        try:
            with safe_open(path, framework="pt") as file:
                found = [name for name in EMBEDDING_NAMES if name in set(file.keys())]
                table: Tensor | None = file.get_tensor(found[0]) if found else None
        except (OSError, SafetensorError) as error:
            raise ArtifactError(path, f"it cannot be read: {error}") from error
        if table is not None:
            if table.ndim != 2 or not torch.isfinite(table).all():
                raise ArtifactError(path, f"{found[0]} is no matrix of finite numbers")
            return table.float()
    raise ArtifactError(folder, f"no tensor is named like an embedding: {list(EMBEDDING_NAMES)}")


def _weight_files(folder: Path) -> list[Path]:
    if (folder / INDEX_FILE).is_file():
        try:
            index = json.loads((folder / INDEX_FILE).read_text(encoding="utf-8"))["weight_map"]
            return sorted({folder / name for name in index.values()})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ArtifactError(folder / INDEX_FILE, f"it is damaged: {error}") from error
    paths = sorted(folder.glob("*.safetensors"))
    if not paths:
        raise ArtifactError(folder, "it has no safetensors file")
    return paths


def _mapped(
    table_UW: Tensor, tokenizer: Tokenizer, coordizer: Coordizer, folder: Path
) -> tuple[Tensor, Tensor]:
    """Return the mean of each token's pieces, shape (V, W), and which tokens have any."""
    rows_VW = torch.zeros(coordizer.vocab_size, table_UW.shape[1])
    known_V = torch.zeros(coordizer.vocab_size, dtype=torch.bool)
    for token in range(coordizer.vocab_size):
        text = coordizer.token_bytes(token).decode("utf-8", "ignore")
        if not text or text.encode() != coordizer.token_bytes(token):
            continue
        pieces = tokenizer.encode(text, add_special_tokens=False).ids
        if pieces and max(pieces) >= len(table_UW):
            raise ArtifactError(folder, f"its tokenizer knows token {max(pieces)}, its table not")
        if pieces:
            rows_VW[token] = table_UW[torch.tensor(pieces)].mean(0)
            known_V[token] = True
    return rows_VW, known_V
