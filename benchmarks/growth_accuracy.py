"""Is a domain that joins later routed as if it had been there from the start?

    python -m benchmarks.growth_accuracy --corpus DIR [--seeds 3] [--frozen] [--json]
    python -m benchmarks.growth_accuracy --queries clinc150 [--seeds 3] [--json]
    python -m benchmarks.growth_accuracy --corpus DIR --join-only [--json]

DIR has one sub-folder or file per domain. For each seed: documents are split into train, dev and
test; half of the domains, drawn by the seed, are there from the start, and tokens are trained on
their text alone; the others join one by one. Queries of 8, 32 and 128 tokens are cut from test
documents. With `--queries clinc150` the domains are the intents of CLINC150, and queries are its
test queries as they are (length "query").

Keys of the report, each with the length after the dot: `late` and `early_after`, accuracy of
queries of domains that joined and of those before them, when all are there; `early_before`, when
none has joined; `late_from_start` and `early_from_start`, in a constellation that was trained on
all of them, tokens included; `tfidf_late` and `naive_bayes_late`, peers on all domains from the
start, at the best of their grids on dev, and `..._same_tokens` the peers on the tokens that are
served, which know the first domains alone; `frozen_late` (`--frozen`), with the coordinates of
before, as release 0.1.0 did: all better when higher. Paired differences, taken seed by seed before
any median: `late_behind` and `early_behind`, accuracy from the start less that of the grown
constellation, and `late_behind_naive_bayes`, accuracy of naive Bayes less `late`, better when
lower (negative: ahead); `late_ahead_of_tfidf`, `late` less accuracy of tf-idf, better when higher.
`moved` is the share of queries that go from one domain to another when a third joins;
`join_seconds` is what one joining takes, from text to the release that is current, and
`join_processor_seconds` what it takes of the processor: better when lower. With `--join-only` one
domain joins all others and only that is timed, which a large corpus is for.
"""

import argparse
import json
import platform
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from benchmarks.baselines import naive_bayes, tfidf
from benchmarks.domain_corpus import read_domains, split_documents
from benchmarks.growth_served import Corpus, Served, Texts, record
from benchmarks.routing_accuracy import Documents, draw_queries
from constellation.coordizer.coordizer import Coordizer
from constellation.coordizer.training import train_coordizer
from constellation.curricula.chunks import chunk
from constellation.domains.fit import FitOptions, Fitted, fit, fit_table
from constellation.records import TokenArray
from constellation.routing.policy import RoutingPolicy
from training.evaluation.new_kernel_cost import Routing

LENGTHS = (8, 32, 128)
VOCAB_SIZE = 8_192
PIECE_CHARACTERS = (2_000, 4_000)
SAMPLE = 200
"""Documents of each domain on which tokens are trained where only the joining is timed."""
CLINC150 = Path(__file__).parents[2] / "shared" / "data" / "clinc150" / "data_full.json"
Predict = Callable[[Sequence[TokenArray]], NDArray[np.intp]]
DIFFERENCES = {
    "late_behind": ("late_from_start", "late"),
    "early_behind": ("early_from_start", "early_after"),
    "late_behind_naive_bayes": ("naive_bayes_late", "late"),
    "late_ahead_of_tfidf": ("late", "tfidf_late"),
}
"""Key of a paired difference -> the key it is taken from, and the key that is taken away."""


@dataclass(frozen=True, slots=True)
class Queries:
    """Texts of one length, as bytes, with the domain of each."""

    texts: list[bytes]
    own: list[str]

    def of(self, names: Sequence[str]) -> "Queries":
        """Return the queries of some domains."""
        kept = [place for place, own in enumerate(self.own) if own in set(names)]
        return Queries([self.texts[place] for place in kept], [self.own[place] for place in kept])


def routes(fitted: Routing | Fitted, queries: Queries) -> list[str]:
    """Return the kernel that each query goes to, by the default rule."""
    policy, coordizer = RoutingPolicy(fitted.table), fitted.coordizer
    tokens = coordizer.encode_batch([text.strip() for text in queries.texts])
    basins_NK = coordizer.basin_estimator.basins(tokens)
    return [
        policy.decide(basin_K, num_tokens=len(ids)).kernel
        for basin_K, ids in zip(basins_NK, tokens, strict=True)
    ]


def accuracy(found: Sequence[str], queries: Queries) -> float:
    """Return the share of queries that go to their own domain."""
    return float(np.mean([one == own for one, own in zip(found, queries.own, strict=True)]))


def read_corpus(folder: Path, seed: int) -> Corpus:
    """Return the documents of a folder: those to learn from in pieces, as training cuts them."""
    domains = read_domains(folder)
    names, splits = list(domains), split_documents(domains, seed)
    texts: dict[str, dict[str, list[str]]] = {part: {} for part in splits}
    for part, split in splits.items():
        for text, number in zip(split.texts, split.domains, strict=True):
            smallest, largest = PIECE_CHARACTERS
            pieces = (
                [text] if part == "test" else chunk(text, chars_min=smallest, chars_max=largest)
            )
            texts[part].setdefault(_kernel_name(names[number]), []).extend(pieces)
    return Corpus(texts["train"], texts["dev"], texts["test"])


def read_clinc150(path: Path) -> Corpus:
    """Return the queries of CLINC150, each intent a domain."""
    content = json.loads(path.read_text(encoding="utf-8"))
    parts: dict[str, dict[str, list[str]]] = {"train": {}, "val": {}, "test": {}}
    for part, texts in parts.items():
        for text, intent in content[part]:
            texts.setdefault(_kernel_name(intent), []).append(text)
    return Corpus(parts["train"], parts["val"], parts["test"])


def _kernel_name(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in name.lower()).strip("-")


def cut_queries(texts: Texts, tokens: Coordizer, per_domain: int, seed: int) -> dict[str, Queries]:
    """Return queries of every length, by the tokens of what is served at the start."""
    names = sorted(texts)
    ids = [each for name in names for each in tokens.encode_batch(texts[name])]
    own = np.repeat(np.arange(len(names)), [len(texts[name]) for name in names])
    cut = {}
    for length in LENGTHS:
        drawn = draw_queries(Documents(ids, own), length, per_domain, seed)
        cut[str(length)] = Queries(
            [tokens.decode(each) for each in drawn.texts], [names[place] for place in drawn.own_N]
        )
    return cut


def whole_queries(texts: Texts) -> dict[str, Queries]:
    """Return texts as queries, as they are."""
    pairs = [(text.encode(), name) for name in sorted(texts) for text in texts[name]]
    return {"query": Queries([text for text, _ in pairs], [name for _, name in pairs])}


def train_tokens(corpus: Corpus, names: Sequence[str], seed: int) -> Coordizer:
    """Return a coordizer that was trained on the text of some domains."""
    pairs = [(text, name) for name in names for text in corpus.train[name]]
    return train_coordizer(
        [text for text, _ in pairs], [name for _, name in pairs], vocab_size=VOCAB_SIZE, seed=seed
    )


def fit_peers(
    corpus: Corpus, names: Sequence[str], tokens: Coordizer, dev: Mapping[str, Queries]
) -> dict[str, Predict]:
    """Fit the peers on all domains at every setting of their grids; keep the best on dev."""
    ids = [each for name in names for each in tokens.encode_batch(corpus.train[name])]
    own_N = np.repeat(np.arange(len(names)), [len(corpus.train[name]) for name in names])
    shared = {"vocab_size": tokens.vocab_size, "num_domains": len(names)}
    candidates = {
        "tfidf_late": [
            tfidf.TfidfCentroid(ids, own_N, tokens=size, sublinear=sublinear, **shared).predict
            for size, sublinear in tfidf.GRID
        ],
        "naive_bayes_late": [
            naive_bayes.NaiveBayes(ids, own_N, smoothing=smoothing, **shared).predict
            for smoothing in naive_bayes.GRID
        ],
    }
    best = {}
    for key, each in candidates.items():
        scores = [
            mean(peer_accuracy(one, tokens, names, queries) for queries in dev.values())
            for one in each
        ]
        best[key] = each[int(np.argmax(scores))]
    return best


def peer_accuracy(
    predict: Predict, tokens: Coordizer, names: Sequence[str], queries: Queries
) -> float:
    """Return the share of queries that a peer sends to their own domain."""
    found = predict(tokens.encode_batch([text.strip() for text in queries.texts]))
    return accuracy([names[place] for place in found], queries)


def run_seed(corpus: Corpus, options: argparse.Namespace, seed: int) -> dict[str, float]:
    """Let half of the domains join those that are there; return the figures of one seed."""
    names = sorted(corpus.train)
    drawn = random.Random(seed).sample(names, len(names))
    num_early = options.start or (len(names) + 1) // 2
    early, late = sorted(drawn[:num_early]), drawn[num_early:]
    tokens = train_tokens(corpus, early, seed)
    is_cut = options.queries is None
    test = cut_queries(corpus.test, tokens, options.per_domain, seed) if is_cut else None
    test = test or whole_queries(corpus.test)
    with TemporaryDirectory() as folder:
        served = Served(Path(folder), tokens, _options(options, seed))
        served.start([record(name, corpus, tokens, seed) for name in early])
        figures = _grown(served, corpus, test, early, late, frozen=options.frozen)
    figures |= _peers(corpus, options, seed, tokens, test, late, suffix="_same_tokens")
    figures |= _from_start(corpus, options, seed, test, early, late)
    return figures | differences(figures, list(test))


def differences(figures: Mapping[str, float], lengths: Sequence[str]) -> dict[str, float]:
    """Return what two figures of one seed differ by, for every key of `DIFFERENCES`."""
    return {
        f"{key}.{length}": figures[f"{whole}.{length}"] - figures[f"{part}.{length}"]
        for key, (whole, part) in DIFFERENCES.items()
        for length in lengths
    }


def _grown(
    served: Served,
    corpus: Corpus,
    test: Mapping[str, Queries],
    early: Sequence[str],
    late: Sequence[str],
    *,
    frozen: bool,
) -> dict[str, float]:
    """Let domains join one by one; return what arrives before and after, and what moves."""
    routing = served.routing
    start = routing.coordizer
    before = {length: routes(routing, queries) for length, queries in test.items()}
    figures = _accuracies("early_before", routing, test, early)
    seconds, moved, asked = [], dict.fromkeys(test, 0), dict.fromkeys(test, 0)
    there = list(early)
    for name in late:
        seconds.append(served.join(name, corpus))
        routing = served.routing
        for length, queries in test.items():
            after = routes(routing, queries)
            for old, new, own in zip(before[length], after, queries.own, strict=True):
                asked[length] += own in there
                moved[length] += own in there and new not in (old, name)
            before[length] = after
        there.append(name)
    figures |= _accuracies("late", routing, test, late)
    figures |= _accuracies("early_after", routing, test, early)
    if frozen:
        figures |= _accuracies("frozen_late", fit_table(served.domains, start), test, late)
    figures |= {f"moved.{length}": moved[length] / asked[length] for length in test}
    figures["moved"] = sum(moved.values()) / sum(asked.values())
    figures["join_seconds"] = median(wall_s for wall_s, _ in seconds)
    figures["join_processor_seconds"] = median(processor_s for _, processor_s in seconds)
    return figures


def join_once(corpus: Corpus, seed: int) -> dict[str, float]:
    """Let one domain, drawn by the seed, join all others; return what that takes."""
    names = sorted(corpus.train)
    joining = random.Random(seed).choice(names)
    others = [name for name in names if name != joining]
    sample = {name: corpus.train[name][:SAMPLE] for name in others}
    tokens = train_tokens(Corpus(sample, {}, {}), others, seed)
    with TemporaryDirectory() as folder:
        served = Served(Path(folder), tokens, FitOptions(seed=seed))
        served.start([record(name, corpus, tokens, seed) for name in others])
        wall_s, processor_s = served.join(joining, corpus)
    return {"join_seconds": wall_s, "join_processor_seconds": processor_s}


def _from_start(
    corpus: Corpus,
    options: argparse.Namespace,
    seed: int,
    test: Mapping[str, Queries],
    early: Sequence[str],
    late: Sequence[str],
) -> dict[str, float]:
    names = sorted(corpus.train)
    tokens = train_tokens(corpus, names, seed)
    records = [record(name, corpus, tokens, seed) for name in names]
    fitted = fit(records, tokens, _options(options, seed))
    figures = _accuracies("late_from_start", fitted, test, late)
    figures |= _accuracies("early_from_start", fitted, test, early)
    return figures | _peers(corpus, options, seed, tokens, test, late)


def _peers(
    corpus: Corpus,
    options: argparse.Namespace,
    seed: int,
    tokens: Coordizer,
    test: Mapping[str, Queries],
    late: Sequence[str],
    suffix: str = "",
) -> dict[str, float]:
    names = sorted(corpus.train)
    is_cut = options.queries is None
    dev = cut_queries(corpus.dev, tokens, 50, seed) if is_cut else whole_queries(corpus.dev)
    return {
        f"{key}{suffix}.{length}": peer_accuracy(predict, tokens, names, queries.of(late))
        for key, predict in fit_peers(corpus, names, tokens, dev).items()
        for length, queries in test.items()
    }


def _options(options: argparse.Namespace, seed: int) -> FitOptions:
    return FitOptions(seed=seed, basins_max=options.basins_max)


def _accuracies(
    key: str, fitted: Routing | Fitted, test: Mapping[str, Queries], names: Sequence[str]
) -> dict[str, float]:
    found = {}
    for length, queries in test.items():
        own = queries.of(names)
        found[f"{key}.{length}"] = accuracy(routes(fitted, own), own)
    return found


def summarise(runs: Sequence[Mapping[str, float]], corpus: Corpus) -> dict[str, object]:
    """Return the median of every figure, its least and greatest value, and what it was run on."""
    values = {key: [round(run[key], 4) for run in runs] for key in runs[0]}
    parts = (corpus.train, corpus.dev)
    num_characters = sum(len(text) for part in parts for own in part.values() for text in own)
    return {key: round(median(each), 4) for key, each in values.items()} | {
        "spread": {key: [min(each), max(each)] for key, each in values.items()},
        "per_seed": values,
        "num_seeds": len(runs),
        "num_domains": len(corpus.train),
        "megacharacters": round(num_characters / 1e6, 2),
        "machine": f"{platform.machine()} {platform.python_version()}",
    }


def print_table(report: Mapping[str, object]) -> None:
    spread = report["spread"]
    assert isinstance(spread, dict)
    for key, (low, high) in spread.items():
        print(f"{key:32} {report[key]:8.4f}  [{low:.4f}, {high:.4f}]")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--corpus", type=Path, help="a folder of domains")
    source.add_argument("--queries", choices=["clinc150"], help="a data set of short queries")
    parser.add_argument("--data", type=Path, default=CLINC150, help="file of the data set")
    parser.add_argument("--seeds", type=int, default=3, help="splits to run")
    parser.add_argument("--start", type=int, help="domains there from the start; half by default")
    parser.add_argument("--per-domain", type=int, default=200, help="queries of one length")
    parser.add_argument("--frozen", action="store_true", help="also with frozen coordinates")
    parser.add_argument("--basins-max", type=int, default=1, help="most basins of one kernel")
    parser.add_argument("--join-only", action="store_true", help="time one joining, no more")
    parser.add_argument("--json", action="store_true", help="print the JSON object only")
    args = parser.parse_args()
    if args.seeds < 1 or args.per_domain < 1:
        parser.error("--seeds and --per-domain must be at least 1")
    runs = []
    for seed in range(args.seeds):
        corpus = read_corpus(args.corpus, seed) if args.corpus else read_clinc150(args.data)
        runs.append(join_once(corpus, seed) if args.join_only else run_seed(corpus, args, seed))
    report = summarise(runs, corpus)
    if not args.json:
        print_table(report)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
