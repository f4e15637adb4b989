"""measure-beta on real kernels: attention of known running, lengths beyond the context, words."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from constellation.errors import ConfigError
from constellation.kernel.network.attention import Attention
from constellation.kernel.network.decoder import Decoder
from constellation.kernel.observables.beta import (
    STANDARD_LENGTHS,
    extended,
    measurable_lengths,
    measure_beta,
)
from constellation.kernel.observables.beta_fit import fit_beta
from constellation.kernel.observables.beta_result import BetaMeasurement, conclude, in_words
from constellation.kernel.observables.kappa import coupling_at_lengths
from constellation.records import TokenArray
from tests.kernel.conftest import MakeKernel, small_config

LENGTHS = (16, 32, 64)


@pytest.fixture(name="passages_NT")
def random_passages() -> TokenArray:
    return np.random.default_rng(0).integers(0, 61, (4, 64)).astype(np.int32)


def uniform(decoder: Decoder) -> Decoder:
    for module in decoder.modules():
        if isinstance(module, Attention):
            torch.nn.init.zeros_(module.qkv.weight)
    assert decoder.coupling is not None
    torch.nn.init.constant_(decoder.coupling.log_kappa_NH, -50.0)
    return decoder


def single_key(decoder: Decoder) -> Decoder:
    assert decoder.coupling is not None
    torch.nn.init.constant_(decoder.coupling.log_kappa_NH, math.log(1e8))
    return decoder


def test_attention_to_a_single_key_runs_as_the_logarithm(
    make_kernel: MakeKernel, passages_NT: TokenArray
) -> None:
    """It gains ln n, so the slope is 1 nat and beta is 1 over the gain at L_ref."""
    decoder = single_key(make_kernel(running_coupling=False, context=64))
    measured = measure_beta(decoder, passages_NT, LENGTHS, reference_length=32)
    windows = [np.arange(int(0.95 * length) + 1, length + 1) for length in LENGTHS]
    gains = [float(np.log(window).mean()) for window in windows]
    slope, start = np.polyfit(np.log(np.array(LENGTHS) / 32), gains, 1)
    assert measured.kappa_measured == pytest.approx(gains, abs=1e-4)
    assert measured.fit.value == pytest.approx(slope / start, abs=1e-3)
    assert measured.fit.slope.value == pytest.approx(1, abs=0.02)
    assert measured.fit.r_squared == pytest.approx(1, abs=1e-3)


def test_uniform_attention_has_an_undefined_beta(
    make_kernel: MakeKernel, passages_NT: TokenArray
) -> None:
    measured = measure_beta(uniform(make_kernel(context=64)), passages_NT, LENGTHS)
    assert measured.fit.value is None
    assert measured.conclusion == "undefined"
    assert "beta undefined" in in_words(measured)
    assert "raw slope +0.0000" in in_words(measured).replace("-0.0000", "+0.0000")
    assert json.loads(json.dumps(measured.to_dict()))["beta_fit"]["value"] is None


def test_a_steeper_running_coupling_measures_a_steeper_beta(
    make_kernel: MakeKernel, passages_NT: TokenArray
) -> None:
    slopes = [
        measure_beta(make_kernel(context=64, beta_frozen=beta), passages_NT, LENGTHS).fit.slope
        for beta in (-0.2, 0.0, 0.5)
    ]
    assert slopes[0].value < slopes[1].value < slopes[2].value


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"attention": "dot", "style": "post_norm"},
        {"recurrent_layers": (1,)},
        {"recurrent_layers": (0,), "loops_max": 5, "depth_threshold": 0.5},
    ],
)
def test_one_long_pass_measures_what_short_ones_do(
    make_kernel: MakeKernel, changes: dict[str, object]
) -> None:
    """A causal kernel's query does not know what follows it, in every style and at every depth."""
    tokens_BT = torch.randint(0, 61, (2, 64), generator=torch.Generator().manual_seed(1))
    decoder = make_kernel(context=64, **changes)
    together = coupling_at_lengths(decoder, tokens_BT, LENGTHS)
    for column, length in enumerate(LENGTHS):
        alone = coupling_at_lengths(decoder, tokens_BT[:, :length], [length])
        assert torch.allclose(together[:, column], alone[:, 0], atol=1e-5)


def test_the_size_of_a_chunk_does_not_matter(make_kernel: MakeKernel) -> None:
    tokens_BT = torch.randint(0, 61, (2, 64), generator=torch.Generator().manual_seed(1))
    decoder = make_kernel(context=64)
    whole = coupling_at_lengths(decoder, tokens_BT, LENGTHS)
    assert torch.allclose(
        coupling_at_lengths(decoder, tokens_BT, LENGTHS, chunk_elements=1), whole, atol=1e-5
    )


def test_an_extended_kernel_shares_its_weights_and_agrees_within_the_context(
    make_kernel: MakeKernel,
) -> None:
    decoder = make_kernel()
    longer = extended(decoder, 100)
    tokens_BT = torch.randint(0, 61, (1, 100), generator=torch.Generator().manual_seed(2))
    assert torch.allclose(longer(tokens_BT)[:, :24], decoder(tokens_BT[:, :24]), atol=1e-5)
    assert longer.embedding.data_ptr() == decoder.embedding.data_ptr()
    assert decoder.config.context == 24
    assert extended(decoder, 24) is decoder


def test_lengths_beyond_the_trained_context_are_marked_and_fitted_apart(
    make_kernel: MakeKernel, passages_NT: TokenArray
) -> None:
    measured = measure_beta(make_kernel(context=32), passages_NT, LENGTHS)
    assert measured.extrapolated == (False, False, True)
    assert measured.fit_trained is not None
    inside = measure_beta(make_kernel(context=32), passages_NT, LENGTHS[:2])
    assert measured.fit_trained.value == pytest.approx(inside.fit.value, rel=1e-4)
    assert "1 of 3 lengths lie beyond the trained context of 32 tokens" in in_words(measured)
    assert not any(inside.extrapolated)
    assert inside.fit_trained is None


def test_the_seed_decides_the_result(make_kernel: MakeKernel, passages_NT: TokenArray) -> None:
    def measured(seed: int) -> dict[str, object]:
        kernel = make_kernel(context=64)
        return measure_beta(kernel, passages_NT, LENGTHS, seed=seed).to_dict()

    assert measured(1) == measured(1)
    assert measured(1)["kappa_shuffled"] != measured(2)["kappa_shuffled"]


def test_the_reference_length_is_the_one_of_the_configuration(
    make_kernel: MakeKernel, passages_NT: TokenArray
) -> None:
    measured = measure_beta(make_kernel(context=64), passages_NT, LENGTHS)
    assert measured.fit.reference_length == 8
    others = measured.to_dict()["other_reference_lengths"]
    assert set(others) == {"16", "32", "64"}  # type: ignore[call-overload]


def test_progress_is_told(make_kernel: MakeKernel, passages_NT: TokenArray) -> None:
    done: list[int] = []
    measure_beta(make_kernel(context=64), passages_NT, LENGTHS, on_passage=done.append)
    assert done == [1, 2, 3, 4]


def test_too_little_text_is_refused(make_kernel: MakeKernel, passages_NT: TokenArray) -> None:
    with pytest.raises(ConfigError, match="2 passages of 64 tokens"):
        measure_beta(make_kernel(), passages_NT[:2], LENGTHS)
    with pytest.raises(ConfigError, match="shorter contexts"):
        measure_beta(make_kernel(), passages_NT, (16, 128))


def test_standard_lengths_are_measured_unless_positions_are_learned() -> None:
    assert measurable_lengths(small_config()) == STANDARD_LENGTHS
    assert measurable_lengths(small_config(), [64, 16, 16]) == (16, 64)
    learned = small_config("dot", style="post_norm", context=256)
    assert measurable_lengths(learned) == (16, 32, 64, 128, 256)
    assert measurable_lengths(replace(learned, context=2048)) == (512, 1024, 2048)
    with pytest.raises(ConfigError, match="256 positions"):
        measurable_lengths(learned, [256, 512])


@pytest.mark.parametrize("lengths", [[], [64], [8, 64]])
def test_lengths_that_give_no_line_are_refused(lengths: list[int]) -> None:
    with pytest.raises(ConfigError, match="context lengths"):
        measurable_lengths(small_config(), lengths)


@pytest.mark.parametrize(
    ("beta", "band"),
    [
        (0.44, "within 0.1"),
        (0.35, "within 0.1"),
        (0.3, "within 0.2"),
        (0.63, "within 0.2"),
        (0.7, "inconclusive"),
        (0.15, "inconclusive"),
        (0.13, "beyond 0.3"),
        (-2.0, "beyond 0.3"),
        (None, "undefined"),
    ],
)
def test_the_bands_around_the_expected_value(beta: float | None, band: str) -> None:
    assert conclude(beta) == band


def result(beta: float, spread: float, *, shuffled: float = 0.0) -> BetaMeasurement:
    """Return a measurement of a known beta; spread is of the documents' slopes."""
    log_L = np.log(np.array(LENGTHS) / 32)
    slopes_N = beta + spread * np.array([-1.0, 0.0, 1.0])
    kappa_NL = 1 + slopes_N[:, None] * log_L
    null_NL = 1 + (slopes_N - beta + shuffled)[:, None] * log_L
    fit = fit_beta(kappa_NL, LENGTHS, reference_length=32)
    return BetaMeasurement(
        context_lengths=LENGTHS,
        trained_context=64,
        kappa_measured=tuple(kappa_NL.mean(0).tolist()),
        kappa_ci95=((0.0, 1.0),) * 3,
        kappa_shuffled=(0.0,) * 3,
        fit=fit,
        fit_trained=None,
        fit_shuffled=fit_beta(null_NL, LENGTHS, reference_length=32),
        other_references=(),
        num_passages=3,
    )


@pytest.mark.parametrize(
    ("beta", "spread", "said"),
    [
        (0.44, 0.01, "within 0.1 of 0.44; 0 lies outside the interval"),
        (0.44, 0.1, "within 0.1 of 0.44, which its interval does not support; 0 lies outside"),
        (0.6, 0.01, "within 0.2 of 0.44; 0 lies outside"),
        (0.7, 0.01, "0.2 to 0.3 away from 0.44: inconclusive; 0 lies outside"),
        (0.0, 0.01, "more than 0.3 away from 0.44; 0 lies inside"),
        (0.0, 0.3, "more than 0.3 away from 0.44, which its interval does not support; 0 lies in"),
    ],
)
def test_the_words_say_what_the_interval_supports(beta: float, spread: float, said: str) -> None:
    assert said in in_words(result(beta, spread))


@pytest.mark.parametrize(
    ("shuffled", "said"),
    [
        (0.44, "+0.440 (+0.415 to +0.465): no difference by the text is shown."),
        (0.1, "+0.100 (+0.075 to +0.125): a difference that the text makes."),
    ],
)
def test_the_words_name_the_null(shuffled: float, said: str) -> None:
    words = in_words(result(0.44, 0.01, shuffled=shuffled))
    assert f"Tokens in random order give {said}" in words
