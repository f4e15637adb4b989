"""What do small adapters and averages keep of what whole branches learn?

For every seed: a base is trained on several domains of the starter corpus; from it, per domain, a
whole branch, a low-rank adapter and a basin-coordinate adapter, for the same steps on the same
batches, each kind at the learning rate that is best on dev text of the first domain and seed. Own
gains are bits per byte of the base minus those of the branch, on held-out text of its domain.
The whole branches and the low-rank adapters are merged, plainly and Fisher-weighted; all are scored
on held-out text of all domains together, beside the base and the best single branch.

    python -m benchmarks.adapters --json
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from constellation.coordizer.coordizer import Coordizer
from constellation.coordizer.training import train_coordizer
from constellation.curricula.corpus import Corpus, Document
from constellation.curricula.prepare import PrepareConfig, PreparedCorpus, prepare
from constellation.curricula.starter import starter_corpus
from constellation.kernel.adapters.attach import AdapterConfig, attach, merged
from constellation.kernel.adapters.coordinate import CoordinateConfig
from constellation.kernel.adapters.kernel_merge import merge_kernels
from constellation.kernel.adapters.lora import LoraConfig
from constellation.kernel.network.config import KernelConfig
from constellation.kernel.network.decoder import Decoder
from constellation.kernel.observables.fisher_information import empirical_fisher
from constellation.kernel.writing.scoring import bits_per_byte, token_nats
from training.batches import Windows, join_documents
from training.loop.step import Alone, StepConfig, Stepper

KINDS: dict[str, AdapterConfig | None] = {
    "whole": None,
    "lora": LoraConfig(rank=8),
    "coordinate": CoordinateConfig(),
}
RATES = {"whole": (1e-3, 3e-3), "lora": (3e-3, 1e-2), "coordinate": (3e-3, 1e-2, 3e-2)}
BATCH, FISHER_WINDOWS, SCORED_BYTES = 8, 64, 30_000


@dataclass(frozen=True, slots=True)
class Material:
    """Text of some domains as a kernel reads it."""

    coordizer: Coordizer
    corpus: PreparedCorpus
    config: KernelConfig

    def windows(self, domains: Sequence[str], split: str, seed: int) -> Windows:
        tokens = self.coordizer.encode_batch([d.text for d in self._of(domains, split)])
        stream_N = join_documents(tokens, self.coordizer.end_id)
        return Windows.of(stream_N, context=self.config.context, seed=seed)

    def bits(self, decoder: Decoder, domains: Sequence[str], split: str) -> float:
        """Return bits per byte over equal shares of each domain."""
        nats, num_bytes = 0.0, 0
        for domain in domains:
            left = SCORED_BYTES
            for document in self._of([domain], split):
                if left <= 0:
                    break
                ids = [self.coordizer.end_id, *self.coordizer.encode(document.text).tolist()]
                nats += float(token_nats(decoder, ids).sum())
                num_bytes += len(document.text.encode())
                left -= len(document.text.encode())
        return bits_per_byte(nats, num_bytes)

    def _of(self, domains: Sequence[str], split: str) -> list[Document]:
        return [d for d in self.corpus.of_split(split) if d.domain in domains]


def make_material(num_domains: int) -> Material:
    whole = starter_corpus()
    names = whole.domains[:num_domains]
    chosen = tuple(document for document in whole.documents if document.domain in names)
    corpus = prepare(Corpus(documents=chosen), PrepareConfig(domain_bytes_max=300_000))
    coordizer = train_coordizer(
        [document.text for document in corpus.train],
        [document.domain for document in corpus.train],
        vocab_size=1024,
        anchored=True,
    )
    config = KernelConfig(
        vocab_size=coordizer.vocab_size,
        width=64,
        num_layers=2,
        num_heads=2,
        mlp_width=128,
        context=128,
    )
    return Material(coordizer, corpus, config)


def learn(decoder: Decoder, windows: Windows, *, steps: int, rate: float) -> None:
    config = StepConfig(steps=steps, batch_size=BATCH, learning_rate=rate, precision="float32")
    stepper = Stepper(decoder.train(), config, Alone())
    for index in range(steps):
        stepper.step(*windows.batch(index, BATCH), index, stop=False)
    decoder.eval()


def branch(base: Decoder, kind: str, windows: Windows, steps: int, rate: float) -> Decoder:
    """Return what a branch of a kind has learned; low-rank ones folded into a whole kernel."""
    config = KINDS[kind]
    if config is None:
        whole = Decoder(base.config, seed=None)
        whole.load_state_dict({n: t.detach().clone() for n, t in base.state_dict().items()})
        learn(whole, windows, steps=steps, rate=rate)
        return whole
    adapted = attach(base, config, seed=windows.seed)
    learn(adapted.decoder, windows, steps=steps, rate=rate)
    return merged(adapted) if isinstance(config, LoraConfig) else adapted.decoder


def one_seed(
    material: Material,
    names: Sequence[str],
    seed: int,
    steps: tuple[int, int],
    rates: dict[str, float],
) -> dict[str, float]:
    torch.manual_seed(seed)
    base = Decoder(material.config, seed=seed)
    learn(base, material.windows(names, "train", seed), steps=steps[0], rate=3e-3)
    own = {name: material.windows([name], "train", seed) for name in names}
    if not rates:
        rates.update(tune(material, base, own[names[0]], names[0], steps[1]))
    before = {name: material.bits(base, [name], "test") for name in names}
    found = {"together.base": material.bits(base, names, "test")}
    for kind in KINDS:
        made = {name: branch(base, kind, own[name], steps[1], rates[kind]) for name in names}
        gains = [before[name] - material.bits(made[name], [name], "test") for name in names]
        found[f"own_gain.{kind}"] = statistics.fmean(gains)
        if kind == "coordinate":
            continue  # cannot be merged
        kernels = list(made.values())
        fishers = [
            empirical_fisher(kernel, *own[name].batch(0, FISHER_WINDOWS))
            for name, kernel in made.items()
        ]
        averages = {
            "plain": merge_kernels(kernels),
            "fisher": merge_kernels(kernels, fishers=fishers),
        }
        scores = [material.bits(kernel, names, "test") for kernel in kernels]
        found[f"together.{kind}.best_branch"] = min(scores)
        for method, average in averages.items():
            found[f"together.{kind}.{method}"] = material.bits(average, names, "test")
    return found


def tune(
    material: Material, base: Decoder, windows: Windows, name: str, steps: int
) -> dict[str, float]:
    def dev(kind: str) -> Callable[[float], float]:
        return lambda rate: material.bits(branch(base, kind, windows, steps, rate), [name], "dev")

    return {kind: min(rates, key=dev(kind)) for kind, rates in RATES.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--domains", type=int, default=3)
    parser.add_argument("--base-steps", type=int, default=300)
    parser.add_argument("--branch-steps", type=int, default=100)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    start_s = time.perf_counter()
    material = make_material(given.domains)
    names = material.corpus.domains
    steps, rates = (given.base_steps, given.branch_steps), {}
    runs = [one_seed(material, names, seed, steps, rates) for seed in range(given.seeds)]
    figures = {
        key: {
            "mean": float(np.mean([run[key] for run in runs])),
            "low": min(run[key] for run in runs),
            "high": max(run[key] for run in runs),
        }
        for key in runs[0]
    }
    base = Decoder(material.config, seed=0)
    report = {
        "bits_per_byte": figures,
        "learning_rates": rates,
        "parameters": {
            kind: material.config.num_parameters()
            if c is None
            else attach(base, c).num_parameters()
            for kind, c in KINDS.items()
        },
        "seeds": given.seeds,
        "domains": list(names),
        "seconds": time.perf_counter() - start_s,
        "machine": platform.machine(),
        "torch": torch.__version__,
    }
    if given.json:
        print(json.dumps(report))
        return
    for key, value in figures.items():
        print(f"{key:32} {value['mean']:8.4f}   {value['low']:.4f} .. {value['high']:.4f}")
    print(f"learning rates {rates}, parameters {report['parameters']}, {report['seconds']:.0f} s")


if __name__ == "__main__":
    main()
