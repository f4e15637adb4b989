"""The error tree: every class survives pickling, with its facts, and explains itself."""

import copy
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from constellation import errors
from tests.error_examples import EXAMPLES, tree


def test_the_examples_cover_the_whole_tree() -> None:
    assert set(EXAMPLES) == set(tree())


@pytest.mark.parametrize("kind", EXAMPLES, ids=lambda kind: kind.__name__)
@given(data=st.data())
@settings(max_examples=8)
def test_every_error_survives_pickling(
    kind: type[errors.ConstellationError], data: st.DataObject
) -> None:
    error = data.draw(EXAMPLES[kind])
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        back = pickle.loads(pickle.dumps(error, protocol))
        assert type(back) is kind
        assert str(back) == str(error)
        assert vars(back) == vars(error)
        assert back.retryable == error.retryable


@pytest.mark.parametrize("kind", EXAMPLES, ids=lambda kind: kind.__name__)
@given(data=st.data())
@settings(max_examples=2)
def test_every_error_can_be_copied(
    kind: type[errors.ConstellationError], data: st.DataObject
) -> None:
    error = data.draw(EXAMPLES[kind])
    assert vars(copy.deepcopy(error)) == vars(error)


@pytest.mark.parametrize("kind", EXAMPLES, ids=lambda kind: kind.__name__)
def test_every_error_says_what_it_means(kind: type[errors.ConstellationError]) -> None:
    assert kind.__doc__
    assert kind.__doc__[0].isupper()


def test_errors_that_a_repeat_may_cure_are_exactly_these() -> None:
    assert {kind for kind in tree() if kind.retryable} == {
        errors.Overloaded,
        errors.DeadlineExceeded,
        errors.KernelUnavailable,
        errors.ServiceUnavailable,
    }


def test_a_long_value_is_shortened_in_the_message_and_the_attribute() -> None:
    error = errors.InvalidRequest("prompt", "x" * 10_000, "less")
    assert len(str(error)) < 200
    assert len(error.value) == 80


def test_messages_give_the_thing_the_value_and_the_limit() -> None:
    assert str(errors.InvalidPrompt(length=0, limit=9)) == "the prompt is empty; send 1 to 9 tokens"
    prompt = errors.InvalidPrompt(length=12, limit=9, unit="bytes")
    assert str(prompt) == "the prompt has 12 bytes; send 1 to 9 bytes"
    request = errors.InvalidRequest("temperature", 3.5, "0 to 2")
    assert str(request) == "temperature is 3.5; allowed: 0 to 2"


def test_an_out_of_domain_error_names_the_nearest_kernel() -> None:
    error = errors.OutOfDomain({"far": 1.5, "near": 1.25}, {"far": 1.0, "near": 0.5})
    said = str(error)
    assert "nearest is 'near' at 1.250 rad, and its radius for this query is 0.500 rad" in said
    assert list(error.distances) == ["near", "far"]
    assert list(error.radii) == ["near", "far"]
