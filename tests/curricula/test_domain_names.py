"""Names of domains: valid for kernels, apart from each other, whoever else is there."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from constellation.curricula.domain_names import name_domains, plain_name
from constellation.wire.kernel_names import check_kernel_name

originals = st.lists(st.text(max_size=80), min_size=1, max_size=8)


@given(originals)
def test_every_name_may_name_a_kernel_and_ends_with_a_letter_digit_or_underscore(
    texts: list[str],
) -> None:
    for name in name_domains(texts).values():
        assert check_kernel_name("domain", name) == name
        assert name[-1] not in "-."


@given(originals)
def test_different_originals_get_different_names(texts: list[str]) -> None:
    names = name_domains(texts)
    assert len(set(names.values())) == len({plain_key(text) for text in texts})


def plain_key(text: str) -> str:
    return unicodedata.normalize("NFC", text)


@pytest.mark.parametrize(
    ("original", "name"),
    [
        ("law", "law"),
        ("My Notes (2024)", "my-notes-2024"),
        ("été", "ete"),
        ("e\u0301te\u0301", "ete"),
        ("C", "c"),
        ("C++", "c-plus-plus"),
        ("C#", "c-sharp"),
        ("R&D", "r-and-d"),
        ("_private_", "private_"),
    ],
)
def test_what_an_original_is_called(original: str, name: str) -> None:
    assert name_domains([original, "other"])[original] == name


def test_a_name_does_not_depend_on_other_originals_unless_they_would_be_called_the_same() -> None:
    long = "x" * 64
    many = ["中文", "हिन्दी", f"{long}a", f"{long}b", "!!!", "C", "C++", "C#", "", "Straße"]
    names = name_domains(many)
    assert len(set(names.values())) == len(many)
    assert names == {original: plain_name(original) for original in many}


def test_an_original_that_is_a_name_keeps_it_beside_others_that_would_be_called_so() -> None:
    names = name_domains(["law", "Law", "LAW"])
    assert names["law"] == "law"
    assert len(set(names.values())) == 3
    assert names["Law"].startswith("law-")
