"""What has to be done to kernels when one release is served in place of another."""

from dataclasses import dataclass

from constellation.releases.manifest import KernelFiles, Release


@dataclass(frozen=True, kw_only=True, slots=True)
class Steps:
    """Kernels by what happens to them, in the order of their names."""

    joined: tuple[str, ...]
    """Served by the second release alone."""
    left: tuple[str, ...]
    """Served by the first release alone."""
    reloaded: tuple[str, ...]
    """Served by both, with other files: weights, adapter, base or description."""


def steps_between(before: Release, after: Release) -> Steps:
    """Return what has to be done to kernels; basins and coordinates are the routers' affair."""
    old = {kernel.name: kernel for kernel in before.kernels}
    new = {kernel.name: kernel for kernel in after.kernels}
    return Steps(
        joined=tuple(sorted(new.keys() - old.keys())),
        left=tuple(sorted(old.keys() - new.keys())),
        reloaded=tuple(
            name for name in sorted(old.keys() & new.keys()) if not are_alike(old[name], new[name])
        ),
    )


def are_alike(one: KernelFiles, other: KernelFiles) -> bool:
    """Return whether a kernel is the same in two releases: engine, base and every file."""
    return (one.engine, one.base, dict(one.files)) == (other.engine, other.base, dict(other.files))
