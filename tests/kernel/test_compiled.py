"""A compiled decoder writes what a plain one does, and is compiled once."""

import threading
from dataclasses import replace

import pytest
import torch

from constellation.errors import ConfigError
from constellation.kernel.network.config import KernelConfig
from constellation.kernel.network.decoder import Decoder
from constellation.kernel.writing import compiler_check
from constellation.kernel.writing.batch import Batch, Writing
from constellation.kernel.writing.compiled_decoder import CompiledDecoder, can_compile
from constellation.kernel.writing.fast_products import prepare
from constellation.kernel.writing.network_interface import Network
from constellation.records import Sampling

# torch's own compiler imports parts of torch that torch has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")

CONFIG = KernelConfig(
    vocab_size=97, width=32, num_layers=1, num_heads=2, mlp_width=40, context=64, init_std=0.4
)


def compiled(decoder: Decoder) -> CompiledDecoder:
    """Compile in a thread, as a kernel's process does, and write meanwhile."""
    network = CompiledDecoder(decoder)
    assert not network.is_compiled
    thread = threading.Thread(target=network.compile)
    thread.start()
    while thread.is_alive():
        assert texts(network, 0) == texts(decoder, 0)
        thread.join(0.5)
    assert network.is_compiled
    return network


def prompts(seed: int, num: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randint(97, (3 + 5 * index,), generator=generator).tolist() for index in range(num)
    ]


def texts(network: Network, seed: int) -> list[list[int]]:
    """Let six texts join one after the other, two leave early, prompts be read in pieces."""
    batch = Batch(network, end_id=None, prefill_tokens=4)
    written: list[Writing] = []
    for index, prompt in enumerate(prompts(seed, 6)):
        written.append(batch.add(prompt, Sampling(tokens_max=20 - index, temperature=0)))
        batch.step()
        batch.step()
        if index in (2, 4):
            batch.remove(written[index - 1])
    while len(batch):
        batch.step()
    return [each.produced for each in written]


def graphs() -> int:
    return int(torch._dynamo.utils.counters["stats"]["unique_graphs"])


@pytest.mark.slow
@pytest.mark.parametrize(("attention", "seed"), [("dot", 0), ("qfi", 1)])
def test_texts_are_those_of_the_plain_decoder_and_nothing_is_compiled_again(
    attention: str, seed: int
) -> None:
    decoder = prepare(Decoder(replace(CONFIG, attention=attention), seed=seed).eval())
    before = graphs()
    network = compiled(decoder)
    assert graphs() - before == 3  # for one, two and more rows
    for each in range(3):
        assert texts(network, each) == texts(decoder, each)
    assert graphs() - before == 3
    assert network.is_compiled  # it was not given up


def test_before_it_is_compiled_it_is_the_plain_decoder() -> None:
    for seed in range(3):
        decoder = prepare(Decoder(CONFIG, seed=seed).eval())
        assert texts(CompiledDecoder(decoder), seed) == texts(decoder, seed)


def test_recurrent_decoders_are_left_alone() -> None:
    recurrent = replace(CONFIG, num_layers=2, recurrent_layers=(1,))
    assert can_compile(Decoder(CONFIG))
    assert not can_compile(Decoder(recurrent))


def test_without_a_compiler_or_with_an_old_torch_it_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    monkeypatch.setattr(compiler_check, "TORCH_LEAST", (99, 0))
    with pytest.raises(ConfigError, match=r"needs torch 99\.0|needs the C\+\+ compiler"):
        compiler_check.check_compiler()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match=r"C\+\+ compiler g\+\+.*set kernel\.compile = false"):
        compiler_check.check_compiler()
