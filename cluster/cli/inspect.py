"""The commands `plan` and `doctor`: estimate what a machine can host; find what hinders it."""

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cluster.cli import options, output_format
from cluster.cli.connection import configuration
from constellation.errors import ConfigError

if TYPE_CHECKING:
    from cluster.capacity import Plan


class PresetName(StrEnum):
    """Values of --preset: names of kernel architectures, the same as the library's presets."""

    SPARK = "spark"
    QIG_23M = "qig-23m"
    QIG_RECURSIVE_100M = "qig-recursive-100m"
    HLX_100M = "hlx-100m"
    HLX_50M = "hlx-50m"


def plan(
    preset: Annotated[
        PresetName | None,
        typer.Option(
            help="Architecture of every kernel, by the name of its preset: sets layers, width "
            "and so the memory. (default: spark)",
        ),
    ] = None,
    artifacts: Annotated[
        Path | None,
        typer.Option(
            help="Artifacts folder that `constellation train` wrote, instead of --preset: plans "
            "for as many kernels as the folder has, all of the size of its largest.",
        ),
    ] = None,
    kernels: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=240,
            help="Number of kernels to plan for, 1 to 240. (default: as many as fit into the "
            "memory)",
        ),
    ] = None,
    memory: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            max=1e6,
            help="Memory that may be used, in GB of 1e9 bytes, 0.1 to 1000000. (default: the "
            "memory that is free now)",
        ),
    ] = None,
    gpu_memory: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            max=1e6,
            help="Memory of one GPU to plan for, in GB of 1e9 bytes, 0.1 to 1000000. (default: the "
            "GPUs of this machine, if there are any)",
        ),
    ] = None,
    slots: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=256,
            help="Number of replies that a kernel writes at the same time, 1 to 256; each takes "
            "cache memory. (default: the setting kernel.slots)",
        ),
    ] = None,
    measure: Annotated[
        bool,
        typer.Option(
            "--measure/--no-measure",
            help="Whether to measure the speed of this machine, which takes about 2 s, with "
            "--train up to 20 s.",
        ),
    ] = True,
    train: Annotated[
        str | None,
        typer.Option(
            metavar="RECIPE",
            help="Forecast the training of this recipe instead (a name or a TOML file): memory, "
            "tokens, FLOPs and time of every kernel.",
        ),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="With --train: replace one value of the recipe, such as seed_stage.steps=200; "
            "may be repeated.",
        ),
    ] = None,
    as_json: Annotated[
        bool,
        options.json_flag("the plan: memory, processes and speed (with --train: the forecast)"),
    ] = False,
) -> None:
    """Estimate how many kernels this machine can host, and their memory and speed, before `up`.

    With --train the training of a recipe is forecast instead: memory, FLOPs and
    time; the exit code is then 1 when a kernel is too large to be trained here.

    Example: constellation plan --preset qig-23m --kernels 8 --memory 16
    """
    from cluster.capacity import Load, Machine, make_plan
    from cluster.cli import gpu_plans, machine
    from cluster.cli.plan_training import plan_training
    from constellation.kernel.network.config import PRESETS
    from constellation.machine_limits import usable_cores, usable_memory

    if changes and train is None:
        raise ConfigError("--set changes the recipe of --train; give both")
    if artifacts is not None and (preset is not None or train is not None):
        raise ConfigError("--artifacts stands in place of --preset and --train; give one of them")
    free = usable_memory().available_bytes if memory is None else int(memory * 1e9)
    if train is not None:
        fits = plan_training(
            train,
            changes or (),
            memory_bytes=free,
            num_cores=usable_cores(),
            measure=measure,
            as_json=as_json,
        )
        raise typer.Exit(0 if fits else 1)
    shape = str(preset or PresetName.SPARK)
    config = PRESETS[shape]
    if artifacts is not None:
        num_served, config = machine.served_shape(artifacts)
        shape, kernels = f"{artifacts}'s largest", kernels or num_served
    settings = configuration().kernel
    gpus = gpu_plans.gpu_plans(
        config,
        settings,
        gpu_plans.gpu_memories(gpu_memory),
        slots=slots or settings.slots,
        num_kernels=kernels,
    )
    made = make_plan(
        Load(
            config=config,
            slots=slots or settings.slots,
            num_kernels=kernels,
            prefix_bytes=settings.prefix_mib * 2**20,
            per_actor=settings.per_actor,
            replicas=settings.replicas,
        ),
        Machine(
            memory_bytes=free,
            num_cores=usable_cores(),
            decode_tokens_per_second=machine.decode_speed(config) if measure else None,
        ),
    )
    if as_json:
        said = {"preset": shape, "memory_bytes": free, **asdict(made)}
        if gpus:
            said["gpus"] = gpu_plans.as_documents(gpus)
        output_format.print_json(said)
    else:
        _print_plan(made, shape, free)
        if gpus:
            gpu_plans.print_plans(gpus, settings.per_gpu)


def _print_plan(made: "Plan", preset: str, free: int) -> None:
    console = output_format.stdout()
    shown = output_format.table("what", "cost", "remark", numbers=("cost",))
    rows = [
        ("parameters", f"{made.num_parameters:,}", f"of one {preset} kernel"),
        ("weights", output_format.size(made.weights_bytes), "float32"),
        ("layouts", output_format.size(made.layout_bytes), "made when several answers are written"),
        (
            "cache",
            output_format.size(made.cache_bytes),
            "all slots full, and prompts that are kept",
        ),
        ("process", output_format.size(made.process_bytes), "Python, Ray's worker, torch, gRPC"),
        ("one kernel", output_format.size(made.kernel_bytes), "the four above"),
        (
            "fixed",
            output_format.size(made.fixed_bytes),
            "router, registry, launcher, Ray's daemons",
        ),
        (
            "kernels",
            str(made.num_kernels),
            f"{made.num_fitting} fit into {output_format.size(free)}",
        ),
        ("memory", output_format.size(made.total_bytes), "for these kernels"),
        ("actors", str(made.num_actors), "processes of kernels, a router, a registry"),
        ("work", f"{made.flops_per_token / 1e6:.1f} MFLOP", "per token, at half of the context"),
    ]
    if made.tokens_per_second_kernel is not None:
        one, together = made.tokens_per_second_kernel, made.tokens_per_second_all or 0.0
        rows += [
            ("speed", f"{one:,.0f} tokens/s", "one answer, one core, measured now"),
            ("together", f"{together:,.0f} tokens/s", "every kernel writing, cores shared out"),
        ]
    for row in rows:
        shown.add_row(*row)
    console.print(shown)
    if not made.fits:
        console.print(
            f"\n{max(1, made.num_kernels)} do not fit; {made.num_fitting} do", style="yellow"
        )


_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def doctor(
    artifacts: options.Artifacts = None,
    run_dir: options.RunDir = None,
    token_file: options.TokenFile = None,
    as_json: Annotated[
        bool, options.json_flag("the findings, each with its level, subject and remedy,")
    ] = False,
) -> None:
    """Check whether a constellation can run on this machine, and say how to fix what is wrong.

    Checks versions of packages, port, memory, disk, open files, GPU, Ray, the running constellation
    and the artifacts folder. Ends with exit code 1 when something must be fixed before a
    constellation can run.

    Example: constellation doctor --json
    """
    from rich.text import Text

    from cluster.cli import machine
    from cluster.diagnosis import Level, diagnose

    settings = configuration(run_dir=run_dir, artifacts=artifacts, token_file=token_file)
    findings = diagnose(machine.look(settings))
    worst = Level.FAIL if any(found.level is Level.FAIL for found in findings) else Level.OK
    if as_json:
        output_format.print_json(
            {"ok": worst is Level.OK, "findings": [asdict(f) for f in findings]}
        )
    else:
        shown = output_format.table("", "what", "found")
        shown.columns[2].no_wrap = False
        for found in findings:
            detail = Text(found.detail)
            if found.mend:
                detail.append(f"\n→ {found.mend}", style="bold")
            shown.add_row(
                Text(str(found.level), style=_STYLES[str(found.level)]), found.subject, detail
            )
        output_format.stdout().print(shown)
    if worst is Level.FAIL:
        raise typer.Exit(1)
