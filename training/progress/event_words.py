"""Describe an event of a training run on one line for people."""

from collections.abc import Mapping

from training.progress.events import (
    BudgetWarning,
    CorpusRead,
    Event,
    GuardChanged,
    KernelProgress,
    KernelStateChanged,
    Notice,
    PartStarted,
    PhaseChanged,
)


def in_words(event: Event) -> str:
    """Return a description of the event without a line break."""
    return " ".join(_words(event).split())


def _words(event: Event) -> str:
    if isinstance(event, KernelProgress):
        return _progress(event)
    if isinstance(event, GuardChanged):
        numbers = f" ({_numbers(event.numbers)})" if event.numbers else ""
        return (
            f"{event.kernel}: guard {event.before} -> {event.after} at step {event.step}: "
            f"{event.cause}{numbers}"
        )
    if isinstance(event, PhaseChanged):
        return (
            f"{event.kernel}: phase {event.before or 'none'} -> {event.after} at step "
            f"{event.step} (gauge {event.phi_gauge:.3f})"
        )
    if isinstance(event, KernelStateChanged):
        return f"{event.kernel}: {event.state} {event.reason}"
    if isinstance(event, BudgetWarning):
        return _budget(event)
    if isinstance(event, CorpusRead):
        return "corpus: " + "; ".join(event.lines)
    if isinstance(event, Notice):
        return event.text
    if isinstance(event, PartStarted):
        return f"{event.part}: started {event.detail}"
    took = "still valid" if event.skipped else f"{event.seconds:.1f} s"
    return f"{event.part}: {took} {event.detail}"


def _progress(event: KernelProgress) -> str:
    held_out = (
        "" if event.dev_bits_per_byte is None else f", held out {event.dev_bits_per_byte:.3f}"
    )
    return (
        f"{event.kernel}: {event.stage} step {event.step}/{event.num_steps}, "
        f"{event.bits_per_byte:.3f} bits/byte{held_out}, {event.tokens_per_second:,.0f} tokens/s"
    )


def _budget(event: BudgetWarning) -> str:
    spent = f"{event.used:,.6g} of {event.limit:,.6g}"
    if event.used >= event.limit:
        return f"budget of {event.budget} used up ({spent}): the run stops and can be resumed"
    return f"budget of {event.budget}: {event.used / event.limit:.0%} used ({spent})"


def _numbers(numbers: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in numbers.items())
