"""Train merges by integration gain: how much two neighbours tell about each other.

A merge of the neighbours a, b removes the multi-information

    Phi(a, b) = n_ab ln(p_ab / (p_a p_b))   nats,   p_x = n_x / n,   p_ab = n_ab / n

with n_ab the neighbouring positions a b inside pieces of the split pattern, n_x the tokens x and n
all tokens, all as they are at that moment. The pair with the largest gain is merged, of equal ones
that with the smallest ids, until the vocabulary is full or no pair gains. Its coupling
kappa = n_ab / (bytes of the corpus) must reach a floor.

This file knows text and merges; it knows no coordinates and reads no files.
"""

import heapq
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from tokenizers import Tokenizer

from constellation.coordizer.bytelevel import (
    ASCII_PIECE,
    END_TEXT,
    build_tokenizer,
    byte_characters,
    bytes_to_token,
)
from constellation.coordizer.merges import PAIR_COUNT_MIN, check_vocab_size, cut_long_pieces

COUPLING_MIN = 2e-7
"""Floor of kappa: 4 pairs in 20 MB. Below it, chance pairs of rare tokens look integrated."""

_MARGIN = 1 + 1e-12
"""Keeps an upper bound above the gain whatever way the logarithm rounds."""


def train_phi_merges(
    texts: Iterable[str], vocab_size: int, *, coupling_min: float = COUPLING_MIN
) -> Tokenizer:
    """Merge the neighbours with the largest integration gain until the vocabulary is full.

    Args:
        texts: Training text; the texts' borders are never crossed.
        vocab_size: Most tokens, at least 257. Little text gives fewer.
        coupling_min: Floor of kappa, >= 0; besides, a pair must occur twice.

    Returns:
        A tokenizer whose merges rank in the order they were made.

    Raises:
        ConfigError: When `vocab_size` is below 257.
    """
    check_vocab_size(vocab_size)
    table = MergeTable(count_pieces(texts), coupling_min=coupling_min)
    while len(table.tokens) < vocab_size and table.merge_best():
        pass
    ids = {token: index for index, token in enumerate(table.tokens)}
    return build_tokenizer(ids, table.merges())


def count_pieces(texts: Iterable[str]) -> Counter[str]:
    """Return how often each piece of the split pattern occurs, in byte-level characters.

    Longer pieces than `PIECE_CHARS_MAX` count as several.
    """
    splitter = build_tokenizer().pre_tokenizer
    ascii_counts: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    for text in cut_long_pieces(texts):
        if text.isascii():
            ascii_counts.update(ASCII_PIECE.findall(text))
        else:
            counts.update([piece for piece, _ in splitter.pre_tokenize_str(text)])
    for piece, count in ascii_counts.items():
        counts[bytes_to_token(piece.encode())] += count
    return counts


def gain(pair_count: int, left_count: int, right_count: int, num_tokens: int) -> float:
    """Return Phi in nats."""
    return pair_count * math.log(pair_count * num_tokens / (left_count * right_count))


class MergeTable:
    """Counts of tokens and pairs, kept up to date merge by merge.

    A word is a string with one character per token, `chr(id)`, so that pairs are found and replaced
    at the speed of C; a pair is a string of two.

    The best pair comes from a lazy heap of upper bounds. A pair's gain falls with n and n_ab, so an
    old bound stays good; it rises as n_a or n_b fall, so bounds take these counts a hundredth too
    low, and only when a count falls below that are the bounds of its pairs made again. Pairs at
    the top of the heap get their exact gain; when the best of them beats every bound left, it wins.
    """

    def __init__(self, pieces: Mapping[str, int], *, coupling_min: float) -> None:
        """Count tokens and pairs.

        Args:
            pieces: Piece in byte-level characters -> how often it occurs.
            coupling_min: Floor of kappa.
        """
        self.tokens = [END_TEXT, *sorted(byte_characters())]
        """Token strings in the order of their ids."""
        self._pairs: list[str] = []
        to_ids = {ord(token): index for index, token in enumerate(self.tokens) if index}
        self._words = [piece.translate(to_ids) for piece in pieces]
        self._word_counts = list(pieces.values())
        self._num_tokens = 0
        self._token_counts: defaultdict[str, int] = defaultdict(int)
        self._pair_counts: defaultdict[str, int] = defaultdict(int)
        self._words_with: defaultdict[str, list[int]] = defaultdict(list)
        self._pairs_with: defaultdict[str, set[str]] = defaultdict(set)
        for index, word in enumerate(self._words):
            self._count_word(index, word)
        self._count_min = max(PAIR_COUNT_MIN, math.ceil(coupling_min * self._num_tokens))
        self._low_counts = {t: _lowered(count) for t, count in self._token_counts.items()}
        self._bounds: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []
        self._make_bounds(self._pair_counts)

    def merge_best(self) -> bool:
        """Merge the pair with the largest gain; return False when none gains."""
        pair = self._take_best()
        if not pair:
            return False
        # The token is new: a string that two tokens spell is always split the same way, because
        # merges inside it do not see what is around it; once it is a token it is never two again.
        self.tokens.append(self.tokens[ord(pair[0])] + self.tokens[ord(pair[1])])
        self._pairs.append(pair)
        merged = chr(len(self.tokens) - 1)
        rising = self._merge_words(pair, merged)
        self._refresh_low_counts((*pair, merged))
        self._make_bounds(rising)
        return True

    def merges(self) -> list[tuple[str, str]]:
        """Return the merged pairs as token strings, in rank order."""
        return [(self.tokens[ord(pair[0])], self.tokens[ord(pair[1])]) for pair in self._pairs]

    def _count_word(self, index: int, word: str) -> None:
        count = self._word_counts[index]
        self._num_tokens += count * len(word)
        for token in word:
            self._token_counts[token] += count
        for at in range(len(word) - 1):
            self._pair_counts[word[at : at + 2]] += count
            self._words_with[word[at : at + 2]].append(index)

    def _take_best(self) -> str:
        """Return the pair with the largest gain, or nothing when none gains."""
        best_gain, best = 0.0, ""
        looked_at = []
        if len(self._heap) > 4 * len(self._bounds) + 1024:  # mostly superseded by now
            self._heap = [(bound, pair) for pair, bound in self._bounds.items()]
            heapq.heapify(self._heap)
        heap = self._heap
        while heap and -heap[0][0] >= best_gain:
            bound, pair = heapq.heappop(heap)
            if self._bounds.get(pair) != bound:
                continue  # a newer bound of this pair is in the heap
            del self._bounds[pair]
            if self._pair_counts[pair] < self._count_min:
                continue
            exact = gain(
                self._pair_counts[pair],
                self._token_counts[pair[0]],
                self._token_counts[pair[1]],
                self._num_tokens,
            )
            looked_at.append(pair)
            if exact > 0 and (not best or (-exact, pair) < (-best_gain, best)):
                best_gain, best = exact, pair
        self._make_bounds([pair for pair in looked_at if pair != best])
        return best

    def _make_bounds(self, pairs: Iterable[str]) -> None:
        """Give pairs whose gain may have risen a new bound, when it can be a gain at all."""
        low_counts, bounds, num_tokens = self._low_counts, self._bounds, self._num_tokens
        for pair in pairs:
            count = self._pair_counts[pair]
            if count < self._count_min:
                continue
            left, right = pair[0], pair[1]
            self._pairs_with[left].add(pair)
            self._pairs_with[right].add(pair)
            bound = -_MARGIN * gain(count, low_counts[left], low_counts[right], num_tokens)
            if bound < 0 and bounds.get(pair) != bound:
                bounds[pair] = bound
                heapq.heappush(self._heap, (bound, pair))

    def _merge_words(self, pair: str, merged: str) -> set[str]:
        """Merge `pair` in all words; return the pairs that became more frequent."""
        words, pair_counts, words_with = self._words, self._pair_counts, self._words_with
        rising: set[str] = set()
        num_merged = 0
        for index in words_with.pop(pair):
            word, count = words[index], self._word_counts[index]
            at = word.find(pair)
            while at >= 0:
                for gone in (word[at - 1 : at + 1], word[at + 1 : at + 3]):
                    if len(gone) == 2:
                        pair_counts[gone] -= count
                word = word[:at] + merged + word[at + 2 :]
                for come in (word[at - 1 : at + 1], word[at : at + 2]):
                    if len(come) == 2:
                        pair_counts[come] += count
                        words_with[come].append(index)
                        rising.add(come)
                num_merged += count
                at = word.find(pair, at + 1)
            words[index] = word
        del pair_counts[pair]
        self._num_tokens -= num_merged
        self._token_counts[pair[0]] -= num_merged
        self._token_counts[pair[1]] -= num_merged
        self._token_counts[merged] += num_merged
        return rising

    def _refresh_low_counts(self, tokens: Iterable[str]) -> None:
        """Lower the counts that bounds are made from where the true ones fell below them."""
        fallen = [t for t in tokens if self._token_counts[t] < self._low_counts.get(t, math.inf)]
        for token in fallen:
            self._low_counts[token] = _lowered(self._token_counts[token])
        for token in fallen:
            self._make_bounds(self._pairs_with.pop(token, ()))


def _lowered(count: int) -> int:
    return max(1, count - count // 100)
