"""The file of members: where every member listened, and how often its process restarted.

A registry that restarts asks all members where they listen. A member that does not answer may be
starting, or may hang; heartbeats to its last endpoint tell the two apart within seconds.
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
    """One member, as the registry before this one knew it."""

    announcement: Announcement
    """Last announcement of the member."""
    num_restarts: int
    up: bool
    """Whether the member answered its last heartbeat."""


def pack_members(members: Iterable[Remembered], deployment: str = "") -> bytes:
    """Return the content of the file of members of the deployment with this id."""
    return as_json({"deployment": deployment, "members": [asdict(each) for each in members]})


def read_members(path: Path, deployment: str = "") -> dict[str, Remembered]:
    """Read the file of members of the deployment with this id.

    Returns:
        Member -> what is remembered of it; empty when there is no such file, or the file is damaged
        or of another deployment.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        entries = content["members"] if content["deployment"] == deployment else []
        found = [Remembered(**{**each, "announcement": _read(**each)}) for each in entries]
    except (OSError, ValueError, TypeError, KeyError):
        return {}  # all members are asked and waited for instead
    return {each.announcement.member: each for each in found}


def _read(announcement: dict[str, Any], **_: object) -> Announcement:
    return Announcement(**{**announcement, "kernels": tuple(announcement["kernels"])})
