"""A tiny Llama, drawn at random and stored as `transformers` does, with a tokenizer of ours."""

from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from constellation.coordizer.coordizer import Coordizer


def build_llama(folder: Path, coordizer: Coordizer, *, seed: int = 0, width: int = 32) -> Any:
    """Write the model and its tokenizer; return the model."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=coordizer.vocab_size,
        hidden_size=width,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=64,
        initializer_range=0.2,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=coordizer.end_id,
        pad_token_id=None,
    )
    model = LlamaForCausalLM(config)
    model.save_pretrained(folder)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=coordizer.tokenizer(), eos_token="<|end|>")
    tokenizer.save_pretrained(folder)
    return model.eval()
