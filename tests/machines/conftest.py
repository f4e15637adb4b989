"""Nodes on loopback and a small trained constellation, each made once for a module of tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.machines.raylets import Raylets
from tests.support.artifacts import build_artifacts


@pytest.fixture(scope="module")
def raylets() -> Iterator[Raylets]:
    """Return a cluster of two nodes on loopback."""
    with Raylets() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder as training leaves it."""
    return build_artifacts(tmp_path_factory.mktemp("artifacts"))
