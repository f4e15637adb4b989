"""The documents and intervals of `benchmarks.modes`."""

import numpy as np

from benchmarks.modes import PASSAGE_TOKENS, Scored, Text, changing, interval, mixed, pairs

TEXTS = [Text((f"d{number % 3}",), (number,), [number] * 200) for number in range(11)]


def test_every_document_is_in_one_pair_at_most_and_pairs_are_of_two_domains() -> None:
    for seed in range(3):
        found = pairs(TEXTS, np.random.default_rng(seed))
        used = [text.sources for pair in found for text in pair]
        assert len(used) == len(set(used)) == 10
        assert all(first.domains != second.domains for first, second in found)


def test_a_mixed_document_turns_between_both_and_a_changing_one_changes_once() -> None:
    first, second = TEXTS[0], TEXTS[1]
    both = mixed(first, second, 256)
    assert both.tokens == ([0] * PASSAGE_TOKENS + [1] * PASSAGE_TOKENS) * 4
    assert both.sources == (0, 1)
    assert changing(first, second, 150).tokens == [0] * 75 + [1] * 75


def test_an_interval_says_gain_loss_or_null() -> None:
    rng = np.random.default_rng(0)
    random = np.random.default_rng(1)
    for factor, verdict in ((0.8, "gain"), (1.0, "null"), (1.2, "loss")):
        scored = [
            Scored(
                (number,), 100, {"nearest": 10.0, "mode": 10 * factor * random.uniform(0.9, 1.1)}
            )
            for number in range(40)
        ]
        assert interval(scored, "mode", rng)["verdict"] == verdict
