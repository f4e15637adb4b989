"""`ask` and `route` against a real gRPC server with a router that echoes."""

import json
from pathlib import Path

import numpy as np
import pytest

from cluster.cli.output_format import outcomes, size, visible
from cluster.cli.plot import num_distinct_outcomes
from constellation.errors import InvalidPrompt
from constellation.records import Mode, Rule
from constellation.wire.channel import Bind
from tests.cli.conftest import Run
from tests.wire.fakes import DISTANCES, NAMES, Served

TOKEN = "a secret of the test"


def test_only_the_answer_goes_to_standard_output(run: Run, served: Served) -> None:
    result = run("ask", "tell me more", "--endpoint", served.endpoint)
    assert result.exit_code == 0
    assert result.stdout == "tell me more\n"
    assert "→ python (nearest, bearing 0.500 rad, margin 0.250)" in result.stderr
    assert "outside every kernel's radius" in result.stderr
    assert "3 tokens in 0.25 s, end" in result.stderr


def test_an_answer_that_ends_its_line_gets_no_second_end(run: Run, served: Served) -> None:
    assert run("ask", "a\n", "--endpoint", served.endpoint).stdout == "a\n"


def test_the_flags_of_ask_reach_the_router(run: Run, served: Served) -> None:
    flags = (
        "--kernel law --rule geodesic --mode posterior --top-k 3 --tokens-max 7 --temperature 0 "
        "--seed 5"
    )
    result = run(
        "ask", "a b", *flags.split(), "--explain", "--timeout", "9", "--endpoint", served.endpoint
    )
    assert result.exit_code == 0
    ((text, sampling, options),) = served.router.calls
    assert text == "a b"
    assert (sampling.tokens_max, sampling.temperature, sampling.seed) == (7, 0, 5)
    assert (options.kernel, options.rule, options.top_k) == ("law", Rule.GEODESIC, 3)
    assert (options.explain, options.mode) == (True, Mode.POSTERIOR)
    assert 8 < served.router.timeouts[0] < 10
    assert "gather" in result.stderr


def test_the_share_that_may_be_refused_reaches_the_router(run: Run, served: Served) -> None:
    assert run("ask", "a", "--refuse", "0.05", "--endpoint", served.endpoint).exit_code == 0
    ((_, _, options),) = served.router.calls
    assert (options.refuse, options.refuse_out_of_domain) == (0.05, False)
    assert run("ask", "a", "--refuse", "0.6", "--endpoint", served.endpoint).exit_code != 0


def test_what_several_kernels_write_says_their_weights(run: Run, served: Served) -> None:
    result = run("ask", "a b", "--mode", "mixture", "--endpoint", served.endpoint)
    assert "mixture of python 0.25, poetry 0.25, law 0.25" in result.stderr
    assert "in the end python 0.75, poetry 0.25, lost: law" in result.stderr
    asked = run("route", "a b", "--mode", "mixture", "--endpoint", served.endpoint)
    assert "mode mixture" in asked.stdout


def test_json_is_one_object_with_text_route_and_finish(run: Run, served: Served) -> None:
    result = run("ask", "a b", "--json", "--endpoint", served.endpoint)
    answer = json.loads(result.stdout)
    assert answer["text"] == "a b"
    assert [choice["distance"] for choice in answer["route"]["choices"]] == list(DISTANCES)
    assert answer["finish"]["reason"] == "end"


def test_a_dash_reads_standard_input(run: Run, served: Served) -> None:
    result = run("ask", "-", "--endpoint", served.endpoint, typed="héllo wörld")
    assert result.stdout == "héllo wörld\n"


def test_input_that_is_not_utf_8_is_refused(run: Run, served: Served) -> None:
    result = run("ask", "-", "--endpoint", served.endpoint, typed=b"\xff\xfe")
    assert result.exit_code == 1
    assert "standard input" in result.stderr
    assert served.router.calls == []


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--temperature", "7"), "temperature is 7.0"),
        (("--tokens-max", "0"), "tokens_max is 0"),
        (("--kernel", "nobody"), "there are: python, poetry, law"),
        (("--refuse-out-of-domain",), "outside every kernel's radius"),
    ],
)
def test_a_refused_question_is_one_line_and_exit_code_1(
    run: Run, served: Served, flags: tuple[str, ...], words: str
) -> None:
    result = run("ask", "x", *flags, "--endpoint", served.endpoint)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert words in result.stderr
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1


def test_an_error_in_the_middle_keeps_what_was_written(run: Run, served: Served) -> None:
    served.router.failure_after = (2, InvalidPrompt(length=9, limit=8))
    result = run("ask", "one two three", "--endpoint", served.endpoint)
    assert result.exit_code == 1
    assert result.stdout == "one two\n"
    assert "send 1 to 8 tokens" in result.stderr


def test_the_token_file_opens_the_door(run: Run, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN + "\n")
    with Served(Bind(token=TOKEN)) as served:
        refused = run("ask", "x", "--endpoint", served.endpoint)
        answered = run("ask", "x", "--endpoint", served.endpoint, "--token-file", "token")
    assert refused.exit_code == 1
    assert "--token-file" in refused.stderr
    assert answered.stdout == "x\n"


def test_route_shows_every_kernel_and_its_reasons(run: Run, served: Served) -> None:
    result = run("route", "some text", "--explain", "--endpoint", served.endpoint)
    for name, distance in zip(NAMES, DISTANCES, strict=True):
        (line,) = [line for line in result.stdout.splitlines() if f" {name} " in line]
        assert f"{distance:.4f}" in line
        assert ("→" in line) == (name == "python")
    assert "margin 0.2500 rad" in result.stdout
    assert "'gather'" in result.stdout
    assert "as far out at 9 tokens: 2.5 % of in-domain texts" in result.stdout
    assert "75 % of texts of a domain left out" in result.stdout


def test_route_asks_no_kernel(run: Run, served: Served) -> None:
    run("route", "some text", "--endpoint", served.endpoint)
    assert served.router.timeouts == []


def test_route_as_json_holds_the_tokens_when_asked(run: Run, served: Served) -> None:
    plain = json.loads(run("route", "x", "--json", "--endpoint", served.endpoint).stdout)
    told = json.loads(
        run("route", "x", "--json", "--explain", "--endpoint", served.endpoint).stdout
    )
    assert plain["influences"] == []
    assert told["influences"] == [{"text": "gather", "position": 3, "shift": 0.125}]


def test_route_draws_a_picture(run: Run, served: Served, tmp_path: Path) -> None:
    result = run("route", "$x_1$ [b]", "--plot", "r.png", "--endpoint", served.endpoint)
    assert result.exit_code == 0
    assert (tmp_path / "r.png").read_bytes().startswith(b"\x89PNG\r\n")


def test_a_picture_that_cannot_be_written_is_an_error_line(run: Run, served: Served) -> None:
    result = run("route", "x", "--plot", "no/such/r.png", "--endpoint", served.endpoint)
    assert result.exit_code == 1
    assert "r.png: cannot be written" in result.stderr


def test_outcomes_that_are_alike_at_the_end_are_not_drawn() -> None:
    roots_NK = np.full((2, 8), 0.1)
    assert num_distinct_outcomes(roots_NK) == 8
    roots_NK[1, 2] = 0.4
    assert num_distinct_outcomes(roots_NK) == 3


def test_control_characters_are_shown_not_obeyed() -> None:
    assert visible("a\x1b[2J\tb\n\x7f\x9b") == "a\N{SYMBOL FOR ESCAPE}[2J\tb\n\ufffd\ufffd"
    assert visible("héllo →") == "héllo →"


def test_sizes_and_basins_are_short() -> None:
    assert [size(n) for n in (0, 1023, 1024, 5 * 2**20, 2.5 * 2**30)] == [
        "0 B",
        "1023 B",
        "1.0 KiB",
        "5.0 MiB",
        "2.5 GiB",
    ]
    assert outcomes([0.1, 0.6, 0.05, 0.25]) == "1:0.60 3:0.25 0:0.10"
