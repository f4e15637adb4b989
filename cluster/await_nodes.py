"""Wait until a Ray cluster has the machines that `ray up` starts, before a constellation starts.

    python -m cluster.await_nodes HOST:PORT [--machines 3] [--limit 600]

Kernels are placed on the machines that are there when a constellation starts, and stay there when
machines join. Without `--machines` the number is what ~/ray_bootstrap_config.yaml asks for, the
file that `ray up` writes on the head. Exit code 0 means that all are there, 1 that the limit has
passed.
"""

import argparse
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import yaml  # type: ignore[import-untyped]

from cluster.bootstrap import joined_ray
from constellation.errors import ConfigError, ConstellationError

BOOTSTRAP_FILE: Final = Path("~/ray_bootstrap_config.yaml")
LIMIT_S: Final = 600.0
_POLL_S: Final = 1.0


def machines_wanted(configuration: Mapping[str, Any]) -> int:
    """Return how many machines a configuration of `ray up` starts at least, the head included.

    Args:
        configuration: As Ray completes it: with the node types of every provider.

    Raises:
        ConfigError: The configuration lists no node types.
    """
    kinds = configuration.get("available_node_types")
    if not isinstance(kinds, Mapping):
        raise ConfigError(f"{BOOTSTRAP_FILE} lists no node types; give --machines")
    return 1 + sum(int(kind.get("min_workers", 0)) for kind in kinds.values())


def await_count(wanted: int, count: Callable[[], int], *, limit_s: float) -> int:
    """Call `count` once a second until it returns `wanted` or more; return the last count."""
    end_s = time.monotonic() + limit_s
    while (found := count()) < wanted and time.monotonic() < end_s:
        threading.Event().wait(_POLL_S)
    return found


def _alive() -> int:
    import ray

    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return sum(bool(node["Alive"]) for node in nodes)


def _wanted(given: int | None) -> int:
    if given is not None:
        return given
    try:
        text = BOOTSTRAP_FILE.expanduser().read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{BOOTSTRAP_FILE}: {error.strerror}; give --machines") from error
    return machines_wanted(yaml.safe_load(text))


def main() -> None:
    """Wait, and say how many machines there are."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("address", help="host:port of the cluster's control store")
    parser.add_argument("--machines", type=int, help="machines to wait for, the head included")
    parser.add_argument("--limit", type=float, default=LIMIT_S, help="seconds to wait at most")
    given = parser.parse_args()
    try:
        wanted = _wanted(given.machines)
        with joined_ray(given.address):
            found = await_count(wanted, _alive, limit_s=given.limit)
    except ConstellationError as error:
        raise SystemExit(f"error: {error}") from error
    sys.stderr.write(f"{found} of {wanted} machines are there\n")
    raise SystemExit(found < wanted)


if __name__ == "__main__":
    main()
