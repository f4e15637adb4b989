"""Kernels and processes that finish their last requests before they are dropped."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from actors.actor_calls import KernelCalls, MemberCalls
from actors.background_tasks import begin
from actors.registry import actor_lifecycle
from actors.spec import DeploymentSpec


class Draining:
    """Drains kernels and processes in the background."""

    def __init__(self, spec: DeploymentSpec) -> None:
        self._spec = spec
        self._tasks: dict[asyncio.Task[None], str] = {}

    def drain_process(self, member: str, process: MemberCalls) -> None:
        """Have a process finish its requests, then end it."""
        self._begin(member, actor_lifecycle.drain_process(self._spec, member, process))

    def drain_kernel(self, kernel: str, process: KernelCalls) -> None:
        """Have a process finish the requests of a kernel, then drop the kernel."""
        self._begin(kernel, actor_lifecycle.drain_kernel(self._spec, kernel, process))

    async def wait_for(self, *names: str) -> None:
        """Return when no kernel or process of these names is draining any more."""
        namesakes = [task for task, name in self._tasks.items() if name in names]
        if namesakes:
            await asyncio.wait(namesakes)

    def _begin(self, name: str, draining: Coroutine[Any, Any, None]) -> None:
        task = begin("leaving", draining)
        self._tasks[task] = name
        task.add_done_callback(self._tasks.pop)
