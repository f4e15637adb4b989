"""Coordinates: distributions, determinism, anchoring, and exact addition and removal."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from constellation.coordizer.blocks import (
    BLOCK_MAX,
    FREE_OUTCOMES_MIN,
    FREE_SHARE,
    allocate_blocks,
    block_background,
)
from constellation.coordizer.coordinates import (
    Coordinates,
    fit_anchored,
    fit_free,
)
from constellation.coordizer.count_factorisation import BURST_EXPONENT, count_windows, factorise
from constellation.errors import ConfigError

VOCAB = 60
NAMES = ("ants", "bees", "cats")


def domain_documents(domain: int, seed: int, num_documents: int = 6) -> list[np.ndarray]:
    """Texts of which half the tokens are the domain's own twenty and half are common."""
    rng = np.random.default_rng([domain, seed])
    return [
        np.where(
            rng.random(300) < 0.5, rng.integers(0, 10, 300), rng.integers(10, 25, 300) + domain * 15
        )
        for _ in range(num_documents)
    ]


def corpus() -> tuple[list[np.ndarray], list[str]]:
    documents = [document for d in range(3) for document in domain_documents(d, 0)]
    return documents, [name for name in NAMES for _ in range(6)]


@pytest.fixture(scope="module")
def anchored() -> Coordinates:
    return fit_anchored(*corpus(), vocab_size=VOCAB)


@pytest.fixture(scope="module")
def free() -> Coordinates:
    return fit_free(corpus()[0], vocab_size=VOCAB, num_outcomes=8)


def assert_equal_bits(first: Coordinates, second: Coordinates) -> None:
    assert first.counts_VK.tobytes() == second.counts_VK.tobytes()
    assert first.background_K.tobytes() == second.background_K.tobytes()
    assert dict(first.blocks) == dict(second.blocks)
    assert first.conditional().tobytes() == second.conditional().tobytes()


@pytest.mark.parametrize("fit", ["anchored", "free"])
def test_every_coordinate_is_a_distribution_without_zeros(
    fit: str, request: pytest.FixtureRequest
) -> None:
    coordinates: Coordinates = request.getfixturevalue(fit)
    conditional_VK = coordinates.conditional()
    assert conditional_VK.dtype == np.float32
    assert (conditional_VK > 0).all()
    np.testing.assert_allclose(conditional_VK.sum(axis=1), 1, atol=1e-6)
    assert coordinates.background_K.sum() == pytest.approx(1, abs=1e-12)
    assert (coordinates.background_K > 0).all()


@pytest.mark.parametrize("fit", ["anchored", "free"])
def test_a_token_never_seen_sits_at_the_background(
    fit: str, request: pytest.FixtureRequest
) -> None:
    coordinates: Coordinates = request.getfixturevalue(fit)
    unseen = 59
    assert coordinates.counts_VK[unseen].sum() == 0
    np.testing.assert_array_equal(
        coordinates.conditional()[unseen], coordinates.background_K.astype(np.float32)
    )


def test_tokens_seen_once_in_passing_have_no_zeros_either() -> None:
    documents = [*corpus()[0], np.array([56, 57, 58])]
    conditional_VK = fit_free(documents, vocab_size=VOCAB, num_outcomes=16).conditional()
    assert (conditional_VK > 0).all()
    np.testing.assert_allclose(conditional_VK.sum(axis=1), 1, atol=1e-6)


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not() -> None:
    documents, labels = corpus()
    first, again, other = (
        fit_anchored(documents, labels, vocab_size=VOCAB, seed=seed) for seed in (1, 1, 2)
    )
    assert_equal_bits(first, again)
    assert first.counts_VK.tobytes() != other.counts_VK.tobytes()
    free = [fit_free(documents, vocab_size=VOCAB, num_outcomes=4, seed=s) for s in (1, 1, 2)]
    assert_equal_bits(free[0], free[1])
    assert free[0].counts_VK.tobytes() != free[2].counts_VK.tobytes()


def test_mass_stays_inside_a_domains_own_block(anchored: Coordinates) -> None:
    only_cats = np.arange(42, 55)
    cats = list(anchored.blocks["cats"])
    others = [k for k in range(64) if k not in cats]
    assert anchored.counts_VK[only_cats][:, cats].sum() > 0
    assert anchored.counts_VK[only_cats][:, others].sum() == 0


def test_a_token_leans_to_the_domain_that_uses_it(anchored: Coordinates) -> None:
    shares = {
        name: anchored.conditional()[12, list(block)].sum()
        for name, block in anchored.blocks.items()
    }
    assert max(shares, key=lambda name: shares[name]) == "ants"


def test_free_outcomes_find_the_domains_without_labels(free: Coordinates) -> None:
    """Tokens of one domain are nearer to each other than to those of another."""
    root = np.sqrt(free.conditional())
    inside = root[15:25] @ root[15:25].T
    across = root[15:25] @ root[45:55].T
    assert inside.mean() > across.mean() + 0.1


def test_the_counts_of_a_domain_do_not_depend_on_the_other_domains() -> None:
    documents, labels = corpus()
    whole = fit_anchored(documents, labels, vocab_size=VOCAB, outcomes_per_domain=2)
    without = fit_anchored(documents[:12], labels[:12], vocab_size=VOCAB, outcomes_per_domain=2)
    for domain, block in without.blocks.items():
        assert whole.blocks[domain] == block
        assert whole.counts_VK[:, block].tobytes() == without.counts_VK[:, block].tobytes()
    assert "cats" not in without.blocks
    assert whole.counts_VK[:, whole.blocks["cats"]].any()


@given(st.integers(1, 200), st.sampled_from([64, 128, 256]))
def test_blocks_differ_fit_and_leave_sixteen_outcomes_free(
    num_domains: int, num_outcomes: int
) -> None:
    blocks = allocate_blocks([str(n) for n in range(num_domains)], num_outcomes=num_outcomes)
    used = {outcome for block in blocks.values() for outcome in block}
    assert len(set(blocks.values())) == num_domains
    assert used <= set(range(num_outcomes))
    assert num_outcomes - len(used) >= FREE_OUTCOMES_MIN
    assert all(1 <= len(block) <= max(2, BLOCK_MAX) for block in blocks.values())
    if num_domains <= num_outcomes - FREE_OUTCOMES_MIN:
        assert sum(map(len, blocks.values())) == len(used), "domains that fit share nothing"


def test_domains_weigh_alike_in_the_background_whatever_their_size() -> None:
    background_K = block_background({"a": (0,), "b": (1, 2), "c": (3, 4, 5)}, 64)
    shares = [background_K[0], background_K[1:3].sum(), background_K[3:6].sum()]
    np.testing.assert_allclose(shares, (1 - FREE_SHARE) / 3, atol=1e-12)


def test_more_domains_than_blocks_still_have_different_mixtures() -> None:
    documents = [np.full(200, domain) for domain in range(55)]
    names = [f"d{domain:02d}" for domain in range(55)]
    coordinates = fit_anchored(documents, names, vocab_size=VOCAB)
    conditional_VK = coordinates.conditional()
    for token, name in enumerate(names):
        top = set(np.argsort(-conditional_VK[token] / coordinates.background_K)[:2].tolist())
        assert top == set(coordinates.blocks[name])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": ["x"]}, "label for each document"),
        ({"num_outcomes": 16}, "more than 16"),
        ({"iterations": 0}, "iterations >= 1"),
        ({"smoothing": 0.0}, "smoothing > 0"),
        ({"outcomes_per_domain": 40}, "may be used"),
        ({"vocab_size": 20}, "vocabulary has 20"),
    ],
)
def test_settings_out_of_range_are_refused(change: dict[str, object], message: str) -> None:
    documents, labels = corpus()
    arguments = {"labels": labels, "vocab_size": VOCAB} | change
    with pytest.raises(ConfigError, match=message):
        fit_anchored(documents, **arguments)  # type: ignore[arg-type]


def test_a_free_fit_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="no token"):
        fit_free([np.empty(0, dtype=np.int32)], vocab_size=VOCAB)


def test_windows_damp_bursts_and_never_cross_documents() -> None:
    burst, single = np.zeros(256, dtype=np.int32), np.array([1, 2], dtype=np.int32)
    counts = count_windows([burst, single], vocab_size=4).toarray()
    assert counts.shape == (3, 4)
    assert counts[:, 0].sum() == pytest.approx(256**BURST_EXPONENT, rel=1e-5)
    np.testing.assert_array_equal(counts[2], [0, 1, 1, 0])


def test_soft_counts_sum_to_the_counts_and_explain_them_ever_better() -> None:
    windows = count_windows(corpus()[0], vocab_size=VOCAB)
    likelihoods = []
    for iterations in (1, 3, 10, 30):
        soft_VK = factorise(
            windows, num_outcomes=3, iterations=iterations, rng=np.random.default_rng(0)
        )
        np.testing.assert_allclose(soft_VK.sum(axis=1), windows.sum(axis=0), rtol=1e-5)
        shares_VK = soft_VK / soft_VK.sum(axis=0)
        best_W = (windows @ np.log(shares_VK + 1e-9)).max(axis=1)
        likelihoods.append(best_W.sum())
    assert likelihoods[0] < likelihoods[1] < likelihoods[-1]
