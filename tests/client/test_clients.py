"""What both clients do, against a real server with a fake router behind it."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from constellation import errors
from constellation.client import Client, RetryPolicy
from constellation.errors import ConfigError, InvalidBasin, InvalidRequest
from constellation.records import FinishReason, Mode, Rule, Sampling
from constellation.wire import error_status
from constellation.wire.channel import MESSAGE_BYTES_MAX, Bind
from tests.client.conftest import MakeClient
from tests.error_examples import EXAMPLES
from tests.wire.fakes import DISTANCES, NAMES, Served

TOKEN = "a secret of many characters"


def test_an_answer_has_its_text_route_and_finish(stars: Any) -> None:
    reply = stars.ask("What does gather return?")
    assert reply.text == "What does gather return?"
    assert reply.route.kernel == "python"
    assert reply.route.kernels == NAMES
    assert reply.route.distances == DISTANCES
    assert reply.route.rule is Rule.BEARING
    assert reply.finish.reason is FinishReason.END
    assert (reply.finish.num_tokens, reply.finish.elapsed_s) == (4, 0.25)


def test_options_reach_the_router_as_they_were_given(served: Served, stars: Any) -> None:
    stars.ask(
        "a",
        tokens_max=5,
        temperature=0.5,
        top_k_tokens=40,
        top_p=0.9,
        min_p=0.1,
        repetition_penalty=1.5,
        seed=2**63 - 1,
        tokens_min=2,
        presence_penalty=-1.5,
        frequency_penalty=1.5,
        logit_bias={7: -100.0, 9: 3},
        stop="END",
        logprobs=0,
        kernel="law",
        rule="geodesic",
        mode="mixture",
        top_k=3,
        explain=True,
    )
    ((_, sampling, options),) = served.router.calls
    assert sampling == Sampling(
        tokens_max=5,
        temperature=0.5,
        top_k=40,
        top_p=0.9,
        min_p=0.1,
        repetition_penalty=1.5,
        seed=2**63 - 1,
        tokens_min=2,
        presence_penalty=-1.5,
        frequency_penalty=1.5,
        logit_bias={7: -100.0, 9: 3.0},
        stop=("END",),
        logprobs=0,
    )
    assert options is not None
    assert (options.kernel, options.rule, options.top_k) == ("law", Rule.GEODESIC, 3)
    assert (options.explain, options.refuse_out_of_domain) == (True, False)
    assert options.mode is Mode.MIXTURE


def test_what_is_not_given_takes_the_servers_default(served: Served, stars: Any) -> None:
    stars.ask("a", temperature=None, kernel=None, rule=None)
    ((_, sampling, options),) = served.router.calls
    assert sampling == Sampling()
    assert options is not None
    assert (options.kernel, options.rule, options.top_k, options.basin_K) == (None,) * 4


def test_a_route_carries_its_explanation_only_when_asked_for(stars: Any) -> None:
    assert stars.route("text").influences == ()
    (influence,) = stars.route("text", explain=True).influences
    assert (influence.text, influence.position, influence.shift) == ("gather", 3, 0.125)


def test_a_query_can_be_routed_by_a_basin(served: Served, stars: Any) -> None:
    basin = np.random.default_rng(0).dirichlet(np.ones(64))
    stars.route("text", basin=basin)
    stars.route("text", basin=basin.astype(np.float32).tolist())
    for (_, _, options), tolerance in zip(served.router.calls, (1e-15, 1e-6), strict=True):
        assert options is not None
        assert options.basin_K is not None
        assert np.abs(options.basin_K - basin).max() <= tolerance


def test_a_basin_comes_with_its_tokens(served: Served, stars: Any) -> None:
    answer = stars.basin("héé")
    assert answer.tokens.tolist() == list("héé".encode())
    assert np.array_equal(answer.basin_K, served.router.basin_of("héé"))
    assert answer.coordizer_hash == "ab" * 32


def test_a_score_counts_tokens_and_bytes(stars: Any) -> None:
    score = stars.score("né a", context="before")
    assert (score.nats, score.num_tokens, score.num_bytes) == (10.0, 2, 5)
    assert score.bits_per_byte == pytest.approx(10 / math.log(2) / 5)
    assert score.route.kernel == "python"


def test_the_status_tells_missing_values_from_zeros(stars: Any) -> None:
    state = stars.status()
    python, poetry, law = state.kernels
    assert (python.seat, poetry.seat, law.seat) == (0, None, 14)
    assert (python.phi_gauge, poetry.phi_gauge, law.phi_gauge) == (0.0, None, 0.5)
    assert (python.endpoint, law.endpoint) == ("127.0.0.1:7000", None)
    assert (python.up, law.up) == (True, False)
    assert (python.pid, python.num_restarts, python.num_routed) == (11, 2, 6)
    assert (python.queue_depth, python.num_running) == (3, 4)
    assert python.basin_K.sum() == pytest.approx(1)
    assert [len(kernel.basins_BK) for kernel in state.kernels] == [1, 1, 2]
    np.testing.assert_array_equal(python.basins_BK, python.basin_K[None])
    assert (python.arrived, python.num_held_out) == (0.75, 40)
    assert (law.arrived, law.num_held_out, law.family) == (None, 0, None)
    assert (state.router_pid, state.registry_pid, state.table_version) == (12, 13, 5)
    assert (state.uptime_s, state.load_entropy_ratio, state.num_unexpected_errors) == (1.5, 0.75, 0)


def test_health_is_true_while_it_serves_and_false_after(served: Served, stars: Any) -> None:
    assert stars.healthy() is True
    served.stop()
    assert stars.healthy() is False


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"temperature": 2.5}, "temperature"),
        ({"temperature": math.nan}, "temperature"),
        ({"tokens_max": -1}, "tokens_max"),
        ({"seed": 2**63}, "seed"),
        ({"seed": -1}, "seed"),
        ({"top_k_tokens": 0}, "top_k"),
        ({"top_k": 0}, "top_k"),
        ({"top_k": -1}, "top_k"),
        ({"top_k": 2**32}, "top_k"),
        ({"rule": "euclidean"}, "rule"),
        ({"mode": "loudest"}, "mode"),
        ({"kernel": ""}, "kernel"),
        ({"kernel": "\ud800"}, "kernel"),
        ({"timeout_s": 0}, "timeout_s"),
        ({"timeout_s": -1}, "timeout_s"),
        ({"timeout_s": math.nan}, "timeout_s"),
        ({"timeout_s": math.inf}, "timeout_s"),
    ],
)
def test_what_no_message_can_carry_is_refused_before_it_is_sent(
    served: Served, stars: Any, options: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        stars.ask("a", **options)
    assert caught.value.field == field
    assert served.router.calls == []


def test_a_text_that_utf8_cannot_carry_is_an_invalid_request(stars: Any) -> None:
    for call in (stars.ask, stars.route, stars.basin, stars.score):
        with pytest.raises(InvalidRequest):
            call("half a pair: \ud800")


def test_a_misspelt_option_is_a_type_error(stars: Any) -> None:
    for call in (stars.ask, stars.stream, stars.route, stars.score):
        with pytest.raises(TypeError, match="temprature"):
            call("a", temprature=1)


def test_the_servers_refusals_are_typed(stars: Any) -> None:
    with pytest.raises(errors.InvalidPrompt):
        stars.ask("")
    with pytest.raises(errors.UnknownKernel) as caught:
        stars.ask("a", kernel="nobody")
    assert caught.value.known == list(NAMES)
    with pytest.raises(errors.OutOfDomain):
        stars.route("a", refuse_out_of_domain=True)
    for basin in ([math.nan] * 64, [1.0], [[0.5, 0.5]], [2.0] + [0.0] * 63, [-1.0] + [0.0] * 63):
        with pytest.raises(InvalidBasin):
            stars.route("a", basin=basin)
    with pytest.raises(errors.MessageTooLarge):
        stars.basin("x" * (MESSAGE_BYTES_MAX + 1))


@pytest.mark.slow
@pytest.mark.parametrize("call", ["ask", "route"])
def test_every_class_of_error_comes_back_as_the_router_raised_it(
    served: Served, make_client: MakeClient, call: str
) -> None:
    stars = make_client(served.endpoint, retries=RetryPolicy(attempts_max=1))

    @given(st.one_of(*(EXAMPLES[kind] for kind in error_status.STATUS_OF)))
    @settings(max_examples=60)
    def check(error: errors.ConstellationError) -> None:
        served.router.failures.append(error)
        with pytest.raises(errors.RequestError) as caught:
            getattr(stars, call)("a")
        assert type(caught.value) is type(error)
        assert vars(caught.value) == vars(error)
        if len(str(error).encode()) <= 500:
            assert str(caught.value) == str(error)

    check()


@pytest.mark.parametrize("kind", error_status.STATUS_OF, ids=lambda kind: kind.__name__)
def test_every_class_of_error_crosses_the_wire(
    served: Served, kind: type[errors.ConstellationError]
) -> None:
    with Client(served.endpoint, retries=RetryPolicy(attempts_max=1)) as stars:

        @given(EXAMPLES[kind])
        @settings(max_examples=8)
        def check(error: errors.ConstellationError) -> None:
            served.router.failures.append(error)
            with pytest.raises(errors.RequestError) as caught:
                stars.route("a")
            assert type(caught.value) is kind
            assert vars(caught.value) == vars(error)
            assert caught.value.__cause__ is None
            assert caught.value.__suppress_context__

        check()


def test_the_token_is_sent_and_its_absence_is_typed(
    make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Served(Bind(token=TOKEN)) as served:
        for wrong in ({}, {"token": "another secret of many characters"}):
            with pytest.raises(errors.Unauthenticated):
                make_client(served.endpoint, **wrong).ask("a")
        assert make_client(served.endpoint, token=TOKEN).ask("a").text == "a"
        assert make_client(served.endpoint).healthy()
        monkeypatch.setenv("CONSTELLATION_TOKEN", TOKEN)
        assert make_client(served.endpoint).ask("a").text == "a"


@pytest.mark.parametrize("token", ["", "é", "a\nb", " x"])
def test_a_token_that_no_header_carries_is_a_configuration_error(
    make_client: MakeClient, token: str
) -> None:
    with pytest.raises(ConfigError, match="token"):
        make_client("localhost:50051", token=token)


def test_localhost_finds_a_server_that_listens_on_ipv4_only(
    served: Served, make_client: MakeClient
) -> None:
    port = served.endpoint.rpartition(":")[2]
    assert make_client(f"localhost:{port}").ask("a").text == "a"


@pytest.mark.parametrize(
    "endpoint",
    [
        "",
        "localhost",
        ":50051",
        "localhost:",
        "localhost:x",
        "localhost:0",
        "localhost:70000",
        "localhost:¹",
        "::1:50051",
        "unix:/tmp/x",
        "http://localhost:50051",
        "a b:1",
        "a,b:1",
    ],
)
def test_an_endpoint_that_is_not_host_and_port_is_a_configuration_error(
    make_client: MakeClient, endpoint: str
) -> None:
    with pytest.raises(ConfigError, match="host:port"):
        make_client(endpoint)
