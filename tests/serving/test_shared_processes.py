"""Several kernels in one process: each is a member of the table like any other, alive or dead."""

import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from cluster import launcher_process
from cluster.state_file import running
from constellation import Client
from constellation.client.replies import ConstellationStatus
from constellation.coordizer.coordizer import Coordizer
from constellation.coordizer.vocabulary import END_ID
from constellation.errors import ConstellationError
from constellation.kernel.files.checkpoint import load_kernel
from constellation.kernel.writing.generation import Generation
from constellation.records import Sampling
from constellation.releases.store import ReleaseStore
from constellation.routing.mixture import joint_logits
from constellation.settings import Settings
from tests.serving.load import Load
from tests.serving.test_modes import between
from tests.support.artifacts import PROMPTS
from tests.support.candidates import PROMPT, make_candidate
from tests.support.released import rewrite
from tests.support.scrapes import endpoints, scrape

pytestmark = pytest.mark.ray

TOKENS_MAX = 12
PENALTY = 2.0
"""So high that kernels of 40 steps do not say one token over and over."""


@pytest.fixture(scope="module")
def own(artifacts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return artifacts that nobody else serves."""
    folder = tmp_path_factory.mktemp("shared") / "artifacts"
    shutil.copytree(artifacts, folder)
    return folder


@pytest.fixture(scope="module")
def settings(own: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(
        artifacts=own,
        run_dir=tmp_path_factory.mktemp("shared_run"),
        serve={"port": 0},
        kernel={"slots": 2, "queue_max": 8, "per_actor": 2},
    )


@pytest.fixture(scope="module")
def endpoint(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start three kernels in two processes; stop them afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        yield launcher_process.start(settings).endpoint
        launcher_process.stop(settings.run_dir)


@pytest.fixture
def stars(endpoint: str) -> Iterator[Client]:
    with Client(endpoint) as stars:
        yield stars
        assert stars.status().num_unexpected_errors == 0


def say(stars: Client, kernel: str) -> str:
    reply = stars.ask(
        PROMPTS["mail"],
        kernel=kernel,
        tokens_max=TOKENS_MAX,
        temperature=0.0,
        repetition_penalty=PENALTY,
    )
    return reply.text


def alone(artifacts: Path, kernel: str) -> str:
    """Return what a kernel says when nothing else is in its process."""
    coordizer = Coordizer.load(artifacts / "coordizer")
    decoder = load_kernel(artifacts / "kernels" / kernel).decoder
    prompt = coordizer.encode(PROMPTS["mail"]).tolist()
    sampling = Sampling(tokens_max=TOKENS_MAX, temperature=0, repetition_penalty=PENALTY)
    generation = Generation(decoder, prompt, sampling, END_ID)
    while generation.step() is not None:
        pass
    return coordizer.decode(generation.produced).decode()


def processes(status: ConstellationStatus) -> dict[int, list[str]]:
    """Return the kernels of every process, which share where they are reached."""
    found: dict[int, list[str]] = {}
    for kernel in status.kernels:
        found.setdefault(kernel.pid, []).append(kernel.name)
    return found


def wait_until(stars: Client, true: Callable[[ConstellationStatus], bool]) -> ConstellationStatus:
    deadline_s = time.monotonic() + 30
    pause = threading.Event()
    while True:
        assert time.monotonic() < deadline_s
        try:
            status = stars.status(timeout_s=2)
        except ConstellationError:
            continue
        if true(status):
            return status
        pause.wait(0.05)


def whole(status: ConstellationStatus) -> bool:
    return all(kernel.up for kernel in status.kernels)


def test_kernels_of_one_process_answer_each_for_itself(stars: Client, own: Path) -> None:
    status = stars.status()
    assert list(processes(status).values()) == [["mail", "network"], ["numbers"]]
    assert whole(status)
    for name, prompt in PROMPTS.items():
        assert say(stars, name) == alone(own, name)
        assert stars.ask(prompt, tokens_max=2).route.kernel == name
    assert len({say(stars, name) for name in PROMPTS}) == 3


def test_kernels_of_one_process_write_a_mixture_together(stars: Client, own: Path) -> None:
    """The one that leads and its partner are in one stack, and wait for each other's steps."""
    asked = {"basin": between(stars, "mail", "network"), "temperature": 0, "logprobs": 0}
    reply = stars.ask(PROMPTS["mail"], mode="mixture", top_k=2, tokens_max=TOKENS_MAX, **asked)
    weights = {choice.kernel: choice.weight for choice in reply.route.choices[:2]}
    assert set(weights) == {"mail", "network"}
    decoders = [load_kernel(own / "kernels" / name).decoder for name in weights]
    text = Coordizer.load(own / "coordizer").encode(PROMPTS["mail"]).tolist()
    for written in reply.logprobs:
        with torch.inference_mode():
            read = torch.tensor([text])
            logits_kV = np.stack([decoder(read)[0, -1].numpy() for decoder in decoders])
        joint_V, _ = joint_logits(logits_kV, np.array(list(weights.values())))
        assert written.token == int(joint_V.argmax())
        text.append(written.token)
    assert len(reply.tokens) == TOKENS_MAX


def test_all_kernels_of_a_lost_process_return(stars: Client, endpoint: str, own: Path) -> None:
    before = stars.status()
    lost = before.kernels[0].pid
    with Load(endpoint, retries=None) as load:
        os.kill(lost, signal.SIGKILL)
        after = wait_until(stars, lambda s: whole(s) and s.kernels[0].pid not in (0, lost))
    assert not load.wrong
    assert load.outcomes["ok"] > 0
    assert [[k.name for k in s.kernels] for s in (before, after)] == [list(PROMPTS)] * 2
    assert after.kernels[0].pid == after.kernels[1].pid
    assert after.kernels[2].pid == before.kernels[2].pid
    restarts = [
        k.num_restarts - b.num_restarts for k, b in zip(after.kernels, before.kernels, strict=True)
    ]
    assert restarts == [1, 1, 0]
    for name in PROMPTS:
        assert say(stars, name) == alone(own, name)


def test_kernels_join_processes_with_room_and_leave_them(
    stars: Client, endpoint: str, settings: Settings, own: Path
) -> None:
    before = stars.status()
    said = {name: say(stars, name) for name in PROMPTS}
    for name in ("poems", "songs"):
        make_candidate(own, name)
    with Load(endpoint, retries=None) as load:
        stars.add("poems")
        stars.add("songs")
        grown = wait_until(stars, whole)
        assert list(processes(grown).values()) == [
            ["mail", "network"],
            ["numbers", "poems"],
            ["songs"],
        ]
        assert say(stars, "poems") == say(stars, "songs") == said["mail"]  # whose weights they have
        assert stars.ask(PROMPT, tokens_max=2).route.kernel in ("poems", "songs")
        stars.retire("numbers")
        stars.retire("songs")
        with pytest.raises(ConstellationError, match="numbers"):
            say(stars, "numbers")
    assert {k: v for k, v in load.outcomes.items() if k != "ok"} == {}
    left = wait_until(stars, whole)
    assert list(processes(left).values()) == [["mail", "network"], ["poems"]]
    placed = json.loads((settings.run_dir / "placement.json").read_text())
    assert time.time() - placed.pop("since") < 600
    assert placed.pop("deployment")
    assert placed == {
        "release": ReleaseStore(own).current(),
        "processes": {"kernels-1": ["mail", "network"], "kernels-2": ["poems"]},
        "ahead": {},
    }
    assert {k.pid for k in left.kernels} == {k.pid for k in before.kernels}
    assert say(stars, "poems") == said["mail"]


def test_a_new_registry_finds_processes_as_they_are(stars: Client) -> None:
    before = stars.status()
    os.kill(before.registry_pid, signal.SIGKILL)
    after = wait_until(stars, lambda s: whole(s) and s.registry_pid not in (0, before.registry_pid))
    assert processes(after) == processes(before)


def test_new_weights_are_served_by_the_kernels_that_have_them(stars: Client, own: Path) -> None:
    said = {name: say(stars, name) for name in ("mail", "network", "poems")}
    files = ("weights.safetensors", "kernel.json")
    others = {file: (own / "kernels" / "numbers" / file).read_bytes() for file in files}
    rewrite(own, {"network": others})
    assert stars.reload().reloaded == ("network",)
    assert say(stars, "network") == alone(own, "numbers") != said["network"]
    assert say(stars, "mail") == said["mail"]
    assert say(stars, "poems") == said["poems"]


def test_a_kernel_that_was_leaving_when_the_registry_died_leaves(
    stars: Client, settings: Settings, own: Path
) -> None:
    before = stars.status()
    rewrite(own, {}, without=["network"])  # all that is left of a change when its registry dies
    os.kill(before.registry_pid, signal.SIGKILL)
    after = wait_until(
        stars,
        lambda status: (
            whole(status)
            and status.registry_pid not in (0, before.registry_pid)
            and [kernel.name for kernel in status.kernels] == ["mail", "poems"]
        ),
    )
    assert after.kernels[0].pid == before.kernels[0].pid
    state = running(settings.run_dir)
    assert state is not None
    endpoint = endpoints(str(state.metrics))["kernels-1"]
    wait_until(stars, lambda _: 'kernel="network"' not in scrape(endpoint))
    assert 'kernel="mail"' in scrape(endpoint)
