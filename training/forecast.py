"""Forecast the training of a recipe before it starts: memory, tokens, FLOPs and time.

Formulas and schedule are those of the run itself (`runs/kernel_memory.py`, `runs/worker_memory.py`,
`runs/schedule.py`). The corpus is not prepared: domains are those of the raw text, and the
vocabulary is the most that the recipe allows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from constellation.curricula.corpus import CorpusFiles
from constellation.curricula.starter import starter_corpus
from constellation.errors import DoesNotFit
from constellation.kernel.network.config import KernelConfig
from training.cost import StepSpeed, job_flops, job_tokens, predicted_seconds
from training.job_settings import fit_basin_head, objective_config, step_config
from training.loop.job import Job
from training.plan import kernel_config
from training.recipe import Recipe, StageSection
from training.recipe_corpus import CorpusSection
from training.runs.schedule import Room, Schedule
from training.runs.training_plan import SEED, TrainingPlan
from training.runs.worker_memory import demand, worker_bytes, workers_that_fit
from training.text_amount import check_num_domains

ForecastState = Literal["AT ONCE", "LATER", "TOO LARGE"]

OUTCOMES: Final = 64
"""Number of outcomes K of a recipe's coordizer."""
BYTES_PER_TOKEN: Final = 1.0
"""Placeholder, since it is not known before the text is encoded; only progress reports use it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class KernelForecast:
    """Forecast for one kernel, or for the shared seed."""

    kernel: str
    num_parameters: int
    workers: int
    """Number of processes that train the kernel together."""
    memory_bytes: int
    """Predicted peak memory of all these processes."""
    tokens: int
    flops: int
    seconds: float | None
    """Processor seconds of the kernel's steps and scorings; None when the speed was not
    measured."""
    state: ForecastState
    """AT ONCE: starts first, or as soon as the seed is finished; LATER: waits for others to end;
    TOO LARGE: never fits into the memory."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Forecast:
    """Forecast for a recipe. Sizes in bytes, times in processor seconds."""

    mode: str
    config: Mapping[str, object]
    """Shape of the kernels."""
    kernels: tuple[KernelForecast, ...]
    """One forecast per kernel, the seed first if there is one."""
    memory_bytes: int
    """Memory that all workers together may use."""
    num_workers: int
    """Number of processes at one time."""
    num_at_once: int
    """Number of kernels in training at the same time, the seed left out; 0 when none fits."""
    tokens: int
    flops: int
    seconds: float | None

    @property
    def fits(self) -> bool:
        """Whether every kernel can be trained, at the same time or in turn."""
        return all(kernel.state != "TOO LARGE" for kernel in self.kernels)


def kernel_names(recipe: Recipe) -> tuple[str, ...]:
    """Return the names of the kernels that a recipe trains, the seed left out.

    Raises:
        CorpusError: The text cannot be read.
        ConfigError: There are more domains than a table holds kernels.
    """
    if recipe.mode == "synchronized":
        return (recipe.name,)
    names = _domains(recipe.corpus)
    check_num_domains(len(names))
    return names


def shape_of(recipe: Recipe) -> KernelConfig:
    """Return the shape of a recipe's kernels, with the largest vocabulary it allows."""
    shape = kernel_config(recipe.kernel, recipe.coordizer.vocab_size)
    return fit_basin_head(shape, objective_config(recipe.objective), OUTCOMES)


def forecast(
    recipe: Recipe,
    names: tuple[str, ...],
    *,
    memory_bytes: int,
    num_cores: int,
    speed: StepSpeed | None = None,
) -> Forecast:
    """Return the forecast of training on a machine without an accelerator.

    Args:
        recipe: The recipe to train.
        names: Names of its kernels, as `kernel_names` gives them.
        memory_bytes: Free memory of the machine; a limit in the recipe replaces it.
        num_cores: Cores of the machine, which is Ray's number of worker slots.
        speed: As measured with the shape of `shape_of`; None leaves times out.
    """
    plan = _plan(recipe, names)
    limit_gb = recipe.workers.memory_limit_gb
    limit = memory_bytes if limit_gb is None else round(limit_gb * 1e9)
    places = min(recipe.workers.num_workers, num_cores)
    apart = recipe.mode == "per-actor"
    group = _group_size(plan, (SEED,) if apart else plan.names, places, limit)
    each = recipe.workers.workers_per_kernel if apart else 1
    kernels = []
    if plan.seed_job is not None:
        kernels.append(_kernel(plan, SEED, group, "AT ONCE" if group else "TOO LARGE", speed))
    if recipe.mode == "synchronized":
        each = group
    states = _scheduled(plan, each, places, limit) if apart else _in_turn(plan, group)
    kernels += [_kernel(plan, name, each, states[name], speed) for name in plan.kernels]
    return Forecast(
        mode=recipe.mode,
        config=plan.kernel_config,
        kernels=tuple(kernels),
        memory_bytes=limit,
        num_workers=places,
        num_at_once=sum(state == "AT ONCE" for state in states.values()),
        tokens=sum(kernel.tokens for kernel in kernels),
        flops=sum(kernel.flops for kernel in kernels),
        seconds=None if speed is None else sum(kernel.seconds or 0.0 for kernel in kernels),
    )


def _group_size(plan: TrainingPlan, names: tuple[str, ...], places: int, limit: int) -> int:
    """Return the number of workers when all train one kernel together; 0 when not one fits."""
    if names == (SEED,) and plan.seed_job is None:
        return places
    try:
        return workers_that_fit(plan, names, wanted=places, limit_bytes=limit)
    except DoesNotFit:
        return 0


def _in_turn(plan: TrainingPlan, group: int) -> dict[str, ForecastState]:
    """Return the states of kernels when every worker trains one kernel after the other."""
    if group == 0:
        return dict.fromkeys(plan.kernels, "TOO LARGE")
    at_once = len(plan.kernels) if plan.mode == "synchronized" else group
    return {
        name: "AT ONCE" if index < at_once else "LATER" for index, name in enumerate(plan.kernels)
    }


def _scheduled(plan: TrainingPlan, each: int, places: int, limit: int) -> dict[str, ForecastState]:
    """Return the states of kernels as the schedule starts them."""
    states: dict[str, ForecastState] = dict.fromkeys(plan.kernels, "TOO LARGE")
    demands = [demand(plan, name, each) for name in plan.kernels]
    possible = [d for d in demands if d.memory_bytes <= limit and d.workers <= places]
    room = Room(workers=places, memory_bytes=limit, max_failures=0)
    for change in Schedule.of(possible, room).begin():
        states[change.kernel] = "AT ONCE" if change.state == "RUNNING" else "LATER"
    return states


def _kernel(
    plan: TrainingPlan, name: str, workers: int, state: ForecastState, speed: StepSpeed | None
) -> KernelForecast:
    job, config = plan.job(name), KernelConfig.from_dict(plan.kernel_config)
    workers = max(1, workers)
    return KernelForecast(
        kernel=name,
        num_parameters=config.num_parameters(),
        workers=workers,
        memory_bytes=workers * worker_bytes(plan, job, workers),
        tokens=job_tokens(job, config),
        flops=job_flops(job, config),
        seconds=None if speed is None else predicted_seconds(job, config, speed),
        state=state,
    )


def _plan(recipe: Recipe, names: tuple[str, ...]) -> TrainingPlan:
    """Return a plan as `training/plan.py` makes it, without what only the text decides."""
    stage = recipe.seed_stage if recipe.mode == "synchronized" else recipe.branch_stage
    shared = None if recipe.mode == "synchronized" else recipe.seed_stage
    assert stage is not None, "the recipe's validator sees to that"
    return TrainingPlan(
        out="",
        key="",
        mode=recipe.mode,
        kernels=names,
        kernel_config=shape_of(recipe).to_dict(),
        tokenizer_hash="",
        seed=recipe.seed,
        seed_job=None if shared is None else _job(recipe, shared, SEED),
        branch_jobs=tuple(_job(recipe, stage, name) for name in names),
    )


def _job(recipe: Recipe, stage: StageSection, name: str) -> Job:
    return Job(
        kernel=name,
        stage="seed" if name == SEED or recipe.mode == "synchronized" else "branch",
        step=step_config(stage, recipe.optimiser),
        bytes_per_token=BYTES_PER_TOKEN,
        checkpoint_every=recipe.checkpoints.every_steps,
        dev_windows=recipe.checkpoints.dev_windows,
    )


def _domains(section: CorpusSection) -> tuple[str, ...]:
    if section.discover_domains is not None:
        width = len(str(section.discover_domains))
        numbers = range(1, section.discover_domains + 1)
        return tuple(f"domain-{number:0{width}d}" for number in numbers)
    if section.merge:
        return tuple(sorted(section.merge))
    if not section.paths:
        return starter_corpus().domains
    files = CorpusFiles(section.paths, section.limits)
    found = {document.domain for document in files.documents()}  # no text stays in memory
    names, _ = files.account(found)
    return tuple(sorted(names.values()))
