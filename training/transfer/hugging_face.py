"""Load causal models of the `transformers` library from local folders, and train LoRA on them.

Optional: `transformers` and `peft` are imported when a function needs them. Nothing is
downloaded: a folder that does not hold the model is refused.

Shapes: B sequences, T positions, C channels of that model, V tokens of its vocabulary.
"""

import importlib
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor

from constellation.errors import ArtifactError, ConfigError, how_to_install
from constellation.kernel.adapters.lora import LoraConfig


def load_model(folder: Path | str, *, dtype: torch.dtype = torch.float32) -> Any:
    """Read a causal language model (`transformers.PreTrainedModel`), in evaluation mode.

    Raises:
        ArtifactError: The folder is missing or holds no such model.
        ConfigError: `transformers` is not installed.
    """
    transformers = _library("transformers")
    _check_folder(folder, "config.json")
    try:
        model = transformers.AutoModelForCausalLM.from_pretrained(
            str(folder), local_files_only=True, dtype=dtype, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ArtifactError(folder, f"it holds no causal language model: {error}") from error
    return model.eval()


def load_tokenizer(folder: Path | str) -> Any:
    """Read the folder's tokenizer (`transformers.PreTrainedTokenizerBase`).

    Raises:
        ArtifactError: The folder has none.
        ConfigError: `transformers` is not installed.
    """
    transformers = _library("transformers")
    _check_folder(folder, "tokenizer_config.json")
    try:
        return transformers.AutoTokenizer.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError) as error:
        raise ArtifactError(folder, f"its tokenizer cannot be read: {error}") from error


def read_tokenizer(folder: Path | str) -> Tokenizer:
    """Read the folder's `tokenizer.json`, without `transformers`.

    Raises:
        ArtifactError: It is missing or damaged.
    """
    _check_folder(folder, "tokenizer.json")
    path = Path(folder) / "tokenizer.json"
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises no narrower class
        raise ArtifactError(path, f"it cannot be read: {error}") from error


def attach_lora(model: Any, config: LoraConfig) -> Any:
    """Put a new LoRA adapter on a model (`peft.PeftModel`); only the adapter takes gradients.

    The model's matrices are replaced in place, its weights are shared.

    Raises:
        ConfigError: `peft` is not installed, or no matrix has one of the target names.
    """
    peft = _library("peft")
    wanted = peft.LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules="all-linear" if config.targets is None else list(config.targets),
        task_type=peft.TaskType.CAUSAL_LM,
    )
    _check_targets(model, config)
    with _quiet_checkpointing():
        return peft.get_peft_model(model, wanted)


def load_lora(model: Any, folder: Path | str) -> Any:
    """Attach a stored adapter to a model, for inference.

    Raises:
        ArtifactError: The folder holds no adapter that fits the model.
        ConfigError: `peft` is not installed.
    """
    peft = _library("peft")
    _check_folder(folder, "adapter_config.json")
    try:
        with _quiet_checkpointing():
            adapted = peft.PeftModel.from_pretrained(model, str(folder), local_files_only=True)
        return adapted.eval()
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ArtifactError(folder, f"it holds no adapter of this model: {error}") from error


def save_lora(adapted: Any, folder: Path | str) -> None:
    """Write an adapter alone, in the format of `peft`: safetensors and its configuration."""
    adapted.save_pretrained(str(folder), safe_serialization=True)


def adapter_optimiser(adapted: Any, learning_rate: float) -> torch.optim.AdamW:
    """Return AdamW, without decay, over the parameters that take gradients."""
    trained = [parameter for parameter in adapted.parameters() if parameter.requires_grad]
    return torch.optim.AdamW(trained, lr=learning_rate, weight_decay=0.0)


def train_step(
    adapted: Any,
    optimiser: torch.optim.Optimizer,
    tokens_BT: Tensor,
    targets_BT: Tensor,
    *,
    clip_norm: float = 1.0,
) -> float:
    """Take one step and return the mean cross-entropy before it, nats per counted token.

    Args:
        adapted: The model with its adapter.
        optimiser: Over the adapter.
        tokens_BT: Token ids of the model's own tokenizer.
        targets_BT: The tokens that follow them; -100 does not count.
        clip_norm: Largest norm of the gradient.
    """
    adapted.train()
    logits_BTV = adapted(input_ids=tokens_BT).logits
    loss = torch.nn.functional.cross_entropy(
        logits_BTV.flatten(0, 1).float(), targets_BT.flatten().long()
    )
    optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    torch.nn.utils.clip_grad_norm_(parameters, clip_norm)
    optimiser.step()
    return float(loss.detach())


@contextmanager
def _quiet_checkpointing() -> Iterator[None]:
    """Suppress a warning of `transformers` 5 about a name that `peft` 0.21 still uses."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
        yield


def _check_targets(model: Any, config: LoraConfig) -> None:
    known = {
        name.rpartition(".")[2]
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear)
    }
    wanted: Iterable[str] = config.targets or ()
    if unknown := sorted(set(wanted) - known):
        raise ConfigError(
            f"no matrix is named {', '.join(unknown)}; there are: {', '.join(sorted(known))}"
        )


def _check_folder(folder: Path | str, name: str) -> None:
    # Before the library looks: for it, a name that is no folder is one to fetch.
    if not (Path(folder) / name).is_file():
        raise ArtifactError(folder, f"it has no {name}; give the local folder of a model")


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ConfigError(f"this needs the package {name}; {how_to_install('hf')}") from error
