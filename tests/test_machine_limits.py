"""What a process may use when a container limits it, on folders that look like the system's."""

import os
from pathlib import Path

import psutil
import pytest

from constellation.machine_limits import usable_cores, usable_memory

MB = 2**20
CORES = len(os.sched_getaffinity(0))


def system(root: Path, membership: str, files: dict[str, str]) -> Path:
    """Write what a process finds of its control groups; paths lie below /sys/fs/cgroup."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(membership)
    for name, content in files.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


def test_without_control_groups_the_machine_is_all_there_is(tmp_path: Path) -> None:
    assert usable_cores(tmp_path) == CORES
    assert usable_memory(tmp_path).total_bytes == psutil.virtual_memory().total


@pytest.mark.parametrize(
    ("membership", "files"),
    [
        ("0::/a/b\n", {"a/memory.max": f"{100 * MB}\n", "a/memory.current": f"{40 * MB}\n"}),
        (
            "4:memory:/a\n0::/\n",
            {
                "memory/a/memory.limit_in_bytes": f"{100 * MB}\n",
                "memory/a/memory.usage_in_bytes": f"{40 * MB}\n",
            },
        ),
        # Inside a container the first group is its own, whatever the path says.
        ("0::/made/outside\n", {"memory.max": f"{100 * MB}", "memory.current": f"{40 * MB}"}),
    ],
    ids=["version 2, of the group around", "version 1", "seen from inside"],
)
def test_memory_is_what_the_limit_leaves(
    tmp_path: Path, membership: str, files: dict[str, str]
) -> None:
    memory = usable_memory(system(tmp_path, membership, files))
    assert (memory.total_bytes, memory.available_bytes) == (100 * MB, 60 * MB)


@pytest.mark.parametrize("name", ["inactive_file", "total_inactive_file"])
def test_files_that_can_be_read_again_count_as_available(tmp_path: Path, name: str) -> None:
    files = {
        "memory.max": str(100 * MB),
        "memory.current": str(90 * MB),
        "memory.stat": f"anon {60 * MB}\n{name} {30 * MB}\n",
    }
    assert usable_memory(system(tmp_path, "0::/\n", files)).available_bytes == 40 * MB


def test_the_tightest_of_nested_limits_counts_and_no_limit_is_none(tmp_path: Path) -> None:
    files = {
        "a/b/memory.max": "max",
        "a/b/memory.current": str(10 * MB),
        "a/memory.max": str(50 * MB),
        "a/memory.current": str(80 * MB),  # over its limit: nothing is left
    }
    memory = usable_memory(system(tmp_path, "0::/a/b\n", files))
    assert (memory.total_bytes, memory.available_bytes) == (50 * MB, 0)


@pytest.mark.parametrize(
    ("membership", "files", "cores"),
    [
        ("0::/a\n", {"a/cpu.max": "100000 100000\n"}, 1),
        ("0::/a\n", {"a/cpu.max": "50000 100000\n"}, 1),
        ("0::/a\n", {"a/cpu.max": "max 100000\n"}, CORES),
        ("0::/a\n", {"a/cpu.max": "99900000 100000\n"}, CORES),
        (
            "3:cpu,cpuacct:/a\n",
            {"cpu/a/cpu.cfs_quota_us": "100000", "cpu/a/cpu.cfs_period_us": "100000"},
            1,
        ),
        (
            "3:cpu,cpuacct:/a\n",
            {"cpu/a/cpu.cfs_quota_us": "-1", "cpu/a/cpu.cfs_period_us": "100000"},
            CORES,
        ),
        ("0::/a\n", {"a/cpu.max": "broken\n"}, CORES),
    ],
)
def test_cores_are_what_the_quota_gives_in_whole_cores(
    tmp_path: Path, membership: str, files: dict[str, str], cores: int
) -> None:
    assert usable_cores(system(tmp_path, membership, files)) == cores
