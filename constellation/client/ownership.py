"""The process and the event loop in which a client's connections may be used.

A call from elsewhere would make gRPC raise an untyped error, hang or crash.
"""

import asyncio
import os
from typing import NoReturn

from constellation.errors import ConfigError


class NotCopied:
    """Base of classes that hold connections: copying and pickling raise a typed error."""

    def __reduce__(self) -> NoReturn:
        raise ConfigError(
            f"a {type(self).__name__} holds connections and cannot be copied or pickled; share "
            "it, or make another one from the same arguments"
        )


class Owner:
    """The process and the event loop that opened connections and may use them."""

    def __init__(self) -> None:
        self._process = os.getpid()
        self._loop: asyncio.AbstractEventLoop | None = None

    def check_process(self) -> None:
        """Raise `ConfigError` in a process that was forked from the owner."""
        if os.getpid() != self._process:
            raise ConfigError(
                f"the client belongs to process {self._process}, and its connections do not "
                "survive a fork; make one in each process"
            )

    def check_loop(self) -> None:
        """Raise `ConfigError` unless the running event loop is the owner."""
        if not self.is_here():
            raise ConfigError(
                "the client belongs to the event loop in which it was used first; make one in each "
                "loop, such as inside of the function that asyncio.run takes"
            )

    def is_here(self) -> bool:
        """Say whether the running event loop is the owner; the first loop that asks becomes it."""
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        return self._loop is loop
