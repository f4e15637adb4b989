"""Generate samples: a kernel, its seed and an untrained network continue the same held-out words.

All writers sample with the same settings and, for one prompt, the same seed. The documents are
spread evenly over the held-out text of the kernel's domain; no sample is selected by its text.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from constellation.coordizer.coordizer import Coordizer
from constellation.curricula.corpus import Document
from constellation.curricula.corpus_store import load_prepared
from constellation.curricula.prepare import PreparedCorpus
from constellation.errors import ArtifactError
from constellation.kernel.adapters.kernel_folder import open_kernel
from constellation.kernel.files.checkpoint import LoadedKernel, load_kernel
from constellation.kernel.network.decoder import Decoder
from constellation.kernel.writing.generation import generate
from constellation.records import Sampling, TokenArray
from constellation.routing.policy import RoutingPolicy
from training.current_release import served_coordizer, served_table
from training.evaluation.parallel import side_by_side
from training.json_files import write_json
from training.kernel_text import kept_text
from training.report.facts import read_json
from training.run_kernels import speaking_folders

SAMPLES = "samples.json"

PROMPT_TOKENS: Final = 24
WRITTEN_TOKENS: Final = 48
PROMPTS: Final = 2
"""Number of prompts per kernel."""
TEMPERATURE: Final = 0.7
TOP_P: Final = 0.95

WRITERS: Final = ("kernel", "seed", "untrained")
"""Models that write samples, the expected best first; runs whose kernels share no start have no
seed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One prompt with the text that every writer wrote after it."""

    kernel: str
    domain: str
    source: str
    """Source of the document that the prompt begins."""
    prompt: str
    document: str
    """The document's own continuation."""
    written: Mapping[str, str]
    """Writer -> text."""
    seed: int
    """Random seed, the same for all writers of a prompt and different between prompts."""
    routed_to: Mapping[str, str]
    """Writer -> kernel that the router chooses for the written text without the prompt; empty
    without a routing table."""


def ensure_samples(folder: Path) -> Mapping[str, Any] | None:
    """Return a run's samples; generate them unless the same kernels wrote them already.

    Returns:
        The content of `samples.json`; None when the run has no kernels or no held-out text yet.
        Kernels with a vocabulary of their own write none and are named.

    Raises:
        ArtifactError: A kernel, the coordizer, the corpus or the table is damaged.
    """
    if not all((folder / part).is_dir() for part in ("kernels", "coordizer", "corpus")):
        return None
    speaking, others = speaking_folders(folder)
    kernels = {name: open_kernel(path) for name, path in speaking.items()}
    seed = load_kernel(folder / "seed") if (folder / "seed").is_dir() else None
    hashes = {name: kernel.weights_hash for name, kernel in kernels.items()}
    if seed is not None:
        hashes["seed"] = seed.weights_hash
    settings = {**_settings(hashes), **({"left_out": list(others)} if others else {})}
    known = _known(folder / SAMPLES)
    if not kernels or (known is not None and known.get("settings") == settings):
        return known if kernels else None
    samples = write_samples(folder, kernels, seed)
    made = {
        "settings": settings,
        "samples": [asdict(sample) for sample in samples],
        "left_out": others,
    }
    write_json(folder / SAMPLES, made)
    return made


def write_samples(
    folder: Path, kernels: Mapping[str, LoadedKernel], seed: LoadedKernel | None
) -> list[Sample]:
    """Let every kernel continue held-out text of its domain, beside seed and baseline.

    Args:
        folder: The run's: its coordizer, held-out text and routing table are read.
        kernels: Name -> kernel. One that is named for no domain gets prompts of all of them.
        seed: What the kernels started from.
    """
    coordizer, table = served_coordizer(folder), served_table(folder)
    documents = load_prepared(folder / "corpus").test
    texts = {name: kept_text(folder, name) for name in kernels}
    policy = None if table is None else RoutingPolicy(table)
    config = next(iter(kernels.values())).decoder.config
    shared = {"untrained": Decoder(config, seed=0)}
    if seed is not None:
        shared["seed"] = seed.decoder
    jobs = [
        (name, document, {"kernel": kernel.decoder, **shared})
        for name, kernel in kernels.items()
        for document in _prompts(_home(texts[name]) or documents, coordizer)
    ]
    return side_by_side(
        lambda job: _sample(*job[1], seed=job[0], coordizer=coordizer, policy=policy),
        enumerate(jobs),
    )


def _settings(hashes: Mapping[str, str]) -> dict[str, Any]:
    """Return all values that decide the samples of a run."""
    return {
        "prompt_tokens": PROMPT_TOKENS,
        "written_tokens": WRITTEN_TOKENS,
        "prompts_per_kernel": PROMPTS,
        "temperature": TEMPERATURE,
        "top_p": TOP_P,
        "weights_sha256": dict(hashes),
    }


def _known(path: Path) -> Mapping[str, Any] | None:
    try:
        return read_json(path)
    except ArtifactError:
        return None  # it can be made again


def _home(kept: PreparedCorpus | None) -> Sequence[Document]:
    return () if kept is None else kept.test


def _prompts(documents: Sequence[Document], coordizer: Coordizer) -> list[Document]:
    """Return documents to start from, spread evenly over the documents that are long enough."""
    usable = [
        document
        for document in documents
        if len(coordizer.encode(document.text)) >= 2 * PROMPT_TOKENS
    ]
    picked = sorted(set(np.linspace(0, len(usable) - 1, PROMPTS).astype(int).tolist()))
    return [usable[index] for index in picked] if usable else []


def _sample(
    name: str,
    document: Document,
    writers: Mapping[str, Decoder],
    *,
    seed: int,
    coordizer: Coordizer,
    policy: RoutingPolicy | None,
) -> Sample:
    ids = coordizer.encode(document.text)
    context = min(decoder.config.context for decoder in writers.values())
    cut = min(PROMPT_TOKENS, context // 4)
    tokens_max = min(WRITTEN_TOKENS, context - cut - 1)
    sampling = Sampling(tokens_max=tokens_max, temperature=TEMPERATURE, top_p=TOP_P, seed=seed)
    written = {
        writer: _write(writers[writer], ids[:cut], sampling, coordizer)
        for writer in WRITERS
        if writer in writers
    }
    return Sample(
        kernel=name,
        domain=document.domain,
        source=document.source,
        seed=seed,
        prompt=coordizer.decode_text(ids[:cut]),
        document=coordizer.decode_text(ids[cut : cut + tokens_max]),
        written={writer: coordizer.decode_text(tokens) for writer, tokens in written.items()},
        routed_to={
            writer: policy.decide(coordizer.basin(tokens), num_tokens=len(tokens)).kernel
            for writer, tokens in written.items()
            if policy is not None and len(tokens)
        },
    )


def _write(
    decoder: Decoder, prompt: TokenArray, sampling: Sampling, coordizer: Coordizer
) -> TokenArray:
    # The end token opens a document, as it did in training.
    ids = [coordizer.end_id, *prompt.tolist()]
    return np.array(list(generate(decoder, ids, sampling, coordizer.end_id)), dtype=np.int32)
