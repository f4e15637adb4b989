"""Plan a switch of releases: which kernels (models) must be started, stopped or reloaded."""

from dataclasses import dataclass

from constellation.releases.manifest import KernelFiles, Release


@dataclass(frozen=True, kw_only=True, slots=True)
class Steps:
    """Names of the kernels that a switch starts, stops and reloads, sorted."""

    joined: tuple[str, ...]
    """Kernels that only the second release has, which must be started."""
    left: tuple[str, ...]
    """Kernels that only the first release has, which must be stopped."""
    reloaded: tuple[str, ...]
    """Kernels of both releases with different files: weights, adapter, base or description."""


def steps_between(before: Release, after: Release) -> Steps:
    """Return the kernels to start, stop and reload; routers handle basins and coordinates."""
    old = {kernel.name: kernel for kernel in before.kernels}
    new = {kernel.name: kernel for kernel in after.kernels}
    return Steps(
        joined=tuple(sorted(new.keys() - old.keys())),
        left=tuple(sorted(old.keys() - new.keys())),
        reloaded=tuple(
            name
            for name in sorted(old.keys() & new.keys())
            if not have_same_files(old[name], new[name])
        ),
    )


def have_same_files(one: KernelFiles, other: KernelFiles) -> bool:
    """Return whether a kernel is the same in two releases: engine, base and every file."""
    return (one.engine, one.base, dict(one.files)) == (other.engine, other.base, dict(other.files))
