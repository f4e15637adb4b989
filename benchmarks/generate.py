"""How fast does a kernel write, against `transformers` with the same weights?

Our `dot` attention in the style `modern` is a Llama, so the same weights run in both: the kernel's
are given to `LlamaForCausalLM` (queries and keys with their channels in the order of its rotation)
and the greedy tokens of both are compared. Both sides read the same prompts and write the same
number of tokens in float32 with the same threads, in turns whose order alternates:

* `ours`: `constellation.kernel.writing.batch.Batch`, as a kernel's process drives it;
* `transformers`: `generate` with the settings its documentation recommends for speed on CPUs that
  need no compiler: `sdpa` attention, no gradients, greedy; with the dynamic and with the static
  cache, of which the faster one of a round counts;
* `floor`: only the products of the weights, by `torch.nn.functional.linear`, as often as tokens are
  written.

* `bfloat16`, `int8` (batch 1): ours with matrices held so, see
`constellation.kernel.writing.fast_products`.

`transformers_ratio_B` and `floor_ratio_B` are their seconds over ours at batch B, above 1 where we
are faster: medians over rounds of processor seconds, which other programs disturb least; the same
of wall seconds stands beside them. Reading the prompt is timed too. `int8_ratio_1` is bfloat16's
seconds over int8's. `--llama-cpp PYTHON` names an interpreter that has `llama-cpp-python` and
`gguf`; then llama.cpp writes from the same weights in float32 in the same turns, and
`llama_cpp_ratio_B` is its processor time over ours: median, least and most. With `--kernel`,
`--coordizer` (folders of a training run) and `--text` there is also `int8_bpb_ratio`: the kernel's
bits per byte of the text in int8 over those in float32.

    python -m benchmarks.generate --json
"""

import argparse
import json
import platform
import statistics
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.attention_ablation import in_turn, summary
from benchmarks.llama_cpp_turns import LlamaCpp, llama_cpp
from benchmarks.train_speed import Clock
from constellation.coordizer.coordizer import Coordizer
from constellation.coordizer.vocabulary import END_ID
from constellation.kernel.files.checkpoint import load_kernel
from constellation.kernel.network.config import PRESETS, KernelConfig
from constellation.kernel.network.decoder import Decoder
from constellation.kernel.writing.batch import Batch
from constellation.kernel.writing.fast_products import Weights, prepare
from constellation.kernel.writing.scoring import bits_per_byte, token_nats
from constellation.records import Sampling

Write = Callable[[], list[list[int]]]
CACHES = ("dynamic", "static")
RATED: tuple[Weights, ...] = ("float32", "int8")


def shape_of(options: argparse.Namespace) -> KernelConfig:
    config = replace(PRESETS[options.preset], attention="dot")
    if options.vocabulary is not None:
        config = replace(config, vocab_size=options.vocabulary)
    return config


def prompts_of(config: KernelConfig, batch: int, length: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(batch)
    drawn: list[list[int]] = torch.randint(
        config.vocab_size, (batch, length), generator=generator
    ).tolist()
    return drawn


# --- the three sides ------------------------------------------------------------------------------


def ours(decoder: Decoder, prompts: Sequence[list[int]], num_tokens: int) -> list[list[int]]:
    batch = Batch(decoder, end_id=None)
    sampling = Sampling(tokens_max=num_tokens, temperature=0)
    writings = [batch.add(prompt, sampling) for prompt in prompts]
    while len(batch):
        batch.step()
    return [writing.produced for writing in writings]


def as_llama(decoder: Decoder) -> torch.nn.Module:
    """Return a `LlamaForCausalLM` with the decoder's weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = decoder.config
    llama = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=config.vocab_size,
            hidden_size=config.width,
            intermediate_size=config.mlp_width,
            num_hidden_layers=config.num_layers,
            num_attention_heads=config.num_heads,
            max_position_embeddings=config.context,
            rms_norm_eps=config.norm_epsilon,
            rope_theta=config.rotary_base,
            tie_word_embeddings=True,
            attn_implementation="sdpa",
        )
    )
    missing, unexpected = llama.load_state_dict(llama_state(decoder), strict=False)
    if unexpected or set(missing) - {"lm_head.weight"}:
        raise SystemExit(f"the weights do not fit: missing {missing}, unexpected {unexpected}")
    llama.tie_weights()
    return llama.eval()


def llama_state(decoder: Decoder) -> dict[str, Tensor]:
    config = decoder.config
    state = {
        "model.embed_tokens.weight": decoder.embedding,
        "model.norm.weight": decoder.norm.weight,
    }
    for index, block in enumerate(decoder.blocks):
        query, key, value = block.attention.qkv.weight.split(config.width)
        gate, up = block.gate_up.weight.chunk(2)
        state |= {
            f"model.layers.{index}.{name}.weight": weight
            for name, weight in {
                "self_attn.q_proj": halves_first(query, config),
                "self_attn.k_proj": halves_first(key, config),
                "self_attn.v_proj": value,
                "self_attn.o_proj": block.attention.out.weight,
                "mlp.gate_proj": gate,
                "mlp.up_proj": up,
                "mlp.down_proj": block.down.weight,
                "input_layernorm": block.attention_norm.weight,
                "post_attention_layernorm": block.mlp_norm.weight,
            }.items()
        }
    return {name: weight.detach().clone() for name, weight in state.items()}


def halves_first(weight: Tensor, config: KernelConfig) -> Tensor:
    """Return rows in Llama's order: it turns channels j and j + D/2, we turn 2j and 2j + 1."""
    pairs = weight.view(config.num_heads, config.head_dim // 2, 2, config.width)
    return pairs.transpose(1, 2).reshape(config.width, config.width)


def theirs(
    llama: torch.nn.Module, prompts: Sequence[list[int]], num_tokens: int, cache: str
) -> list[list[int]]:
    ids = torch.tensor(prompts)
    with torch.inference_mode():
        written = llama.generate(  # type: ignore[operator]
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=num_tokens,
            min_new_tokens=num_tokens,
            cache_implementation=cache,
            eos_token_id=None,
            pad_token_id=0,
            # A compiler is not part of the setting; without one the static cache runs as it is.
            disable_compile=True,
        )
    tokens: list[list[int]] = written[:, ids.shape[1] :].tolist()
    return tokens


@torch.inference_mode()
def floor(decoder: Decoder, batch: int, num_tokens: int) -> None:
    """Compute the products of all matrices with `batch` vectors, once per token."""
    weights = [p for p in decoder.parameters() if p.ndim == 2]
    vectors = [torch.ones(batch, weight.shape[1]) for weight in weights]
    for _ in range(num_tokens):
        for vector, weight in zip(vectors, weights, strict=True):
            functional.linear(vector, weight)


# --- measuring ------------------------------------------------------------------------------------


def compare(options: argparse.Namespace, batch: int) -> dict[str, object]:
    """Time the sides at one batch size."""
    plain = Decoder(shape_of(options), seed=0).eval()
    if options.llama_cpp is None:
        return compare_with(options, plain, batch, None)
    with llama_cpp(options.llama_cpp, plain, num_threads=options.threads) as peer:
        return compare_with(options, plain, batch, peer)


def compare_with(
    options: argparse.Namespace, plain: Decoder, batch: int, peer: LlamaCpp | None
) -> dict[str, object]:
    llama = as_llama(plain)
    decoder = prepare(plain)
    prompts = prompts_of(plain.config, batch, options.prompt)
    num = options.tokens
    sides: dict[str, Callable[[], object]] = {
        "ours": lambda: ours(decoder, prompts, num),
        "dynamic": lambda: theirs(llama, prompts, num, "dynamic"),
        "static": lambda: theirs(llama, prompts, num, "static"),
        "floor": lambda: floor(plain, batch, num),
    }
    same = share_equal(ours(decoder, prompts, num), theirs(llama, prompts, num, "dynamic"))
    clocks = {name: Clock() for name in sides}
    turns: list[Callable[[], object]] = [
        lambda name=name: clocks[name].time(sides[name])  # type: ignore[misc]
        for name in sides
    ]
    if peer is not None:
        clocks["llama_cpp"] = peer.clock  # which its own process reads
        turns.append(lambda: peer.turn(prompts, num))
    in_turn(turns, options.rounds + 1)
    for clock in clocks.values():  # the first round warms up
        del clock.processor_s[0], clock.wall_s[0]
    found = figures(clocks, batch, num) | {f"tokens_equal_{batch}": same}
    if peer is not None:
        mine = ours(decoder, prompts, num)
        found[f"llama_cpp_tokens_equal_{batch}"] = share_equal(mine, peer.turn(prompts, num))
    return found


def compare_rounded(options: argparse.Namespace) -> dict[str, object]:
    """Time matrices in bfloat16 and int8 against each other at batch 1."""
    kinds: tuple[Weights, ...] = ("bfloat16", "int8")
    config = shape_of(options)
    decoders = {kind: prepare(Decoder(config, seed=0).eval(), kind) for kind in kinds}
    prompts = prompts_of(config, 1, options.prompt)
    clocks = {kind: Clock() for kind in kinds}

    def turn(kind: Weights) -> Callable[[], None]:
        return lambda: clocks[kind].time(lambda: ours(decoders[kind], prompts, options.tokens))

    in_turn([turn(kind) for kind in kinds], options.rounds + 1)
    found: dict[str, object] = {}
    for name, suffix in (("processor_s", ""), ("wall_s", "_wall")):
        seconds = [getattr(clocks[kind], name)[1:] for kind in kinds]  # the first warms up
        ratios = [a / b for a, b in zip(*seconds, strict=True)]
        found[f"int8_ratio_1{suffix}"] = round(statistics.median(ratios), 4)
        found[f"int8_ratio_1{suffix}_spread"] = summary(ratios)
    return found


def int8_loss(kernel: Path, coordizer: Path, text: Path) -> dict[str, object]:
    """Return what rounding to int8 costs a trained kernel."""
    read = text.read_text(encoding="utf-8")
    ids = [END_ID, *Coordizer.load(coordizer).encode(read).tolist()]
    nats = [
        float(token_nats(prepare(load_kernel(kernel).decoder, weights), ids).sum())
        for weights in RATED
    ]
    bits = [bits_per_byte(value, len(read.encode())) for value in nats]
    return {
        "int8_bpb_ratio": round(bits[1] / bits[0], 6),
        "bits_per_byte": dict(zip(RATED, (round(value, 5) for value in bits), strict=True)),
    }


def share_equal(first: list[list[int]], second: list[list[int]]) -> float:
    """Return the share of texts that are equal token by token."""
    pairs = list(zip(first, second, strict=True))
    return sum(a == b for a, b in pairs) / len(pairs)


def figures(clocks: dict[str, Clock], batch: int, num_tokens: int) -> dict[str, object]:
    found: dict[str, object] = {}
    for kind, suffix in (("processor_s", ""), ("wall_s", "_wall")):
        seconds = {name: getattr(clock, kind) for name, clock in clocks.items()}
        best = [min(pair) for pair in zip(*(seconds[name] for name in CACHES), strict=True)]
        for name, values in (("transformers", best), ("floor", seconds["floor"])):
            ratios = [a / b for a, b in zip(values, seconds["ours"], strict=True)]
            found[f"{name}_ratio_{batch}{suffix}"] = round(statistics.median(ratios), 4)
            found[f"{name}_ratio_{batch}{suffix}_spread"] = summary(ratios)
        if "llama_cpp" in seconds:
            pairs = zip(seconds["llama_cpp"], seconds["ours"], strict=True)
            ratios = [a / b for a, b in pairs]
            found[f"llama_cpp_ratio_{batch}{suffix}"] = {
                "value": round(statistics.median(ratios), 4),
                "low": round(min(ratios), 4),
                "high": round(max(ratios), 4),
            }
        found[f"step_ms_{batch}{suffix}"] = {
            name: round(1e3 * statistics.median(values) / num_tokens, 3)
            for name, values in seconds.items()
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="qig-23m", choices=sorted(PRESETS))
    parser.add_argument("--vocabulary", type=int, default=None, help="tokens; the preset's")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--prompt", type=int, default=32, help="tokens of a prompt")
    parser.add_argument("--tokens", type=int, default=96, help="tokens written")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--kernel", type=Path, default=None, help="folder of a trained kernel")
    parser.add_argument("--coordizer", type=Path, default=None, help="folder of its coordizer")
    parser.add_argument("--text", type=Path, default=None, help="held-out text")
    parser.add_argument("--llama-cpp", default=None, help="interpreter that has llama-cpp-python")
    parser.add_argument("--json", action="store_true", help="print only the JSON line")
    options = parser.parse_args()
    if len({option is None for option in (options.kernel, options.coordizer, options.text)}) > 1:
        parser.error("--kernel, --coordizer and --text belong together")
    torch.set_num_threads(options.threads)
    # transformers warns of settings that it does not use; none of them changes what is measured.
    warnings.filterwarnings("ignore", module="transformers")
    result: dict[str, object] = {}
    for batch in options.batches:
        result |= compare(options, batch)
    result |= compare_rounded(options)
    if options.kernel is not None:
        result |= int8_loss(options.kernel, options.coordizer, options.text)
    given = {name: str(v) if isinstance(v, Path) else v for name, v in vars(options).items()}
    result["setting"] = given | {
        "machine": platform.machine(),
        "torch": torch.__version__,
    }
    if not options.json:
        for key, value in result.items():
            print(f"{key:<36} {value}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
