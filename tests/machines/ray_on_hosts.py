"""Ray on hosts in namespaces, started by `ray start` over SSH with fixed ports.

with Hosts(3) as hosts:
    start_ray(hosts)
    hosts.run(hosts[0], f"constellation up --address {address(hosts)} ...")
"""

import json
import secrets

from tests.machines.hosts import Host, Hosts

PORT = 6379
"""Port of Ray's control store, on the first host."""
TOKEN_PATH = "/root/.constellation/secrets/ray_token"
_START_S = 120.0
_PORTS = (
    "--node-manager-port=6380 --object-manager-port=6381 --runtime-env-agent-port=6382 "
    "--dashboard-agent-listen-port=6383 --dashboard-agent-grpc-port=6384 "
    "--metrics-export-port=6385 --min-worker-port=10002 --max-worker-port=19999"
)
RAY_PORTS = frozenset({PORT, *range(6380, 6387), *range(10002, 20000)})
"""Ports at which processes of Ray listen on the hosts; ours are all others."""
_HEALTH_CHECKS = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 1000,
    "health_check_failure_threshold": 3,
}
_NODES = """
import json, ray
ray.init(address="auto", log_to_driver=False, logging_level="ERROR", _node_ip_address="{address}")
print("nodes", json.dumps([node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]]))
"""


def address(hosts: Hosts) -> str:
    """Return host:port to join the cluster."""
    return f"{hosts[0].address}:{PORT}"


def start_ray(hosts: Hosts) -> None:
    """Start Ray on all hosts, one after the other; the first host is the head."""
    token = secrets.token_hex(32).encode()
    for host in hosts:
        hosts.write(host, TOKEN_PATH, token)
        start_node(hosts, host)


def start_node(hosts: Hosts, host: Host) -> None:
    """Start Ray on one host; the first host becomes the head, others join."""
    role = f"--address={address(hosts)}"
    if host == hosts[0]:
        system = f"--system-config='{json.dumps(_HEALTH_CHECKS)}'"
        role = f"--head --port={PORT} --include-dashboard=false {system}"
    command = (
        f"ray start {role} {_PORTS} --node-ip-address={host.address} --num-cpus=4 "
        "--object-store-memory=100000000 --disable-usage-stats < /dev/null"
    )
    hosts.run(host, command, timeout_s=_START_S)


def nodes_alive(hosts: Hosts) -> set[str]:
    """Return the addresses of the nodes that the head calls alive."""
    script = _NODES.format(address=hosts[0].address)
    said = hosts.run(hosts[0], "python -", stdin=script.encode())
    nodes = next(line for line in said.splitlines() if line.startswith("nodes "))
    return set(json.loads(nodes[len("nodes ") :]))
