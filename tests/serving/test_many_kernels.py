"""A constellation grows to 240 kernels, live, in one process; there is no room for another."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import launcher_process
from constellation import Client
from constellation.domains.fit import FitOptions
from constellation.domains.membership import KERNELS_MAX
from constellation.errors import GrowthRefused
from constellation.releases.builder import domain_of, load_domain, parts_of, publish
from constellation.releases.store import ReleaseStore
from constellation.settings import Settings
from tests.support.artifacts import PROMPTS
from tests.support.candidates import invented_text, make_candidate

pytestmark = [pytest.mark.ray, pytest.mark.slow]

ONE_BY_ONE = 2
"""Kernels that join each by a change of its own."""


@pytest.fixture
def grown(artifacts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return artifacts of three kernels, in a folder that nobody else serves."""
    folder = tmp_path / "artifacts"
    shutil.copytree(artifacts, folder)
    monkeypatch.setenv("HOME", str(tmp_path))
    yield folder
    launcher_process.stop(tmp_path / "run")


def test_there_is_room_for_240_kernels_and_no_more(grown: Path, tmp_path: Path) -> None:
    settings = Settings(
        artifacts=grown,
        run_dir=tmp_path / "run",
        serve={"port": 0},
        kernel={"per_actor": KERNELS_MAX, "slots": 2, "queue_max": 4},
    )
    names = [f"poems-{number}" for number in range(KERNELS_MAX - len(PROMPTS) + 1)]
    for number, name in enumerate(names):
        weights_of = list(PROMPTS)[number % len(PROMPTS)]
        make_candidate(grown, name, weights_of=weights_of, text=invented_text(number))
    at_once, one_by_one = names[: -ONE_BY_ONE - 1], names[-ONE_BY_ONE - 1 : -1]
    state = launcher_process.start(settings)
    with Client(state.endpoint) as stars:
        said = {name: say(stars, name) for name in PROMPTS}
        train_all(grown, at_once)
        assert stars.reload().joined == tuple(sorted(at_once))
        for name in one_by_one:
            stars.add(name)
        with pytest.raises(GrowthRefused, match="240 kernels already; remove one first"):
            stars.add(names[-1])
        status = stars.status()
        assert len(status.kernels) == KERNELS_MAX
        assert all(kernel.up for kernel in status.kernels)
        assert len({kernel.pid for kernel in status.kernels}) == 1
        assert len({kernel.seat for kernel in status.kernels}) == KERNELS_MAX
        for number, name in [*list(enumerate(names))[:-1:24], (len(names) - 2, names[-2])]:
            assert say(stars, name) == said[list(PROMPTS)[number % len(PROMPTS)]]
            assert stars.ask(invented_text(number), tokens_max=2).route.kernel == name
        stars.retire(names[0])
        stars.add(names[-1])
        assert say(stars, names[-1]) == said[list(PROMPTS)[(len(names) - 1) % len(PROMPTS)]]
        assert stars.status().num_unexpected_errors == 0


def train_all(artifacts: Path, names: list[str]) -> None:
    """Write a release with these kernels, too, as a training over the folder does."""
    store = ReleaseStore(artifacts)
    before = store.read_current()
    own = [domain_of(store, before, kernel.name) for kernel in before.kernels]
    arriving = [load_domain(artifacts, name) for name in names]
    tokens = parts_of(store, before).tokens
    publish(artifacts, [*own, *arriving], tokens, FitOptions(), change="trained again")


def say(stars: Client, kernel: str) -> str:
    options = {"tokens_max": 8, "temperature": 0.0, "repetition_penalty": 2.0}
    return stars.ask(PROMPTS["mail"], kernel=kernel, **options).text
