"""Who is leaving: kernels and processes that finish what they are doing before they go."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from actors.background_tasks import begin
from actors.registry import actor_lifecycle
from actors.spec import DeploymentSpec


class Leaving:
    """Lets kernels and processes leave, in the background."""

    def __init__(self, spec: DeploymentSpec) -> None:
        self._spec = spec
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def let_go(self, member: str, actor: Any) -> None:
        """Let a process end when it has finished what it is doing."""
        self._begin(member, actor_lifecycle.let_go(self._spec, member, actor))

    def let_leave(self, kernel: str, actor: Any) -> None:
        """Let a kernel leave its process when it has finished what it is doing."""
        self._begin(kernel, actor_lifecycle.let_leave(self._spec, kernel, actor))

    async def wait_for(self, *names: str) -> None:
        """Return when no kernel or process of these names is leaving any more."""
        namesakes = [task for name, task in self._tasks.items() if name in names]
        if namesakes:
            await asyncio.wait(namesakes)

    def _begin(self, name: str, leaving: Coroutine[Any, Any, None]) -> None:
        task = begin("leaving", leaving)
        self._tasks[name] = task
        task.add_done_callback(lambda _: self._tasks.pop(name, None))
