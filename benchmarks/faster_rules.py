"""Divide every duration of a rule file, so that alerts that wait for minutes fire in seconds.

Windows (`[10m]`), `offset`, `for` and the groups' `interval` are divided by one factor. Nothing
else is changed: expressions, limits, labels and texts are those of the shipped file.
"""

import re
from pathlib import Path

from cluster.prometheus_configuration import FILES, shipped

_DURATION = re.compile(r"(\[|\boffset |\bfor: |\binterval: )(\d+)([smhd])\b")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def faster(text: str, factor: float) -> str:
    """Return a rule file with all durations divided by `factor`, in whole milliseconds."""

    def shorter(found: re.Match[str]) -> str:
        before, number, unit = found.groups()
        return f"{before}{round(int(number) * _SECONDS[unit] * 1000 / factor)}ms"

    return _DURATION.sub(shorter, text)


def write_faster_rules(folder: Path, factor: float) -> list[Path]:
    """Write the shipped rules with divided durations into a folder; return their paths."""
    paths = [folder / name for name in FILES[1:]]
    for path in paths:
        path.write_text(faster(shipped(path.name), factor), encoding="utf-8")
    return paths
