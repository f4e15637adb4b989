"""Train the tiny kernel in a process that the test kills. Prints each step as it is taken.

Usage: python -m tests.training.crash_run FOLDER DATA_SEED STEPS HOLD_AT

It goes on while it is being killed, but never past step HOLD_AT: there it waits for the end.
"""

import sys
from pathlib import Path

import torch

from tests.training import tiny
from training.loop.train_loop import run_job


def main() -> None:
    folder = Path(sys.argv[1])
    data_seed, steps, hold_at = (int(argument) for argument in sys.argv[2:5])
    torch.set_num_threads(1)
    taken = 0

    def should_stop() -> bool:
        # Asked once before each step: a heartbeat for the killer.
        nonlocal taken
        sys.stdout.write(f"{taken}\n")
        sys.stdout.flush()
        if taken == hold_at:
            sys.stdin.read()
        taken += 1
        return False

    run_job(
        tiny.job(steps=steps, checkpoint_every=5),
        tiny.decoder(),
        tiny.windows(data_seed),
        tiny.dev_windows(),
        folder,
        should_stop=should_stop,
    )


if __name__ == "__main__":
    main()
