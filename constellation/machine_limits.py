"""Read how many cores and how much memory this process may use, container limits included.

A container sees all cores and all memory of its machine; its limits are in its control groups (man
7 cgroups), of which both versions are read. A limit of a group holds for the groups inside it, so
every group from this process's own up to the first is read.
"""

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

_ROOT = Path("/")


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """Memory that this process and its children may use."""

    total_bytes: int
    """Memory in all."""
    available_bytes: int
    """Memory that is unused, or can be freed without swapping."""


def usable_cores(root: Path = _ROOT) -> int:
    """Return the cores that this process may use at the same time, at least 1.

    Args:
        root: Folder that holds `proc` and `sys`.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    shares = [share for group in _groups(root, "cpu") if (share := _cpu_share(group)) is not None]
    return max(1, min([cores or 1, *(math.ceil(share) for share in shares)]))


def usable_memory(root: Path = _ROOT) -> Memory:
    """Return the memory that this process may use: the least of the machine's and its cgroups'.

    Args:
        root: As for `usable_cores`.
    """
    machine = psutil.virtual_memory()
    total, available = int(machine.total), int(machine.available)
    for group in _groups(root, "memory"):
        limit = _number(group, "memory.max", "memory.limit_in_bytes")
        used = _number(group, "memory.current", "memory.usage_in_bytes")
        if limit is None or used is None:
            continue
        total = min(total, limit)
        available = min(available, limit - used + _evictable_bytes(group))
    return Memory(total_bytes=total, available_bytes=max(0, available))


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """Yield the cgroup folders of this process that may limit `controller`, innermost first."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    mounted = root / "sys/fs/cgroup"
    for line in lines:
        _, names, path = line.split(":", 2)
        top = mounted / controller if names else mounted  # no names: version 2
        if names and controller not in names.split(","):
            continue
        # A container may see its own group as the first one, under a path that it cannot see.
        inner = Path(path.lstrip("/"))
        for part in (inner, *inner.parents):
            if (top / part).is_dir():
                yield top / part


def _cpu_share(group: Path) -> float | None:
    """Return how many cores' time a cgroup may use; None when it has no limit."""
    words = (_text(group / "cpu.max") or "").split()
    if not words:
        words = [_text(group / f"cpu.cfs_{name}_us") or "" for name in ("quota", "period")]
    quota, period = (_whole(word) for word in (*words, "", "")[:2])
    return quota / period if quota is not None and period else None


def _evictable_bytes(group: Path) -> int:
    """Return the memory in which a cgroup caches files, which can be freed."""
    entries = dict(
        line.split(" ", 1) for line in (_text(group / "memory.stat") or "").splitlines() if line
    )
    return _whole(entries.get("total_inactive_file", entries.get("inactive_file", ""))) or 0


def _number(group: Path, *names: str) -> int | None:
    """Return the number in the first of these files that exists; None when none exists."""
    return next((n for name in names if (n := _whole(_text(group / name) or "")) is not None), None)


def _whole(word: str) -> int | None:
    """Return the number in a text; None for "max" and negative numbers, which mean no limit."""
    return int(word) if word.isascii() and word.isdigit() else None


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return None
