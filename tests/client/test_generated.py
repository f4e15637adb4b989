"""The synchronous clients are what the generator makes of the asynchronous ones."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from constellation import AsyncClient, AsyncDirectClient, Client, DirectClient
from constellation.client import AsyncStream, Stream

ROOT = Path(__file__).parents[2]


def check(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "tools/sync_clients.py", "--check"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_the_synchronous_clients_are_fresh() -> None:
    assert check(ROOT).returncode == 0, check(ROOT).stderr


@pytest.mark.parametrize("name", ["client.py", "direct.py"])
def test_a_stale_client_is_found(tmp_path: Path, name: str) -> None:
    clients = tmp_path / "constellation/client"
    clients.mkdir(parents=True)
    for path in (ROOT / "constellation/client").glob("*.py"):
        (clients / path.name).write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    stale = clients / name
    stale.write_text(stale.read_text(encoding="utf-8") + "\n# edited\n", encoding="utf-8")
    assert f"{name} is stale" in check(tmp_path).stderr


@pytest.mark.parametrize(
    ("asynchronous", "synchronous"),
    [(AsyncClient, Client), (AsyncDirectClient, DirectClient), (AsyncStream, Stream)],
)
def test_both_clients_have_the_same_methods_with_documents(
    asynchronous: type, synchronous: type
) -> None:
    def parameters(cls: type) -> dict[str, list[str]]:
        return {
            name: [
                f"{each.name}: {each.kind}"
                for each in inspect.signature(member).parameters.values()
            ]
            for name, member in inspect.getmembers(cls, inspect.isfunction)
            if not name.startswith("_")
        }

    assert parameters(asynchronous) == parameters(synchronous)
    for name in parameters(synchronous):
        assert inspect.getdoc(getattr(synchronous, name))
        assert not inspect.iscoroutinefunction(getattr(synchronous, name))
