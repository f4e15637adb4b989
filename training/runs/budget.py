"""Compute what a run has used of its budget: tokens, minutes, money. Pure.

A run's usage is kept in its folder (`budget.json`), so a resumed run continues the count.
"""

from collections.abc import Mapping
from typing import Any, Literal

from constellation.errors import BudgetUsedUp
from training.progress.events import BudgetWarning
from training.recipe_running import BudgetSection

BudgetName = Literal["tokens", "minutes", "cost"]

WARN_SHARE = 0.8
"""Share of a budget from which the run warns."""


class Meter:
    """Counts a run's use of its budget."""

    def __init__(self, budget: BudgetSection, usage: Mapping[str, Any] | None = None) -> None:
        """Start from the usage of earlier runs, as `to_dict` returned it; None starts from 0."""
        self._budget = budget
        self._seconds_before = float(usage["seconds"]) if usage else 0.0
        self._seconds_now = 0.0
        self._tokens: dict[str, int] = dict(usage["tokens"]) if usage else {}
        self._warned: set[BudgetName] = set()

    def count(self, *, seconds: float, tokens: Mapping[str, int] | None = None) -> None:
        """Record the run's usage so far.

        Args:
            seconds: Seconds of this run so far.
            tokens: Kernel -> training tokens in all, resumed runs included.
        """
        self._seconds_now = max(self._seconds_now, seconds)
        for kernel, amount in (tokens or {}).items():
            # A run that resumes from a checkpoint counts again what it had read before.
            self._tokens[kernel] = max(self._tokens.get(kernel, 0), amount)

    def used(self) -> dict[BudgetName, float]:
        """Return the usage in the units of the budget."""
        hours = self._seconds / 3600
        return {
            "tokens": float(sum(self._tokens.values())),
            "minutes": 60 * hours,
            "cost": hours * (self._budget.price_per_hour or 0.0),
        }

    def warnings(self) -> list[BudgetWarning]:
        """Return one warning per budget that has newly passed 80 %."""
        fresh = [w for w in self._over(WARN_SHARE) if w.budget not in self._warned]
        self._warned.update(warning.budget for warning in fresh)
        return fresh

    def verdict(self) -> BudgetUsedUp | None:
        """Return the error that ends the run when a budget is used up; else None."""
        over = self._over(1.0)
        if not over:
            return None
        return BudgetUsedUp(over[0].budget, used=over[0].used, limit=over[0].limit)

    def to_dict(self) -> dict[str, object]:
        """Return the usage as plain JSON values."""
        return {"seconds": round(self._seconds, 3), "tokens": dict(self._tokens)}

    @property
    def _seconds(self) -> float:
        return self._seconds_before + self._seconds_now

    def _over(self, share: float) -> list[BudgetWarning]:
        used = self.used()
        limits: dict[BudgetName, float | None] = {
            "tokens": self._budget.tokens,
            "minutes": self._budget.minutes,
            "cost": self._budget.cost,
        }
        return [
            BudgetWarning(budget=name, used=used[name], limit=float(limit))
            for name, limit in limits.items()
            if limit is not None and used[name] >= share * limit
        ]
