"""What a process loads that serves: every library is paid for in memory, once a process."""

import subprocess
import sys

import pytest

from constellation.settings import child_environment

SCRIPT = """
import importlib, json, sys
importlib.import_module(sys.argv[1])
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "unneeded"),
    [
        ("actors.router.process", {"scipy", "torch"}),
        ("actors.registry.process", {"scipy", "torch"}),
    ],
)
def test_a_process_that_runs_no_kernel_loads_nothing_that_computes(
    module: str, unneeded: set[str]
) -> None:
    loaded = subprocess.run(
        [sys.executable, "-c", SCRIPT, module],
        capture_output=True,
        text=True,
        check=True,
        env=child_environment({}),
    ).stdout
    assert "numpy" in loaded
    assert not {name for name in unneeded if f'"{name}"' in loaded}
