"""Events for tests, with everything filled that a test does not care about."""

from dataclasses import replace

from training.progress.events import KernelProgress

FIRST = KernelProgress(
    kernel="sea",
    stage="branch",
    step=1,
    num_steps=10,
    loss_bits=6.0,
    bits_per_byte=2.0,
    tokens_per_second=1500.0,
    eta_s=90.0,
    gradient_norm=1.0,
)


def progress(**changes: object) -> KernelProgress:
    """Return a report of the first step with some fields changed."""
    return replace(FIRST, **changes)  # type: ignore[arg-type]
