"""The recipe sections on what kernels take from other models: adapters, embeddings, teachers."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from training.recipe_running import Section


class AdapterSection(Section):
    """Branches that train a small adapter on the seed, whose weights they share."""

    kind: Literal["lora", "coordinate"] = Field(
        description="lora: low-rank additions to matrices. coordinate: a residual through basin "
        "coordinates, 25,088 numbers for qig-23m."
    )
    rank: int = Field(default=8, ge=1, le=4096, description="Of lora.")
    alpha: float = Field(default=16.0, gt=0, description="lora's product is scaled by alpha/rank.")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="Share of lora's inputs dropped.")
    targets: tuple[str, ...] | None = Field(
        default=None,
        description="Matrices that lora adapts, such as qkv, out, gate_up, down; left out: all.",
    )
    num_coordinates: int = Field(default=64, ge=2, le=2**16, description="Of coordinate.")


class EmbeddingSection(Section):
    """Input embeddings of another model, projected to the kernel's width and never trained."""

    folder: Path = Field(
        description="Of any Hugging Face model: safetensors and tokenizer.json; at least as wide."
    )


class DistilSection(Section):
    """Soft targets of a teacher with the coordizer's own tokens, beside the cross-entropy."""

    teacher: Path = Field(description="Folder of a kernel or of a transformers model.")
    weight: float = Field(
        default=0.5, gt=0, le=1, description="Share of the soft targets in the loss."
    )
    temperature: float = Field(default=2.0, gt=0, description="Softens both distributions.")
