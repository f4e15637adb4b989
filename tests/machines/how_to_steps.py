"""Steps of docs/machines.md that `ray up` does not do, for tests and for `benchmarks.how_to`."""

import secrets
from pathlib import Path
from typing import Final

from cluster.certificates import make_certificates
from tests.machines.hosts import Hosts

HOME: Final = "/root/.constellation"
STARTED: Final = f"""
for _ in $(seq 300); do
  grep -q -e 'kernels answer' -e '^error' {HOME}/up.log && break
  sleep 1
done
cat {HOME}/up.log
"""
"""Shell commands for the head: wait until the start in the background has ended, and show it."""
KEEP: Final = f"""
setsid nohup bash {HOME}/code/cluster/ray/keep_worker.sh > {HOME}/keep.log 2>&1 < /dev/null &
echo $! > {HOME}/keep.pid
for _ in $(seq 100); do
  pgrep -x raylet > /dev/null && break
  sleep 1
done
"""
"""Shell commands for a worker: what constellation-worker.service does, without systemd; ends when
Ray runs."""
UNKEEP: Final = f"kill $(cat {HOME}/keep.pid)"


def write_secrets(folder: Path, hosts: Hosts) -> None:
    """Make a certificate that names all machines, and the two tokens."""
    make_certificates(folder, [host.address for host in hosts])
    for name in ("token", "ray_token"):
        (folder / name).touch(mode=0o600)
        (folder / name).write_text(secrets.token_hex(32))
