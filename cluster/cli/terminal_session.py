"""Run a session at the terminal: read turns and slash commands until the input ends."""

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping

from cluster.cli import output_format, progress_lines
from constellation.errors import ConstellationError, InvalidRequest

_PROMPT = "you> "


class Session(ABC):
    """Base class of `chat` sessions; subclasses answer the turns. A failed turn does not end it."""

    help: str
    """One line about the slash commands, shown at the start and for an unknown command."""

    @abstractmethod
    def turn(self, text: str) -> None:
        """Answer one turn, which is a line of text."""

    @abstractmethod
    def commands(self) -> Mapping[str, Callable[[], None]]:
        """Return the slash commands by name, without `/quit`, which every session has."""

    def run(self) -> None:
        """Read and answer turns until the input ends or /quit."""
        output_format.stderr().print(self.help, style="dim")
        while True:
            try:
                with progress_lines.paused():
                    line = input(_PROMPT if sys.stdin.isatty() else "")
            except EOFError:
                return
            except UnicodeDecodeError as error:
                raise InvalidRequest("standard input", error.object[:40], "UTF-8 text") from error
            if line.strip() == "/quit":
                return
            if line.strip():
                self._act(line)

    def _act(self, line: str) -> None:
        command = self.commands().get(line.strip())
        try:
            if command is not None:
                command()
            elif line.lstrip().startswith("/"):
                output_format.stderr().print(self.help, style="dim")
            else:
                self.turn(line + "\n")
        except ConstellationError as error:
            output_format.stderr().print(f"error: {error}", style="red")
        except KeyboardInterrupt:
            output_format.stderr().print("(stopped)", style="dim")
