"""A kernel on another host: `python -m tests.machines.far_kernel ADDRESS TOKEN`, until killed.

Prints the endpoint, then serves the kernel "a", which writes one letter in 20 ms.
"""

import asyncio
import sys
import threading

from actors.kernel.host import KernelHost
from constellation.wire.channel import Bind
from tests.actors.test_hosts import Engine


async def serve(address: str, token: str) -> None:
    """Serve the kernel."""
    engine = Engine("a", before_step=lambda: threading.Event().wait(0.02) and None)
    kernel = KernelHost("a", engine, slots=8, queue_max=8)  # type: ignore[arg-type]
    endpoint = await kernel.server.open(Bind(host=address, token=token), stall_s=5.0)
    sys.stdout.write(endpoint + "\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(*sys.argv[1:]))
