"""Stands in for `python3` on hosts, which reach no package index; virtual environments work.

    python offline_python.py ARGUMENTS OF PYTHON

`-m venv FOLDER` makes an environment that shares the packages of the checkout's .venv, and whose
`pip install ... CODE` makes the modules in the folder CODE importable. Everything else is done by
Python itself.
"""

import os
import site
import subprocess
import sys
from pathlib import Path

_PIP = """
import sys
from pathlib import Path

code = next(name for name in sys.argv[1:] if Path(name, "pyproject.toml").is_file())
# Read before the packages of the checkout, which hold the same modules.
Path(__file__).parents[1].joinpath("a_code.pth").write_text(code + chr(10))
"""
_COMMANDS = ("constellation", "ray")


def main() -> None:
    """Make a virtual environment, or become Python."""
    arguments = sys.argv[1:]
    if arguments[:2] == ["-m", "venv"]:
        make_environment(Path(arguments[2]))
    else:
        os.execv(sys.executable, [sys.executable, *arguments])


def make_environment(folder: Path) -> None:
    """Make a virtual environment without the network."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (packages,) = folder.glob("lib/python3*/site-packages")
    shared = [path for path in site.getsitepackages() if Path(path).is_dir()]
    lines = [f"import site; site.addsitedir({path!r})\n" for path in shared]
    (packages / "shared.pth").write_text("".join(lines), encoding="utf-8")
    (packages / "pip").mkdir(exist_ok=True)
    (packages / "pip/__init__.py").touch()  # a namespace package would give way to the shared pip
    (packages / "pip/__main__.py").write_text(_PIP, encoding="utf-8")
    for name in _COMMANDS:
        script = Path(sys.executable).with_name(name).read_text(encoding="utf-8")
        command = folder / "bin" / name
        command.write_text(f"#!{folder}/bin/python\n{script.partition(chr(10))[2]}")
        command.chmod(0o755)


if __name__ == "__main__":
    main()
