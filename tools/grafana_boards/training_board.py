"""Dashboard “training”: how far is a training, and does it go well?"""

from typing import Final

from tools.grafana_boards.board import Board, Section
from tools.grafana_boards.expressions import KERNEL
from tools.grafana_boards.panels import bars, figure, grid, lines

_STEP: Final = f"max by (kernel) (constellation_training_step{{{KERNEL}}})"
_STEPS: Final = f"max by (kernel) (constellation_training_steps{{{KERNEL}}})"
_SPEED: Final = f"max by (kernel) (deriv(constellation_training_step{{{KERNEL}}}[5m]))"
_REMAINING_S: Final = f"({_STEPS} - {_STEP}) / ({_SPEED} > 0) or ({_STEPS} - {_STEP} == 0)"

_PROGRESS: Final = (
    bars(
        "Done share of the training",
        "Steps that were done, divided by all steps, for each kernel. High is good; 100 %: the "
        "training of this kernel has ended.",
        {"{{kernel}}": f"{_STEP} / {_STEPS}"},
        unit="percentunit",
        size=(9, 8),
        top=1,
    ),
    bars(
        "Remaining time",
        "Time until the last step of each kernel at the speed of the last five minutes. Low is "
        "good; 0: finished. A kernel without a bar does not advance.",
        {"{{kernel}}": _REMAINING_S},
        unit="s",
        size=(9, 8),
    ),
    figure(
        "Age of these figures",
        "Time since the training last wrote its status. Low is good while a training runs: an old "
        "status is that of a training which has ended or died.",
        "time() - max(constellation_training_updated_seconds)",
        unit="s",
        size=(3, 8),
    ),
    figure(
        "Kernels that failed",
        "Number of kernels whose training ended by an error. 0 is good.",
        'count(constellation_training_state{state="FAILED"} == 1) or vector(0)',
        unit="short",
        size=(3, 8),
        steps=[(1, "red")],
    ),
)

_LEARNING: Final = (
    lines(
        "Bits per byte, held-out text",
        "Bits that each kernel needs for one byte of text that the kernel did not learn from. Low "
        "is good. A line that rises while the line of the training text falls belongs to a kernel "
        "that memorises.",
        {
            "{{kernel}}": "max by (kernel) (constellation_training_bit_per_byte"
            f'{{{KERNEL}, text="held_out"}})'
        },
        unit="suffix: bits/byte",
    ),
    lines(
        "Bits per byte, training text",
        "Bits that each kernel needs for one byte of the text of the latest steps. Low is good; "
        "the line should fall. A jump upwards is a training that went astray.",
        {
            "{{kernel}}": "max by (kernel) (constellation_training_bit_per_byte"
            f'{{{KERNEL}, text="train"}})'
        },
        unit="suffix: bits/byte",
    ),
    lines(
        "Training speed",
        "Tokens that the training of each kernel processes per second. High is good.",
        {"{{kernel}}": f"max by (kernel) (constellation_training_tokens_per_second{{{KERNEL}}})"},
        unit="suffix: tokens/s",
    ),
    lines(
        "Steps done",
        "Number of steps that the training of each kernel has done. A steady rise is good; "
        "a flat line before the last step is a training that stands still.",
        {"{{kernel}}": _STEP},
        unit="short",
    ),
)

_GUARD: Final = (
    grid(
        "State and guard of each kernel",
        "The state of each training (STAGED, RUNNING, STOPPED, FAILED, FINISHED) and what the "
        "guard says of it. HEALTHY is good; WARN: the guard suspects a collapse; PAUSED: the guard "
        "stopped the training; RECOVERING: the training goes on from an earlier step.",
        {
            "state is set": (
                f"max by (kernel, state) (constellation_training_state{{{KERNEL}}}) == 1",
                "short",
            ),
            "guard is set": (
                f"max by (kernel, guard) (constellation_training_guard{{{KERNEL}}}) == 1",
                "short",
            ),
            "step": (_STEP, "short"),
            "of": (_STEPS, "short"),
        },
        key="kernel",
        size=(24, 9),
    ),
)

TRAINING: Final = Board(
    name="training",
    title="Constellation: training",
    description="How far is the training in this constellation's artifacts, and does it go well?",
    sections=[
        Section(title="How far is the training?", panels=_PROGRESS),
        Section(title="Do the kernels learn?", panels=_LEARNING),
        Section(title="Did the guard step in?", panels=_GUARD),
    ],
    variables=["kernel"],
)
