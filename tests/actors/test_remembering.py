"""What one registry leaves for the next."""

from pathlib import Path

import pytest

from actors.registry.saved_members import Remembered, pack_members, read_members
from actors.spec import Announcement


def remembered(member: str, *, pid: int) -> Remembered:
    announcement = Announcement(
        member=member,
        endpoint="127.0.0.1:7000",
        metrics_endpoint="127.0.0.1:7001",
        pid=pid,
        node="here",
        kernels=("law", "poetry"),
    )
    return Remembered(announcement=announcement, num_restarts=pid, up=pid > 1)


def test_members_are_remembered_as_they_announced_themselves(tmp_path: Path) -> None:
    told = [remembered("router", pid=1), remembered("kernel-law", pid=2)]
    (tmp_path / "members.json").write_bytes(pack_members(told))
    assert read_members(tmp_path / "members.json") == {
        each.announcement.member: each for each in told
    }
    (tmp_path / "members.json").write_bytes(pack_members(told[:1]))
    assert list(read_members(tmp_path / "members.json")) == ["router"]


def test_members_of_another_deployment_are_not_remembered(tmp_path: Path) -> None:
    path = tmp_path / "members.json"
    path.write_bytes(pack_members([remembered("router", pid=1)], "d1"))
    assert list(read_members(path, "d1")) == ["router"]
    assert read_members(path, "d2") == {}
    path.write_bytes(pack_members([remembered("router", pid=1)]))
    assert read_members(path, "d1") == {}


@pytest.mark.parametrize(
    "content",
    [
        None,
        "",
        "{",
        "7",
        "[7]",
        '[{"member": "router"}]',
        '{"deployment": "", "members": [{"announcement": 7}]}',
    ],
)
def test_nobody_is_remembered_from_a_file_that_is_missing_or_damaged(
    tmp_path: Path, content: str | None
) -> None:
    path = tmp_path / "members.json"
    if content is not None:
        path.write_text(content)
    assert read_members(path) == {}
