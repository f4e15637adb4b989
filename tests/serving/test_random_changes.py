"""Changes in random order while requests are answered: what is served follows from the set alone.

Whatever the order, the same kernels with the same text give the same release, to the bit; nothing
that is refused leaves a trace; and the first release comes back as it was.
"""

import json
import random
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cluster import launcher_process
from constellation import Client
from constellation.errors import (
    ConstellationError,
    GrowthRefused,
    InvalidRequest,
    ReloadRefused,
    UnknownKernel,
)
from constellation.records import Changed
from constellation.releases.builder import domain_of
from constellation.releases.store import ReleaseStore
from constellation.settings import Settings
from tests.serving.load import Load
from tests.serving.test_growth import bits, say
from tests.support.artifacts import PROMPTS
from tests.support.candidates import PROMPT, make_candidate

pytestmark = pytest.mark.ray

ROUNDS = 2
"""How often every kind of change is made, in an order of its own each time."""
CANDIDATES = ("poems", "songs")
TEXTS = {**PROMPTS, **dict.fromkeys(CANDIDATES, PROMPT)}
KINDS = ("add", "add", "remove", "remove", "unlearn", "spawn", "roll_back", "reload", "refused")


@dataclass(frozen=True, kw_only=True)
class State:
    """What is served, as far as a client knows."""

    unlearned: dict[str, frozenset[str]]
    """Kernel with a text of its own -> sources that it routes without."""
    spawned: dict[str, tuple[str, int]] = field(default_factory=dict)
    """Kernel -> its parent, and which spawn it came of."""

    @property
    def key(self) -> object:
        """What the release has to follow from."""
        return frozenset(self.unlearned.items()), frozenset(self.spawned.items())

    @property
    def names(self) -> list[str]:
        return sorted([*self.unlearned, *self.spawned])

    def childless(self) -> list[str]:
        parents = {parent for parent, _ in self.spawned.values()}
        return [name for name in self.names if name not in parents]


class Machine:
    """Makes changes, and knows what has to come of them."""

    def __init__(self, stars: Client, settings: Settings, rng: random.Random) -> None:
        self.stars, self.settings, self.rng = stars, settings, rng
        self.store = ReleaseStore(settings.artifacts)
        self.kept = dict.fromkeys(TEXTS, frozenset[str]())
        self.state = State(unlearned=dict.fromkeys(PROMPTS, frozenset[str]()))
        self.first = self.store.read_current()
        self.known = {self.first.version: self.state}
        self.contents = {self.state.key: self.first.content_sha256}
        self.done: Counter[str] = Counter()

    def do(self, kind: str) -> None:
        """Make a change of a kind, if there is one that can be made, and look at what it did."""
        changed: Changed | None = getattr(self, f"_{kind}")()
        if changed is not None:
            self.done[kind] += 1
            self._check(changed)

    def _check(self, changed: Changed) -> None:
        release = self.store.read_current()
        assert release.version == changed.release
        self.known[changed.release] = self.state
        expected = self.contents.setdefault(self.state.key, release.content_sha256)
        assert release.content_sha256 == expected, "it follows from the set alone"
        status = self.stars.status()
        assert [kernel.name for kernel in status.kernels] == self.state.names
        assert all(kernel.up for kernel in status.kernels)
        assert status.table_version >= changed.table_version
        for name in self.state.names:
            if name in PROMPTS:
                files = release.kernel(name).files
                assert files == self.first.kernel(name).files, "weights never change"

    def _add(self) -> Changed | None:
        away = [name for name in TEXTS if name not in self.state.unlearned]
        if not away:
            return None
        name = self.rng.choice(away)
        changed = self.stars.add(name)
        assert changed.joined == (name,)
        unlearned = {**self.state.unlearned, name: self.kept[name]}
        self.state = State(unlearned=unlearned, spawned=self.state.spawned)
        return changed

    def _remove(self) -> Changed | None:
        if len(self.state.names) < 3:
            return None
        name = self.rng.choice(self.state.childless())
        changed = self.stars.retire(name)
        assert changed.left == (name,)
        if name in self.state.unlearned:
            self.kept[name] = self.state.unlearned[name]
        self.state = State(
            unlearned={k: v for k, v in self.state.unlearned.items() if k != name},
            spawned={k: v for k, v in self.state.spawned.items() if k != name},
        )
        return changed

    def _unlearn(self) -> Changed | None:
        sources = {
            # All of what is held out lies in one source, and cannot be taken out.
            name: sorted(domain_of(self.store, self.store.read_current(), name).train.sources)
            for name in self.state.childless()
            if name in self.state.unlearned
        }
        can = [name for name, known in sources.items() if len(known) > 1]
        if not can:
            return None
        name = self.rng.choice(can)
        source = self.rng.choice(sources[name])
        changed = self.stars.unlearn(name, source)
        gone = self.state.unlearned[name] | {source}
        unlearned = {**self.state.unlearned, name: gone}
        self.state = State(unlearned=unlearned, spawned=self.state.spawned)
        return changed

    def _spawn(self) -> Changed | None:
        parents = [name for name in self.state.unlearned if f"{name}-2" not in self.state.names]
        parent = self.rng.choice(parents)
        words = TEXTS[parent].split()
        for at in range(24):
            turned = words[at % len(words) :] + words[: at % len(words)]
            self.stars.ask(" ".join(turned[: 4 + at % 5]), kernel=parent, tokens_max=1)
        try:
            changed = self.stars.spawn(parent, f"{parent}-2")
        except GrowthRefused:  # its latest queries are alike, or all on one side
            return None
        assert changed.joined == (f"{parent}-2",)
        spawned = {**self.state.spawned, f"{parent}-2": (parent, changed.release)}
        self.state = State(unlearned=self.state.unlearned, spawned=spawned)
        return changed

    def _roll_back(self) -> Changed | None:
        wanted = self.rng.choice(sorted(self.known))
        changed = self.stars.roll_back(wanted)
        assert changed.release == wanted
        self.state = self.known[wanted]
        return changed

    def _reload(self) -> Changed | None:
        changed = self.stars.reload()
        assert (changed.joined, changed.left, changed.reloaded) == ((), (), ())
        return changed

    def _refused(self) -> Changed | None:
        """Ask for what cannot be: nothing is written, and nobody is told a new table."""
        served = self.rng.choice(sorted(self.state.unlearned))
        parents = sorted({parent for parent, _ in self.state.spawned.values()})
        refused: list[tuple[Callable[[], Changed], type[ConstellationError]]] = [
            (lambda: self.stars.add(served), GrowthRefused),
            (lambda: self.stars.add("nobody"), GrowthRefused),
            (lambda: self.stars.retire("nobody"), UnknownKernel),
            (lambda: self.stars.spawn("nobody", "somebody"), UnknownKernel),
            (lambda: self.stars.spawn(served, served), GrowthRefused),
            (lambda: self.stars.unlearn(served, "no such source"), GrowthRefused),
            (lambda: self.stars.unlearn("nobody", "text-0"), UnknownKernel),
            (lambda: self.stars.roll_back(10**6), ReloadRefused),
            (lambda: self.stars.add("../mail"), InvalidRequest),
            *((lambda p=p: self.stars.retire(p), GrowthRefused) for p in parents),  # type: ignore[misc]
        ]
        for call, error in refused:
            before = self.trace()
            with pytest.raises(error):
                call()
            assert self.trace() == before
        self.done["refused"] += len(refused)
        return None

    def trace(self) -> object:
        """Return all that a change leaves: files of the store, its pointer, the table's version."""
        folder = self.settings.artifacts
        files = {path for path in folder.rglob("*") if path.is_file()}
        return files, self.store.current(), self.stars.status().table_version


@pytest.fixture
def settings(
    artifacts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Settings]:
    own = Path(shutil.copytree(artifacts, tmp_path / "artifacts"))
    for number, name in enumerate(CANDIDATES):
        make_candidate(own, name, weights_of=list(PROMPTS)[number])
    monkeypatch.setenv("HOME", str(tmp_path))
    settings = Settings(
        artifacts=own,
        run_dir=tmp_path / "run",
        serve={"port": 0, "routers": 2},
        kernel={"slots": 2, "queue_max": 8, "per_actor": 2},
    )
    yield settings
    launcher_process.stop(settings.run_dir)


def test_changes_in_any_order_lose_no_kernel_and_no_request(settings: Settings) -> None:
    state = launcher_process.start(settings)
    seed = 11
    with Client(state.endpoint) as stars:
        machine = Machine(stars, settings, random.Random(seed))
        served = settings.run_dir / "table.msgpack"
        before = (bits(stars, served), {name: say(stars, name) for name in PROMPTS})
        with Load(",".join(state.endpoints), retries=None) as load:
            for _ in range(ROUNDS):
                for kind in machine.rng.sample(KINDS, len(KINDS)):
                    machine.do(kind)
            machine.state = machine.known[machine.first.version]
            machine._check(stars.roll_back(machine.first.version))
        assert (bits(stars, served), {name: say(stars, name) for name in PROMPTS}) == before
        assert stars.status().num_unexpected_errors == 0
    sys.stdout.write(json.dumps({"seed": seed, **machine.done, **load.outcomes}) + "\n")
    assert load.wrong == []
    assert set(load.outcomes) == {"ok"}
    assert set(machine.done) >= set(KINDS) - {"spawn"}
