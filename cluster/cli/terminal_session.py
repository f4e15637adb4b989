"""A session at the terminal: reads turns and commands until the input ends."""

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping

from cluster.cli import output_format, progress_lines
from constellation.errors import ConstellationError, InvalidRequest

_PROMPT = "you> "


class Session(ABC):
    """What `chat` does with a line, whoever answers. One failed turn does not end it."""

    help: str
    """One line about the commands, shown at the start and for one that is unknown."""

    @abstractmethod
    def turn(self, text: str) -> None:
        """Answer what was said."""

    @abstractmethod
    def commands(self) -> Mapping[str, Callable[[], None]]:
        """Return what begins with a slash; `/quit` is there already."""

    def run(self) -> None:
        """Answer until the input ends."""
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
