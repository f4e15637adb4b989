"""Every kind of actor is killed while eight clients ask; nobody is left without a typed answer."""

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from actors.kernel.engine import KernelEngine
from cluster.state_file import RunState
from constellation import Client
from constellation.client.replies import ConstellationStatus, Reply
from constellation.client.retries import RetryPolicy
from constellation.coordizer.artifacts import read_vocabulary
from constellation.coordizer.coordizer import Coordizer
from constellation.errors import ConstellationError
from constellation.kernel.files.checkpoint import load_kernel
from constellation.records import Sampling
from constellation.settings import Settings
from tests.serving.load import Load
from tests.support.artifacts import PROMPTS

pytestmark = pytest.mark.ray


def _live_pid(stars: Client, member: str) -> int:
    """Return the member's process id, waiting until everything is up."""
    _wait_whole(stars, member, old_pid=0)
    return _pid_of(stars.status(), member)


def _pid_of(status: ConstellationStatus, member: str) -> int:
    if member == "router":
        return status.router_pid
    if member == "registry":
        return status.registry_pid
    return next(kernel.pid for kernel in status.kernels if kernel.name == member)


def _wait_whole(stars: Client, member: str, old_pid: int) -> float:
    """Return the seconds until everything is up and `member` is another process."""
    started_s = time.monotonic()
    pause = threading.Event()
    while time.monotonic() - started_s < 30:
        try:
            status = stars.status(timeout_s=2)
        except ConstellationError:
            continue
        pid = _pid_of(status, member)
        if all(kernel.up for kernel in status.kernels) and pid not in (0, old_pid):
            return time.monotonic() - started_s
        pause.wait(0.05)
    raise AssertionError(f"{member} did not come back within 30 s")


@pytest.mark.parametrize("member", ["mail", "router", "registry"])
def test_a_killed_actor_is_replaced_while_clients_ask(constellation: RunState, member: str) -> None:
    with Client(constellation.endpoint) as stars:
        old_pid = _live_pid(stars, member)
        with Load(constellation.endpoint, retries=None) as load:
            os.kill(old_pid, signal.SIGKILL)
            took_s = _wait_whole(stars, member, old_pid)
        status = stars.status()
    facts = {"killed": member, "whole_again_s": round(took_s, 2), **load.outcomes}
    sys.stdout.write(json.dumps(facts) + "\n")
    assert load.wrong == []
    assert load.outcomes["ok"] > 0
    assert status.num_unexpected_errors == 0
    # With the client's retries nothing of a kernel's death before the first token is seen.
    if member == "mail":
        assert set(load.outcomes) == {"ok"}


def test_without_retries_every_refusal_is_typed_and_retryable(constellation: RunState) -> None:
    with Client(constellation.endpoint) as stars:
        old_pid = _live_pid(stars, "network")
        with Load(constellation.endpoint, retries=RetryPolicy(attempts_max=1)) as load:
            os.kill(old_pid, signal.SIGKILL)
            _wait_whole(stars, "network", old_pid)
    assert load.wrong == []
    assert load.outcomes["ok"] > 0


def _replayed(artifacts: Path, prompt: str, reply: Reply) -> list[int]:
    """Return what the kernels of a greedy answer write, each from where it took over."""
    segments = reply.finish.segments
    ends = [*(segment.first for segment in segments[1:]), len(reply.tokens)]
    tokens: list[int] = []
    prompt_ids = Coordizer.load(artifacts / "coordizer").encode(prompt).tolist()
    for segment, end in zip(segments, ends, strict=True):
        loaded = load_kernel(artifacts / "kernels" / segment.kernel)
        engine = KernelEngine(loaded, read_vocabulary(artifacts / "coordizer"))
        sampling = Sampling(tokens_max=end, temperature=0, tokens_min=end)
        if end > len(tokens):
            answer = engine.start(prompt_ids, sampling, list(tokens))
            while len(tokens) < end:
                tokens += [t for step in engine.step([answer]) if step for t in step.tokens]
    return tokens


def test_a_stream_goes_on_when_its_kernel_is_killed(
    constellation: RunState, artifacts: Path
) -> None:
    """Up to three times, since a kernel may have written all before the signal reaches it."""
    prompt = PROMPTS["mail"]
    with Client(constellation.endpoint) as stars:
        for _ in range(3):
            old_pid = _live_pid(stars, "mail")
            answer = stars.stream(prompt, tokens_max=96, temperature=0.0, tokens_min=96)
            pieces = [next(answer)]
            os.kill(old_pid, signal.SIGKILL)
            pieces += answer
            reply = answer.reply()
            _wait_whole(stars, "mail", old_pid)
            if reply.finish.segments:
                break
    assert reply.route.kernel == "mail"
    assert len(reply.finish.segments) > 1
    assert reply.finish.segments[0].kernel == "mail"
    assert reply.finish.num_tokens == len(reply.tokens)
    coordizer = Coordizer.load(artifacts / "coordizer")
    assert reply.text == "".join(piece.text for piece in pieces)
    assert reply.text == coordizer.decode_text(reply.tokens)
    assert list(reply.tokens) == _replayed(artifacts, prompt, reply)


def test_a_kernel_that_hangs_is_restarted(constellation: RunState) -> None:
    with Client(constellation.endpoint) as stars:
        old_pid = _live_pid(stars, "numbers")
        os.kill(old_pid, signal.SIGSTOP)
        _wait_whole(stars, "numbers", old_pid)
        restarts = {kernel.name: kernel.num_restarts for kernel in stars.status().kernels}
    assert restarts["numbers"] >= 1


def test_a_kernel_comes_back_while_nothing_can_be_read_or_written_in_the_run_folder(
    constellation: RunState, settings: Settings
) -> None:
    run_dir, away = settings.run_dir, settings.run_dir.with_name("away")
    with Client(constellation.endpoint) as stars:
        old_pid = _live_pid(stars, "mail")
        before = {kernel.name: kernel.num_restarts for kernel in stars.status().kernels}
        run_dir.rename(away)
        run_dir.write_text("no folder")
        try:
            os.kill(old_pid, signal.SIGKILL)
            _wait_whole(stars, "mail", old_pid)
            assert stars.ask(PROMPTS["mail"], kernel="mail", tokens_max=2).route.kernel == "mail"
            after = {kernel.name: kernel.num_restarts for kernel in stars.status().kernels}
        finally:
            run_dir.unlink()
            away.rename(run_dir)
    assert after == {**before, "mail": before["mail"] + 1}


def test_deaths_leave_their_traces_in_the_log(constellation: RunState, settings: Settings) -> None:
    log = Path(settings.run_dir) / "logs" / "registry.jsonl"
    messages = [json.loads(line)["message"] for line in log.read_text().splitlines()]
    assert "member lost" in messages
    assert "member restarted" in messages
