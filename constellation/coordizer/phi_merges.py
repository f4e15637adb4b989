"""Train BPE merges by integration gain: the shared information of two neighbouring tokens.

A merge of the neighbours a, b removes the multi-information

    Phi(a, b) = n_ab ln(p_ab / (p_a p_b))   nats,   p_x = n_x / n,   p_ab = n_ab / n

with n_ab the number of positions where a and b are neighbours inside a piece of the split pattern,
n_x the number of tokens x, and n the number of all tokens, counted after all merges so far. The
pair with the largest gain is merged, and of pairs with equal gain the pair with the smallest ids,
until the vocabulary is full or no pair has a positive gain. A merged pair's coupling kappa = n_ab /
(bytes of the corpus) must reach a minimum.

This file works on text and merges; it uses no coordinates and reads no files.
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
from constellation.coordizer.count_merges import PAIR_COUNT_MIN, check_vocab_size, cut_long_pieces

COUPLING_MIN = 2e-7
"""Default minimum of kappa: 4 pairs in 20 MB. With less, chance pairs of rare tokens look
integrated."""

_MARGIN = 1 + 1e-12
"""Factor that keeps an upper bound above the gain whichever way the logarithm rounds."""


def train_phi_merges(
    texts: Iterable[str], vocab_size: int, *, coupling_min: float = COUPLING_MIN
) -> Tokenizer:
    """Train a tokenizer by merging the neighbours with the largest integration gain.

    Args:
        texts: Training texts; no merge crosses from one text to the next.
        vocab_size: Most tokens, at least 257. Short texts give fewer tokens.
        coupling_min: Minimum of kappa, >= 0; in addition, a pair must occur twice.

    Returns:
        A tokenizer whose merges are ranked in the order in which they were made.

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

    A piece longer than `PIECE_CHARS_MAX` counts as several pieces.
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
    """Return the integration gain Phi of merging a pair, in nats."""
    return pair_count * math.log(pair_count * num_tokens / (left_count * right_count))


class MergeTable:
    """Counts of tokens and pairs, updated after every merge, from which the best pair is chosen.

    A word is a string with one character per token, `chr(id)`, so that pairs are found and replaced
    at the speed of C; a pair is a string of two characters.

    The best pair comes from a lazy heap of upper bounds of the gain. A pair's gain falls with n and
    n_ab, so an old bound stays valid. The gain rises when n_a or n_b fall, so a bound is computed
    from counts a hundredth too low, and is recomputed only when a count falls below that lowered
    count. Pairs at the top of the heap get their exact gain; the best of these pairs is merged when
    its gain exceeds every remaining bound.
    """

    def __init__(self, pieces: Mapping[str, int], *, coupling_min: float) -> None:
        """Count the tokens and pairs of pieces.

        Args:
            pieces: Piece in byte-level characters -> how often it occurs.
            coupling_min: Minimum of kappa.
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
        """Merge the pair with the largest gain; return False when no pair has a positive gain."""
        pair = self._take_best()
        if not pair:
            return False
        # The token is new: merges inside a string do not depend on the text around the string, so a
        # string that is spelled by two tokens cannot be one token elsewhere.
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
        """Remove and return the pair with the largest gain; "" when no pair has a positive gain."""
        best_gain, best = 0.0, ""
        looked_at = []
        if len(self._heap) > 4 * len(self._bounds) + 1024:  # most entries are outdated
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
        """Compute a new bound for pairs whose gain may have risen, if the bound is positive."""
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
        """Merge `pair` in all words; return the pairs whose count rose."""
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
        """Lower the counts behind the bounds where the true counts fell below them."""
        fallen = [t for t in tokens if self._token_counts[t] < self._low_counts.get(t, math.inf)]
        for token in fallen:
            self._low_counts[token] = _lowered(self._token_counts[token])
        for token in fallen:
            self._make_bounds(self._pairs_with.pop(token, ()))


def _lowered(count: int) -> int:
    return max(1, count - count // 100)
