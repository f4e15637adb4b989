"""Summarise `validation_report.json`: numbers of checks passed, failed, not applicable."""

from typing import Any

from training.report.facts import Json
from training.report.verdicts import count_of


def validation(report: Json | None) -> dict[str, Any] | None:
    """Return every check with its result, and one sentence on all checks; None without any."""
    if report is None:
        return None
    checks = [
        {"name": check["name"], "passed": check["passed"], "detail": check.get("detail", "")}
        for check in report["checks"]
    ]
    judged = [check for check in checks if check["passed"] is not None]
    failed = [check["name"] for check in judged if not check["passed"]]
    counted = count_of(len(judged) - len(failed), len(judged), "checks")
    also = f"; failed: {', '.join(failed)}" if failed else ""
    return {"checks": checks, "sentence": f"Validation: {counted} passed{also}."}
