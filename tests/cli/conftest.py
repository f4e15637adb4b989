"""A served fake constellation, and a way to run commands in a folder of their own."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cluster.cli.main import app
from tests.support.artifacts import build_artifacts
from tests.wire.fakes import Served

Run = Callable[..., Result]


@pytest.fixture
def served() -> Iterator[Served]:
    with Served() as served:
        yield served


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs `constellation` with arguments in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments: object, typed: str | bytes | None = None) -> Result:
        return CliRunner().invoke(app, [str(argument) for argument in arguments], input=typed)

    return invoke


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder as training leaves it; its kernels know nothing. Do not change it."""
    return build_artifacts(tmp_path_factory.mktemp("artifacts"), steps=0)
