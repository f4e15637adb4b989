"""Kernels join and leave a live constellation under load; no request is lost.

Every change is a release, and every test gives the shared constellation back as it was, to the bit.
"""

import hashlib
import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cluster.state_file import RunState
from constellation import Client, DirectClient
from constellation.client.retries import RetryPolicy
from constellation.errors import (
    ConstellationError,
    GrowthRefused,
    IncompatibleKernels,
    InvalidRequest,
    ReloadRefused,
    TrainingError,
    UnknownKernel,
)
from constellation.releases.builder import domain_of, domain_path, load_domain, save_domain
from constellation.releases.release_coordizers import ReleasedCoordizers
from constellation.releases.store import ReleaseStore
from constellation.settings import Settings
from constellation.wire.run_lock import owned
from constellation.wire.table_file import load_table, pack_table
from tests.serving.load import Load
from tests.support.artifacts import PROMPTS
from tests.support.candidates import PROMPT, make_candidate, make_domain_without
from tests.support.scrapes import endpoints

pytestmark = pytest.mark.ray


@pytest.fixture
def stars(constellation: RunState) -> Iterator[Client]:
    with Client(constellation.endpoint) as stars:
        yield stars
        assert stars.status().num_unexpected_errors == 0


@pytest.fixture
def poems(artifacts: Path, stars: Client) -> Iterator[Path]:
    """Return the folder of a kernel that is ready to join; afterwards nothing of it is left."""
    before = content(artifacts)
    folder = make_candidate(artifacts, "poems")
    yield folder
    for kernel in stars.status().kernels:
        if kernel.name not in PROMPTS:
            stars.retire(kernel.name)
    shutil.rmtree(folder)
    domain_path(artifacts, "poems").unlink(missing_ok=True)
    assert content(artifacts) == before


def content(artifacts: Path) -> str:
    """Return the sha256 of all that the current release serves."""
    return ReleaseStore(artifacts).read_current().content_sha256


def bits(stars: Client, path: Path) -> bytes:
    """Return all of the table in the run folder but its version, release, and endpoints.

    The registry writes that file beside what it does: it is waited for.
    """
    version = stars.status().table_version
    wait_until(lambda: load_table(path).version >= version)
    table = load_table(path)
    sites = tuple(replace(site, endpoint=None) for site in table.sites)
    return pack_table(replace(table, version=1, release=0, sites=sites))


def weights(artifacts: Path) -> dict[str, str]:
    """Return the sha256 of the weights that are served of the kernels that are always there."""
    release = ReleaseStore(artifacts).read_current()
    return {name: release.kernel(name).files["weights.safetensors"].sha256 for name in PROMPTS}


def say(stars: Client, kernel: str) -> str:
    return stars.ask(PROMPTS["mail"], kernel=kernel, tokens_max=12, temperature=0.0).text


def wait_until(true: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 30
    pause = threading.Event()
    while not true():
        assert time.monotonic() < deadline_s
        pause.wait(0.05)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_kernel_joins_and_leaves_under_load(
    constellation: RunState, settings: Settings, artifacts: Path, stars: Client, poems: Path
) -> None:
    served = settings.run_dir / "table.msgpack"
    before = (bits(stars, served), weights(artifacts), stars.status())
    said = {name: say(stars, name) for name in PROMPTS}
    with Load(constellation.endpoint, retries=None) as load:
        joined = stars.add("poems")
        grown = stars.status()
        assert stars.ask(PROMPT, tokens_max=4).route.kernel == "poems"
        assert say(stars, "poems") == said["mail"]  # whose weights it has
        left = stars.retire("poems")
        assert stars.ask(PROMPT, tokens_max=4).route.kernel != "poems"
    assert set(load.outcomes) == {"ok"}
    assert load.outcomes["ok"] > 0
    assert (joined.joined, joined.left, left.joined, left.left) == (("poems",), (), (), ("poems",))
    assert left.release > joined.release
    assert left.table_version > joined.table_version > before[2].table_version
    names = [kernel.name for kernel in grown.kernels]
    assert names == sorted([*PROMPTS, "poems"])
    assert grown.coordizer_hash != before[2].coordizer_hash  # its text counts for all
    assert grown.table_version >= joined.table_version
    pids = {kernel.name: kernel.pid for kernel in grown.kernels}
    wait_until(lambda: not alive(pids["poems"]))
    after = stars.status()
    assert (bits(stars, served), weights(artifacts)) == before[:2]
    assert after.coordizer_hash == before[2].coordizer_hash
    assert [k.pid for k in after.kernels] == [k.pid for k in before[2].kernels]
    assert {name: say(stars, name) for name in PROMPTS} == said
    # The launcher asks the registry once a second.
    wait_until(lambda: "kernel-poems" not in endpoints(str(constellation.metrics)))
    assert "kernel-mail" in endpoints(str(constellation.metrics))


def test_all_routers_and_direct_clients_switch_with_the_release(
    constellation: RunState, artifacts: Path, stars: Client, poems: Path
) -> None:
    source = ReleasedCoordizers(artifacts)
    texts = [*PROMPTS.values(), PROMPT, "x", "  import email\n", "decimal"]
    with DirectClient(constellation.endpoints, source.current(), coordizers=source) as direct:

        def all_agree() -> list[str]:
            routes = []
            for text in texts:
                told = [direct.route(text)]
                for endpoint in constellation.endpoints:
                    with Client(endpoint) as router:
                        told.append(router.route(text))
                assert len({(each.table_version, repr(each.choices)) for each in told}) == 1
                routes.append(told[0].kernel)
            return routes

        before = all_agree()
        for change in (lambda: stars.add("poems"), lambda: stars.retire("poems")):
            changed = change()
            wait_until(lambda v=changed.table_version: direct.route("x").table_version >= v)  # type: ignore[misc]
            routes = all_agree()
            assert ("poems" in routes) == ("poems" in changed.joined)
        assert routes == before


def test_a_kernel_that_left_is_taken_back_as_it_was_any_number_of_times(
    settings: Settings, artifacts: Path, stars: Client, poems: Path
) -> None:
    """By the same call as a new one: the record of its text is kept."""
    stars.add("poems")
    stars.unlearn("poems", "text-0")
    served = settings.run_dir / "table.msgpack"
    before = (content(artifacts), bits(stars, served))
    for _ in range(2):
        stars.retire("poems")
        stars.add("poems")
        assert (content(artifacts), bits(stars, served)) == before
    stars.unlearn("poems", "text-1")
    store = ReleaseStore(artifacts)
    assert domain_of(store, store.read_current(), "poems").unlearned == ("text-0", "text-1")


def test_an_earlier_release_is_served_again_under_load(
    constellation: RunState, settings: Settings, artifacts: Path, stars: Client, poems: Path
) -> None:
    served = settings.run_dir / "table.msgpack"
    first = ReleaseStore(artifacts).current()
    before = bits(stars, served)
    joined = stars.add("poems")
    with_poems = bits(stars, served)
    with Load(constellation.endpoint, retries=None) as load:
        back = stars.roll_back()
        assert (back.release, back.left, bits(stars, served)) == (first, ("poems",), before)
        forth = stars.roll_back(joined.release)
        assert (forth.release, forth.joined) == (joined.release, ("poems",))
        assert bits(stars, served) == with_poems
        stars.roll_back(first)
    assert set(load.outcomes) == {"ok"}
    assert bits(stars, served) == before
    with pytest.raises(ReloadRefused, match="there is no release 999"):
        stars.roll_back(999)


def test_nothing_is_reloaded_while_somebody_writes_the_artifacts(
    artifacts: Path, stars: Client
) -> None:
    version = stars.status().table_version
    refused = pytest.raises(ReloadRefused, match="a training runs in this folder, process")
    with owned(artifacts, "a training", TrainingError), refused:
        stars.reload()
    assert stars.status().table_version == version


def test_an_answer_that_a_kernel_began_is_finished_after_it_left(
    constellation: RunState, stars: Client, poems: Path
) -> None:
    stars.add("poems")
    once = RetryPolicy(attempts_max=1)
    with Client(constellation.endpoint, retries=once) as asker:
        stream = asker.stream(PROMPT, kernel="poems", tokens_max=80, seed=1)
        first = next(iter(stream)).text
        stars.retire("poems")
        text = first + "".join(piece.text for piece in stream)
        with pytest.raises(UnknownKernel):
            asker.ask(PROMPT, kernel="poems")
    assert text == stream.reply().text
    assert stream.reply().finish.num_tokens == 80 or stream.reply().finish.reason == "end"


def test_a_spawned_kernel_shares_the_queries_of_its_parent_and_gives_them_back(
    constellation: RunState, settings: Settings, artifacts: Path, stars: Client
) -> None:
    served = settings.run_dir / "table.msgpack"
    before = (content(artifacts), bits(stars, served))
    words = PROMPTS["mail"].split()
    queries = [" ".join(words[at:] + words[:at]) for at in range(len(words))] * 3
    queries = [text for text in queries if stars.route(text).kernel == "mail"]
    queries += ["import email message header charset mailbox parse header value"] * 8
    others = {text: stars.route(text).kernel for text in (*PROMPTS.values(), PROMPT, "x", "1.5")}
    for text in queries:
        stars.ask(text, tokens_max=1)
    with Load(constellation.endpoint, retries=None) as load:
        spawned = stars.spawn("mail", "post")
        routes = {text: stars.route(text).kernel for text in [*queries, *others]}
        with pytest.raises(GrowthRefused, match="shared with post"):
            stars.retire("mail")
        stars.retire("post")
    assert set(load.outcomes) == {"ok"}
    assert spawned.joined == ("post",)
    assert {routes[text] for text in queries} == {"post", "mail"}
    family = {"post": "mail", "mail": "mail"}
    assert {text: family.get(routes[text], routes[text]) for text in others} == others
    assert (content(artifacts), bits(stars, served)) == before


def test_a_registry_that_restarts_finds_the_kernel_that_joined(stars: Client, poems: Path) -> None:
    stars.add("poems")
    pids = {kernel.name: kernel.pid for kernel in stars.status().kernels}
    old = stars.status().registry_pid
    os.kill(old, signal.SIGKILL)

    def whole() -> bool:
        status = stars.status()
        everybody_up = all(kernel.up for kernel in status.kernels)
        return status.registry_pid not in (0, old) and everybody_up

    wait_until(whole)
    assert {kernel.name: kernel.pid for kernel in stars.status().kernels} == pids
    assert stars.ask(PROMPT, tokens_max=2).route.kernel == "poems"


def _damage(folder: Path) -> None:
    weights = folder / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])


def _plausible_garbage(folder: Path) -> None:
    """What only the kernel's own process finds out: the hash fits, and nothing else does."""
    garbage = b"weights of nothing"
    (folder / "weights.safetensors").write_bytes(garbage)
    description = folder / "kernel.json"
    described = json.loads(description.read_text())
    described["weights_sha256"] = hashlib.sha256(garbage).hexdigest()
    description.write_text(json.dumps(described))


def _damage_record(folder: Path) -> None:
    record = domain_path(folder.parents[1], folder.name)
    record.write_bytes(record.read_bytes()[:-1])


def _without_record(folder: Path) -> None:
    domain_path(folder.parents[1], folder.name).unlink()


def _other_vocabulary(folder: Path) -> None:
    description = folder / "kernel.json"
    described = json.loads(description.read_text())
    description.write_text(json.dumps({**described, "tokenizer_hash": "0" * 64}))


def _record_of_other_tokens(folder: Path) -> None:
    artifacts = folder.parents[1]
    domain = load_domain(artifacts, folder.name)
    save_domain(artifacts, replace(domain, tokenizer_hash="0" * 64))


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (_damage, GrowthRefused, "weights"),
        (_plausible_garbage, GrowthRefused, "did not come up"),
        (_damage_record, GrowthRefused, "poems.msgpack"),
        (_without_record, GrowthRefused, "poems.msgpack"),
        (shutil.rmtree, GrowthRefused, "kernel.json"),
        (_other_vocabulary, IncompatibleKernels, "poems"),
        (_record_of_other_tokens, IncompatibleKernels, "poems"),
    ],
)
def test_a_kernel_that_does_not_fit_is_refused_and_nothing_changes(
    stars: Client,
    poems: Path,
    spoil: Callable[[Path], None],
    error: type[ConstellationError],
    message: str,
) -> None:
    version, serves = stars.status().table_version, content(poems.parents[1])
    spoil(poems)
    with pytest.raises(error, match=message):
        stars.add("poems")
    assert stars.status().table_version == version
    assert content(poems.parents[1]) == serves
    assert [kernel.name for kernel in stars.status().kernels] == sorted(PROMPTS)
    poems.mkdir(exist_ok=True)


def test_names_that_are_taken_unknown_or_lead_elsewhere_are_refused(stars: Client) -> None:
    for call, error in (
        (lambda: stars.add("mail"), GrowthRefused),
        (lambda: stars.add("nobody"), GrowthRefused),
        (lambda: stars.add("../seed"), InvalidRequest),
        (lambda: stars.add(""), InvalidRequest),
        (lambda: stars.spawn("mail", "network"), GrowthRefused),
        (lambda: stars.spawn("mail", "a/b"), InvalidRequest),
        (lambda: stars.spawn("nobody", "somebody"), UnknownKernel),
        (lambda: stars.retire("nobody"), UnknownKernel),
        (lambda: stars.retire("../mail"), UnknownKernel),
        (lambda: stars.unlearn("nobody", "first half"), UnknownKernel),
        (lambda: stars.unlearn("../mail", "first half"), UnknownKernel),
        (lambda: stars.unlearn("mail", "nothing"), GrowthRefused),
        (lambda: stars.unlearn("mail", ""), InvalidRequest),
    ):
        with pytest.raises(error):
            call()  # type: ignore[no-untyped-call]


def test_a_kernel_forgets_a_source_under_load_and_after_a_restart(
    constellation: RunState, artifacts: Path, stars: Client, poems: Path
) -> None:
    stars.add("poems")
    said = say(stars, "poems")
    with Load(constellation.endpoint, retries=None) as load:
        forgot = stars.unlearn("poems", "text-0")
    assert set(load.outcomes) == {"ok"}
    store = ReleaseStore(artifacts)
    assert store.current() == forgot.release  # by which a restart finds it
    release = store.read_current()
    domain = domain_of(store, release, "poems")
    assert "text-0" not in domain.sources
    assert say(stars, "poems") == said  # its weights are what they were
    with pytest.raises(GrowthRefused, match="text-0"):
        stars.unlearn("poems", "text-0")
    never = make_domain_without(artifacts, "text-0")
    stars.retire("poems")
    save_domain(artifacts, never)
    again = store.read(stars.add("poems").release)
    assert again.table == release.table  # to the bit as if it had never been read
    assert again.coordizer == release.coordizer
