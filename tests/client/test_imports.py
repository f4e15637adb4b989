"""What importing the client costs: neither torch nor Ray, and nothing at all until it is used."""

import subprocess
import sys

import pytest

import constellation


def modules_after(statement: str) -> set[str]:
    """Return the top-level modules that a fresh interpreter holds after `statement`."""
    code = f"import sys; {statement}; print(*{{name.split('.')[0] for name in sys.modules}})"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return set(result.stdout.split())


def test_the_client_imports_neither_torch_nor_ray() -> None:
    loaded = modules_after("from constellation import Client, AsyncClient; Client('localhost:1')")
    assert "grpc" in loaded
    assert loaded.isdisjoint({"torch", "ray", "scipy", "tokenizers", "actors", "training"})


def test_the_package_itself_imports_nothing_heavy() -> None:
    loaded = modules_after("import constellation")
    assert loaded.isdisjoint({"torch", "ray", "grpc", "numpy", "google", "pydantic"})


def test_the_package_lists_what_it_exports() -> None:
    names = {"AsyncClient", "AsyncDirectClient", "Client", "DirectClient"}
    assert names == set(constellation.__all__) <= set(dir(constellation))
    for name in names:
        assert getattr(constellation, name).__name__ == name


def test_a_name_the_package_does_not_have_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="Cleint"):
        constellation.Cleint  # noqa: B018
