"""Check that a C++ compiler and a new enough torch are installed, without importing torch."""

import shutil
from importlib.metadata import version

from constellation.errors import ConfigError

COMPILER = "g++"
TORCH_LEAST = (2, 13)
"""First torch release that keeps the compiled functions of several kernels apart."""


def check_compiler() -> None:
    """Raise when a kernel's writing cannot be compiled on this machine.

    Raises:
        ConfigError: There is no C++ compiler, or torch is too old.
    """
    if shutil.which(COMPILER) is None:
        raise ConfigError(
            f"kernel.compile needs the C++ compiler {COMPILER}, and there is none on the path; "
            "install it, or set kernel.compile = false"
        )
    torch = version("torch")
    if tuple(map(int, torch.split(".")[:2])) < TORCH_LEAST:
        raise ConfigError(
            f"kernel.compile needs torch {'.'.join(map(str, TORCH_LEAST))} or later, got {torch}; "
            "upgrade it, or set kernel.compile = false"
        )
