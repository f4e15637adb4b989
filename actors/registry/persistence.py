"""Write table, members and placement into the run folder, for processes that start later.

Files are written in the background: routers learn of a change from the registry's messages, and
wait for no disk. When the folder was removed, or its disk was full, all files are written again as
soon as the disk allows.
"""

import asyncio
from collections.abc import Iterable
from contextlib import suppress

from actors.placement_file import Placed, pack_placement
from actors.registry.saved_members import Remembered, pack_members
from actors.run_folder import KeptFiles
from actors.spec import DeploymentSpec
from constellation.records import Table
from constellation.wire.table_file import pack_table

LOOK_S = 0.5
"""Seconds between two checks that all files exist; changes are written at once."""


class Persistence:
    """The registry's files: table, members and placement."""

    def __init__(self, spec: DeploymentSpec) -> None:
        self._spec = spec
        self._files = KeptFiles()
        self._changed = asyncio.Event()
        self._writing = asyncio.Lock()

    def keep_placement(self, placed: Placed) -> None:
        """Have the placement written: a process that starts reads which kernels to serve."""
        self._files.keep(
            self._spec.run_folder.placement_path, pack_placement(placed, self._spec.id)
        )
        self._changed.set()

    def keep(
        self,
        table: Table,
        members: Iterable[Remembered],
    ) -> None:
        """Have the table and the members written."""
        folder, deployment = self._spec.run_folder, self._spec.id
        self._files.keep(folder.table_path, pack_table(table, deployment=deployment))
        self._files.keep(folder.members_path, pack_members(members, deployment))
        self._changed.set()

    async def write(self) -> None:
        """Write the files that changed; files that cannot be written are tried again later."""
        async with self._writing:
            await asyncio.to_thread(self._files.write)

    async def write_next(self) -> None:
        """Wait for a change, or until the next check is due, and write."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_S):
                await self._changed.wait()
        self._changed.clear()
        await self.write()
