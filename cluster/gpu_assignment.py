"""Whether kernels run on GPUs, and how many of them share a process there: a pure decision."""

from collections.abc import Callable
from dataclasses import replace
from importlib import metadata

from actors.spec import DeploymentSpec, KernelOptions
from constellation.errors import ConfigError


def on_devices(
    spec: DeploymentSpec, *, num_gpus: Callable[[], float], num_kernels: int
) -> DeploymentSpec:
    """Return the deployment with the device of its kernels decided.

    Args:
        spec: The deployment, with the device that was set.
        num_gpus: Returns the GPUs of Ray's cluster; not called when kernels are to run on CPUs.
        num_kernels: Kernels of the current release.

    Raises:
        ConfigError: As `kernels_on`.
    """
    if spec.kernel.device == "cpu":
        return spec
    # Not asked of torch itself, whose import would cost the launcher 200 MB.
    has_cuda = not metadata.version("torch").endswith("+cpu")
    options = kernels_on(
        spec.kernel, num_gpus=num_gpus(), has_cuda=has_cuda, num_kernels=num_kernels
    )
    return replace(spec, kernel=options)


def kernels_on(
    options: KernelOptions, *, num_gpus: float, has_cuda: bool, num_kernels: int
) -> KernelOptions:
    """Return the options with the device decided, and enough kernels in every process.

    On GPUs there are no more processes than `per_gpu` for each GPU, and the kernels are shared out
    evenly; on CPUs a process has as many kernels as was set.

    Args:
        options: As they were set.
        num_gpus: GPUs of Ray's cluster.
        has_cuda: Whether the installed torch can use GPUs.
        num_kernels: Kernels of the current release.

    Raises:
        ConfigError: GPUs were asked for and there are none, or fewer than replicas need; or weights
            in a format that only a CPU multiplies.
    """
    num_processes = int(num_gpus) * options.per_gpu
    if options.device == "auto":
        on_gpus = num_processes > 0 and has_cuda and options.weights != "int8"
        options = replace(options, device="cuda" if on_gpus else "cpu")
    if options.device == "cpu":
        return options
    if options.weights == "int8":
        raise ConfigError(
            "kernel.weights is 'int8', which only kernels on a CPU can be; set kernel.weights to "
            "'bfloat16', or kernel.device to 'cpu'"
        )
    if num_processes == 0:
        raise ConfigError(
            "kernel.device is 'cuda' and Ray finds no GPU; start Ray on a machine with GPUs and "
            "their driver, or set kernel.device to 'cpu'"
        )
    num_groups = num_processes // options.replicas
    if num_groups == 0:
        raise ConfigError(
            f"kernel.replicas is {options.replicas}, and GPUs have room for {num_processes} "
            "processes; raise kernel.per_gpu, or lower kernel.replicas"
        )
    per_actor = max(options.per_actor, -(-num_kernels // num_groups))
    return replace(options, per_actor=per_actor)
