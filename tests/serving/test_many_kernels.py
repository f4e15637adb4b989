"""A constellation grows to 240 kernels, live, in one process; there is no room for another."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from constellation.routing.growth import KERNELS_MAX

from cluster import lifecycle
from constellation import Client
from constellation.errors import GrowthRefused
from constellation.settings import Settings
from tests.support.artifacts import PROMPTS
from tests.support.candidates import PROMPT, make_candidate

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture
def grown(artifacts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return artifacts of three kernels and as many that wait as there is room for, and one."""
    folder = tmp_path / "artifacts"
    shutil.copytree(artifacts, folder)
    monkeypatch.setenv("HOME", str(tmp_path))
    yield folder
    lifecycle.stop(tmp_path / "run")


def test_there_is_room_for_240_kernels_and_no_more(grown: Path, tmp_path: Path) -> None:
    settings = Settings(
        artifacts=grown,
        run_dir=tmp_path / "run",
        serve={"port": 0},
        kernel={"per_actor": KERNELS_MAX, "slots": 2, "queue_max": 4},
    )
    names = [f"poems-{number}" for number in range(KERNELS_MAX - len(PROMPTS) + 1)]
    for number, name in enumerate(names):
        make_candidate(grown, name, weights_of=list(PROMPTS)[number % len(PROMPTS)])
    state = lifecycle.start(settings)
    with Client(state.endpoint) as stars:
        said = {name: say(stars, name) for name in PROMPTS}
        grown_to = [stars.add(name) for name in names[:-1]]
        with pytest.raises(GrowthRefused, match="240 kernels already; remove one first"):
            stars.add(names[-1])
        status = stars.status()
        assert len(status.kernels) == KERNELS_MAX
        assert all(kernel.up for kernel in status.kernels)
        assert len({kernel.pid for kernel in status.kernels}) == 1
        assert len({each.seat for each in grown_to}) == len(grown_to)
        for number, name in list(enumerate(names[:-1]))[::24]:
            assert say(stars, name) == said[list(PROMPTS)[number % len(PROMPTS)]]
        assert stars.ask(PROMPT, tokens_max=2).route.kernel in names
        stars.retire(names[0])
        stars.add(names[-1])
        assert say(stars, names[-1]) == said[list(PROMPTS)[(len(names) - 1) % len(PROMPTS)]]
        assert stars.status().num_unexpected_errors == 0


def say(stars: Client, kernel: str) -> str:
    options = {"tokens_max": 8, "temperature": 0.0, "repetition_penalty": 2.0}
    return stars.ask(PROMPTS["mail"], kernel=kernel, **options).text
