"""Records of pass-or-fail checks, and the report that is made of them."""

import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import torch

from constellation.errors import ArtifactError
from training.json_files import write_json

REPORT_FILE: Final = "validation_report.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One check: its question, measurement, limit and verdict."""

    name: str
    """The question, in few words."""
    passed: bool | None
    """None where the check does not apply; `detail` says why."""
    value: float | None = None
    """Measured value."""
    limit: float | None = None
    """Limit that the value is compared with; `detail` says how."""
    detail: str
    """The result in words."""

    @property
    def verdict(self) -> str:
        """The result: "passed", "FAILED" or "not applicable"."""
        return "not applicable" if self.passed is None else "passed" if self.passed else "FAILED"


def not_applicable(name: str, why: str) -> Check:
    """Return a check that does not apply, with the reason."""
    return Check(name=name, passed=None, detail=why)


@dataclass(frozen=True, kw_only=True, slots=True)
class ValidationReport:
    """All checks of one target, in groups."""

    target: str
    """What was validated: a preset's name or a folder."""
    groups: dict[str, tuple[Check, ...]]
    """Group -> its checks, in order: "architecture", a kernel's name, "gate 1", "gate 2"."""

    @property
    def passed(self) -> bool:
        """Whether no check failed."""
        return all(check.passed is not False for check in self.checks)

    @property
    def checks(self) -> Sequence[Check]:
        """All checks, in order."""
        return [check for group in self.groups.values() for check in group]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values: the checks in one list, each name with its group in front."""
        checks = [
            {**asdict(check), "name": f"{group}: {check.name}"}
            for group, members in self.groups.items()
            for check in members
        ]
        made_by = {"python": platform.python_version(), "torch": torch.__version__}
        return {"target": self.target, "passed": self.passed, "checks": checks, **made_by}

    def save(self, folder: Path) -> Path:
        """Write `validation_report.json` into a folder, atomically, and return its path.

        Raises:
            ArtifactError: It cannot be written.
        """
        path = folder / REPORT_FILE
        try:
            write_json(path, self.to_dict())
        except OSError as error:
            raise ArtifactError(path, f"cannot be written: {error.strerror}") from error
        return path
