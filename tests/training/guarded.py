"""Short runs of the tiny kernel that crash, stop and tell what happened."""

from dataclasses import replace
from pathlib import Path

import torch

from constellation.kernel.network.decoder import Decoder
from tests.training import tiny
from training.loop.train_loop import JobResult, run_job
from training.progress.events import Event, GuardChanged


def changes_of(events: list[Event]) -> list[GuardChanged]:
    return [event for event in events if isinstance(event, GuardChanged)]


def same(one: Decoder, two: Decoder) -> bool:
    a, b = one.state_dict(), two.state_dict()
    return all(torch.equal(a[name], b[name]) for name in a)


class Crash(Exception):
    """The process dies."""


def run(
    folder: Path,
    kernel: Decoder,
    *,
    events: list[Event] | None = None,
    crash_at: int | None = None,
    stop_at: int | None = None,
    **changes: object,
) -> JobResult:
    """Run 40 steps with a checkpoint every 5."""
    asked = iter(range(10_000))

    def should_stop() -> bool:
        count = next(asked)
        if count == crash_at:
            raise Crash
        return count == stop_at

    return run_job(
        replace(tiny.job(steps=40, checkpoint_every=5), **changes),  # type: ignore[arg-type]
        kernel,
        tiny.windows(),
        tiny.dev_windows(),
        folder,
        on_progress=(events if events is not None else []).append,
        should_stop=should_stop,
    )
