"""Dashboard “kernels”: which kernel is slow, overloaded, restarting or short of memory?"""

from typing import Final

from tools.grafana_boards.board import Board, Section
from tools.grafana_boards.expressions import (
    KERNEL,
    QUEUE_SHARE,
    for_each_kernel,
    increase,
    mean,
    quantile,
    rate,
)
from tools.grafana_boards.panels import grid, lines, states

_UP: Final = {"1": ("answers", "green"), "0": ("down", "red")}

_ALL: Final = (
    grid(
        "All kernels",
        "The latest figures of each kernel. Good: answers 1, restarts 0, a low time per token, a "
        "queue of 0, a high share of its own held-out passages. Kappa describes the trained "
        "kernel; no direction is good or bad.",
        {
            "answers": (f"max by (kernel) (constellation_kernel_up{{{KERNEL}}})", "short"),
            "restarts in 1 h": (
                increase("constellation_kernel_restarts_total", "1h", KERNEL, by="kernel"),
                "short",
            ),
            "tokens/s": (
                rate("constellation_tokens_total", KERNEL, 'kind="completion"', by="kernel"),
                "short",
            ),
            "time per token": (
                mean("constellation_inter_token_seconds", KERNEL, by="kernel"),
                "s",
            ),
            "queue": (f"max by (kernel) (constellation_queue_depth{{{KERNEL}}})", "short"),
            "own passages that arrive": (
                f"max by (kernel) (constellation_kernel_arrived_ratio{{{KERNEL}}})",
                "percentunit",
            ),
            "kappa": (f"max by (kernel) (constellation_kernel_kappa{{{KERNEL}}})", "short"),
        },
        key="kernel",
        size=(24, 8),
    ),
)

_LIFE: Final = (
    states(
        "Which kernels answer",
        "Green while a kernel answers the registry's heartbeats, red while the kernel is down. "
        "Green is good.",
        {"{{kernel}}": f"max by (kernel) (constellation_kernel_up{{{KERNEL}}})"},
        _UP,
    ),
    lines(
        "Restarts within five minutes",
        "How often the process of each kernel was started again within the last five minutes. 0 is "
        "good; a line that stays up is a kernel that dies again and again.",
        {"{{kernel}}": increase("constellation_kernel_restarts_total", "5m", KERNEL, by="kernel")},
        unit="short",
    ),
)

_SPEED: Final = (
    lines(
        "Tokens written per second",
        "Tokens that each kernel writes per second, over all its answers. High is good.",
        {
            "{{kernel}}": rate(
                "constellation_tokens_total", KERNEL, 'kind="completion"', by="kernel"
            )
        },
        unit="suffix: tokens/s",
        stacked=True,
    ),
    lines(
        "Seconds per token, 95 of 100",
        "Seconds for one step of one answer, waiting for its turn included, which 95 of 100 steps "
        "stay below. Low is good. One line above the others is a slow kernel.",
        {"{{kernel}}": quantile(0.95, "constellation_inter_token_seconds", KERNEL, by="kernel")},
        unit="s",
    ),
    lines(
        "Mean seconds for an answer",
        "Mean seconds from the router's call of a kernel to the last byte of the answer. Low is "
        "good; long answers take longer without being slower.",
        {"{{kernel}}": mean("constellation_kernel_answer_seconds", KERNEL, by="kernel")},
        unit="s",
    ),
    lines(
        "Tokens read per second",
        "Tokens of prompts that each kernel reads per second. High is good; no reading while "
        "requests wait is bad.",
        {"{{kernel}}": rate("constellation_tokens_total", KERNEL, 'kind="prompt"', by="kernel")},
        unit="suffix: tokens/s",
        stacked=True,
    ),
)

_LOAD: Final = (
    lines(
        "Filled share of the queue",
        "Requests that wait at a kernel, divided by the number at which the kernel refuses further "
        "requests. Low is good. Dashed: the limit of the alert.",
        {
            "{{kernel}}": f"max by (kernel) (constellation_queue_depth{{{KERNEL}}})"
            f" / max by (kernel) (constellation_queue_limit{{{KERNEL}}})"
        },
        unit="percentunit",
        size=(8, 8),
        limit=QUEUE_SHARE,
        top=1,
    ),
    lines(
        "Answers being written",
        "Requests that hold a slot of the kernel. High means that the kernel is used; at the "
        "number of slots, further requests wait. Low is good for the speed of each answer.",
        {"{{kernel}}": f"sum by (kernel) (constellation_running_requests{{{KERNEL}}})"},
        unit="short",
        size=(8, 8),
    ),
    lines(
        "Filled share of the key-value caches",
        "Share of the memory for what running answers have read and written that is in use. Low is "
        "good: long prompts still fit.",
        {"{{kernel}}": f"max by (kernel) (constellation_kv_cache_usage_ratio{{{KERNEL}}})"},
        unit="percentunit",
        size=(8, 8),
        top=1,
    ),
    lines(
        "Requests lost by a kernel",
        "Requests per second that moved to another kernel because this kernel was lost. 0 is good.",
        {"{{kernel}}": for_each_kernel(rate("constellation_failovers_total", KERNEL, by="kernel"))},
        unit="reqps",
        size=(8, 8),
    ),
    lines(
        "Memory per kernel process",
        "Resident memory of each process that runs kernels; memory that processes share is counted "
        "in each of them. Steady is good; a line that rises for hours is a leak.",
        {"{{member}}": 'max by (member) (process_resident_memory_bytes{member=~"kernel.*"})'},
        unit="bytes",
        size=(8, 8),
    ),
    lines(
        "Processor cores per kernel process",
        "Processor time that each process uses per second: 1 is one core. Low is good; a process "
        "at the number of the machine's cores has no time left.",
        {"{{member}}": rate("process_cpu_seconds_total", 'member=~"kernel.*"', by="member")},
        unit="suffix: cores",
        size=(8, 8),
    ),
)

KERNELS: Final = Board(
    name="kernels",
    title="Constellation: kernels",
    description="Which kernel is slow, overloaded, restarting or short of memory?",
    sections=[
        Section(panels=_ALL),
        Section(title="Do the kernels answer?", panels=_LIFE),
        Section(title="How fast are the kernels?", panels=_SPEED),
        Section(title="How much work do the kernels have?", panels=_LOAD),
    ],
    variables=["kernel"],
)
