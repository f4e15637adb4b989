"""The Python of the README runs as it is printed there, but for the address."""

import re
from pathlib import Path

import pytest

from tests.wire.fakes import Served

README = Path(__file__).parents[2] / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


def test_the_readme_has_python_to_run() -> None:
    assert len(BLOCKS) >= 1
    assert all("localhost:50051" in block for block in BLOCKS)


@pytest.mark.parametrize("block", BLOCKS)
def test_the_python_of_the_readme_runs(
    block: str, served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    exec(compile(block.replace("localhost:50051", served.endpoint), str(README), "exec"), {})
    shown = capsys.readouterr().out
    assert "rad, weight" in shown
