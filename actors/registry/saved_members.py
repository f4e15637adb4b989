"""What a registry leaves for the next one: where every member listened, and how often it restarted.

The next one asks all of them again. One that does not answer may be starting, or hang; by what is
remembered it can be asked for heartbeats, which tell the two apart within seconds.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from actors.run_folder import as_json
from actors.spec import Announcement


@dataclass(frozen=True, kw_only=True, slots=True)
class Remembered:
    """What is remembered of one member."""

    announcement: Announcement
    """Its last."""
    num_restarts: int
    up: bool
    """Whether it answered then."""


def pack_members(members: Iterable[Remembered]) -> bytes:
    """Return what the file of members holds."""
    return as_json([asdict(each) for each in members])


def read_members(path: Path) -> dict[str, Remembered]:
    """Return member -> what is remembered; empty when nobody wrote anything."""
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        found = [Remembered(**{**each, "announcement": _read(**each)}) for each in entries]
    except (OSError, ValueError, TypeError, KeyError):
        return {}  # nobody did, or the disk is damaged; then all are asked, and waited for
    return {each.announcement.member: each for each in found}


def _read(announcement: dict[str, Any], **_: object) -> Announcement:
    return Announcement(**{**announcement, "kernels": tuple(announcement["kernels"])})
