"""How long do the steps of docs/machines.md take, on three hosts made on this machine?

    python -m benchmarks.how_to [--artifacts artifacts/starter] [--json]

Needs root, overlayfs, and Debian's iproute2, openssh-server and rsync: the hosts are namespaces of
this machine (`tests/machines/hosts.py`), which share its processors. Packages are not downloaded:
hosts use those of this checkout, so that `up_s` lacks some minutes of a first installation. Keys of
the last line, one JSON object, all in seconds, lower is better:

- `secrets_s`: certificates and tokens.
- `up_s`: `ray up`, until Ray runs on the head.
- `answers_s`: from then until all machines have joined and all kernels answer.
- `ask_s`: the first question from outside, with TLS.
- `lost_s`: the slowest of the questions that are asked one after the other in the ten seconds after
  the power cut of a machine.
- `rejoined_s`: from power on until that machine is a part of the cluster again.
- `down_s`: `constellation down`, Ray of the workers, `ray down`.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from constellation import Client
from tests.machines.hosts import ROOT, Hosts
from tests.machines.how_to_steps import HOME, KEEP, STARTED, UNKEEP, write_secrets
from tests.machines.ray_up import RayUp

ASKED_S = 10.0


def seconds(step: Callable[[], object]) -> float:
    """Return how long a step takes."""
    began_s = time.monotonic()
    step()
    return round(time.monotonic() - began_s, 2)


def slowest_question(stars: Client) -> float:
    """Return the seconds of the slowest question within `ASKED_S`."""
    slowest_s, end_s = 0.0, time.monotonic() + ASKED_S
    while time.monotonic() < end_s:
        slowest_s = max(slowest_s, seconds(lambda: stars.ask("import os", tokens_max=4)))
    return slowest_s


def measure(hosts: Hosts, artifacts: Path, folder: Path) -> dict[str, float]:
    """Take the steps of the page one after the other; return the seconds of each."""
    made = folder / "secrets"
    found = {"secrets_s": seconds(lambda: write_secrets(made, hosts))}
    mounts = {"~/.constellation/secrets": made, "~/.constellation/artifacts": artifacts}
    cluster = RayUp(hosts, folder, mounts)
    found["up_s"] = seconds(cluster.__enter__)
    try:
        found["answers_s"] = seconds(lambda: hosts.run(hosts[0], STARTED, timeout_s=330))
        where, token = f"{hosts[0].address}:50051", (made / "token").read_text(encoding="utf-8")
        with Client(where, token=token, ca=made / "authority.crt") as stars:
            found["ask_s"] = seconds(lambda: stars.ask("import os", tokens_max=4))
            hosts.power_cut(hosts[2])
            found["lost_s"] = slowest_question(stars)
        found["rejoined_s"] = seconds(lambda: bring_back(cluster, hosts))
        hosts.run(hosts[2], UNKEEP)
    finally:
        found["down_s"] = seconds(lambda: stop(cluster))
    return found


def bring_back(cluster: RayUp, hosts: Hosts) -> None:
    """Switch the lost machine on, start what its service would start, and wait for the head."""
    hosts.power_on(hosts[2])
    hosts.run(hosts[2], KEEP)
    cluster.shell(f"python -m cluster.await_nodes {hosts[0].address}:6379 --limit 100")


def stop(cluster: RayUp) -> None:
    """Stop the constellation, Ray of the workers, and Ray of the head."""
    cluster.shell("constellation down")
    cluster.shell(f"bash {HOME}/code/cluster/ray/stop_workers.sh")
    cluster.__exit__(None, None, None)


def main() -> None:
    """Measure, and print one JSON object."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--artifacts", type=Path, default=ROOT / "artifacts" / "starter")
    parser.add_argument("--json", action="store_true", help="print nothing but the JSON object")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Hosts(3) as hosts:
        found = measure(hosts, given.artifacts, Path(folder))
    if not given.json:
        for name, value in found.items():
            print(f"{name:12} {value:8.2f}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
