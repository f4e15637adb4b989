"""Does a refusal refuse? Shares of in-domain and of foreign queries that thresholds refuse.

    python -m benchmarks.refusal --queries FILE... [--corpus DIR] [--seeds 3] [--basins-max 8]

FILE is a JSON object of splits ("train", "val", "test", "oos_test"), each a list of [text, label];
or a JSON object from domains to lists of labels, which also gives settings with a kernel for each
domain. Kernels and thresholds are made from "train" and "val"; "test" and "oos_test" are asked. A
setting "few" has 10 training queries of each label, drawn anew for each seed.

DIR has a sub-folder or file for each domain. For each seed one domain is kept away from training
altogether, and its passages are the foreign ones; passages of 8 to 128 tokens of the others' test
documents are asked.

Keys of a setting: `refused_in` and `caught_out` (share asked -> share of in-domain and of foreign
queries refused; the first is better when near the share asked, the second when higher);
`caught_at`, share -> share of foreign queries refused when the thresholds of that share are shifted
by one constant until exactly that share of the in-domain test queries is refused: better when
higher, and comparable between releases, which miss the share asked by unlike amounts; `auroc`,
better when higher; for comparison `perfect`: what a threshold on the distance alone catches when it
is chosen on the test queries themselves; `by_length`, the same by the tokens of a query: tokens at
most -> in-domain and foreign queries, share of them beyond the shifted thresholds of the last
share, and `auroc`; `basins`: basins of a kernel, on average. The last line is one JSON object.
"""

import argparse
import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.domain_corpus import read_domains, split_documents
from benchmarks.refusal_figures import LENGTHS, SHARES, Asked, compare, mean_of
from constellation.coordizer.coordizer import Coordizer
from constellation.coordizer.evidence import evidence
from constellation.coordizer.training import train_coordizer
from constellation.curricula.corpus import Document
from constellation.domains.fit import FitOptions, fit_table
from constellation.domains.record import make_domain
from constellation.records import Rule, Table, TokenArray
from constellation.routing.policy import RoutingPolicy

VOCAB_SIZE = 8_192
FEW = 10
PASSAGES_PER_DOCUMENT = 12

Query = tuple[str, str]
"""A text and its label."""


def make(
    train: Sequence[Document], dev: Sequence[Document], seed: int, basins_max: int
) -> tuple[Coordizer, Table]:
    """Train a coordizer and make a table, as a training run does, without kernels."""
    labels = [document.domain for document in train]
    coordizer = train_coordizer(
        [document.text for document in train], labels, vocab_size=VOCAB_SIZE, seed=seed
    )
    domains = [
        make_domain(name, _pairs(train, name), _pairs(dev, name), coordizer, seed=seed)
        for name in sorted(set(labels))
    ]
    options = FitOptions(seed=seed, basins_max=basins_max)
    return coordizer, fit_table(domains, coordizer, options).table


def _pairs(documents: Sequence[Document], domain: str) -> list[tuple[str, str]]:
    return [(each.source, each.text) for each in documents if each.domain == domain]


def ask(
    coordizer: Coordizer, policy: RoutingPolicy, rule: Rule, queries: Sequence[TokenArray]
) -> Asked:
    """Route every query at every share."""
    distance, beyond, excess, kernels = [], [], [], []
    for ids in queries:
        basin_K = coordizer.basin(ids)
        routes = [
            policy.decide(basin_K, num_tokens=len(ids), rule=rule, refuse=share) for share in SHARES
        ]
        nearest = [route.choices[0] for route in routes]
        distance.append(nearest[-1].distance)
        beyond.append([route.out_of_domain for route in routes])
        excess.append([choice.distance - choice.radius for choice in nearest])
        kernels.append(routes[-1].kernel)
    length_N = np.array([len(ids) for ids in queries])
    return Asked(np.array(distance), np.array(beyond), np.array(excess), length_N, kernels)


def read_queries(files: Sequence[Path]) -> tuple[dict[str, list[Query]], dict[str, str]]:
    """Return the splits, and label -> domain when a file gives domains."""
    splits: dict[str, list[Query]] = {}
    domain_of: dict[str, str] = {}
    for file in files:
        content = json.loads(file.read_text(encoding="utf-8"))
        for name, rows in content.items():
            if rows and isinstance(rows[0], str):
                domain_of |= dict.fromkeys(rows, name)
            else:
                splits[name] = [(str(text), str(label)) for text, label in rows]
    if missing := {"train", "val", "test", "oos_test"} - set(splits):
        raise SystemExit(f"no split {sorted(missing)} in {', '.join(map(str, files))}")
    return splits, domain_of


def query_settings(
    files: Sequence[Path], seeds: int, rule: Rule, basins_max: int
) -> dict[str, Any]:
    """Return the figures of every setting of labelled queries."""
    splits, domain_of = read_queries(files)
    groups = {"labels": {label: label for _, label in splits["train"]}}
    if domain_of:
        groups["domains"] = domain_of
    return {
        f"{name}_{size}": mean_of(
            [
                _run_queries(
                    splits, group, rule, seed, basins_max, few=FEW if size == "few" else None
                )
                for seed in range(seeds)
            ]
        )
        for name, group in sorted(groups.items())
        for size in ("full", "few")
    }


def _run_queries(
    splits: Mapping[str, list[Query]],
    group: Mapping[str, str],
    rule: Rule,
    seed: int,
    basins_max: int,
    *,
    few: int | None,
) -> dict[str, Any]:
    train = splits["train"] if few is None else _drawn(splits["train"], few, seed)
    documents = {
        name: [
            Document(text=text, domain=group[label], source=f"{name} {row}")
            for row, (text, label) in enumerate(rows)
        ]
        for name, rows in (("train", train), ("val", splits["val"]))
    }
    coordizer, table = make(documents["train"], documents["val"], seed, basins_max)
    policy = RoutingPolicy(table)
    asked = {
        name: ask(
            coordizer,
            policy,
            rule,
            coordizer.encode_batch([evidence(text) for text, _ in splits[name]]),
        )
        for name in ("test", "oos_test")
    }
    labels = [group[label] for _, label in splits["test"]]
    return compare(asked["test"], asked["oos_test"], labels) | {"basins": num_basins(table)}


def _drawn(rows: Sequence[Query], count: int, seed: int) -> list[Query]:
    rng = np.random.default_rng(seed)
    of_label: dict[str, list[Query]] = {}
    for row in rows:
        of_label.setdefault(row[1], []).append(row)
    return [
        own[place]
        for own in of_label.values()
        for place in sorted(rng.choice(len(own), min(count, len(own)), replace=False))
    ]


def num_basins(table: Table) -> float:
    """Return the mean number of basins of a kernel."""
    return float(np.mean([len(site.basins_BK) for site in table.sites]))


def passage_settings(folder: Path, seeds: int, rule: Rule, basins_max: int) -> dict[str, Any]:
    """Return the figures of passages, by length; one domain is foreign for each seed."""
    domains = read_domains(folder)
    if len(domains) < 3:
        raise SystemExit("a domain is kept away, and two others are needed; give three or more")
    runs = [_run_passages(domains, rule, seed, basins_max) for seed in range(seeds)]
    return {
        f"passages_{length}": mean_of([run[length] for run in runs if length in run])
        for length in LENGTHS
        if any(length in run for run in runs)
    }


def _run_passages(
    domains: Mapping[str, list[str]], rule: Rule, seed: int, basins_max: int
) -> dict[int, dict[str, Any]]:
    foreign = sorted(domains)[seed % len(domains)]
    own = {name: texts for name, texts in domains.items() if name != foreign}
    names, splits = list(own), split_documents(own, seed)
    documents = {
        name: [
            Document(text=text, domain=names[number], source=f"{name} {row}")
            for row, (text, number) in enumerate(zip(split.texts, split.domains, strict=True))
        ]
        for name, split in splits.items()
    }
    coordizer, table = make(documents["train"], documents["dev"], seed, basins_max)
    policy = RoutingPolicy(table)
    strangers = [Document(text=text, domain=foreign, source="") for text in domains[foreign]]
    figures = {}
    for length in LENGTHS:
        texts, labels = _passages(documents["test"], coordizer, length)
        strange, _ = _passages(strangers, coordizer, length)
        if texts and strange:
            found = [ask(coordizer, policy, rule, each) for each in (texts, strange)]
            figures[length] = compare(found[0], found[1], labels) | {"basins": num_basins(table)}
    return figures


def _passages(
    documents: Sequence[Document], coordizer: Coordizer, length: int
) -> tuple[list[TokenArray], list[str]]:
    texts, labels = [], []
    encoded = coordizer.encode_batch([evidence(document.text) for document in documents])
    for document, ids in zip(documents, encoded, strict=True):
        last = len(ids) - length
        if last < 0:
            continue
        starts = np.unique(np.linspace(0, last, PASSAGES_PER_DOCUMENT).astype(int))
        texts += [ids[start : start + length] for start in starts]
        labels += [document.domain] * len(starts)
    return texts, labels


def print_table(settings: Mapping[str, Any]) -> None:
    for name, found in settings.items():
        shares = "  ".join(
            f"at {100 * share:g} %: in {100 * found['refused_in'][str(share)]:.2f} %, "
            f"out {found['caught_out'][str(share)]:.3f}, at exactly that "
            f"{found['caught_at'][str(share)]:.3f} (perfect on distance "
            f"{found['perfect'][str(share)]:.3f})"
            for share in SHARES
        )
        print(f"{name:14} {shares}  auroc {found['auroc']:.3f}  accuracy {found['accuracy']:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--queries", type=Path, nargs="+", help="files of labelled queries")
    parser.add_argument("--corpus", type=Path, help="a folder of domains")
    parser.add_argument("--rule", choices=list(Rule), default=Rule.BEARING, type=Rule)
    parser.add_argument("--seeds", type=int, default=3, help="draws to average over")
    parser.add_argument("--basins-max", type=int, default=8, help="most basins of a kernel")
    parser.add_argument("--json", action="store_true", help="print the JSON object only")
    args = parser.parse_args()
    if args.seeds < 1 or not (args.queries or args.corpus):
        parser.error("give --queries or --corpus, and --seeds of at least 1")
    settings: dict[str, Any] = {}
    if args.queries:
        settings |= query_settings(args.queries, args.seeds, args.rule, args.basins_max)
    if args.corpus:
        settings |= passage_settings(args.corpus, args.seeds, args.rule, args.basins_max)
    if not args.json:
        print_table(settings)
    asked = {"rule": args.rule, "seeds": args.seeds, "basins_max": args.basins_max}
    machine = f"{platform.machine()} {platform.python_version()}"
    print(json.dumps({**settings, **asked, "machine": machine}))


if __name__ == "__main__":
    main()
