"""Average kernels or low-rank adapters of one base, and save if held-out bits do not get worse.

Every input, the plain average and, when asked for, the Fisher-weighted one are scored on the same
text. The result is written only when its bits per byte are at most those of the best input plus
what the caller allows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from constellation.coordizer.coordizer import Coordizer
from constellation.curricula.corpus import read_corpus
from constellation.errors import ArtifactError, ConfigError
from constellation.kernel.adapters.adapter_file import is_adapter, open_adapter
from constellation.kernel.adapters.attach import merged
from constellation.kernel.adapters.kernel_merge import merge_kernels
from constellation.kernel.files.checkpoint import LoadedKernel, load_kernel, save_kernel
from constellation.kernel.network.decoder import Decoder
from constellation.kernel.observables.fisher_information import empirical_fisher
from constellation.kernel.writing.scoring import bits_per_byte, token_nats
from constellation.records import TokenArray
from training.batches import Windows, join_documents
from training.evaluation.parallel import side_by_side
from training.file_errors import typed_writes
from training.token_files import load_tokens

Method = Literal["plain", "fisher"]


@dataclass(frozen=True, kw_only=True, slots=True)
class MergeOptions:
    """How kernels are averaged, and when the result is good enough to save."""

    fisher: bool = False
    """Whether each parameter is weighted by its Fisher information on the kernel's own training
    text."""
    own_text: tuple[Path, ...] = ()
    """Training texts for Fisher information, one path per input; empty takes the token files of the
    kernels' runs."""
    fisher_windows: int = 64
    """Number of windows of the kernel's context for measuring Fisher information, spread over the
    text."""
    allow_worse_bits: float = 0.0
    """Bits per byte by which the result may be worse than the best input."""

    def __post_init__(self) -> None:
        if self.fisher_windows < 1 or not 0 <= self.allow_worse_bits < float("inf"):
            raise ConfigError(
                "need fisher_windows >= 1 and allow_worse_bits >= 0, got "
                f"{self.fisher_windows} and {self.allow_worse_bits}"
            )
        if self.own_text and not self.fisher:
            raise ConfigError(
                "own text is only used by Fisher-weighted merging; ask for that with --fisher"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class MergeReport:
    """Held-out figures of a merge, all in bits per byte of the same text; lower is better."""

    inputs: dict[str, float]
    """Folder of an input -> its bits per byte."""
    plain: float
    """Bits per byte of the plain average."""
    fisher: float | None
    """Bits per byte of the Fisher-weighted average; None when it was not asked for."""
    method: Method
    """Kind of average that was asked for."""
    limit: float
    """Largest bits per byte at which the result is saved: the best input's plus the allowance."""
    written: bool
    """Whether the result was within the limit and was saved in the output folder."""
    num_documents: int
    num_bytes: int
    """Size of the held-out text in bytes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Input:
    folder: Path
    kernel: LoadedKernel
    """The kernel; an adapter is merged into its base."""
    base_hash: str
    """sha256 (hex) of the weights that the kernel was trained from; its own hash without a base."""


@dataclass(frozen=True, slots=True)
class _HeldOut:
    tokens: tuple[TokenArray, ...]
    num_bytes: int
    end_id: int


def merge_folders(
    folders: Sequence[Path],
    *,
    out: Path,
    coordizer: Coordizer,
    text: Path,
    options: MergeOptions | None = None,
) -> MergeReport:
    """Average the kernels or adapters in `folders`, and save the result if it is good enough.

    Args:
        folders: Two or more, of kernels or of low-rank adapters.
        out: Folder of the merged kernel.
        coordizer: The coordizer that all inputs were trained with.
        text: Held-out text, as `read_corpus` reads it; nothing may have been fitted on it.
        options: None takes a plain average that is no worse than the best input.

    Raises:
        ArtifactError: An input is damaged, of another tokenizer, or of another base; or the folder
            cannot be written.
        ConfigError: Fewer than two inputs, or a kind of adapter that cannot be merged.
        CorpusError: There is no held-out text.
        TrainingError: A run's token file cannot be used.
    """
    options = options or MergeOptions()
    inputs = [_load(folder) for folder in folders]
    _check_one_base(inputs, coordizer)
    decoders = [each.kernel.decoder for each in inputs]
    held_out = _read(text, coordizer)
    candidates: dict[Method, Decoder] = {"plain": merge_kernels(decoders)}
    if options.fisher:
        fishers = _fishers(inputs, coordizer, options)
        candidates["fisher"] = merge_kernels(decoders, fishers=fishers)
    scores = side_by_side(
        lambda decoder: _score(decoder, held_out), [*decoders, *candidates.values()]
    )
    bits = dict(zip(candidates, scores[len(decoders) :], strict=True))
    method: Method = "fisher" if options.fisher else "plain"
    limit = min(scores[: len(decoders)]) + options.allow_worse_bits
    report = MergeReport(
        inputs={str(each.folder): score for each, score in zip(inputs, scores, strict=False)},
        plain=bits["plain"],
        fisher=bits.get("fisher"),
        method=method,
        limit=limit,
        written=bits[method] <= limit,
        num_documents=len(held_out.tokens),
        num_bytes=held_out.num_bytes,
    )
    if report.written:
        _save(out, candidates[method], inputs, report, bits[method])
    return report


def _load(folder: Path) -> _Input:
    if is_adapter(folder):
        base, adapted = open_adapter(folder)
        whole = LoadedKernel(
            decoder=merged(adapted),
            config=base.config,
            tokenizer_hash=base.tokenizer_hash,
            weights_hash=base.weights_hash,
            facts=base.facts,
        )
        return _Input(folder=folder, kernel=whole, base_hash=base.weights_hash)
    kernel = load_kernel(folder)
    known = kernel.facts.get("base_sha256")
    return _Input(folder=folder, kernel=kernel, base_hash=str(known or kernel.weights_hash))


def _check_one_base(inputs: Sequence[_Input], coordizer: Coordizer) -> None:
    if len(inputs) < 2:
        raise ConfigError(f"merging needs two kernels or more, got {len(inputs)}")
    for each in inputs:
        if each.kernel.tokenizer_hash != coordizer.tokenizer_hash:
            raise ArtifactError(each.folder, "the kernel uses the tokens of another coordizer")
        if each.base_hash != inputs[0].base_hash:
            raise ArtifactError(
                each.folder,
                f"it grew from another base than {inputs[0].folder}: averages mean something "
                "between branches of one seed only",
            )


def _read(text: Path, coordizer: Coordizer) -> _HeldOut:
    texts = [document.text for document in read_corpus(text).documents]
    return _HeldOut(
        tuple(coordizer.encode_batch(texts)),
        sum(len(each.encode()) for each in texts),
        coordizer.end_id,
    )


def _score(decoder: Decoder, held_out: _HeldOut) -> float:
    nats = sum(
        float(token_nats(decoder, [held_out.end_id, *ids.tolist()]).sum())
        for ids in held_out.tokens
    )
    return bits_per_byte(nats, held_out.num_bytes)


def _fishers(
    inputs: Sequence[_Input], coordizer: Coordizer, options: MergeOptions
) -> list[dict[str, Tensor]]:
    paths = options.own_text or tuple(_token_file(each) for each in inputs)
    if len(paths) != len(inputs):
        raise ConfigError(f"{len(inputs)} inputs need as many own texts, got {len(paths)}")
    pairs = zip(inputs, paths, strict=True)
    return side_by_side(lambda pair: _fisher(*pair, coordizer, options.fisher_windows), pairs)


def _fisher(each: _Input, path: Path, coordizer: Coordizer, num_windows: int) -> dict[str, Tensor]:
    decoder = each.kernel.decoder
    if path.suffix == ".npy":
        stream_N = load_tokens(path, vocab_size=coordizer.vocab_size)
    else:
        texts = [document.text for document in read_corpus(path).documents]
        stream_N = join_documents(coordizer.encode_batch(texts), coordizer.end_id)
    windows = Windows.of(stream_N, context=decoder.config.context, seed=0)
    with torch.enable_grad():
        return empirical_fisher(decoder, *windows.batch(0, min(num_windows, windows.per_epoch)))


def _token_file(each: _Input) -> Path:
    """Return the training tokens of a kernel of a run, which lie beside the kernels."""
    path = each.folder.resolve().parents[1] / "tokens" / f"{each.folder.resolve().name}.train.npy"
    if not path.exists():
        raise ConfigError(f"{each.folder} has no training tokens at {path}; give its own text")
    return path


def _save(
    out: Path, decoder: Decoder, inputs: Sequence[_Input], report: MergeReport, bits: float
) -> None:
    facts = {
        "name": out.name,
        "base_sha256": inputs[0].base_hash,
        "merged_from": [str(each.folder) for each in inputs],
        "method": report.method,
        "held_out_bits_per_byte": bits,
    }
    with typed_writes(out):
        save_kernel(out, decoder, tokenizer_hash=inputs[0].kernel.tokenizer_hash, facts=facts)
