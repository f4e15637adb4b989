"""Read a Dockerfile as a list of steps: only what the files of cluster/containers use."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

KNOWN: Final = frozenset(
    "ARG COPY ENTRYPOINT ENV EXPOSE FROM HEALTHCHECK RUN USER WORKDIR".split()  # noqa: SIM905
)
_PAIR = re.compile(r"(\w+)=(\"[^\"]*\"|\S*)")


@dataclass(frozen=True, slots=True)
class Step:
    """One instruction of a Dockerfile."""

    word: str
    """The instruction, in capitals: FROM, RUN and so on."""
    value: str
    """What stands after the word; continued lines are one line."""

    def pairs(self) -> dict[str, str]:
        """Return the names and values of an ENV or ARG step."""
        return {name: value.strip('"') for name, value in _PAIR.findall(self.value)}

    def flags(self) -> dict[str, str]:
        """Return the options that stand before the arguments, without dashes."""
        words = (word for word in self.value.split() if word.startswith("--"))
        return dict(word[2:].split("=", 1) for word in words)

    def arguments(self) -> list[str]:
        """Return the words that are no options."""
        return [word for word in self.value.split() if not word.startswith("--")]

    def command(self) -> list[str]:
        """Return the command of an ENTRYPOINT or HEALTHCHECK step, which is a JSON list."""
        return list(json.loads(self.value[self.value.index("[") :]))


def steps(text: str) -> list[Step]:
    """Return the steps of a Dockerfile in order.

    Raises:
        ValueError: An instruction is not among `KNOWN`.
    """
    return [Step(*_parts(line)) for line in _whole_lines(text)]


def _parts(line: str) -> tuple[str, str]:
    word, _, value = line.partition(" ")
    if word not in KNOWN:
        raise ValueError(f"unknown instruction {word!r}; known: {', '.join(sorted(KNOWN))}")
    return word, value.strip()


def _whole_lines(text: str) -> Iterator[str]:
    """Return the lines without comments and blank lines; a backslash continues a line."""
    begun = ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("#") or not line:
            continue
        if line.endswith("\\"):
            begun += line.removesuffix("\\")
            continue
        yield begun + line
        begun = ""
