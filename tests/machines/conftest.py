"""Nodes on loopback, hosts in namespaces, a small trained constellation: once for a module."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.machines.hosts import Hosts
from tests.machines.namespaces import missing
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


@pytest.fixture(scope="session")
def needs_hosts() -> None:
    """Skip the test where no hosts in namespaces can be made."""
    if (reason := missing()) is not None:
        pytest.skip(reason)


@pytest.fixture(scope="module")
def hosts(needs_hosts: None) -> Iterator[Hosts]:
    """Return three hosts; one cluster of hosts for a module of tests, and for a machine."""
    with Hosts(3) as made:
        yield made
