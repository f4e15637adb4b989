"""A constellation on three hosts: asked from outside by TLS, and nothing of it crosses in clear."""

import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from constellation import Client
from constellation.client import ConstellationStatus
from constellation.errors import ConstellationError
from tests.machines.capture import Capture
from tests.machines.host_deployment import PORT, HostDeployment
from tests.machines.hosts import OUTSIDE, Hosts
from tests.machines.ray_on_hosts import RAY_PORTS, start_ray
from tests.support.artifacts import PROMPTS
from tests.support.released import release

pytestmark = pytest.mark.cluster

NUM_KERNELS = 8
WHOLE_S = 90.0


@pytest.fixture(scope="module")
def eight_kernels(artifacts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return artifacts with eight kernels: copies of the three small ones under other names."""
    folder = tmp_path_factory.mktemp("eight") / "artifacts"
    shutil.copytree(artifacts, folder)
    trained = sorted(path.name for path in (folder / "kernels").iterdir())
    names = [f"{trained[place % len(trained)]}{place}" for place in range(NUM_KERNELS)]
    for place, name in enumerate(names):
        source = folder / "kernels" / trained[place % len(trained)]
        shutil.copytree(source, folder / "kernels" / name)
    release(folder, names)
    return folder


@pytest.fixture(scope="module")
def deployment(
    hosts: Hosts, eight_kernels: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[HostDeployment]:
    """Return a constellation whose artifacts lie on the first host only."""
    start_ray(hosts)
    folder = tmp_path_factory.mktemp("certificates")
    with HostDeployment(hosts, eight_kernels, folder, holders=[hosts[0]]) as running:
        yield running


@pytest.fixture(scope="module")
def stars(deployment: HostDeployment) -> Iterator[Client]:
    with deployment.client() as client:
        yield client


def nodes_of(status: ConstellationStatus) -> set[str]:
    return {kernel.node for kernel in status.kernels if kernel.up}


def test_eight_kernels_run_on_three_hosts_and_answer_from_outside(stars: Client) -> None:
    status = stars.status()
    assert len(status.kernels) == NUM_KERNELS
    assert len(nodes_of(status)) == 3
    for kernel in status.kernels:
        reply = stars.ask(PROMPTS["mail"], kernel=kernel.name, tokens_max=4)
        assert reply.route.kernel == kernel.name


def test_every_process_listens_at_the_address_of_its_host(stars: Client, hosts: Hosts) -> None:
    addresses = {str(kernel.endpoint).partition(":")[0] for kernel in stars.status().kernels}
    assert addresses == {host.address for host in hosts}


def test_prompt_answer_and_token_never_cross_the_wire_in_clear(
    hosts: Hosts, deployment: HostDeployment
) -> None:
    prompt = "the prompt of this test is to be found nowhere on the wire"
    with Capture(hosts) as wire, deployment.client() as stars:
        answers = [
            stars.ask(prompt, kernel=kernel.name, tokens_max=32, temperature=0).text
            for kernel in stars.status().kernels
        ]
    kernels_asked = [flow for flow in wire.flows() if OUTSIDE not in (flow.source, flow.target)]
    assert [flow for flow in kernels_asked if not flow.touches(RAY_PORTS)], "nothing was captured"
    assert wire.dropped == 0
    for answer in answers:
        assert len(answer) > 8, "too short to be found"
    for text in [prompt, deployment.token, *answers]:
        assert wire.flows_with(text.encode()) == []


def test_a_caller_without_a_certificate_reaches_no_kernel(
    deployment: HostDeployment, stars: Client
) -> None:
    endpoint = str(stars.status().kernels[0].endpoint)
    for options in ({}, {"ca": deployment.ca}):
        with (
            Client(endpoint, token=deployment.token, **options) as stranger,
            pytest.raises(ConstellationError),
        ):
            stranger.ask(PROMPTS["mail"], timeout_s=3)


def test_a_power_cut_loses_no_request_and_its_kernels_return(
    hosts: Hosts, deployment: HostDeployment, stars: Client
) -> None:
    names = {kernel.name for kernel in stars.status().kernels}
    hosts.power_cut(hosts[2])
    end_s, whole = time.monotonic() + WHOLE_S, False
    while not whole:
        assert time.monotonic() < end_s, stars.status()
        stars.ask(PROMPTS["network"], tokens_max=4, timeout_s=20)
        kernels = stars.status().kernels
        addresses = {str(kernel.endpoint).partition(":")[0] for kernel in kernels if kernel.up}
        whole = all(kernel.up for kernel in kernels) and hosts[2].address not in addresses
    for name in names:
        assert stars.ask(PROMPTS["mail"], kernel=name, tokens_max=2).finish.num_tokens == 2


def test_down_ends_every_process_on_every_host(hosts: Hosts, deployment: HostDeployment) -> None:
    deployment.command("constellation down")
    for host in hosts:
        if hosts.lives(host):
            hosts.run(host, "! pgrep -f 'ray::(Kernel|Router|Registry)'")
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((hosts[0].address, PORT), 5).close()
