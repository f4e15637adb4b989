"""Validate a preset, one kernel's folder, all kernels of a run, or the run's gates.

A run's folder is read as `training/pipeline.py` wrote it; held-out text is its test split.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from constellation.coordizer.coordizer import Coordizer
from constellation.curricula.corpus_store import load_prepared
from constellation.curricula.prepare import PreparedCorpus
from constellation.errors import ArtifactError, ConfigError, CorpusError
from constellation.kernel.adapters.kernel_folder import open_kernel
from constellation.kernel.files.checkpoint import LoadedKernel
from constellation.kernel.files.own_vocabulary import has_own_vocabulary
from constellation.kernel.network.config import PRESETS
from constellation.kernel.network.decoder import Decoder
from constellation.kernel.observables.probe_set import ProbeSet
from constellation.kernel.observables.signature_extract import kernel_basins
from training.current_release import served_table
from training.kernel_files import has_kernel
from training.kernel_text import kept_text
from training.provenance import RUN_FILE
from training.run_kernels import kernel_folders, speaking_folders
from training.runs.training_plan import SEED
from training.validation.architecture import check_architecture
from training.validation.check import Check, ValidationReport, not_applicable
from training.validation.gates import coordizer_gate, kernels_gate
from training.validation.held_out_passages import HeldOut
from training.validation.trained import check_apart, check_trained, read_kernel

GATE_TEXTS = 32
"""Number of held-out texts per kernel whose basins are compared."""


def validate_preset(name: str) -> ValidationReport:
    """Run the six checks on a preset with fresh weights.

    Raises:
        ConfigError: There is no such preset.
    """
    if name not in PRESETS:
        raise ConfigError(
            f"{name!r} is no preset and no folder of a kernel or a run; presets: "
            f"{', '.join(PRESETS)}"
        )
    checks = check_architecture(Decoder(PRESETS[name], seed=0).eval())
    return ValidationReport(target=name, groups={"architecture": checks})


def validate_kernel(
    folder: Path, *, coordizer: Coordizer | None = None, texts: Sequence[str] = ()
) -> ValidationReport:
    """Check one kernel's architecture and its trained weights.

    Args:
        folder: The kernel's.
        coordizer: Its coordizer; without it, what needs text is left out.
        texts: Held-out documents.

    Raises:
        CorpusError: The text is too short to score.
    """
    kernel, files = read_kernel(folder)
    if kernel is None:
        return ValidationReport(target=str(folder), groups={"kernel": (files,)})
    held_out = None
    first: tuple[Check, ...] = (files,)
    if coordizer is not None:
        first = (files, _speaks(kernel, coordizer))
        if texts and first[1].passed:
            context = kernel.config.context
            held_out = HeldOut.of(coordizer.encode_batch(list(texts)), coordizer, context=context)
    return ValidationReport(
        target=str(folder),
        groups={
            "architecture": check_architecture(kernel.decoder),
            "kernel": (*first, *check_trained(kernel.decoder, held_out)),
        },
    )


def validate_run(folder: Path) -> ValidationReport:
    """Check the architecture once and every kernel of a run, the seed included.

    Raises:
        ArtifactError: The run is not finished: coordizer, corpus or kernels are missing.
    """
    run = _RunFolder(folder)
    groups: dict[str, tuple[Check, ...]] = {}
    for name, path in run.kernels(with_seed=True).items():
        if has_own_vocabulary(path):
            groups[name] = check_apart(path)
            continue
        kernel, files = read_kernel(path)
        if kernel is None:
            groups[name] = (files,)
            continue
        if "architecture" not in groups:
            groups = {"architecture": check_architecture(kernel.decoder), **groups}
        speaks = _speaks(kernel, run.coordizer)
        held_out, why = None, "it uses other tokens"
        if speaks.passed:
            held_out, why = run.held_out(name, kernel.config.context)
        groups[name] = (files, speaks, *check_trained(kernel.decoder, held_out, why=why))
    return ValidationReport(target=str(folder), groups=groups)


def validate_gates(folder: Path) -> ValidationReport:
    """Judge validation gates 1 and 2 on a finished run.

    Raises:
        ArtifactError: The run is not finished, or a kernel cannot be read.
    """
    run = _RunFolder(folder)
    speaking, others = speaking_folders(folder)
    table = served_table(folder)
    if table is None:
        raise ArtifactError(folder, "holds no release; finish the training")
    gauges = {site.name: site.phi_gauge for site in table.sites if site.name in speaking}
    basins = {name: run.basins(name, path) for name, path in speaking.items()}
    left_out = tuple(not_applicable(f"integration of {name}", why) for name, why in others.items())
    return ValidationReport(
        target=str(folder),
        groups={
            "gate 1": coordizer_gate(
                run.coordizer, run.corpus.train, run.corpus.test, vocab_size=run.vocab_size()
            ),
            "gate 2": (*kernels_gate(gauges, basins), *left_out),
        },
    )


def _speaks(kernel: LoadedKernel, coordizer: Coordizer) -> Check:
    same = kernel.tokenizer_hash == coordizer.tokenizer_hash
    return Check(
        name="vocabulary",
        passed=same,
        detail="it was trained with this coordizer's tokens"
        if same
        else f"it was trained with tokens {kernel.tokenizer_hash[:16]}..., the coordizer has "
        f"{coordizer.tokenizer_hash[:16]}...",
    )


class _RunFolder:
    """The parts of a run that the checks read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.coordizer = Coordizer.load(folder / "coordizer")
        self.corpus: PreparedCorpus = load_prepared(folder / "corpus")

    def kernels(self, *, with_seed: bool = False) -> dict[str, Path]:
        """Return name -> folder, the seed first."""
        found = kernel_folders(self.folder)
        if not any(map(has_kernel, found.values())):
            raise ArtifactError(self.folder / "kernels", "holds no kernel; finish the training")
        seed = self.folder / SEED
        return {SEED: seed, **found} if with_seed and seed.is_dir() else found

    def vocab_size(self) -> int:
        """Return the vocabulary that the run's recipe asks for."""
        path = self.folder / RUN_FILE
        try:
            made_from = json.loads(path.read_text(encoding="utf-8"))
            return int(made_from["recipe"]["coordizer"]["vocab_size"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ArtifactError(path, f"does not say the recipe's vocabulary: {error!r}") from error

    def held_out(self, name: str, context: int) -> tuple[HeldOut | None, str]:
        """Return the held-out text of a kernel, with unigrams of what it read; or why not.

        An added kernel has text of its own; a kernel without a domain is held to that of all.
        """
        own = None if name == SEED else kept_text(self.folder, name)
        corpus, source = (self.corpus, SEED) if own is None else (own, name)
        tokens = self.coordizer.encode_batch([document.text for document in corpus.test])
        path = self.folder / "tokens" / f"{source}.train.npy"
        known_N = np.load(path) if path.is_file() else None
        try:
            made = HeldOut.of(tokens, self.coordizer, context=context, known_N=known_N)
        except CorpusError as error:
            return None, str(error)
        return made, ""

    def basins(self, name: str, path: Path) -> np.ndarray:
        """Return a kernel's basins of held-out texts of its own domain, shape (N, K)."""
        kernel = open_kernel(path)
        probe = ProbeSet.of(
            [document.text for document in (kept_text(self.folder, name) or self.corpus).test],
            self.coordizer,
            context=kernel.config.context,
            num_texts=GATE_TEXTS,
        )
        return kernel_basins(kernel.decoder, self.coordizer, probe)
