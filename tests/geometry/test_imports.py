"""What importing the geometry must not do."""

import subprocess
import sys

PROGRAM = """
import sys
import numpy as np
import constellation.geometry as geometry
import constellation.geometry.e8, constellation.geometry.seats
p = np.full((2, 4), 0.25)
geometry.karcher_mean(geometry.check_simplex(p))
print(sorted({name.split(".")[0] for name in sys.modules} & {"torch", "ray", "grpc", "scipy"}))
"""


def test_geometry_loads_neither_torch_nor_the_wire_nor_scipy() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"
