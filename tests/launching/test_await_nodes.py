"""The start on the head waits for the machines that the configuration of `ray up` asks for."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from cluster.await_nodes import await_count, machines_wanted
from constellation.errors import ConfigError
from constellation.settings import child_environment
from tests.launching.test_ray_files import CONFIGURATIONS, FILES, checked

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_number_of_machines_is_the_head_and_all_that_must_be_there() -> None:
    prepared = checked(*CONFIGURATIONS.values())
    wanted = dict(zip(FILES, map(machines_wanted, prepared), strict=True))
    assert wanted == {"onprem.yaml": 3, "aws.yaml": 3, "gcp.yaml": 3}


def test_a_configuration_without_node_types_is_refused_with_the_way_out() -> None:
    with pytest.raises(ConfigError, match="give --machines"):
        machines_wanted({"provider": {"type": "local"}})


def test_waiting_ends_when_all_are_there_or_when_the_limit_has_passed() -> None:
    counts = iter([3])
    assert await_count(3, lambda: next(counts), limit_s=60) == 3
    assert await_count(3, lambda: 2, limit_s=0) == 2


def test_a_cluster_that_does_not_answer_is_an_error_of_one_line(tmp_path: Path) -> None:
    (tmp_path / "ray_bootstrap_config.yaml").write_text(yaml.safe_dump({"provider": {}}))
    ended = subprocess.run(
        [sys.executable, "-m", "cluster.await_nodes", "127.0.0.1:1"],
        cwd=ROOT,
        env=child_environment({"HOME": str(tmp_path)}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stderr.strip().splitlines()[-1].endswith("lists no node types; give --machines")
