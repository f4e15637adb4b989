"""Weights of several processes are one copy; who writes to it dies, and nobody else notices."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from constellation.errors import ArtifactError
from constellation.kernel.files.checkpoint import (
    KERNEL_FILE,
    WEIGHTS_FILE,
    load_kernel,
    save_kernel,
)
from constellation.kernel.files.memory_map import map_bytes, mapped_tensors
from constellation.kernel.network.config import KernelConfig
from constellation.kernel.network.decoder import Decoder
from tests.kernel.conftest import MakeKernel
from tests.support.disks import files_of_at_most

TOKENS_BT = torch.tensor([[5, 9, 2, 60]])

READER = """
import sys, torch
from pathlib import Path
from constellation.kernel.files.checkpoint import load_kernel
kept = Path(sys.argv[1]) / "kept" if sys.argv[2] == "shared" else None
decoder = load_kernel(sys.argv[1], shared=kept).decoder
tokens = torch.tensor([[5, 9, 2, 60]])
def private_kib():
    for line in open("/proc/self/smaps_rollup"):
        if line.startswith("Private_Dirty"):
            return int(line.split()[1])
for line in sys.stdin:
    if line == "answer\\n":
        with torch.no_grad():
            print(decoder(tokens).flatten().numpy().tobytes().hex(), flush=True)
    elif line == "memory\\n":
        print(private_kib(), flush=True)
    else:
        with torch.no_grad():
            decoder.blocks[0].gate_up.weight.mul_(2.0)
        print("wrote", flush=True)
"""


class Reader:
    """A process that has a kernel loaded and does as it is told."""

    def __init__(self, folder: Path, kind: str = "shared") -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", READER, str(folder), kind],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, what: str) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def end(self) -> int:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
        return self.process.wait(30)


@pytest.fixture
def saved(tmp_path: Path, make_kernel: MakeKernel) -> Path:
    save_kernel(tmp_path, make_kernel(), tokenizer_hash="t", facts={})
    return tmp_path


@pytest.mark.slow
def test_who_writes_in_place_dies_and_the_neighbour_reads_the_same(saved: Path) -> None:
    offender, neighbour = Reader(saved), Reader(saved)
    before = neighbour.ask("answer")
    assert offender.ask("answer") == before != ""
    assert offender.ask("write") == ""
    assert offender.end() == -signal.SIGSEGV
    assert neighbour.ask("answer") == before
    again = Reader(saved)
    assert again.ask("answer") == before
    assert (again.end(), neighbour.end()) == (0, 0)


@pytest.mark.slow
def test_weights_that_are_not_shared_are_the_callers_own(saved: Path) -> None:
    trainer = Reader(saved, "private")
    before = trainer.ask("answer")
    assert trainer.ask("write") == "wrote"
    assert trainer.ask("answer") != before
    assert trainer.end() == 0
    decoder = load_kernel(saved).decoder
    assert all(parameter.requires_grad for parameter in decoder.parameters())
    decoder.loss(TOKENS_BT[:, :-1], TOKENS_BT[:, 1:]).backward()


@pytest.mark.slow
def test_shared_weights_take_no_memory_of_their_own(tmp_path: Path) -> None:
    config = KernelConfig(
        vocab_size=8192, width=256, num_layers=4, num_heads=4, mlp_width=512, context=64
    )
    save_kernel(tmp_path, Decoder(config), tokenizer_hash="t", facts={})
    weights_kib = (tmp_path / WEIGHTS_FILE).stat().st_size / 1024
    memory = {}
    for kind in ("shared", "private"):
        reader = Reader(tmp_path, kind)
        assert reader.ask("answer")
        memory[kind] = int(reader.ask("memory"))
        assert reader.end() == 0
    assert memory["private"] - memory["shared"] > 0.8 * weights_kib


def test_shared_weights_are_those_of_the_file_to_the_bit(
    tmp_path: Path, make_kernel: MakeKernel
) -> None:
    for seed in range(3):
        save_kernel(tmp_path, make_kernel(seed=seed), tokenizer_hash="t", facts={})
        shared, own = load_kernel(tmp_path, shared=tmp_path / "kept"), load_kernel(tmp_path)
        assert shared.weights_hash == own.weights_hash
        for name, tensor in own.decoder.state_dict().items():
            assert torch.equal(shared.decoder.state_dict()[name], tensor)
        assert not any(parameter.requires_grad for parameter in shared.decoder.parameters())


def test_who_has_weights_mapped_keeps_them_when_their_file_is_written_over(
    saved: Path, tmp_path: Path, make_kernel: MakeKernel
) -> None:
    kept = tmp_path / "kept"
    shared = load_kernel(saved, shared=kept)
    before = shared.decoder(TOKENS_BT)
    save_kernel(tmp_path / "other", make_kernel(seed=9), tokenizer_hash="t", facts={})
    (saved / WEIGHTS_FILE).write_bytes(b"")  # as `cp` begins
    assert torch.equal(shared.decoder(TOKENS_BT), before)
    for name in (WEIGHTS_FILE, KERNEL_FILE):
        (saved / name).write_bytes((tmp_path / "other" / name).read_bytes())
    assert torch.equal(shared.decoder(TOKENS_BT), before)
    again = load_kernel(saved, shared=kept)
    assert again.weights_hash != shared.weights_hash
    assert {path.stem for path in kept.iterdir()} == {again.weights_hash, shared.weights_hash}


def test_what_is_kept_is_written_again_when_it_was_damaged(saved: Path, tmp_path: Path) -> None:
    before = load_kernel(saved, shared=tmp_path / "kept").decoder(TOKENS_BT)
    (kept,) = (tmp_path / "kept").iterdir()
    cut = kept.with_name("cut")
    cut.write_bytes(kept.read_bytes()[:-5])
    cut.replace(kept)
    assert torch.equal(load_kernel(saved, shared=tmp_path / "kept").decoder(TOKENS_BT), before)


def test_where_no_copy_can_be_kept_a_kernel_is_read_into_memory_of_its_own(
    saved: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with files_of_at_most(1000):
        loaded = load_kernel(saved, shared=tmp_path / "kept")
    assert torch.equal(loaded.decoder(TOKENS_BT), load_kernel(saved).decoder(TOKENS_BT))
    assert not any(parameter.requires_grad for parameter in loaded.decoder.parameters())
    assert list((tmp_path / "kept").iterdir()) == []
    assert [record.message for record in caplog.records] == [
        "weights are not shared: no copy can be kept"
    ]


def test_every_kind_of_number_and_tensors_at_odd_places_are_read(tmp_path: Path) -> None:
    path = tmp_path / "numbers.safetensors"
    numbers = {
        "a": torch.arange(6).view(2, 3),
        "b": torch.tensor([True, False, True]),
        "c": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
        "d": torch.tensor(3.25),
        "e": torch.empty(0, 4),
    }
    save_file(numbers, path, {"said": "so"})
    for found in (mapped_tensors(path, map_bytes(path)), _shifted(path)):
        assert set(found) == set(numbers)
        for name, tensor in numbers.items():
            assert found[name].dtype == tensor.dtype
            assert torch.equal(found[name], tensor)


def _shifted(path: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of the same file whose header is a byte longer."""
    whole = path.read_bytes()
    length = int.from_bytes(whole[:8], "little")
    header, numbers = whole[8 : 8 + length], whole[8 + length :]
    odd = path.with_name("odd.safetensors")
    odd.write_bytes((length + 1).to_bytes(8, "little") + header + b" " + numbers)
    return mapped_tensors(odd, map_bytes(odd))


def test_what_is_no_safetensors_file_is_refused(tmp_path: Path) -> None:
    good = tmp_path / "good"
    save_file({"a": torch.ones(3)}, good)
    whole = good.read_bytes()
    lies = json.dumps({"a": {"dtype": "F32", "shape": [9], "data_offsets": [0, 36]}}).encode()
    damaged = {
        "empty": b"",
        "short": whole[:5],
        "cut": whole[:-1],
        "headless": (2**60).to_bytes(8, "little") + whole[8:],
        "no json": (5).to_bytes(8, "little") + b"hello",
        "no object": (2).to_bytes(8, "little") + b"[]",
        "lies": len(lies).to_bytes(8, "little") + lies + b"\0" * 12,
    }
    for name, content in damaged.items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(ArtifactError):
            mapped_tensors(path, map_bytes(path))
    with pytest.raises(ArtifactError):
        map_bytes(tmp_path / "missing")
