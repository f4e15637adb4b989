"""One small coordizer, trained once for the folder."""

import pytest

from constellation.coordizer.coordizer import Coordizer
from constellation.coordizer.training import train_coordizer
from tests.coordizer.corpora import DOCUMENTS, LABELS


@pytest.fixture(scope="session")
def coordizer() -> Coordizer:
    return train_coordizer(DOCUMENTS, LABELS, vocab_size=400)
