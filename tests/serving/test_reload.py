"""Live kernels take what training has written, all of them or none, without a dropped request."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.state_file import RunState
from constellation import Client
from constellation.errors import ReloadRefused
from constellation.releases.store import ReleaseStore
from tests.serving.load import Load
from tests.support.artifacts import PROMPTS
from tests.support.released import rewrite

pytestmark = pytest.mark.ray

WEIGHTS, DESCRIPTION = "weights.safetensors", "kernel.json"


@pytest.fixture
def store(artifacts: Path, constellation: RunState) -> Iterator[ReleaseStore]:
    """Return the store that is served from; what was current before is served again afterwards."""
    store = ReleaseStore(artifacts)
    first = store.current()
    assert first is not None
    yield store
    store.switch(first)
    with Client(constellation.endpoint) as stars:
        stars.reload()


def files_of(store: ReleaseStore, kernel: str) -> dict[str, bytes]:
    files = store.read_current().kernel(kernel).files
    return {name: store.blobs.read(blob) for name, blob in files.items()}


def _say(stars: Client, kernel: str) -> str:
    return stars.ask(PROMPTS["mail"], kernel=kernel, tokens_max=16, seed=1).text


def test_new_weights_are_served_and_no_request_is_dropped(
    constellation: RunState, store: ReleaseStore
) -> None:
    with Client(constellation.endpoint) as stars:
        before = stars.status()
        other = _say(stars, "network")
        assert _say(stars, "mail") != other
        with Load(constellation.endpoint, retries=None) as load:
            written = rewrite(store.artifacts, {"mail": files_of(store, "network")})
            reloaded = stars.reload()
        assert _say(stars, "mail") == other
        after = stars.status()
    assert (reloaded.release, reloaded.reloaded) == (written, ("mail",))
    assert (reloaded.joined, reloaded.left) == ((), ())
    assert reloaded.table_version == after.table_version > before.table_version
    assert set(load.outcomes) == {"ok"}
    assert load.outcomes["ok"] > 0
    pids = [[kernel.pid for kernel in status.kernels] for status in (before, after)]
    assert pids[0] == pids[1], "no process was restarted"
    assert after.num_unexpected_errors == before.num_unexpected_errors


def test_a_damaged_file_changes_nothing(constellation: RunState, store: ReleaseStore) -> None:
    with Client(constellation.endpoint) as stars:
        said, version = _say(stars, "mail"), stars.status().table_version
        rewrite(store.artifacts, {"mail": files_of(store, "network")})
        own = {**files_of(store, "mail"), WEIGHTS: b"other weights"}
        rewrite(store.artifacts, {"mail": own})
        damaged = store.blobs.path(store.read_current().kernel("mail").files[WEIGHTS])
        damaged.chmod(0o644)
        damaged.write_bytes(b"damaged weigh")
        with pytest.raises(ReloadRefused, match=f"{damaged.name}: is damaged"):
            stars.reload()
        assert _say(stars, "mail") == said
        assert stars.status().table_version == version


def test_weights_that_only_the_kernels_process_finds_wrong_change_nothing(
    constellation: RunState, store: ReleaseStore
) -> None:
    with Client(constellation.endpoint) as stars:
        said, version = _say(stars, "mail"), stars.status().table_version
        own = {**files_of(store, "mail"), WEIGHTS: b"weights of nothing"}
        rewrite(store.artifacts, {"mail": own})
        with pytest.raises(ReloadRefused, match="sha256"):
            stars.reload()
        assert _say(stars, "mail") == said
        assert stars.status().table_version == version


def test_another_vocabulary_needs_a_restart(constellation: RunState, store: ReleaseStore) -> None:
    described = files_of(store, "mail")[DESCRIPTION].decode()
    trained_with = described.split('"tokenizer_hash": "')[1][:64]
    other = described.replace(trained_with, "0" * 64).encode()
    rewrite(store.artifacts, {"mail": {DESCRIPTION: other}})
    with (
        Client(constellation.endpoint) as stars,
        pytest.raises(ReloadRefused, match="another vocabulary"),
    ):
        stars.reload()


def test_a_store_that_is_damaged_is_said_and_changes_nothing(
    constellation: RunState, store: ReleaseStore
) -> None:
    pointer = store.artifacts / "current"
    whole = pointer.read_bytes()
    with Client(constellation.endpoint) as stars:
        before = stars.status()
        pointer.write_bytes(b"what?")
        try:
            for change in (stars.reload, lambda: stars.retire("mail")):
                with pytest.raises(ReloadRefused, match="holds 'what"):
                    change()  # type: ignore[operator]
        finally:
            pointer.write_bytes(whole)
        after = stars.status()
    assert after.table_version == before.table_version
    assert after.num_unexpected_errors == before.num_unexpected_errors


def test_kernels_of_the_release_join_and_leave(
    constellation: RunState, store: ReleaseStore
) -> None:
    """A training that was stopped for a domain, or begun for one, needs no restart."""
    first = store.current()
    with (
        Client(constellation.endpoint) as stars,
        Load(constellation.endpoint, retries=None) as load,
    ):
        said = _say(stars, "numbers")
        fewer = rewrite(store.artifacts, {}, without=["numbers"])
        left = stars.reload()
        assert (left.release, left.left, left.reloaded) == (fewer, ("numbers",), ())
        assert [kernel.name for kernel in stars.status().kernels] == ["mail", "network"]
        store.switch(int(first or 0))
        joined = stars.reload()
        assert (joined.release, joined.joined, joined.reloaded) == (first, ("numbers",), ())
        assert _say(stars, "numbers") == said
    assert set(load.outcomes) == {"ok"}


def test_a_change_is_not_made_to_a_release_that_is_not_served(
    constellation: RunState, store: ReleaseStore
) -> None:
    first = store.current()
    written = rewrite(store.artifacts, {}, without=["numbers"])
    with (
        Client(constellation.endpoint) as stars,
        pytest.raises(
            ReloadRefused, match=f"release {written} was written since and is not served"
        ),
    ):
        stars.retire("mail")
    assert store.versions()[-1] == written, "nothing was made"
    assert store.current() == written != first
