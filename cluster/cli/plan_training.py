"""`plan --train`: print memory, FLOPs and time of training a recipe's kernels on this machine."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING

from cluster.cli import output_format, progress_lines

if TYPE_CHECKING:
    from constellation.curricula.text_room import TextForecast
    from training.cost import StepSpeed
    from training.forecast import Forecast
    from training.recipe import Recipe

_STYLES = {"AT ONCE": "green", "LATER": "yellow", "TOO LARGE": "bold red"}


def plan_training(
    recipe_name: str,
    changes: Iterable[str],
    *,
    memory_bytes: int,
    num_cores: int,
    measure: bool,
    as_json: bool,
) -> bool:
    """Print the forecast of a recipe; return whether all of it can be trained here."""
    from training.forecast import forecast, kernel_names
    from training.recipe_file import load_recipe
    from training.text_preparation import text_forecast

    recipe = load_recipe(recipe_name, changes)
    text = text_forecast(recipe.corpus)
    speed = _speed(recipe) if measure else None
    made = forecast(
        recipe,
        kernel_names(recipe),
        memory_bytes=memory_bytes,
        num_cores=num_cores,
        speed=speed,
    )
    if as_json:
        measured = None if speed is None else asdict(speed)
        output_format.print_json(
            {
                "recipe": recipe.name,
                "fits": made.fits,
                "speed": measured,
                "text": asdict(text),
                **asdict(made),
            }
        )
    else:
        _print_forecast(made, recipe.name, speed)
        if text.text_bytes:
            output_format.stdout().print(_text_line(text))
    return made.fits


def _speed(recipe: "Recipe") -> "StepSpeed":
    import torch

    from training.cost import measure_speed
    from training.forecast import shape_of

    torch.set_num_threads(1)
    stage = recipe.branch_stage or recipe.seed_stage
    assert stage is not None, "the recipe's validator sees to that"
    with progress_lines.step("measuring a few steps"):
        return measure_speed(
            shape_of(recipe),
            batch_size=stage.batch_size,
            precision=recipe.optimiser.precision,
        )


def _print_forecast(made: "Forecast", name: str, speed: "StepSpeed | None") -> None:
    from rich.text import Text

    numbers = ("parameters", "workers", "memory", "tokens", "FLOPs", "processor time")
    shown = output_format.table(
        "kernel", "starts", *numbers, numbers=numbers, title=f"{name}: {made.mode}"
    )
    for kernel in made.kernels:
        shown.add_row(
            kernel.kernel,
            Text(kernel.state, style=_STYLES[kernel.state]),
            f"{kernel.num_parameters:,}",
            str(kernel.workers),
            output_format.size(kernel.memory_bytes),
            f"{kernel.tokens:,}",
            f"{kernel.flops:.2e}",
            _duration(kernel.seconds),
        )
    console = output_format.stdout()
    console.print(shown)
    count = len(made.kernels) - any(kernel.kernel == "seed" for kernel in made.kernels)
    console.print(
        f"\n{made.num_at_once} of {count} kernels at once, by {made.num_workers} workers in "
        f"{output_format.size(made.memory_bytes)} · {made.tokens:,} tokens · "
        f"{made.flops:.2e} FLOPs · {_duration(made.seconds)} of processor time"
    )
    if speed is not None:
        console.print(
            f"measured now on one core: {speed.flops_per_second / 1e9:.1f} GFLOP/s, "
            f"{speed.seconds_per_parameter * 1e9:.2f} ns per parameter and step"
        )
    if not made.fits:
        large = ", ".join(k.kernel for k in made.kernels if k.state == "TOO LARGE")
        console.print(
            f"no room for {large}: give more memory, or lower batch_size or "
            "raise optimiser.accumulation_steps",
            style="yellow",
        )


def _text_line(text: "TextForecast") -> str:
    """Return what preparing the text takes before the first step, at most about."""
    return (
        f"text: {output_format.size(text.text_bytes)} in {text.num_files:,} files · preparing it "
        f"takes up to {output_format.size(text.memory_bytes)} of memory, "
        f"{output_format.size(text.disk_bytes)} of disk and {_duration(text.seconds)} of "
        "processor time"
    )


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    for unit_s, unit in ((86_400, "days"), (3600, "h"), (60, "min")):
        if seconds >= unit_s:
            return f"{seconds / unit_s:.1f} {unit}"
    return f"{seconds:.1f} s"
