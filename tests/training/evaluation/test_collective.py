"""Collective Phi: planted gains are found, nulls are nulls, scores are what they say."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from constellation.coordizer.coordizer import Coordizer
from constellation.coordizer.training import train_coordizer
from constellation.curricula.corpus import Document
from constellation.errors import ConfigError, CorpusError
from constellation.kernel.network.decoder import Decoder
from constellation.kernel.observables.measurement import Measurement
from constellation.routing.calibration import calibrate, make_table
from constellation.routing.collective_phi import CollectiveScores
from constellation.routing.policy import RoutingPolicy
from constellation.routing.site_fit import KernelTexts, fit_sites
from tests.training.tiny import CONFIG
from training.evaluation.collective import CollectivePhi, collective_phi, collective_report
from training.evaluation.collective_scores import score_collective
from training.evaluation.held_out_figures import PREFIX_TOKENS

KERNELS = ("a", "b", "c", "d")
NATS, BYTES = 200.0, 300


def scores(*, specialised: float, routed_right: float, documents: int = 80, seed: int = 0):
    """Return kernels that need `specialised` nats less at home, and a router of that accuracy."""
    random = np.random.default_rng(seed)
    home_N = np.arange(documents) % len(KERNELS)
    single_NM = NATS + 10 * random.standard_normal((documents, 1))
    single_NM = single_NM + random.standard_normal((documents, len(KERNELS)))
    single_NM[np.arange(documents), home_N] -= specialised
    lost_N = random.random(documents) >= routed_right
    chosen_N = np.where(lost_N, random.integers(len(KERNELS), size=documents), home_N)
    return CollectiveScores(
        kernels=KERNELS,
        single_NM=single_NM,
        routed_N=single_NM[np.arange(documents), chosen_N],
        ensemble_N=single_NM.mean(axis=1),
        num_bytes_N=np.full(documents, float(BYTES)),
    )


def judged(**planted: float) -> CollectivePhi:
    return collective_phi(scores(**planted), [])  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(3))
def test_kernels_that_complement_each_other_are_emergent(seed: int) -> None:
    found = judged(specialised=20, routed_right=1, seed=seed)
    # The best single kernel is at home in a quarter of the documents.
    expected = 20 * (1 - 1 / len(KERNELS)) / math.log(2) / BYTES
    assert found.phi_bits.value == pytest.approx(expected, abs=0.01)
    assert found.emergent
    assert "emergent" in found.words
    assert found.phi_bits.n == 80


@pytest.mark.parametrize("seed", range(3))
def test_random_routing_is_not_emergent(seed: int) -> None:
    found = judged(specialised=20, routed_right=0, seed=seed)
    assert not found.emergent
    assert "emergent" not in found.words


def test_kernels_that_are_alike_are_almost_never_emergent() -> None:
    """The null: nothing to gain. The best of equals is favoured, so fewer than 2.5 % pass."""
    found = [judged(specialised=0, routed_right=1, seed=seed) for seed in range(40)]
    assert sum(each.emergent for each in found) <= 1
    assert np.mean([each.phi_bits.value for each in found]) <= 0


def test_the_interval_holds_the_planted_gain_of_known_kernels() -> None:
    """With one kernel best everywhere the choice is no choice, and coverage is nominal."""
    inside = 0
    for seed in range(100):
        random = np.random.default_rng(seed)
        single_NM = np.stack([np.full(60, 200.0), np.full(60, 300.0)], axis=1)
        made = CollectiveScores(
            kernels=("best", "worst"),
            single_NM=single_NM,
            routed_N=200 - 10 + 5 * random.standard_normal(60),
            ensemble_N=single_NM[:, 0],
            num_bytes_N=np.full(60, 100.0),
        )
        low, high = collective_phi(made, []).phi_bits.interval or (0, 0)
        inside += low <= 10 / math.log(2) / 100 <= high
    assert 90 <= inside <= 99


def test_the_controls_are_random_routing_and_the_uniform_ensemble() -> None:
    planted = scores(specialised=20, routed_right=1)
    found = collective_phi(planted, [])
    bits = found.bits_per_byte
    scale = math.log(2) * planted.num_bytes_N.sum()
    assert bits["random_routing"] == pytest.approx(planted.single_NM.mean(1).sum() / scale)
    assert bits["uniform_ensemble"] == pytest.approx(planted.ensemble_N.sum() / scale)
    assert bits["best_kernel"] == pytest.approx(planted.single_NM.sum(0).min() / scale)
    assert found.random_routing.value == pytest.approx(bits["best_kernel"] - bits["random_routing"])
    assert found.phi_bits.null == found.random_routing.value
    for gained, control in (
        (found.over_random_routing, "random_routing"),
        (found.over_uniform_ensemble, "uniform_ensemble"),
    ):
        assert gained.value == pytest.approx(bits[control] - bits["constellation"])
        assert gained.interval is not None
        assert gained.interval[0] <= gained.value <= gained.interval[1]
    assert found.best_kernel == KERNELS[int(planted.single_NM.sum(0).argmin())]


def test_a_single_kernel_gains_nothing_from_itself() -> None:
    one = CollectiveScores(
        kernels=("only",),
        single_NM=np.full((9, 1), 200.0),
        routed_N=np.full(9, 200.0),
        ensemble_N=np.full(9, 200.0),
        num_bytes_N=np.full(9, 100.0),
    )
    found = collective_phi(one, [])
    assert found.phi_bits.value == 0
    assert found.phi_bits.interval == (0, 0)
    assert not found.emergent
    assert "no difference" in found.words


def test_a_constellation_that_loses_is_said_to_lose() -> None:
    found = judged(specialised=-20, routed_right=1)
    assert found.phi_bits.interval is not None
    assert found.phi_bits.interval[1] < 0
    assert "alone beats the constellation" in found.words


def test_few_documents_give_no_interval_and_nothing_is_emergent() -> None:
    found = judged(specialised=20, routed_right=1, documents=7)
    assert found.phi_bits.interval is None
    assert not found.emergent
    assert "too few" in found.words


def test_the_mean_is_over_the_kernels_that_were_measured() -> None:
    def phi(value: float | None) -> Measurement:
        null = None if value is None else 0.01
        return Measurement(value=value, method="m", n=1, null=null, interval=None)

    planted = scores(specialised=1, routed_right=1)
    found = collective_phi(planted, [phi(0.5), phi(None), phi(0.7)])
    assert found.phi_mean.value == pytest.approx(0.6)
    assert (found.phi_mean.n, found.phi_mean.null) == (2, 0.01)
    assert collective_phi(planted, []).phi_mean.value is None


def test_the_result_is_json_and_the_seed_decides_it() -> None:
    planted = scores(specialised=5, routed_right=0.9)
    values = json.loads(json.dumps(collective_phi(planted, []).to_dict()))
    assert values["emergent"] is True
    assert values["phi_bits"]["value"] > 0
    assert collective_phi(planted, []) == collective_phi(planted, [])
    assert collective_phi(planted, [], random_seed=1) != collective_phi(planted, [])


def test_the_report_takes_the_observables_as_the_table_holds_them() -> None:
    planted = scores(specialised=5, routed_right=1)
    phi = {"value": 0.5, "method": "m", "n": 8, "null": 0.01, "interval": [0.4, 0.6]}
    section = collective_report(planted, {name: {"phi": phi} for name in KERNELS})
    assert section["phi_mean"]["value"] == 0.5
    assert section == collective_phi(planted, [Measurement(**phi)] * 4).to_dict()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change",
    [
        {"kernels": ("a",)},
        {"single_NM": np.zeros((0, 4))},
        {"routed_N": np.zeros(3)},
        {"ensemble_N": np.full(80, np.nan)},
        {"num_bytes_N": np.zeros(80)},
    ],
)
def test_scores_that_do_not_fit_are_refused(change: dict[str, object]) -> None:
    whole = scores(specialised=1, routed_right=1)
    fields = {name: getattr(whole, name) for name in CollectiveScores.__slots__}
    with pytest.raises(ConfigError):
        CollectiveScores(**(fields | change))


# --- scoring real kernels -----------------------------------------------------------------------

WORDS = {
    "sea": "waves and ships sail on the deep water of bay",
    "sky": "stars shine and clouds drift over the night above hill",
    "law": "the court hears every party before it gives judgement in case",
}


def text(domain: str, number: int) -> str:
    return " ".join(f"{WORDS[domain]} {number + line}" for line in range(6))


@pytest.fixture(scope="module")
def documents() -> list[Document]:
    made = [
        Document(text=text(domain, 10 * number), domain=domain, source=f"{domain}{number}")
        for domain in WORDS
        for number in range(10)
    ]
    return [*made, Document(text="short", domain="sea", source="x")]


@pytest.fixture(scope="module")
def coordizer(documents: list[Document]) -> Coordizer:
    texts, labels = [d.text for d in documents], [d.domain for d in documents]
    return train_coordizer(texts, labels, vocab_size=300, anchored=True)


@pytest.fixture(scope="module")
def policy(coordizer: Coordizer, documents: list[Document]) -> RoutingPolicy:
    basins_NK = np.stack([coordizer.basin(coordizer.encode(d.text)) for d in documents])
    domain_N = np.array([d.domain for d in documents])
    learned = [
        KernelTexts(name=name, corpora={"train": basins_NK[domain_N == name]}) for name in WORDS
    ]
    background_K = coordizer.background_K
    sites = fit_sites(learned, background_K=background_K).sites
    calibration = calibrate(sites, basins_NK, domain_N.tolist(), background_K=background_K)
    return RoutingPolicy(
        make_table(sites, calibration, background_K=background_K, coordizer_hash=coordizer.hash)
    )


@pytest.fixture(scope="module")
def kernels(coordizer: Coordizer) -> dict[str, Decoder]:
    config = replace(CONFIG, vocab_size=coordizer.vocab_size, context=128, init_std=0.2)
    return {name: Decoder(config, seed=seed) for seed, name in enumerate(WORDS)}


def test_documents_are_scored_as_they_would_be_served(
    coordizer: Coordizer,
    policy: RoutingPolicy,
    kernels: dict[str, Decoder],
    documents: list[Document],
) -> None:
    made = score_collective(
        documents, coordizer=coordizer, policy=policy, kernels=kernels, documents_per_domain=2
    )
    assert made.kernels == tuple(WORDS)
    assert made.single_NM.shape == (6, 3)
    # Every second half of each domain's ten documents: numbers 0 and 5.
    ids = coordizer.encode(documents[5].text)[:128]
    ids_T = torch.tensor([coordizer.end_id, *ids.tolist()])
    logs_MT = []
    for decoder in kernels.values():
        with torch.no_grad():
            logits = decoder(ids_T[None, :-1])[0].double().log_softmax(-1)
        logs_MT.append(logits.gather(1, ids_T[1:, None])[PREFIX_TOKENS:, 0])
    single_M = -torch.stack(logs_MT).sum(1)
    assert made.single_NM[1] == pytest.approx(single_M.numpy(), rel=1e-4)
    mean_T = torch.stack(logs_MT).exp().mean(0)
    assert made.ensemble_N[1] == pytest.approx(float(-mean_T.log().sum()), rel=1e-4)
    chosen = policy.decide(coordizer.basin(ids[:PREFIX_TOKENS]), num_tokens=PREFIX_TOKENS).kernel
    assert made.routed_N[1] == made.single_NM[1, list(WORDS).index(chosen)]
    assert made.num_bytes_N[1] == len(coordizer.decode(ids[PREFIX_TOKENS:]))


def test_text_that_is_too_short_is_an_error(
    coordizer: Coordizer, policy: RoutingPolicy, kernels: dict[str, Decoder]
) -> None:
    short = [Document(text="short", domain="sea", source="x")]
    with pytest.raises(CorpusError, match="64 tokens"):
        score_collective(short, coordizer=coordizer, policy=policy, kernels=kernels)
