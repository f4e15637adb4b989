"""Our side of `llama_cpp_peer.py`: hands it a decoder's weights and asks for turns.

A kernel of the style `modern` with `dot` attention is a Llama, and llama.cpp turns adjacent
channels as we do, so it takes the weights as they are, in float32, and writes the same greedy
tokens.
"""

import json
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.train_speed import Clock
from constellation.kernel.network.decoder import Decoder

PEER = Path(__file__).with_name("llama_cpp_peer.py")


class LlamaCpp:
    """A peer that runs.

    Attributes:
        clock: What its turns took, in its own process.
    """

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.clock = Clock()
        self._process = process

    def turn(self, prompts: Sequence[list[int]], num_tokens: int) -> list[list[int]]:
        """Have texts written together; return them."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"prompts": prompts, "tokens": num_tokens}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("the llama.cpp peer ended; its error is above")
        answer = json.loads(line)
        self.clock.processor_s.append(answer["processor_s"])
        self.clock.wall_s.append(answer["wall_s"])
        texts: list[list[int]] = answer["texts"]
        return texts


@contextmanager
def llama_cpp(python: str, decoder: Decoder, *, num_threads: int) -> Iterator[LlamaCpp]:
    """Run the peer in the interpreter `python`, with a decoder's weights."""
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "weights.npz"
        np.savez(weights, **_weights(decoder), facts=np.array(json.dumps(_facts(decoder))))
        command = [python, str(PEER), str(weights), str(num_threads)]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8"
        ) as process:
            yield LlamaCpp(process)  # leaving closes its input, which ends it


def _facts(decoder: Decoder) -> dict[str, Any]:
    config = decoder.config
    return {
        "context_length": config.context,
        "embedding_length": config.width,
        "block_count": config.num_layers,
        "feed_forward_length": config.mlp_width,
        "head_count": config.num_heads,
        "layer_norm_rms_eps": config.norm_epsilon,
        "rope_freq_base": config.rotary_base,
        "vocab_size": config.vocab_size,
    }


def _weights(decoder: Decoder) -> dict[str, Any]:
    tensors = {"token_embd": decoder.embedding, "output_norm": decoder.norm.weight}
    for index, block in enumerate(decoder.blocks):
        query, key, value = block.attention.qkv.weight.chunk(3)
        gate, up = block.gate_up.weight.chunk(2)
        named = {
            "attn_q": query,
            "attn_k": key,
            "attn_v": value,
            "attn_output": block.attention.out.weight,
            "ffn_gate": gate,
            "ffn_up": up,
            "ffn_down": block.down.weight,
            "attn_norm": block.attention_norm.weight,
            "ffn_norm": block.mlp_norm.weight,
        }
        tensors |= {f"blk.{index}.{name}": tensor for name, tensor in named.items()}
    return {f"{name}.weight": tensor.detach().numpy() for name, tensor in tensors.items()}
