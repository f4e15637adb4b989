"""Measure a finished run's own kernels on held-out text and make the content of `report.json`.

Kernels that were added or spawned after training are named but not scored.
"""

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from constellation.coordizer.coordizer import Coordizer
from constellation.curricula.documents import Document
from constellation.curricula.prepared_corpus import PreparedCorpus
from constellation.kernel.adapters.kernel_folder import open_kernel
from constellation.kernel.network.decoder import Decoder
from constellation.releases.store import ReleaseStore
from constellation.routing.policy import RoutingPolicy
from constellation.wire.table_file import load_table
from training.evaluation.collective import collective_report
from training.evaluation.collective_scores import score_collective
from training.evaluation.cross_domain import score_across
from training.evaluation.held_out_figures import score_documents, summarise, unigram_nats
from training.evaluation.held_out_sample import sample_evenly
from training.loop.step import use_bfloat16
from training.recipe import Recipe
from training.runs.training_plan import SEED, TrainingPlan
from training.text_amount import unscored_domains


@dataclass(frozen=True, kw_only=True, slots=True)
class RunReport:
    """A run whose kernels and table are finished."""

    recipe: Recipe
    out: Path
    corpus: PreparedCorpus
    coordizer: Coordizer
    plan: TrainingPlan

    def measure(self, seconds: Mapping[str, float]) -> dict[str, Any]:
        """Return the content of `report.json`; `seconds` maps a part of the run to its time."""
        table = json.loads((self.out / "table.json").read_text("utf-8"))
        served = ReleaseStore(self.out).read_current().kernels
        return {
            "recipe": self.recipe.model_dump(mode="json"),
            "kernels": {name: self._facts(name) for name in self.plan.kernels},
            "seed": None if self.plan.seed_job is None else self._facts(SEED),
            "joined_since": [each.name for each in served if each.name not in self.plan.kernels],
            "held_out": self._held_out(),
            "across": self._across(),
            "collective": self._collective(table["observables"]["kernels"]),
            "table": table,
            "corpus": dict(self.corpus.manifest),
            "seconds": dict(seconds),
            "machine": _machine(self.recipe),
        }

    @property
    def _test(self) -> Sequence[Document]:
        """Held-out documents that are scored: all, unless a domain has very many."""
        return sample_evenly(self.corpus.test)

    def _held_out(self) -> dict[str, object]:
        stream_N = np.load(self.plan.tokens(SEED, "train"), mmap_mode="r")
        scored = score_documents(
            self._test,
            coordizer=self.coordizer,
            policy=self._policy(),
            kernels=self._decoders(),
            seed=self._seed(),
            unigram_nats_V=unigram_nats(stream_N, self.coordizer.vocab_size),
        )
        return summarise(scored, domains=self.plan.kernels, random_seed=self.recipe.seed)

    def _across(self) -> dict[str, object] | None:
        """Return every kernel's figures on every domain; None without text to score."""
        if not self._is_scored():
            return None
        return score_across(
            self._test,
            coordizer=self.coordizer,
            kernels=self._decoders(),
            seed=self._seed(),
        )

    def _collective(self, measured: Mapping[str, Any]) -> dict[str, object] | None:
        """Return the collective figures; None for a single kernel, and without text to score."""
        if len(self.plan.kernels) < 2 or not self._is_scored():
            return None
        scores = score_collective(
            self._test,
            coordizer=self.coordizer,
            policy=self._policy(),
            kernels=self._decoders(),
        )
        return collective_report(scores, measured, random_seed=self.recipe.seed)

    def _is_scored(self) -> bool:
        """Return whether a held-out document of any domain is long enough."""
        context = self.plan.context
        unscored = unscored_domains(self.corpus, self.coordizer, context=context)
        return len(unscored) < len(self.corpus.domains)

    def _policy(self) -> RoutingPolicy:
        return RoutingPolicy(load_table(self.out / "table.msgpack"))

    def _decoders(self) -> dict[str, Decoder]:
        return {
            name: open_kernel(self.plan.kernel_folder(name)).decoder for name in self.plan.kernels
        }

    def _seed(self) -> Decoder | None:
        if self.plan.seed_job is None:
            return None
        return open_kernel(self.plan.kernel_folder(SEED)).decoder

    def _facts(self, name: str) -> dict[str, object]:
        kernel = open_kernel(self.plan.kernel_folder(name))
        return {**kernel.facts, "num_parameters": kernel.config.num_parameters()}


def _machine(recipe: Recipe) -> dict[str, object]:
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "machine": platform.machine(),
        "bfloat16": use_bfloat16(recipe.optimiser.precision),
    }
