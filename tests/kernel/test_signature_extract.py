"""Signatures of real kernels: taken, compared, and used as something to be near to."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from constellation.coordizer.coordizer import Coordizer
from constellation.coordizer.training import train_coordizer
from constellation.errors import ConfigError
from constellation.geometry import bearing, distance, hellinger_mean, pairwise_distances
from constellation.kernel.network.decoder import Decoder
from constellation.kernel.observables.probe_set import ProbeSet
from constellation.kernel.observables.signature import Signature, pack_signature, unpack_signature
from constellation.kernel.observables.signature_extract import (
    extract_signature,
    kernel_basins,
    match_basin,
)
from constellation.kernel.observables.signature_match import SignatureMatch, match_signatures
from tests.kernel.conftest import small_config

SEA = [f"waves and ships sail on the deep water of bay {n} to the harbour " * 3 for n in range(12)]
SKY = [f"stars shine and clouds drift over the night sky above hill {n} " * 3 for n in range(12)]


@pytest.fixture(scope="module")
def coordizer() -> Coordizer:
    labels = ["sea"] * len(SEA) + ["sky"] * len(SKY)
    return train_coordizer(SEA + SKY, labels, vocab_size=280, anchored=True)


def kernel(coordizer: Coordizer, seed: int = 0, **changes: object) -> Decoder:
    values = {"vocab_size": coordizer.vocab_size, "context": 64, **changes}
    return Decoder(small_config(**values), seed=seed).eval()  # type: ignore[arg-type]


def own_basin(coordizer: Coordizer, seed: int = 0, **changes: object) -> Decoder:
    return kernel(coordizer, seed, basin_outcomes=len(coordizer.background_K), **changes)


def probe(coordizer: Coordizer, texts: list[str], **changes: int) -> ProbeSet:
    return ProbeSet.of(texts, coordizer, **{"context": 64, **changes})


def extract(decoder: Decoder, coordizer: Coordizer, texts: list[str]) -> Signature:
    hash_of = str(float(decoder.embedding.detach().sum()))
    return extract_signature(decoder, coordizer, probe(coordizer, texts), kernel_hash=hash_of)


def test_a_kernel_with_a_head_shows_its_own_basin(coordizer: Coordizer) -> None:
    decoder = own_basin(coordizer)
    taken = extract(decoder, coordizer, SEA)
    assert taken.basin_source == "basin head"
    rows = []
    for text in SEA:
        tokens = torch.tensor(coordizer.encode(text)[:64].tolist())[None]
        rows.append(decoder.basin(decoder.hidden(tokens)).detach().double().numpy())
    basins_NK = np.concatenate(rows)
    assert distance(taken.basin_K, hellinger_mean(basins_NK)) < 1e-6
    # The spread is the root mean square distance of the texts from the mean.
    apart_N = pairwise_distances(basins_NK, taken.basin_K[None])[:, 0]
    assert np.linalg.norm(taken.spread_K) == pytest.approx(np.sqrt((apart_N**2).mean()), rel=1e-6)
    assert np.allclose(taken.bearing_K, bearing(taken.basin_K, coordizer.background_K))


def test_a_kernel_without_a_head_shows_the_texts_basins_and_says_so(coordizer: Coordizer) -> None:
    taken = extract(kernel(coordizer), coordizer, SEA)
    assert taken.basin_source == "coordizer"
    texts = np.stack([coordizer.basin(coordizer.encode(text)[:64]) for text in SEA])
    assert np.allclose(taken.basin_K, hellinger_mean(texts))


def test_couplings_of_heads_are_stored(coordizer: Coordizer) -> None:
    taken = extract(kernel(coordizer, coupling_start=7.0), coordizer, SEA)
    assert taken.kappa_NH is not None
    assert taken.beta_NH is not None
    assert taken.kappa_NH.shape == (2, 2)
    assert taken.kappa_NH == pytest.approx(np.full((2, 2), 7.0), rel=1e-5)
    assert not taken.beta_NH.any()
    frozen = extract(kernel(coordizer, beta_frozen=0.25), coordizer, SEA)
    assert frozen.beta_NH == pytest.approx(np.full((2, 2), 0.25))
    still = extract(kernel(coordizer, running_coupling=False), coordizer, SEA)
    assert (still.kappa_NH is None, still.beta_NH is None) == (False, True)
    plain = extract(kernel(coordizer, attention="dot"), coordizer, SEA)
    assert (plain.kappa_NH, plain.beta_NH) == (None, None)


def test_what_the_texts_are_too_short_for_is_absent_with_its_reason(coordizer: Coordizer) -> None:
    taken = extract(kernel(coordizer), coordizer, SEA)
    assert taken.phi.value is None
    assert "256 tokens" in taken.phi.method
    assert taken.kappa_measured.value is not None
    long = probe(coordizer, [" ".join(SEA)] * 3, context=256)
    decoder = kernel(coordizer, context=256)
    whole = extract_signature(decoder, coordizer, long, kernel_hash="a")
    assert whole.phi.value is not None
    assert whole.phi.null is not None
    assert whole.phi.n == 3


def test_an_extracted_signature_survives_its_file(coordizer: Coordizer) -> None:
    taken = extract(own_basin(coordizer), coordizer, SEA)
    assert unpack_signature(pack_signature(taken)).hash == taken.hash


def test_extraction_is_repeatable(coordizer: Coordizer) -> None:
    first, again = (extract(own_basin(coordizer), coordizer, SEA).hash for _ in range(2))
    assert first == again


def test_the_probe_id_names_the_texts_as_they_were_read(coordizer: Coordizer) -> None:
    assert probe(coordizer, SEA).id == probe(coordizer, SEA).id
    others = [
        probe(coordizer, SKY),
        probe(coordizer, SEA[::-1]),
        probe(coordizer, SEA, context=32),
        probe(coordizer, SEA, num_texts=5),
    ]
    ids = {probe(coordizer, SEA).id, *(other.id for other in others)}
    assert len(ids) == 5
    assert [len(other.texts) for other in others] == [12, 12, 12, 5]


def test_texts_that_say_too_little_are_left_out(coordizer: Coordizer) -> None:
    assert len(probe(coordizer, ["x", *SEA, ""]).texts) == len(SEA)
    with pytest.raises(ConfigError, match="16 tokens"):
        probe(coordizer, ["x", "y"])


def test_a_head_of_other_outcomes_is_refused(coordizer: Coordizer) -> None:
    decoder = kernel(coordizer, basin_outcomes=8)
    with pytest.raises(ConfigError, match="8 outcomes"):
        kernel_basins(decoder, coordizer, probe(coordizer, SEA))


# --- matching -----------------------------------------------------------------------------------


def match(first: Signature, second: Signature) -> SignatureMatch:
    return match_signatures(first, second)


def test_a_signature_matches_itself(coordizer: Coordizer) -> None:
    taken = extract(own_basin(coordizer), coordizer, SEA)
    same = match(taken, taken)
    assert same.distance == 0
    assert same.verdict == "indistinguishable"
    assert same.bearing_angle == pytest.approx(0, abs=1e-12)
    assert (same.kappa_difference, same.beta_difference) == (0, 0)
    assert same.kappa_measured_difference == 0
    assert same.phi_difference is None
    assert same.notes == ("both are signatures of one kernel",)


def test_texts_of_two_domains_lie_apart(coordizer: Coordizer) -> None:
    sea, sky = (
        extract(kernel(coordizer), coordizer, SEA),
        extract(kernel(coordizer), coordizer, SKY),
    )
    found = match(sea, sky)
    assert found.distance == pytest.approx(float(distance(sea.basin_K, sky.basin_K)))
    assert found.verdict == "apart"
    assert "apart" in found.words
    assert f"{found.distance:.4f} rad" in found.words
    assert found.distance == pytest.approx(match(sky, sea).distance)
    assert any("probe texts differ" in note for note in found.notes)
    assert any("no basin head" in note for note in found.notes)


def test_two_halves_of_one_domain_are_not_apart(coordizer: Coordizer) -> None:
    halves = [extract(kernel(coordizer), coordizer, SEA[start::2]) for start in (0, 1)]
    assert match(*halves).verdict in {"indistinguishable", "overlapping"}


def test_differences_are_the_second_minus_the_first(coordizer: Coordizer) -> None:
    weak = extract(kernel(coordizer, coupling_start=5.0), coordizer, SEA)
    strong = extract(kernel(coordizer, coupling_start=9.0, beta_frozen=0.5), coordizer, SEA)
    found = match(weak, strong)
    assert found.kappa_difference == pytest.approx(4.0, rel=1e-5)
    assert found.beta_difference == pytest.approx(0.5)
    assert found.kappa_measured_difference is not None
    assert found.kappa_measured_difference > 0
    assert json.loads(json.dumps(found.to_dict()))["words"] == found.words


def test_kernels_of_other_shapes_are_compared_by_what_they_share(coordizer: Coordizer) -> None:
    small, large = kernel(coordizer), kernel(coordizer, num_layers=3)
    found = match(extract(small, coordizer, SEA), extract(large, coordizer, SEA))
    assert (found.kappa_difference, found.beta_difference) == (None, None)
    assert found.distance == 0


def test_signatures_of_other_coordizers_are_not_compared(coordizer: Coordizer) -> None:
    taken = extract(kernel(coordizer), coordizer, SEA)
    with pytest.raises(ConfigError, match="different coordizers"):
        match(taken, replace(taken, coordizer_hash="other"))
    with pytest.raises(ConfigError, match="another coordizer"):
        match_basin(
            kernel(coordizer),
            coordizer,
            probe(coordizer, SEA),
            replace(taken, coordizer_hash="other"),
        )


# --- the matcher --------------------------------------------------------------------------------


def test_the_matcher_scores_the_distance_to_a_target(coordizer: Coordizer) -> None:
    decoder = own_basin(coordizer)
    target = extract(own_basin(coordizer, seed=1), coordizer, SKY)
    texts = probe(coordizer, SEA)
    scored = match_basin(decoder, coordizer, texts, target)
    own_K = hellinger_mean(kernel_basins(decoder, coordizer, texts))
    assert scored.value == pytest.approx(float(distance(own_K, target.basin_K)))
    assert scored.null == pytest.approx(float(distance(coordizer.background_K, target.basin_K)))
    assert scored.n == len(SEA)
    assert scored.interval is not None
    assert scored.interval[0] <= scored.value <= scored.interval[1]
    itself = match_basin(decoder, coordizer, texts, extract(decoder, coordizer, SEA))
    assert itself.value == pytest.approx(0, abs=1e-6)
    single = match_basin(decoder, coordizer, probe(coordizer, SEA[:1]), target)
    assert single.interval is None


@pytest.mark.parametrize("seed", range(3))
def test_a_basin_head_pulled_to_a_signature_comes_to_match_it(
    coordizer: Coordizer, seed: int
) -> None:
    """What `train --basin-target` does, in small: descent on the squared distance."""
    target = extract(kernel(coordizer), coordizer, SKY)
    decoder, texts = own_basin(coordizer, seed=seed), probe(coordizer, SEA)
    before = match_basin(decoder, coordizer, texts, target).value
    wanted_K = torch.from_numpy(target.basin_K).float()
    tokens_BT = torch.tensor([ids.tolist() for ids in texts.texts])
    hidden_BTC = decoder.hidden(tokens_BT).detach()
    assert decoder.basin_head is not None
    weight = decoder.basin_head.weight
    for _ in range(200):
        loss = distance(decoder.basin(hidden_BTC), wanted_K).square().mean()
        (slope,) = torch.autograd.grad(loss, weight)
        with torch.no_grad():
            weight -= 0.1 * slope
    after = match_basin(decoder, coordizer, texts, target).value
    assert before is not None
    assert after is not None
    assert after < before / 4
