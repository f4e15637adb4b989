"""Reading a LoRA adapter that `peft` wrote: for every matrix that it changes, two small ones.

`peft` itself is not needed. What it can write and this cannot read is refused by its name.

Shapes: I inputs of a matrix, O its outputs, R rank.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor
from torch.nn import functional

from constellation.errors import ArtifactError
from constellation.kernel.files.peft_folder import CONFIG_FILE, WEIGHTS_FILE
from constellation.kernel.files.transformers_folder import read_json

_PREFIX: Final = "base_model.model."
_UNREAD: Final = {
    "bias": "none",
    "use_dora": False,
    "lora_bias": False,
    "modules_to_save": None,
    "rank_pattern": {},
    "alpha_pattern": {},
    "trainable_token_indices": None,
    "target_parameters": None,
    "layer_replication": None,
    "megatron_config": None,
}
"""Field of the configuration -> the value that leaves nothing to read beside the two matrices."""


@dataclass(frozen=True, slots=True)
class LowRankPair:
    """What an adapter adds to the output of one matrix: scale * B A x."""

    a_RI: Tensor
    b_OR: Tensor
    scale: float

    def __call__(self, x: Tensor) -> Tensor:
        """Return what is added, shape (..., O)."""
        return functional.linear(functional.linear(x, self.a_RI), self.b_OR) * self.scale

    def like(self, tensor: Tensor) -> "LowRankPair":
        """Return the pair on the device and in the data type of a tensor."""
        return LowRankPair(self.a_RI.to(tensor), self.b_OR.to(tensor), self.scale)

    @property
    def size_bytes(self) -> int:
        """Bytes of both matrices."""
        return sum(each.numel() * each.element_size() for each in (self.a_RI, self.b_OR))


PeftAdapter = Mapping[str, LowRankPair]
"""Path of a matrix in the model -> what is added to its output."""


def read_peft(folder: Path) -> PeftAdapter:
    """Return an adapter, in float32.

    Raises:
        ArtifactError: A file is missing or damaged, a number is not finite, or the adapter is of
            a kind that cannot be read; names the field.
    """
    config = read_json(folder / CONFIG_FILE)
    _check_kind(folder / CONFIG_FILE, config)
    path = folder / WEIGHTS_FILE
    try:
        tensors = load(path.read_bytes())
    except OSError as error:
        raise ArtifactError(path, f"it cannot be read: {error.strerror}") from error
    except SafetensorError as error:
        raise ArtifactError(path, f"it is not a safetensors file: {error}") from error
    damaged = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
    if damaged:
        raise ArtifactError(path, f"weights hold NaN or infinity in {damaged[:4]}")
    return _paired(path, tensors, _scale(folder / CONFIG_FILE, config))


def _check_kind(path: Path, config: Mapping[str, Any]) -> None:
    kind = config.get("peft_type")
    if kind != "LORA":
        raise ArtifactError(path, f"its peft_type is {kind!r}; only LORA can be served")
    for name, plain in _UNREAD.items():
        value = config.get(name, plain)
        if value not in (plain, None):
            raise ArtifactError(path, f"its {name} is {value!r}; only {plain!r} can be served")


def _scale(path: Path, config: Mapping[str, Any]) -> float:
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if not isinstance(rank, int) or rank < 1 or not isinstance(alpha, int | float):
        raise ArtifactError(path, f"its r is {rank!r} and its lora_alpha {alpha!r}; give numbers")
    return float(alpha / math.sqrt(rank) if config.get("use_rslora") else alpha / rank)


def _paired(path: Path, tensors: Mapping[str, Tensor], scale: float) -> PeftAdapter:
    found: dict[str, LowRankPair] = {}
    for name in sorted(tensors):
        matrix, _, part = name.removeprefix(_PREFIX).rpartition(".lora_")
        if not name.startswith(_PREFIX) or part not in ("A.weight", "B.weight"):
            raise ArtifactError(path, f"it holds {name!r}, which is no low-rank matrix")
        if part == "A.weight":
            other = tensors.get(f"{_PREFIX}{matrix}.lora_B.weight")
            if other is None:
                raise ArtifactError(path, f"it lacks the second matrix of {matrix}")
            found[matrix] = LowRankPair(tensors[name].float(), other.float(), scale)
    if len(found) * 2 != len(tensors):
        raise ArtifactError(path, "it lacks the first matrix of a pair")
    return found
