"""What are several kernels worth together, and a handoff, where a text mixes or changes domains?

    python -m benchmarks.modes --artifacts DIR [--text FILE ...] [--seeds 3] [--top-k 2 4] [--json]

DIR is what training left; a FILE holds a JSON object with `text` and `domain` a line, by default
DIR/corpus/test.jsonl, which nothing was fitted on. Three kinds of document, each routed by its
first 32 tokens and scored on the rest, in bits per byte:

    |-- single     a document of one domain
    |-- mixed      two documents of different domains, 32 tokens of each by turns
    `-- changing   the first half of one document, then the second half of the other

Modes are scored by the code that serves (`routing.weighing`, `routing.handoff`); `mixture_fixed` is
a mixture whose weights stay the route's, `handoff` is `nearest` with handoffs. Every figure is a
ratio to `nearest` on the same bytes, with a 95 % interval: paired bootstrap over documents; every
seed pairs them anew. Below 1 is a gain; an interval that holds 1 is a null. `best_single_kernel` is
chosen per document in hindsight; no router can.

Shapes: B draws, S source documents, D documents scored, M kernels, T tokens, k kernels of a route.
"""

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from constellation.coordizer.coordizer import Coordizer
from constellation.kernel.adapters.kernel_folder import open_kernel
from constellation.kernel.network.decoder import Decoder
from constellation.kernel.writing.scoring import token_nats
from constellation.records import FloatArray, Mode, Rule, Table
from constellation.releases.store import ReleaseStore
from constellation.routing.handoff import WINDOW, HandoffRule, HandoffWatch
from constellation.routing.mixture_weights import joint_nats, renewal
from constellation.routing.policy import RoutingPolicy
from constellation.wire.table_file import load_table

PREFIX_TOKENS = 32
"""Tokens that a document is routed by."""
PASSAGE_TOKENS = 32
"""Tokens of one domain before a mixed document turns to the other."""
TOKENS_MIN = 96
"""Shorter documents are left out."""
DRAWS = 2000
KINDS = ("single", "mixed", "changing")


@dataclass(frozen=True, slots=True)
class Text:
    """A document to score."""

    domains: tuple[str, ...]
    sources: tuple[int, ...]
    """Numbers of the documents that it is made of."""
    tokens: list[int]


@dataclass(frozen=True, slots=True)
class Scored:
    """One document under every mode."""

    sources: tuple[int, ...]
    num_bytes: int
    nats: Mapping[str, float]


class Constellation:
    """The current release of what training left, in this process."""

    def __init__(self, artifacts: Path) -> None:
        release = ReleaseStore(artifacts).current_folder()
        self.coordizer = Coordizer.load(release / "coordizer")
        self.table: Table = load_table(release / "table.msgpack")
        self.names = [site.name for site in self.table.sites]
        self.decoders: list[Decoder] = [
            open_kernel(release / "kernels" / name).decoder for name in self.names
        ]
        self.context = min(decoder.config.context for decoder in self.decoders)
        self.policy = RoutingPolicy(self.table, rule=Rule.BEARING)

    def score(self, text: Text, top_ks: Sequence[int]) -> Scored:
        """Score a document under every mode."""
        ids = [self.coordizer.end_id, *text.tokens]
        nats_MT = np.stack([token_nats(each, ids).double().numpy() for each in self.decoders])
        basin_K = self.coordizer.basin(text.tokens[:PREFIX_TOKENS])
        nearest = self.policy.decide(basin_K, num_tokens=PREFIX_TOKENS).kernel
        own = self.names.index(nearest)
        nats = {"nearest": float(nats_MT[own, PREFIX_TOKENS:].sum())}
        nats["handoff"] = self._handed_over(text.tokens, nats_MT, nearest)
        best = nats_MT[:, PREFIX_TOKENS:].sum(axis=1).min()
        nats["best_single_kernel"] = float(best)
        for top_k in top_ks:
            nats |= self._together(text.tokens, nats_MT, basin_K, top_k)
        num_bytes = len(self.coordizer.decode(text.tokens[PREFIX_TOKENS:]))
        return Scored(text.sources, num_bytes, nats)

    def _together(
        self, tokens: list[int], nats_MT: FloatArray, basin_K: FloatArray, top_k: int
    ) -> dict[str, float]:
        route = self.policy.decide(basin_K, num_tokens=PREFIX_TOKENS, top_k=top_k)
        choices = route.choices[:top_k]
        rows = [self.names.index(choice.kernel) for choice in choices]
        weights_k = np.array([choice.weight for choice in choices])
        members = Table(
            version=self.table.version,
            coordizer_hash=self.table.coordizer_hash,
            background_K=self.table.background_K,
            temperatures=self.table.temperatures,
            sites=tuple(self.table.sites[row] for row in rows),
        )
        renew = renewal(
            members, rule=Rule.BEARING, phi_weighting=True, basin_of=self.coordizer.basin
        )
        modes = {
            "mixture": (Mode.MIXTURE, renew),
            "mixture_fixed": (Mode.MIXTURE, None),
            "posterior": (Mode.POSTERIOR, None),
        }
        return {
            f"{name}_{top_k}": float(
                joint_nats(mode, nats_MT[rows], weights_k, tokens, PREFIX_TOKENS, follow).sum()
            )
            for name, (mode, follow) in modes.items()
        }

    def _handed_over(self, tokens: list[int], nats_MT: FloatArray, kernel: str) -> float:
        """Return the nats when the document is handed to the kernel that it moves to."""
        watch, total = HandoffWatch(HandoffRule()), 0.0
        for place in range(PREFIX_TOKENS, len(tokens)):
            if watch.is_due(place - PREFIX_TOKENS):
                basin_K = self.coordizer.basin(tokens[max(0, place - WINDOW) : place])
                nearest, lead = self.policy.lead(basin_K, kernel)
                kernel = watch.check(place - PREFIX_TOKENS, nearest, lead) or kernel
            total += float(nats_MT[self.names.index(kernel), place])
        return total


def read_texts(files: Sequence[Path], coordizer: Coordizer, context: int) -> list[Text]:
    """Return the documents that are long enough, cut at what kernels read together."""
    records = [
        json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()
    ]
    encoded = coordizer.encode_batch([record["text"] for record in records])
    return [
        Text((str(record["domain"]),), (number,), ids[:context].tolist())
        for number, (record, ids) in enumerate(zip(records, encoded, strict=True))
        if len(ids) >= TOKENS_MIN
    ]


def pairs(texts: Sequence[Text], rng: np.random.Generator) -> list[tuple[Text, Text]]:
    """Pair documents of different domains; each is in one pair at most."""
    left = [texts[place] for place in rng.permutation(len(texts))]
    found = []
    while left:
        first = left.pop()
        other = next((t for t in reversed(left) if t.domains != first.domains), None)
        if other is not None:
            left.remove(other)
            found.append((first, other))
    return found


def mixed(first: Text, second: Text, context: int) -> Text:
    """Return passages of both by turns, as far as the shorter one goes."""
    length = min(len(first.tokens), len(second.tokens), context // 2)
    tokens: list[int] = []
    for start in range(0, length - PASSAGE_TOKENS + 1, PASSAGE_TOKENS):
        for text in (first, second):
            tokens += text.tokens[start : start + PASSAGE_TOKENS]
    return _of_both(first, second, tokens)


def changing(first: Text, second: Text, context: int) -> Text:
    """Return the beginning of the first, then the end of the second."""
    half = min(len(first.tokens), len(second.tokens), context) // 2
    return _of_both(first, second, first.tokens[:half] + second.tokens[-half:])


def _of_both(first: Text, second: Text, tokens: list[int]) -> Text:
    return Text(first.domains + second.domains, first.sources + second.sources, tokens)


def interval(scored: Sequence[Scored], mode: str, rng: np.random.Generator) -> dict[str, object]:
    """Return a mode's bits per byte over those of `nearest`, and what that means."""
    upper_D = np.array([each.nats[mode] for each in scored])
    lower_D = np.array([each.nats["nearest"] for each in scored])
    counts_BD = _counts(scored, rng)
    low, high = np.quantile((counts_BD @ upper_D) / (counts_BD @ lower_D), (0.025, 0.975))
    verdict = "gain" if high < 1 else "loss" if low > 1 else "null"
    return {
        "ratio": round(float(upper_D.sum() / lower_D.sum()), 4),
        "low": round(float(low), 4),
        "high": round(float(high), 4),
        "verdict": verdict,
    }


def _counts(scored: Sequence[Scored], rng: np.random.Generator) -> FloatArray:
    """Return how often each is in every draw of the documents that they are made of.

    A pair counts as often as both of its documents do: one document is in several pairs, and what
    is drawn must be what is independent.
    """
    number = {each: row for row, each in enumerate(sorted({s for d in scored for s in d.sources}))}
    drawn_BS = rng.multinomial(len(number), np.full(len(number), 1 / len(number)), DRAWS)
    counts_BD = np.ones((DRAWS, len(scored)))
    for place, each in enumerate(scored):
        for source in each.sources:
            counts_BD[:, place] *= drawn_BS[:, number[source]]
    return counts_BD


def bits_per_byte(scored: Sequence[Scored], mode: str) -> float:
    """Return the bits per byte of a mode, each byte counting the same."""
    nats = sum(each.nats[mode] for each in scored)
    return nats / math.log(2) / sum(each.num_bytes for each in scored)


def summarise(scored: Mapping[str, Sequence[Sequence[Scored]]]) -> dict[str, object]:
    """Return the report: kind of document -> figures of every mode.

    Args:
        scored: Kind -> the documents of every seed.
    """
    report: dict[str, object] = {}
    for kind, per_seed in scored.items():
        pooled = [each for one in per_seed for each in one]
        rng = np.random.default_rng(0)
        modes = [mode for mode in pooled[0].nats if mode != "nearest"]
        report[kind] = {
            "num_documents": len(pooled),
            "num_bytes": sum(each.num_bytes for each in pooled),
            "bits_per_byte": {
                mode: round(bits_per_byte(pooled, mode), 4) for mode in pooled[0].nats
            },
            "to_nearest": {mode: interval(pooled, mode, rng) for mode in modes},
            "ratio_per_seed": {
                mode: [
                    round(bits_per_byte(one, mode) / bits_per_byte(one, "nearest"), 4)
                    for one in per_seed
                ]
                for mode in modes
            },
        }
    return report


def main() -> None:
    args = _arguments()
    torch.set_num_threads(args.threads)
    stars = Constellation(args.artifacts)
    if max(args.top_k) > len(stars.names):
        raise SystemExit(f"--top-k goes to {len(stars.names)}, the number of kernels")
    files = args.text or [args.artifacts / "corpus" / "test.jsonl"]
    texts = read_texts(files, stars.coordizer, stars.context)
    wanted: dict[str, list[list[Text]]] = {"single": [texts], "mixed": [], "changing": []}
    for seed in range(args.seeds):
        paired = pairs(texts, np.random.default_rng(seed))
        wanted["mixed"].append([mixed(*pair, stars.context) for pair in paired])
        wanted["changing"].append([changing(*pair, stars.context) for pair in paired])
    scored: dict[str, list[list[Scored]]] = {kind: [] for kind in KINDS}
    for kind in KINDS:
        for documents in wanted[kind]:
            print(f"{kind}: {len(documents)} documents", file=sys.stderr, flush=True)
            scored[kind].append([stars.score(text, args.top_k) for text in documents])
    report = {
        **summarise(scored),
        "num_kernels": len(stars.names),
        "context": stars.context,
        "seeds": args.seeds,
        "torch": torch.__version__,
    }
    if not args.json:
        _print(report)
    print(json.dumps(report))


def _print(report: Mapping[str, object]) -> None:
    for kind in KINDS:
        figures = report[kind]
        assert isinstance(figures, dict)
        nearest = figures["bits_per_byte"]["nearest"]
        print(f"{kind}: {figures['num_documents']} documents, nearest {nearest:.4f} bits per byte")
        for mode, found in figures["to_nearest"].items():
            low, high = found["low"], found["high"]
            print(f"  {mode:20} {found['ratio']:.4f} [{low:.4f}, {high:.4f}] {found['verdict']}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--artifacts", type=Path, required=True, help="what training left")
    parser.add_argument("--text", type=Path, nargs="+", help="JSON lines with text and domain")
    parser.add_argument("--seeds", type=int, default=3, help="pairings of the documents")
    parser.add_argument("--top-k", type=int, nargs="+", default=[2, 4], help="kernels together")
    parser.add_argument("--threads", type=int, default=1, help="of the kernels' products")
    parser.add_argument("--json", action="store_true", help="print the JSON object only")
    args = parser.parse_args()
    if args.seeds < 1 or min(args.top_k) < 2:
        parser.error("--seeds must be at least 1 and --top-k at least 2")
    return args


if __name__ == "__main__":
    main()
