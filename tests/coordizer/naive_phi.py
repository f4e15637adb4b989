"""An oracle for phi merges: every count from scratch for every merge."""

import json
import math
from collections import Counter
from itertools import pairwise

from tokenizers import Tokenizer

from constellation.coordizer.bytelevel import END_TEXT, build_tokenizer, byte_characters


def naive_merges(texts: list[str], vocab_size: int, coupling_min: float) -> list[tuple[str, str]]:
    """Return the merges in rank order; O(merges * corpus)."""
    splitter = build_tokenizer().pre_tokenizer
    words = [piece for text in texts for piece, _ in splitter.pre_tokenize_str(text)]
    count_min = max(2, math.ceil(coupling_min * sum(len(word) for word in words)))
    tokens = [END_TEXT, *sorted(byte_characters())]
    merges: list[tuple[str, str]] = []
    while len(tokens) < vocab_size:
        encoded = [encode(word, merges) for word in words]
        pair = best_pair(encoded, tokens, count_min)
        if pair is None:
            break
        merges.append(pair)
        if "".join(pair) not in tokens:
            tokens.append("".join(pair))
    return merges


def encode(word: str, merges: list[tuple[str, str]]) -> list[str]:
    symbols = list(word)
    while True:
        pairs = list(pairwise(symbols))
        known = [merge for merge in merges if merge in pairs]
        if not known:
            return symbols
        at = pairs.index(known[0])
        symbols[at : at + 2] = ["".join(known[0])]


def best_pair(
    encoded: list[list[str]], tokens: list[str], count_min: int
) -> tuple[str, str] | None:
    singles = Counter(symbol for symbols in encoded for symbol in symbols)
    pairs = Counter(pair for symbols in encoded for pair in pairwise(symbols))
    gains = {
        pair: count * math.log(count * singles.total() / (singles[pair[0]] * singles[pair[1]]))
        for pair, count in pairs.items()
        if count >= count_min
    }
    positive = [pair for pair, value in gains.items() if value > 0]
    ids = {token: index for index, token in enumerate(tokens)}
    return min(positive, key=lambda pair: (-gains[pair], ids[pair[0]], ids[pair[1]]), default=None)


def merges_of(tokenizer: Tokenizer) -> list[tuple[str, str]]:
    return [(left, right) for left, right in json.loads(tokenizer.to_str())["model"]["merges"]]
