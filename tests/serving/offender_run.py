"""Two processes serve the same weights; one writes to them in place. Prints what was seen as JSON.

Run as `python -m tests.serving.offender_run ARTIFACTS FOLDER`: Ray wants its environment set before
it is imported, which a process of its own can promise.
"""

import asyncio
import json
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from cluster.bootstrap import NAMESPACE, local_ray, prepare_environment

prepare_environment()

import grpc  # noqa: E402
import ray  # noqa: E402
import torch  # noqa: E402

from actors import _ray  # noqa: E402
from actors.kernel.process import KernelProcess  # noqa: E402
from actors.placement_file import Placed, pack_placement  # noqa: E402
from actors.spec import DeploymentSpec, KernelOptions, RouterDoors, RouterOptions  # noqa: E402
from constellation.atomic_files import write_whole  # noqa: E402
from constellation.coordizer.coordizer import Coordizer  # noqa: E402
from constellation.errors import DeploymentError  # noqa: E402
from constellation.runtime.placement import Placement  # noqa: E402
from constellation.v1 import kernel_pb2  # noqa: E402
from constellation.wire import channel, services  # noqa: E402
from tests.support.artifacts import PROMPTS  # noqa: E402
from tests.support.released import release  # noqa: E402

MEMBERS = {"kernel-mail": ("mail",), "kernel-twin": ("twin",)}


class Offender(KernelProcess):
    """A kernel's process as it is served, and a way to write to its weights."""

    async def write_in_place(self) -> None:
        (host,) = self._group.server.every()
        with torch.no_grad():
            host.engine._decoder.blocks[0].gate_up.weight.mul_(2.0)


def deployment(artifacts: Path, folder: Path) -> DeploymentSpec:
    """Describe two kernels with the same weights, each in a process of its own."""
    for (name,) in MEMBERS.values():
        kernel = folder / "artifacts" / "kernels" / name
        kernel.parent.mkdir(parents=True, exist_ok=True)
        kernel.symlink_to(artifacts / "kernels" / "mail")
    (folder / "artifacts" / "coordizer").symlink_to(artifacts / "coordizer")
    spec = DeploymentSpec(
        namespace=NAMESPACE,
        artifacts=folder / "artifacts",
        run_dir=folder / "run",
        routers=(RouterDoors(member="router", listen=("127.0.0.1", 0)),),
        router=RouterOptions(),
        kernel=KernelOptions(),
    )
    (spec.run_dir / "logs").mkdir(parents=True)
    placement = Placement(spec.kernel.per_actor, MEMBERS)
    version = release(spec.artifacts, ["mail", "twin"])
    placed = Placed(placement=placement, release=version)
    write_whole(spec.run_folder.placement_path, pack_placement(placed))
    return spec


def announced(actor: Any) -> Any:
    """Return where a process listens, waiting until it has started again."""
    deadline_s = time.monotonic() + 60
    pause = threading.Event()
    while True:
        try:
            return _ray.wait_for(actor.where(), timeout_s=60, what="a kernel")
        except DeploymentError:
            if time.monotonic() > deadline_s:
                raise
            pause.wait(0.1)


def said(actor: Any, tokens: list[int]) -> tuple[int, str]:
    """Return a process and what its kernel writes greedily."""
    announcement = announced(actor)

    async def ask() -> str:
        options = channel.CHANNEL_OPTIONS
        async with grpc.aio.insecure_channel(announcement.endpoint, options=options) as opened:
            request = kernel_pb2.KernelGenerateRequest(tokens=tokens)
            request.sampling.tokens_max = 12
            request.sampling.temperature = 0.0
            request.sampling.repetition_penalty = 2.0
            reply = await services.Stub(opened, services.KERNEL).Ask(request, timeout=20)
            return str(reply.text)

    return announcement.pid, asyncio.run(ask())


def main() -> None:
    spec = deployment(Path(sys.argv[1]), Path(sys.argv[2]))
    tokens = Coordizer.load(spec.artifacts / "coordizer").encode(PROMPTS["mail"]).tolist()
    with local_ray(num_cpus=0, dashboard=False) as own:
        offender = _ray.ActorClass(Offender).create("kernel-mail", spec, "kernel-mail")
        neighbour = _ray.ActorClass(KernelProcess).create("kernel-twin", spec, "kernel-twin")
        seen: dict[str, Any] = {
            "offender": said(offender, tokens),
            "neighbour": said(neighbour, tokens),
            "num_files": len(list(spec.node_folder.weights_dir.iterdir())),
        }
        with suppress(ray.exceptions.RayActorError):
            ray.get(offender.write_in_place(), timeout=60)
        seen["neighbour_after"] = said(neighbour, tokens)
        seen["offender_after"] = said(offender, tokens)
        ended = own.folder.glob(f"session_latest/logs/worker-*-{seen['offender'][0]}.err")
        seen["end"] = "".join(path.read_text() for path in ended)
        for member in MEMBERS:
            _ray.remove(member, NAMESPACE)
    sys.stdout.write(json.dumps(seen) + "\n")


if __name__ == "__main__":
    main()
