"""What a registry leaves for the next one: where every member that was up listened.

The next one asks all of them again. One that does not answer may be starting, or hang; by what is
remembered it can be asked for heartbeats, which tell the two apart within seconds.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from actors.run_folder import write_json
from actors.spec import Announcement


def write_members(path: Path, announcements: Iterable[Announcement]) -> None:
    """Write down who is up, whole or not at all."""
    write_json(path, [asdict(each) for each in announcements])


def read_members(path: Path) -> dict[str, Announcement]:
    """Return member -> what it announced; empty when nobody wrote anything."""
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        told = [Announcement(**{**each, "kernels": tuple(each["kernels"])}) for each in entries]
    except (OSError, ValueError, TypeError, KeyError):
        return {}  # nobody did, or the disk is damaged; then all are asked, and waited for
    return {each.member: each for each in told}
