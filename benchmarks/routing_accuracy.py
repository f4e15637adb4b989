"""How often is a text sent to the right domain's kernel? Ours and its peers on one corpus.

    python -m benchmarks.routing_accuracy --corpus DIR [--seeds 3] [--basins-max 8] [--json]

DIR has one sub-folder or file per domain. For each seed: documents are split into train, dev and
test; a coordizer of 8,192 tokens is trained on train and anchored to the domains; one kernel per
domain; queries of 8 to 128 tokens are cut from test documents. Peers choose their settings on dev;
ours has one setting for all corpora. Scores of ours see 64-D basins only. Differences come with a
bootstrap over documents, paired by query.
"""

import argparse
import json
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np

from benchmarks.baselines import cbtm, naive_bayes, tfidf
from benchmarks.baselines.euclidean import EuclideanCentroid
from benchmarks.domain_corpus import read_domains, split_documents
from benchmarks.text_windows import sample_windows
from constellation.coordizer.coordizer import Coordizer
from constellation.coordizer.training import refit, train_coordizer
from constellation.records import Rule, TokenArray
from constellation.routing.calibration import calibrate, make_table
from constellation.routing.policy import RoutingPolicy
from constellation.routing.site_fit import KernelTexts, fit_sites

LENGTHS = (8, 16, 32, 64, 128)
VOCAB_SIZE = 8_192
BOOTSTRAPS = 2_000
OURS = "fisher_rao_bearing"
PEERS = ("euclidean", "euclidean_free", "tfidf_centroid", "cbtm", "naive_bayes")

Predict = Callable[[Sequence[TokenArray]], np.ndarray]


@dataclass(frozen=True, slots=True)
class Documents:
    """Encoded documents of one split."""

    ids: list[TokenArray]
    own_N: np.ndarray


@dataclass(frozen=True, slots=True)
class Queries:
    """Texts of one length with the domain and the document each was cut from."""

    texts: list[TokenArray]
    own_N: np.ndarray
    document_N: np.ndarray


def draw_queries(split: Documents, length: int, per_domain: int, seed: int) -> Queries:
    """Draw documents evenly, then a place in each; documents shorter than the length are out.

    Raises:
        SystemExit: When a split has no document as long as that.
    """
    rng = np.random.default_rng([seed, length])
    texts, own, documents = [], [], []
    for domain in np.unique(split.own_N):
        fit = [n for n in np.flatnonzero(split.own_N == domain) if len(split.ids[n]) >= length]
        for turn in range(per_domain if fit else 0):
            document = fit[turn % len(fit)]
            start = int(rng.integers(len(split.ids[document]) - length + 1))
            texts.append(split.ids[document][start : start + length])
            own.append(domain)
            documents.append(document)
    if not texts:
        raise SystemExit(f"no held-out document has {length} tokens; give longer documents")
    return Queries(texts, np.array(own), np.array(documents))


class FisherRao:
    """The shipped path: coordizer, sites, calibration, policy."""

    def __init__(
        self,
        coordizer: Coordizer,
        train: Documents,
        dev: Documents,
        names: list[str],
        basins_max: int,
    ) -> None:
        start_s = perf_counter()
        self.coordizer = coordizer
        self.numbers = {name: number for number, name in enumerate(names)}
        background_K = coordizer.coordinates.background_K
        windows, train_own_N = _windows(train, len(names))
        basins_NK = np.stack([coordizer.basin(ids) for ids in windows])
        kernels = [
            KernelTexts(name=name, corpora={"train": basins_NK[train_own_N == number]})
            for number, name in enumerate(names)
        ]
        sites = fit_sites(
            kernels, background_K=background_K, seats=False, basins_max=basins_max
        ).sites
        self.num_basins = float(np.mean([len(site.basins_BK) for site in sites]))
        held_out, own_N = _windows(dev, len(names))
        self.calibration = calibrate(
            sites,
            np.stack([coordizer.basin(ids) for ids in held_out]),
            [names[number] for number in own_N],
            background_K=background_K,
        )
        table = make_table(
            sites, self.calibration, background_K=background_K, coordizer_hash=coordizer.hash
        )
        self.policy = RoutingPolicy(table)
        self.euclidean = EuclideanCentroid(basins_NK, train_own_N, num_domains=len(names))
        self.seconds = perf_counter() - start_s

    def predict(self, texts: Sequence[TokenArray]) -> dict[str, np.ndarray]:
        """Return the domains chosen by both rules, and by Euclidean distance, on one fold-in."""
        basins_NK = np.stack([self.coordizer.basin(ids) for ids in texts])
        chosen = {
            f"fisher_rao_{rule.value}": np.array(
                [
                    self.numbers[self.policy.decide(basin_K, num_tokens=len(ids), rule=rule).kernel]
                    for ids, basin_K in zip(texts, basins_NK, strict=True)
                ]
            )
            for rule in Rule
        }
        return chosen | {"euclidean": self.euclidean.predict(basins_NK)}

    def microseconds(self, texts: Sequence[TokenArray]) -> float:
        """Return the median time of fold and decision."""
        times = []
        for ids in texts:
            start_s = perf_counter()
            self.policy.decide(self.coordizer.basin(ids), num_tokens=len(ids))
            times.append(perf_counter() - start_s)
        return 1e6 * median(times)


def _windows(split: Documents, num_domains: int) -> tuple[list[TokenArray], np.ndarray]:
    windows: list[TokenArray] = []
    own: list[int] = []
    for domain in range(num_domains):
        found = sample_windows([split.ids[n] for n in np.flatnonzero(split.own_N == domain)])
        windows += found
        own += [domain] * len(found)
    return windows, np.array(own)


def tuned(candidates: Sequence[Predict], dev: dict[int, Queries]) -> Predict:
    """Return the candidate with the best mean accuracy over the lengths on dev."""
    scores = [np.mean([_accuracy(each, dev[length]) for length in LENGTHS]) for each in candidates]
    return candidates[int(np.argmax(scores))]


def _accuracy(predict: Predict, queries: Queries) -> float:
    return float((predict(queries.texts) == queries.own_N).mean())


def fit_peers(
    train: Documents, dev: dict[int, Queries], num_domains: int, vocab_size: int, seed: int
) -> dict[str, Predict]:
    """Fit every peer at every setting of its grid and keep the best on dev."""
    shared = {"vocab_size": vocab_size, "num_domains": num_domains}
    bayes = [
        naive_bayes.NaiveBayes(train.ids, train.own_N, smoothing=smoothing, **shared).predict
        for smoothing in naive_bayes.GRID
    ]
    centroids = [
        tfidf.TfidfCentroid(train.ids, train.own_N, tokens=t, sublinear=s, **shared).predict
        for t, s in tfidf.GRID
    ]
    embeddings = [
        cbtm.Embedding(
            train.ids, train.own_N, vocab_size=vocab_size, tokens=t, sublinear=s, seed=seed
        )
        for t, s in cbtm.GRID
    ]
    clusters = [
        cbtm.Cbtm(each, num_domains=num_domains, centres=centres, unit=unit, seed=seed).predict
        for each in embeddings
        for centres, unit in cbtm.VARIANTS
    ]
    return {
        "tfidf_centroid": tuned(centroids, dev),
        "cbtm": tuned(clusters, dev),
        "naive_bayes": tuned(bayes, dev),
    }


def run_seed(
    domains: dict[str, list[str]], seed: int, per_domain: int, basins_max: int
) -> dict[str, object]:
    """Fit everything on one split and predict its test queries."""
    names, splits = list(domains), split_documents(domains, seed)
    labels = [names[number] for number in splits["train"].domains]
    start_s = perf_counter()
    coordizer = train_coordizer(splits["train"].texts, labels, vocab_size=VOCAB_SIZE, seed=seed)
    encoded = {
        name: Documents(coordizer.encode_batch(split.texts), np.array(split.domains))
        for name, split in splits.items()
    }
    ours = FisherRao(coordizer, encoded["train"], encoded["dev"], names, basins_max)
    seconds_fit = coordizer.provenance.seconds_coordinates + ours.seconds
    seconds_all = perf_counter() - start_s
    free = FisherRao(
        refit(coordizer, splits["train"].texts, seed=seed),
        encoded["train"],
        encoded["dev"],
        names,
        basins_max,
    )
    dev = {length: draw_queries(encoded["dev"], length, 50, seed) for length in LENGTHS}
    test = {length: draw_queries(encoded["test"], length, per_domain, seed) for length in LENGTHS}
    peers = fit_peers(encoded["train"], dev, len(names), coordizer.vocab_size, seed)
    hits: dict[str, dict[int, np.ndarray]] = {}
    for length, queries in test.items():
        chosen = ours.predict(queries.texts)
        chosen |= {_free_name(name): found for name, found in free.predict(queries.texts).items()}
        chosen |= {name: predict(queries.texts) for name, predict in peers.items()}
        for name, found in chosen.items():
            hits.setdefault(name, {})[length] = found == queries.own_N
    return {
        "hits": hits,
        "test": test,
        "seconds_fit": seconds_fit,
        "seconds_with_merges": seconds_all,
        "microseconds": ours.microseconds(test[64].texts[:1000]),
        "temperature": ours.calibration.temperatures[Rule.BEARING],
        "basins": ours.num_basins,
    }


def _free_name(name: str) -> str:
    return name.replace("fisher_rao_", "fisher_rao_free_").replace("euclidean", "euclidean_free")


def paired_difference(
    runs: Sequence[dict], peer: str, length: int, rng: np.random.Generator
) -> dict[str, float]:
    """Return ours minus the peer with a 95 % interval, resampling documents of all seeds."""
    gains, counts = [], []
    for run in runs:
        document_N = run["test"][length].document_N
        gain_N = run["hits"][OURS][length].astype(float) - run["hits"][peer][length]
        _, place_N = np.unique(document_N, return_inverse=True)
        gains.append(np.bincount(place_N, gain_N))
        counts.append(np.bincount(place_N))
    gain_D, count_D = np.concatenate(gains), np.concatenate(counts)
    draws = rng.multinomial(gain_D.size, np.full(gain_D.size, 1 / gain_D.size), BOOTSTRAPS)
    low, high = np.quantile((draws @ gain_D) / (draws @ count_D), (0.025, 0.975))
    mean = gain_D.sum() / count_D.sum()
    return {"mean": round(mean, 4), "low": round(low, 4), "high": round(high, 4)}


def summarise(runs: Sequence[dict], domains: dict[str, list[str]]) -> dict[str, object]:
    """Return the report: a map from length to accuracy per method, and what goes with it."""
    rng = np.random.default_rng(0)
    methods = list(runs[0]["hits"])
    per_seed = {
        name: {
            str(length): [round(float(run["hits"][name][length].mean()), 4) for run in runs]
            for length in LENGTHS
        }
        for name in methods
    }
    report: dict[str, object] = {
        name: {length: round(float(np.mean(values)), 4) for length, values in by_length.items()}
        for name, by_length in per_seed.items()
    }
    return report | {
        "per_seed": per_seed,
        "ours_minus": {
            peer: {str(length): paired_difference(runs, peer, length, rng) for length in LENGTHS}
            for peer in PEERS
        },
        "seconds_fit": round(median(run["seconds_fit"] for run in runs), 2),
        "seconds_with_merges": round(median(run["seconds_with_merges"] for run in runs), 2),
        "microseconds_per_query": round(median(run["microseconds"] for run in runs), 1),
        "temperature": round(median(run["temperature"] for run in runs), 3),
        "basins": round(float(np.mean([run["basins"] for run in runs])), 2),
        "num_domains": len(domains),
        "num_documents": {name: len(documents) for name, documents in domains.items()},
        "queries": {str(n): [len(run["test"][n].texts) for run in runs] for n in LENGTHS},
        "machine": f"{platform.machine()} {platform.python_version()}",
    }


def print_table(report: dict) -> None:
    print(f"{'':26}" + "".join(f"{length:>9}" for length in LENGTHS))
    for name in report["per_seed"]:
        cells = "".join(f"{report[name][str(length)]:9.3f}" for length in LENGTHS)
        print(f"{name:26}{cells}")
    for peer, by_length in report["ours_minus"].items():
        cells = "  ".join(
            f"{d['mean']:+.3f} [{d['low']:+.3f}, {d['high']:+.3f}]" for d in by_length.values()
        )
        print(f"{OURS} - {peer:15} {cells}")
    print(
        f"fit {report['seconds_fit']} s, fold and route {report['microseconds_per_query']} us, "
        f"{report['num_domains']} domains"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, required=True, help="a folder of domains")
    parser.add_argument("--seeds", type=int, default=3, help="splits to average over")
    parser.add_argument("--queries", type=int, default=200, help="per domain and length")
    parser.add_argument("--basins-max", type=int, default=8, help="most basins of a kernel")
    parser.add_argument("--json", action="store_true", help="print the JSON object only")
    args = parser.parse_args()
    if args.seeds < 1 or args.queries < 1:
        parser.error("--seeds and --queries must be at least 1")
    domains = read_domains(args.corpus)
    runs = [run_seed(domains, seed, args.queries, args.basins_max) for seed in range(args.seeds)]
    report = summarise(runs, domains)
    if not args.json:
        print_table(report)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
