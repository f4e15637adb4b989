"""Live kernels take what training has written, all of them or none, without a dropped request."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.state import RunState
from constellation import Client
from constellation.errors import ReloadRefused
from tests.serving.load import Load
from tests.support.artifacts import PROMPTS

pytestmark = pytest.mark.ray

FILES = ("weights.safetensors", "kernel.json")


@pytest.fixture
def mail(artifacts: Path, constellation: RunState, tmp_path: Path) -> Iterator[Path]:
    """Return the folder of a served kernel; what the test leaves there is put back."""
    folder = artifacts / "kernels" / "mail"
    shutil.copytree(folder, tmp_path / "mail")
    yield folder
    _copy(tmp_path / "mail", folder)
    with Client(constellation.endpoint) as stars:
        stars.reload()


def _copy(source: Path, target: Path) -> None:
    for name in FILES:
        shutil.copy(source / name, target / name)


def _say(stars: Client, kernel: str) -> str:
    return stars.ask(PROMPTS["mail"], kernel=kernel, tokens_max=16, seed=1).text


def test_new_weights_are_served_and_no_request_is_dropped(
    constellation: RunState, mail: Path
) -> None:
    with Client(constellation.endpoint) as stars:
        before = stars.status()
        other = _say(stars, "network")
        assert _say(stars, "mail") != other
        with Load(constellation.endpoint, retries=None) as load:
            _copy(mail.parent / "network", mail)
            reloaded = stars.reload()
        assert _say(stars, "mail") == other
        after = stars.status()
    assert reloaded.kernels == ("mail",)
    assert reloaded.table_version == after.table_version > before.table_version
    assert set(load.outcomes) == {"ok"}
    assert load.outcomes["ok"] > 0
    pids = [[kernel.pid for kernel in status.kernels] for status in (before, after)]
    assert pids[0] == pids[1], "no process was restarted"
    assert after.num_unexpected_errors == before.num_unexpected_errors


def test_a_damaged_file_changes_nothing(constellation: RunState, mail: Path) -> None:
    with Client(constellation.endpoint) as stars:
        said, version = _say(stars, "mail"), stars.status().table_version
        weights = mail / FILES[0]
        weights.write_bytes(weights.read_bytes()[:-1])
        with pytest.raises(ReloadRefused, match="sha256"):
            stars.reload()
        assert _say(stars, "mail") == said
        assert stars.status().table_version == version


def test_another_vocabulary_needs_a_restart(constellation: RunState, mail: Path) -> None:
    description = mail / FILES[1]
    described = description.read_text()
    trained_with = described.split('"tokenizer_hash": "')[1][:64]
    description.write_text(described.replace(trained_with, "0" * 64))
    with (
        Client(constellation.endpoint) as stars,
        pytest.raises(ReloadRefused, match="another vocabulary"),
    ):
        stars.reload()


def test_a_table_of_other_kernels_needs_a_restart(
    constellation: RunState, artifacts: Path, mail: Path, tmp_path: Path
) -> None:
    from dataclasses import replace

    from constellation.wire.table_file import load_table, save_table

    path = artifacts / "table.msgpack"
    table = load_table(path)
    try:
        save_table(path, replace(table, sites=table.sites[1:]))
        with (
            Client(constellation.endpoint) as stars,
            pytest.raises(ReloadRefused, match="down, up"),
        ):
            stars.reload()
    finally:
        save_table(path, table)
