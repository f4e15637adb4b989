"""Tiny models of `transformers`, drawn at random and stored as `save_pretrained` does."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

TEXTS = ["the ships sail over the sea ", "stars shine behind the dark clouds ", "naïve 日本 🙂\n"]
END, TURN = "<|endoftext|>", "<|turn|>"
"""Tokens 0 and 1."""
VOCAB_SIZE = 300


def tokenizer() -> Tokenizer:
    """Return a byte-level tokenizer with a few merges."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE - 10,
        special_tokens=[END, TURN],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(TEXTS * 4, trainer)
    return made


def gpt2() -> Any:
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=VOCAB_SIZE,
            n_positions=48,
            n_embd=32,
            n_layer=2,
            n_head=2,
            initializer_range=0.3,
            bos_token_id=0,
            eos_token_id=0,
        )
    )


def llama() -> Any:
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCAB_SIZE,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=3,
            num_attention_heads=2,
            num_key_value_heads=2,
            max_position_embeddings=48,
            initializer_range=0.3,
            tie_word_embeddings=False,
            bos_token_id=None,
            eos_token_id=[0, 1],
            pad_token_id=None,
        )
    )


def qwen2(context: int = 48) -> Any:
    """Return a model whose four query heads share two heads of keys."""
    return Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=VOCAB_SIZE,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=context,
            initializer_range=0.3,
            tie_word_embeddings=True,
            bos_token_id=0,
            eos_token_id=0,
        )
    )


ARCHITECTURES: dict[str, Callable[[], Any]] = {"gpt2": gpt2, "llama": llama, "qwen2": qwen2}


def build_model(folder: Path, make: Callable[[], Any], *, seed: int = 0) -> Any:
    """Write a model and its tokenizer; return the model."""
    torch.manual_seed(seed)
    model = make().eval()
    model.save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer(), eos_token=END).save_pretrained(folder)
    return model
