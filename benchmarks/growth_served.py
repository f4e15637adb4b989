"""The constellation of `benchmarks.growth_accuracy`, into which kernels join by the shipped way."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time

from constellation.coordizer.coordizer import Coordizer
from constellation.domains.fit import FitOptions
from constellation.domains.record import Domain, make_domain
from constellation.kernel.files.checkpoint import save_kernel
from constellation.kernel.network.config import KernelConfig
from constellation.kernel.network.decoder import Decoder
from constellation.records import Add
from constellation.releases.builder import make, publish, save_domain
from constellation.releases.store import ReleaseStore
from training.evaluation.new_kernel_cost import Routing, routing_of

Texts = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Corpus:
    """Texts of every domain, by split; what queries are cut from is `test`."""

    train: Texts
    dev: Texts
    test: Texts


class Served:
    """A constellation in an artifacts folder, into which kernels join as `constellation add` does.

    What the kernels write does not matter here, so that all have one small network's weights.

    Args:
        artifacts: An empty folder.
        tokens: Encodes all text.
        options: How coordinates and table are fitted.
    """

    def __init__(self, artifacts: Path, tokens: Coordizer, options: FitOptions) -> None:
        self.tokens = tokens
        self.options = options
        self.domains: tuple[Domain, ...] = ()
        self._artifacts = artifacts
        self._store = ReleaseStore(artifacts)

    @property
    def routing(self) -> Routing:
        """Where queries go in the current release."""
        return routing_of(self._store.current_folder())

    def start(self, domains: Sequence[Domain]) -> None:
        """Serve the domains that are there from the start."""
        self.domains = tuple(domains)
        for domain in domains:
            self._write_kernel(domain.name)
        publish(self._artifacts, domains, self.tokens, self.options, change="from the start")

    def join(self, name: str, corpus: Corpus) -> tuple[float, float]:
        """Let a domain join; return the seconds that takes, and those of the processor."""
        self._write_kernel(name)
        start_s, processor_s = perf_counter(), process_time()
        joining = record(name, corpus, self.tokens, self.options.seed)
        save_domain(self._artifacts, joining)
        release = make(self._artifacts, Add(name=name))
        self._store.switch(release.version)
        taken = perf_counter() - start_s, process_time() - processor_s
        self.domains = (*self.domains, joining)
        self._store.prune(1)
        return taken

    def _write_kernel(self, name: str) -> None:
        config = KernelConfig(
            vocab_size=self.tokens.vocab_size,
            width=8,
            num_layers=1,
            num_heads=1,
            mlp_width=8,
            context=32,
        )
        folder = self._artifacts / "kernels" / name
        hash_of_tokens = self.tokens.tokenizer_hash
        save_kernel(folder, Decoder(config, seed=0), tokenizer_hash=hash_of_tokens, facts={})


def record(name: str, corpus: Corpus, tokens: Coordizer, seed: int) -> Domain:
    """Return the record of a domain, each document a source."""
    train, dev = (
        [(f"{place}.txt", text) for place, text in enumerate(texts[name])]
        for texts in (corpus.train, corpus.dev)
    )
    return make_domain(name, train, dev, tokens, seed=seed)
