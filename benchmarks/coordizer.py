"""How long does a coordizer take to train and to encode, beside the bare library `tokenizers`?

    python -m benchmarks.coordizer --corpus PATH [--vocab 32000] [--rounds 3] [--json]

PATH is a file, or a folder whose text files at any depth are the documents; sub-folders name the
domains that coordinates are anchored to (without them the fit is free). The bare library trains on
the same documents with the same split, vocabulary and floor; its turns and ours alternate. It
encodes by its fastest call, all documents at once on all cores, and ours starts each turn with
nothing remembered. Bits per byte are those of a small model of token pairs (Witten-Bell), trained
on nine documents of ten and scored on the tenth: both criteria's merges saw all ten.
"""

import argparse
import json
import math
import platform
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

import numpy as np
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

from benchmarks.domain_corpus import cut
from constellation.coordizer.bytelevel import SPLIT_PATTERN
from constellation.coordizer.coordizer import Coordizer
from constellation.coordizer.count_merges import PAIR_COUNT_MIN, train_count_merges
from constellation.coordizer.phi_merges import train_phi_merges
from constellation.coordizer.statistics import inspect
from constellation.coordizer.training import train_coordizer
from constellation.coordizer.vocabulary import Vocabulary, from_tokenizer
from constellation.records import TokenArray

FUZZ_CASES = 3_000
SHORT_TEXTS = 2_000
SHORT_TOKENS = 64
ODD_TEXT = (
    "<|end|>",
    "e\u0301",
    "\U0001f9d1\u200d\U0001f680",
    "\ud800",
    "\0",
    "\r\n",
    "\ufeff",
    "Ġ",
)


@dataclass(frozen=True, slots=True)
class Corpus:
    """Documents and, where sub-folders name them, their domains."""

    documents: list[str]
    labels: list[str] | None

    @property
    def num_bytes(self) -> int:
        return sum(len(document.encode()) for document in self.documents)


def read_corpus(path: Path) -> Corpus:
    """Read a file, cut into documents, or every text file of a folder."""
    if path.is_file():
        return Corpus(cut(path.read_bytes().decode("utf-8", "replace")), None)
    documents, labels = [], []
    for file in sorted(path.rglob("*")):
        data = file.read_bytes() if file.is_file() else b""
        if data.strip() and b"\0" not in data[:4096]:
            documents.append(data.decode("utf-8", "replace"))
            labels.append(file.relative_to(path).parts[0] if file.parent != path else "")
    if not documents:
        raise SystemExit(f"{path}: no text file")
    return Corpus(documents, labels if len(set(labels)) > 1 else None)


def train_bare(documents: Sequence[str], vocab_size: int) -> Tokenizer:
    """Train with the library alone, as its documentation shows."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT_PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=PAIR_COUNT_MIN,
        special_tokens=["<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(documents, trainer)
    return tokenizer


def time_merges(corpus: Corpus, vocab_size: int, rounds: int) -> dict[str, list[float]]:
    """Alternate our training by count with the bare library's."""

    def ours() -> Vocabulary:
        return from_tokenizer(train_count_merges(corpus.documents, vocab_size), criterion="count")

    def bare() -> Tokenizer:
        return train_bare(corpus.documents, vocab_size)

    pair: list[tuple[str, Callable[[], object]]] = [("ours", ours), ("bare", bare)]
    return alternate(lambda: pair, rounds)


def alternate(
    make_work: Callable[[], list[tuple[str, Callable[[], object]]]], rounds: int
) -> dict[str, list[float]]:
    """Time each piece of work once a round, on the wall and (`cpu_`) by this process."""
    times: dict[str, list[float]] = {}
    for turn in range(rounds):
        work = make_work()
        for name, call in work if turn % 2 == 0 else reversed(work):
            start_s, cpu_start_s = perf_counter(), process_time()
            call()
            times.setdefault(name, []).append(perf_counter() - start_s)
            times.setdefault(f"cpu_{name}", []).append(process_time() - cpu_start_s)
    return times


def time_encoding(coordizer: Coordizer, corpus: Corpus, rounds: int) -> dict[str, list[float]]:
    """Alternate encoding the corpus by both, one by one and all at once."""
    plain = coordizer.tokenizer()
    documents = corpus.documents

    def make_work() -> list[tuple[str, Callable[[], object]]]:
        batch, single = (Coordizer(coordizer.parts) for _ in range(2))  # nothing remembered
        return [
            ("ours_batch", lambda: batch.encode_batch(documents)),
            ("bare_batch", lambda: [e.ids for e in plain.encode_batch_fast(documents)]),
            ("ours_single", lambda: [single.encode(text) for text in documents]),
            ("bare_single", lambda: [plain.encode(text).ids for text in documents]),
        ]

    return alternate(make_work, rounds)


def time_short_texts(coordizer: Coordizer, corpus: Corpus, seed: int = 0) -> dict[str, float]:
    """Return microseconds per distinct 64-token text: tokens, basin, both; medians over texts."""
    texts = short_texts(coordizer, corpus, random.Random(seed))
    fresh = Coordizer(coordizer.parts)
    for text in texts[: len(texts) // 2]:  # warm-up on other texts than those timed
        fresh.basin(fresh.encode(text))
    tokens_s, both_s = [], []
    for text in texts[len(texts) // 2 :]:
        start_s = perf_counter()
        ids = fresh.encode(text)
        encoded_s = perf_counter()
        fresh.basin(ids)
        both_s.append(perf_counter() - start_s)
        tokens_s.append(encoded_s - start_s)
    return {
        "microseconds_tokens_64": 1e6 * median(tokens_s),
        "microseconds_tokens_and_basin_64": 1e6 * median(both_s),
        "microseconds_tokens_and_basin_64_p90": 1e6 * float(np.quantile(both_s, 0.9)),
    }


def short_texts(coordizer: Coordizer, corpus: Corpus, rng: random.Random) -> list[str]:
    texts: set[str] = set()
    for _ in range(20 * SHORT_TEXTS):
        document = rng.choice(corpus.documents)
        start = rng.randrange(len(document))
        ids = coordizer.encode(document[start : start + 1_000])[:SHORT_TOKENS]
        text = coordizer.decode_text(ids)
        if coordizer.encode(text).size == SHORT_TOKENS:
            texts.add(text)
        if len(texts) == SHORT_TEXTS:
            break
    return sorted(texts)


def count_roundtrip_failures(coordizer: Coordizer, corpus: Corpus, seed: int = 0) -> int:
    """Count inputs that do not come back: the corpus, random bytes, odd Unicode, mixtures."""
    rng = random.Random(seed)
    cases: list[bytes] = [document.encode() for document in corpus.documents]
    for _ in range(FUZZ_CASES):
        raw = rng.randbytes(rng.randrange(64))
        odd = "".join(rng.choice(ODD_TEXT) for _ in range(rng.randrange(6)))
        text = "".join(chr(rng.randrange(0x110000)) for _ in range(rng.randrange(12)))
        whole = (text + odd).encode("utf-8", "surrogatepass")
        cases += [raw, whole, whole[: rng.randrange(len(whole) + 1)] + raw]
    failures = 0
    for start in range(0, len(cases), 256):
        part = cases[start : start + 256]
        encoded = coordizer.encode_batch(part)
        failures += sum(coordizer.decode(i) != data for i, data in zip(encoded, part, strict=True))
    return failures


def bits_per_byte(tokens: Sequence[TokenArray], num_bytes: Sequence[int], vocab_size: int) -> float:
    """Score each tenth document by a Witten-Bell model of token pairs of the others."""
    train = [ids.astype(np.int64) for index, ids in enumerate(tokens) if index % 10]
    test = [ids.astype(np.int64) for index, ids in enumerate(tokens) if index % 10 == 0]
    single_V = np.bincount(np.concatenate(train), minlength=vocab_size) + 1.0
    single_V /= single_V.sum()
    pairs, counts = np.unique(
        np.concatenate([ids[:-1] * vocab_size + ids[1:] for ids in train]), return_counts=True
    )
    followers_V = np.bincount(pairs // vocab_size, weights=counts, minlength=vocab_size)
    kinds_V = np.bincount(pairs // vocab_size, minlength=vocab_size)
    bits = 0.0
    for ids in test:
        before, after = ids[:-1], ids[1:]
        keys = before * vocab_size + after
        at = np.minimum(np.searchsorted(pairs, keys), pairs.size - 1)
        seen = np.where(pairs[at] == keys, counts[at], 0)
        weight = np.maximum(followers_V[before] + kinds_V[before], 1e-9)
        backed_off = np.where(kinds_V[before] > 0, kinds_V[before], 1e-9) * single_V[after]
        bits -= float(np.log2((seen + backed_off) / weight).sum())
        bits -= float(np.log2(single_V[ids[:1]]).sum())
    return bits / sum(size for index, size in enumerate(num_bytes) if index % 10 == 0)


def score(vocabulary: Vocabulary, corpus: Corpus) -> tuple[float, float]:
    """Return bytes per token on the corpus and bits per byte of the small model."""
    from constellation.coordizer.encoding import Encoder

    tokens = Encoder(vocabulary).encode_batch(corpus.documents)
    sizes = [len(document.encode()) for document in corpus.documents]
    rate = sum(sizes) / sum(ids.size for ids in tokens)
    return rate, bits_per_byte(tokens, sizes, len(vocabulary.tokens))


def measure(corpus: Corpus, vocab_size: int, rounds: int) -> dict[str, object]:
    merges = time_merges(corpus, vocab_size, rounds)
    cpu_start_s = process_time()
    coordizer = train_coordizer(corpus.documents, corpus.labels, vocab_size=vocab_size)
    cpu_train_s = process_time() - cpu_start_s
    encoding = time_encoding(coordizer, corpus, rounds)
    start_s, cpu_start_s = perf_counter(), process_time()
    phi = train_phi_merges(corpus.documents, vocab_size)
    phi_s, cpu_phi_s = perf_counter() - start_s, process_time() - cpu_start_s
    bytes_per_token, bits = score(coordizer.vocabulary, corpus)
    phi_vocabulary = from_tokenizer(phi, criterion="phi")
    phi_bytes_per_token, phi_bits = score(phi_vocabulary, corpus)
    found = inspect(coordizer, corpus.documents)
    bare_s = median(merges["bare"])
    return {
        "corpus_bytes": corpus.num_bytes,
        "num_documents": len(corpus.documents),
        "fit": "free" if corpus.labels is None else "anchored",
        "vocab_size": coordizer.vocab_size,
        "seconds_merges": median(merges["ours"]),
        "seconds_merges_spread": [min(merges["ours"]), max(merges["ours"])],
        "seconds_coordinates": coordizer.provenance.seconds_coordinates,
        "cpu_seconds_merges_and_coordinates": cpu_train_s,
        "tokenizers_seconds": bare_s,
        "cpu_merges_ratio": median(merges["cpu_ours"]) / median(merges["cpu_bare"]),
        "tokenizers_seconds_spread": [min(merges["bare"]), max(merges["bare"])],
        "merges_ratio": median(merges["ours"]) / bare_s,
        "bytes_per_token": bytes_per_token,
        "bits_per_byte": bits,
        "encode_ratio": ratio(encoding, "batch"),
        "encode_ratio_one_by_one": ratio(encoding, "single"),
        "cpu_encode_ratio": ratio(encoding, "batch", "cpu_"),
        "cpu_encode_ratio_one_by_one": ratio(encoding, "single", "cpu_"),
        "encode_megabytes_per_second": corpus.num_bytes / 1e6 / median(encoding["ours_batch"]),
        "roundtrip_failures": count_roundtrip_failures(coordizer, corpus),
        **time_short_texts(coordizer, corpus),
        "phi_seconds_merges": phi_s,
        "phi_merges_ratio": phi_s / bare_s,
        "cpu_phi_seconds_merges": cpu_phi_s,
        "cpu_phi_merges_ratio": cpu_phi_s / median(merges["cpu_bare"]),
        "phi_vocab_size": len(phi_vocabulary.tokens),
        "phi_bytes_per_token": phi_bytes_per_token,
        "phi_bits_per_byte": phi_bits,
        "distance_mean": found.distance_mean,
        "distance_p90": found.distance_p90,
        "used_vocabulary": found.used_vocabulary,
        "load_entropy": found.load_entropy,
        "load_entropy_max": math.log(coordizer.background_K.size),
        "machine": f"{platform.machine()} {platform.python_version()}",
    }


def ratio(times: dict[str, list[float]], kind: str, clock: str = "") -> float:
    """Return the library's time over ours, the median of the rounds' ratios."""
    pairs = zip(times[f"{clock}bare_{kind}"], times[f"{clock}ours_{kind}"], strict=True)
    return median(bare_s / ours_s for bare_s, ours_s in pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--vocab", type=int, default=32_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print the JSON object only")
    arguments = parser.parse_args()
    report = measure(read_corpus(arguments.corpus), arguments.vocab, arguments.rounds)
    if not arguments.json:
        for key, value in report.items():
            print(f"{key:40} {value}")
    print(json.dumps(report))


if __name__ == "__main__":
    main()
