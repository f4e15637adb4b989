"""Kernels join and leave a live constellation under load; no request is lost, nobody else moves.

Every test gives the shared constellation back as it was.
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

from cluster.state import RunState
from constellation import Client
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
from constellation.records import Table
from constellation.routing.summed_texts import SummedTexts
from constellation.settings import Settings
from constellation.wire.run_lock import owned
from constellation.wire.table_file import SITE_FILE, load_table, pack_table, save_table
from constellation.wire.texts_file import load_texts
from tests.serving.load import Load
from tests.support.artifacts import PROMPTS
from tests.support.candidates import PROMPT, make_candidate

pytestmark = pytest.mark.ray


@pytest.fixture
def stars(constellation: RunState) -> Iterator[Client]:
    with Client(constellation.endpoint) as stars:
        yield stars
        assert stars.status().num_unexpected_errors == 0


@pytest.fixture
def poems(artifacts: Path, stars: Client) -> Iterator[Path]:
    """Return the folder of a kernel that is ready to join; afterwards nothing of it is left."""
    before = bits(load_table(artifacts / "table.msgpack"))
    folder = make_candidate(artifacts, "poems")
    yield folder
    for kernel in stars.status().kernels:
        if kernel.name not in PROMPTS:
            stars.retire(kernel.name)
    shutil.rmtree(folder)
    assert bits(load_table(artifacts / "table.msgpack")) == before


def bits(table: Table) -> bytes:
    """Return all of a table but its version and where its kernels listen."""
    sites = tuple(replace(site, endpoint=None) for site in table.sites)
    return pack_table(replace(table, version=1, sites=sites))


def weights(artifacts: Path) -> dict[str, str]:
    kernels = {name: artifacts / "kernels" / name / "kernel.json" for name in PROMPTS}
    return {name: json.loads(path.read_text())["weights_sha256"] for name, path in kernels.items()}


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
    before = (bits(load_table(served)), weights(artifacts), stars.status())
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
    assert left.table_version > joined.table_version > before[2].table_version
    assert joined.seat == left.seat
    assert [kernel.name for kernel in grown.kernels] == [*PROMPTS, "poems"]
    assert grown.kernels[-1].seat == joined.seat
    assert grown.table_version >= joined.table_version
    wait_until(lambda: not alive(grown.kernels[-1].pid))
    after = stars.status()
    assert (bits(load_table(served)), weights(artifacts)) == before[:2]
    assert [k.pid for k in after.kernels] == [k.pid for k in before[2].kernels]
    assert {name: say(stars, name) for name in PROMPTS} == said
    targets = (settings.run_dir / "metrics_targets.json").read_text()
    assert "kernel-mail" in targets
    assert "poems" not in targets


def test_a_kernel_that_left_is_taken_back_as_it_was_any_number_of_times(
    settings: Settings, artifacts: Path, stars: Client, poems: Path
) -> None:
    """By the same call as a new one: where it routed from is kept beside its weights."""
    stars.add("poems")
    stars.unlearn("poems", "text-0")
    stored = artifacts / "table.msgpack"
    before = bits(load_table(stored))
    texts = (artifacts / "texts" / "poems.msgpack").read_bytes()
    for _ in range(2):
        stars.retire("poems")
        stars.add("poems")
        assert bits(load_table(stored)) == before
        assert bits(load_table(settings.run_dir / "table.msgpack")) == before
    assert (artifacts / "texts" / "poems.msgpack").read_bytes() == texts
    stars.unlearn("poems", "text-1")
    assert load_table(stored).sites[-1].unlearned == ("text-0", "text-1")


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
    path = artifacts / "table.msgpack"
    before = bits(load_table(path))
    words = PROMPTS["mail"].split()
    queries = [" ".join(words[at:] + words[:at]) for at in range(len(words))] * 3
    queries = [text for text in queries if stars.route(text).kernel == "mail"]
    queries += ["import email message header charset mailbox parse header value"] * 8
    for text in queries:
        stars.ask(text, tokens_max=1)
    with Load(constellation.endpoint, retries=None) as load:
        spawned = stars.spawn("mail", "post")
        routes = {text: stars.route(text).kernel for text in queries}
        stars.retire("post")
    assert set(load.outcomes) == {"ok"}
    assert spawned.kernel == "post"
    assert {"post", "mail"} <= set(routes.values())
    assert bits(load_table(path)) == before
    assert bits(load_table(settings.run_dir / "table.msgpack")) == before
    shutil.rmtree(artifacts / "kernels" / "post")


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


def _damage_site(folder: Path) -> None:
    site = folder / SITE_FILE
    site.write_bytes(site.read_bytes()[:-1])


def _other_vocabulary(folder: Path) -> None:
    description = folder / "kernel.json"
    described = json.loads(description.read_text())
    description.write_text(json.dumps({**described, "tokenizer_hash": "0" * 64}))


def _other_coordizer(folder: Path) -> None:
    table = load_table(folder / SITE_FILE)
    save_table(folder / SITE_FILE, replace(table, coordizer_hash="0" * 64))


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (_damage, GrowthRefused, "weights"),
        (_plausible_garbage, GrowthRefused, "did not come up"),
        (_damage_site, GrowthRefused, "site.msgpack"),
        (shutil.rmtree, GrowthRefused, "site.msgpack"),
        (_other_vocabulary, IncompatibleKernels, "poems"),
        (_other_coordizer, IncompatibleKernels, "poems"),
    ],
)
def test_a_kernel_that_does_not_fit_is_refused_and_nothing_changes(
    stars: Client,
    poems: Path,
    spoil: Callable[[Path], None],
    error: type[ConstellationError],
    message: str,
) -> None:
    version = stars.status().table_version
    spoil(poems)
    with pytest.raises(error, match=message):
        stars.add("poems")
    assert stars.status().table_version == version
    assert [kernel.name for kernel in stars.status().kernels] == list(PROMPTS)
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
    constellation: RunState, settings: Settings, artifacts: Path, stars: Client, poems: Path
) -> None:
    """On a kernel that is there for this test; the others keep every bit."""
    served, stored = settings.run_dir / "table.msgpack", artifacts / "table.msgpack"
    stars.add("poems")
    before = load_table(served)
    said = say(stars, "poems")
    with Load(constellation.endpoint, retries=None) as load:
        forgot = stars.unlearn("poems", "text-0")
    assert set(load.outcomes) == {"ok"}
    after = load_table(served)
    assert forgot.table_version == after.version > before.version
    assert bits(replace(after, sites=after.sites[:-1])) == bits(
        replace(before, sites=before.sites[:-1])
    )
    sources = load_texts(artifacts, "poems", coordizer_hash=after.coordizer_hash)
    del sources["text-0"]
    never = SummedTexts(name="poems", corpora=sources)
    assert after.sites[-1].basin_K.tobytes() == never.basin().tobytes()
    assert after.sites[-1].basin_K.tobytes() != before.sites[-1].basin_K.tobytes()
    assert load_table(stored).sites[-1].unlearned == ("text-0",)  # by which a restart finds it
    assert load_table(stored).sites[-1].basin_K.tobytes() == never.basin().tobytes()
    assert say(stars, "poems") == said  # its weights are what they were
    with pytest.raises(GrowthRefused, match="text-0"):
        stars.unlearn("poems", "text-0")
