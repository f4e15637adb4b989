"""LoRA adapters as `peft` writes them, drawn at random over a model that a test has stored."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

ALL = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def write_adapter(
    base: Path, folder: Path, *, seed: int, rank: int = 4, targets: Sequence[str] = ALL, **more: Any
) -> Path:
    """Write an adapter whose every matrix is large enough to change what the base writes."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=list(targets), **more)
    with _one_warning_quiet():
        adapted = get_peft_model(model, config)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                parameter.normal_(0.0, 0.2)
    adapted.peft_config["default"].base_model_name_or_path = str(base)
    adapted.save_pretrained(folder)
    return folder


def greedy_of_peft(base: Path, folder: Path, ids: torch.Tensor, tokens_max: int) -> list[int]:
    """Return the tokens that `peft` itself writes."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    with _one_warning_quiet():
        adapted = PeftModel.from_pretrained(model, str(folder)).eval()
    whole = adapted.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=tokens_max,
        do_sample=False,
        pad_token_id=0,
    )
    written: list[int] = whole[0, ids.shape[1] :].tolist()
    return written


@contextmanager
def _one_warning_quiet() -> Iterator[None]:
    """Keep the warning about a name of `transformers` quiet that `peft` still asks for."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*")
        yield
