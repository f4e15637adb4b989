"""Read and write conversations as JSON lines, with a reason for every line that is not valid.

One line holds one conversation: `{"messages": [{"role": "user", "content": "..."}, ...]}`, with an
optional `"metadata": {"domain": "..."}`. At most one `system` message comes first; then `user` and
`assistant` alternate, and the last message is the assistant's.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from constellation.curricula.documents import Skipped
from constellation.curricula.json_lines import BadLine, check_text, parse_line, text_problem
from constellation.curricula.text_files import write_lines
from constellation.errors import CorpusError
from constellation.records import transcript

ROLES: Final = ("system", "user", "assistant")
LINE_BYTES_MAX: Final = 16 * 2**20
"""Most bytes of a line; a longer line is skipped."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """One message of a conversation, with the role of its author."""

    role: str
    """"system", "user" or "assistant"."""
    content: str
    """Text of the message, with at least one visible character."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Conversation:
    """One conversation: its messages in order, its line number and its domain."""

    messages: tuple[Message, ...]
    line: int
    """Line number in the file, from 1."""
    domain: str | None = None
    """Domain that the metadata name; None without one."""

    @property
    def text(self) -> str:
        """All messages, each followed by a line break, in the form that kernels read."""
        return transcript(message.content for message in self.messages)

    @property
    def pairs(self) -> Iterator[tuple[str, str]]:
        """Pairs of a user message and the reply to it."""
        spoken = [message for message in self.messages if message.role != "system"]
        for asked, replied in zip(spoken[::2], spoken[1::2], strict=True):
            yield asked.content, replied.content

    def to_json(self) -> str:
        """Return one JSON line that both `read_conversations` and `read_corpus` accept."""
        metadata = {} if self.domain is None else {"domain": self.domain}
        messages = [asdict(message) for message in self.messages]
        content = {"messages": messages, "text": self.text, "metadata": metadata}
        return json.dumps(content, ensure_ascii=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Conversations:
    """The conversations of a file, and the lines that were skipped."""

    conversations: tuple[Conversation, ...]
    skipped: tuple[Skipped, ...]
    """"line N" and the reason, for every line that is not a valid conversation."""


def read_conversations(path: Path, *, skips_max: int = 100) -> Conversations:
    """Read a file of conversations.

    Args:
        path: JSON lines in UTF-8; blank lines do not count.
        skips_max: Most invalid lines; one more raises an error.

    Raises:
        CorpusError: The file cannot be read, has more than `skips_max` invalid lines, or holds no
            conversation.
    """
    skipped: list[Skipped] = []
    found: list[Conversation] = []
    try:
        with path.open("rb") as file:
            for number, raw in enumerate(_lines(file), start=1):
                if not raw.strip():
                    continue
                try:
                    found.append(_parse(raw, number))
                except BadLine as bad:
                    skipped.append(Skipped(source=f"line {number}", reason=str(bad)))
                if len(skipped) > skips_max:
                    raise CorpusError(path, _too_many(skipped, skips_max))
    except OSError as error:
        raise CorpusError(path, f"it cannot be read: {error.strerror}") from error
    if not found:
        first = f"; {skipped[0].source}: {skipped[0].reason}" if skipped else ""
        raise CorpusError(path, f"it holds no conversation{first}")
    return Conversations(conversations=tuple(found), skipped=tuple(skipped))


def write_conversations(path: Path, conversations: Iterable[Conversation]) -> None:
    """Write one line per conversation; after a failure the old file is unchanged.

    Raises:
        CorpusError: The file cannot be written.
    """
    write_lines(path, (conversation.to_json() for conversation in conversations))


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Yield the lines; of a line that is too long only enough bytes to detect its length."""
    while raw := file.readline(LINE_BYTES_MAX + 1):
        rest = raw
        while len(rest) > LINE_BYTES_MAX and not rest.endswith(b"\n"):
            rest = file.readline(LINE_BYTES_MAX + 1)
        yield raw


def _parse(raw: bytes, line: int) -> Conversation:
    if len(raw) > LINE_BYTES_MAX:
        raise BadLine(f"over the limit of {LINE_BYTES_MAX} bytes")
    entry = parse_line(raw)
    messages = entry.get("messages") if isinstance(entry, dict) else None
    if not isinstance(messages, list):
        raise BadLine('no "messages" entry that is a list')
    parsed = tuple(_message(value, place) for place, value in enumerate(messages, start=1))
    _check_turns([message.role for message in parsed])
    metadata = entry.get("metadata")
    domain = metadata.get("domain") if isinstance(metadata, dict) else None
    return Conversation(
        messages=parsed, line=line, domain=check_text(domain) if isinstance(domain, str) else None
    )


def _message(value: Any, place: int) -> Message:
    role = value.get("role") if isinstance(value, dict) else None
    content = value.get("content") if isinstance(value, dict) else None
    if role not in ROLES:
        raise BadLine(f"message {place} has the role {role!r}; allowed: {', '.join(ROLES)}")
    if not isinstance(content, str) or not content.strip():
        raise BadLine(f"message {place} has no content")
    if problem := text_problem(content):
        raise BadLine(f"message {place} {problem}")
    return Message(role=role, content=content)


def _check_turns(roles: list[str]) -> None:
    spoken = roles[1:] if roles[:1] == ["system"] else roles
    for place, role in enumerate(spoken):
        expected = ("user", "assistant")[place % 2]
        if role != expected:
            number = 1 + place + len(roles) - len(spoken)
            raise BadLine(f"message {number} is the {role}'s; it is the {expected}'s turn")
    if not spoken or spoken[-1] != "assistant":
        raise BadLine("it does not end with a reply")


def _too_many(skipped: list[Skipped], skips_max: int) -> str:
    return (
        f"over the limit of {skips_max} bad lines, the first is {skipped[0].source} "
        f"({skipped[0].reason}); mend them or raise the limit"
    )
