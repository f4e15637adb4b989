"""White space at the ends of a text says nothing of where the text lies; inside it does."""

import numpy as np
import pytest

from constellation.coordizer.coordizer import Coordizer
from constellation.coordizer.evidence import evidence, evidence_tokens
from tests.coordizer.corpora import DOCUMENTS

TEXT = DOCUMENTS[0].strip()[:200].strip() + "."


def counted(coordizer: Coordizer, text: str) -> list[int]:
    return evidence_tokens(text, coordizer.encode(text), coordizer.encode).tolist()


@pytest.mark.parametrize(
    "around", ["{}\n", "{}  ", "  {}", "\n\n\t{}\r\n", "{}\u00a0\u3000", "{} \n \n"]
)
def test_a_text_lies_where_it_lies_without_white_space_around_it(
    coordizer: Coordizer, around: str
) -> None:
    plain_K = coordizer.basin(coordizer.encode(TEXT))
    text = around.format(TEXT)
    found_K = coordizer.basin(np.array(counted(coordizer, text), dtype=np.int32))
    assert found_K.tobytes() == plain_K.tobytes()
    # The case is real: with the white space the same text lies elsewhere.
    assert coordizer.basin(coordizer.encode(text)).tobytes() != plain_K.tobytes()


def test_white_space_inside_a_text_counts(coordizer: Coordizer) -> None:
    assert counted(coordizer, "a\n\n\n  b") == coordizer.encode("a\n\n\n  b").tolist()


def test_white_space_alone_is_no_evidence(coordizer: Coordizer) -> None:
    assert evidence(" \n\t ") == ""
    assert counted(coordizer, " \n\t ") == []


def test_a_text_without_white_space_around_it_is_encoded_once(coordizer: Coordizer) -> None:
    def never(text: str) -> np.ndarray:
        raise AssertionError(f"{text!r} was encoded again")

    tokens = coordizer.encode(TEXT)
    assert evidence_tokens(TEXT, tokens, never) is tokens
