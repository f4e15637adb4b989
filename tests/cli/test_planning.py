"""`plan`: the sums are those of real kernels, and what is said to fit does."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cluster.capacity import NUM_SEATS, Load, Machine, Overheads, make_plan
from constellation.errors import ConfigError
from constellation.kernel.files.checkpoint import load_kernel
from constellation.kernel.network.cache import KVCache
from constellation.kernel.network.config import PRESETS, KernelConfig
from constellation.kernel.network.decoder import Decoder
from constellation.releases.store import ReleaseStore
from tests.cli.conftest import Run

SMALL = KernelConfig(vocab_size=300, width=32, num_layers=2, num_heads=2, mlp_width=64, context=64)
configs = st.sampled_from([SMALL, *PRESETS.values()])
dtypes = st.sampled_from([torch.float32, torch.bfloat16])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_and_cache_are_those_of_a_real_kernel(dtype: torch.dtype) -> None:
    load = Load(config=SMALL, slots=3, dtype=dtype)
    plan = make_plan(load, Machine(memory_bytes=2**34, num_cores=2))
    tensors = Decoder(SMALL, seed=0).to(dtype).parameters()
    assert plan.weights_bytes == sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    assert plan.cache_bytes == 3 * KVCache(SMALL, dtype=dtype).size_bytes


@given(configs, dtypes, st.integers(1, 16), st.integers(0, 2**37))
def test_what_fits_is_the_most_that_fits(
    config: KernelConfig, dtype: torch.dtype, slots: int, memory: int
) -> None:
    machine = Machine(memory_bytes=memory, num_cores=2)
    plan = make_plan(Load(config=config, slots=slots, dtype=dtype), machine)
    assert 0 <= plan.num_fitting == plan.num_kernels <= NUM_SEATS
    one_more = plan.fixed_bytes + (plan.num_fitting + 1) * plan.kernel_bytes
    assert plan.num_fitting == NUM_SEATS or one_more > memory
    assert plan.total_bytes <= memory
    assert plan.fits == (plan.num_fitting > 0)


@given(st.integers(1, NUM_SEATS), st.integers(1, 64), st.integers(1, 10**4))
def test_costs_follow_the_number_of_kernels(wanted: int, cores: int, speed: int) -> None:
    machine = Machine(memory_bytes=2**33, num_cores=cores, decode_tokens_per_second=float(speed))
    load = Load(config=PRESETS["spark"], slots=4, num_kernels=wanted)
    plan = make_plan(load, machine)
    assert plan.num_actors == wanted + 2
    assert plan.total_bytes == plan.fixed_bytes + wanted * plan.kernel_bytes
    assert plan.fits == (plan.total_bytes <= machine.memory_bytes)
    assert plan.tokens_per_second_all == speed * min(wanted, cores)


def test_a_plan_by_hand() -> None:
    overheads = Overheads(
        kernel_bytes=100, shared_bytes=1, router_bytes=2, registry_bytes=3, daemons_bytes=4
    )
    load = Load(config=SMALL, slots=1)
    kernel = 4 * SMALL.num_parameters() + 4 * 2 * 2 * 32 * 64 + 100
    plan = make_plan(load, Machine(memory_bytes=10 + 3 * kernel, num_cores=1), overheads)
    assert (plan.kernel_bytes, plan.fixed_bytes, plan.num_fitting) == (kernel, 10, 3)
    machine = Machine(memory_bytes=9 + 3 * kernel, num_cores=1)
    assert make_plan(load, machine, overheads).num_fitting == 2
    assert plan.tokens_per_second_kernel is plan.tokens_per_second_all is None
    assert not make_plan(replace(load, num_kernels=4), machine, overheads).fits


def test_several_answers_at_a_time_take_the_matrices_again_and_kept_prompts_their_room() -> None:
    machine = Machine(memory_bytes=2**34, num_cores=2)
    two = make_plan(Load(config=SMALL, slots=2), machine)
    three = make_plan(Load(config=SMALL, slots=3, prefix_bytes=1000), machine)
    one_cache = two.cache_bytes // 2
    assert three.kernel_bytes - two.kernel_bytes == two.weights_bytes + one_cache + 1000


@given(st.integers(1, NUM_SEATS), st.integers(0, 2**36), st.sampled_from([1, 2, 7, 240]))
def test_kernels_of_one_process_share_its_overhead(wanted: int, memory: int, room: int) -> None:
    load = Load(config=PRESETS["spark"], slots=4, num_kernels=wanted, per_actor=room)
    plan = make_plan(load, Machine(memory_bytes=memory, num_cores=2))
    alone = make_plan(replace(load, per_actor=1), Machine(memory_bytes=memory, num_cores=2))
    num_processes = plan.num_actors - 2
    assert (num_processes - 1) * room < wanted <= num_processes * room
    own = plan.kernel_bytes - plan.process_bytes
    overhead = num_processes * Overheads().kernel_bytes
    assert plan.total_bytes == plan.fixed_bytes + wanted * own + overhead
    assert plan.fits == (plan.total_bytes <= memory)
    assert plan.num_fitting >= alone.num_fitting
    assert room == 1 or plan.layout_bytes == 0


@given(st.integers(1, 40), st.integers(0, 2**36), st.integers(1, 4), st.sampled_from([1, 7]))
def test_replicas_cost_as_much_as_so_many_kernels(
    wanted: int, memory: int, replicas: int, room: int
) -> None:
    load = Load(config=PRESETS["spark"], slots=4, num_kernels=wanted, per_actor=room)
    machine = Machine(memory_bytes=memory, num_cores=2)
    one, several = make_plan(load, machine), make_plan(replace(load, replicas=replicas), machine)
    assert several.num_actors - 2 == replicas * (one.num_actors - 2)
    each = one.total_bytes - one.fixed_bytes
    assert several.total_bytes == several.fixed_bytes + replicas * each
    assert several.fits == (several.total_bytes <= memory)


@pytest.mark.parametrize(
    "wrong", [{"slots": 0}, {"num_kernels": 0}, {"num_kernels": 241}, {"per_actor": 0}]
)
def test_a_load_out_of_range_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Load(**{"config": SMALL, "slots": 1, **wrong})


@pytest.mark.slow
def test_plan_prints_and_measures(run: Run) -> None:
    told = json.loads(run("plan", "--kernels", 8, "--memory", 4, "--json").stdout)
    assert told["num_parameters"] == PRESETS["spark"].num_parameters()
    assert told["tokens_per_second_kernel"] > 0
    assert told["fits"]
    shown = run("plan", "--preset", "qig-23m", "--memory", 0.2, "--no-measure").stdout
    assert "23,058,944" in shown
    assert "tokens/s" not in shown
    assert "1 do not fit; 0 do" in shown


def test_plan_says_how_many_kernels_fit_on_a_gpu(run: Run) -> None:
    told = json.loads(
        run(
            *("plan", "--preset", "qig-23m", "--kernels", 240, "--gpu-memory", 140),
            *("--no-measure", "--json"),
        ).stdout
    )
    (gpu,) = told["gpus"]
    assert gpu["num_kernels"] == 240
    assert gpu["fits"] == (gpu["total_bytes"] <= gpu["limit_bytes"] == 140 * 10**9)
    shown = run("plan", "--gpu-memory", 8, "--no-measure").stdout
    assert "GPU" in shown
    assert "workspace" in shown
    assert "gpus" not in json.loads(run("plan", "--no-measure", "--json").stdout)


def test_a_plan_for_what_training_left_counts_its_kernels_and_takes_their_shape(
    run: Run, artifacts: Path
) -> None:
    names = [kernel.name for kernel in ReleaseStore(artifacts).read_current().kernels]
    config = load_kernel(artifacts / "kernels" / names[0]).decoder.config
    told = json.loads(run("plan", "--artifacts", artifacts, "--no-measure", "--json").stdout)
    assert (told["num_kernels"], told["num_parameters"]) == (len(names), config.num_parameters())
    both = run("plan", "--artifacts", artifacts, "--preset", "spark")
    assert both.exit_code == 2
    assert "--artifacts stands in place of --preset" in both.stderr
    gone = run("plan", "--artifacts", "nowhere")
    assert gone.exit_code == 1
    assert "nowhere: holds no release" in gone.stderr
