"""Chat messages -> one prompt: every message's text, each followed by a line break.

That is how conversations are trained on and how `constellation chat` asks (`records.transcript`);
the kernel goes on from there. Roles leave their mark where the kernel has a prompt format of its
own, and none elsewhere. As in `chat`, the last thing the user said
decides where the query goes; what was said before is context.
"""

from dataclasses import dataclass
from typing import Any

from constellation.records import Message, transcript
from constellation.wire import convert
from constellation.wire.http import kinds

MESSAGES_MAX = 4096
"""Most messages of one conversation."""

_ANSWERS = "assistant"
_ROLES = ("system", "developer", "user", _ANSWERS)
_NO_TOOLS = "kernels call no tools"
_TEXT = kinds.Kind(
    allowed="a text that UTF-8 can carry",
    schema={"type": "string", "maxLength": convert.TEXT_BYTES_MAX},
    # How long all may be together is `check_text`'s to say, whose error gives the length.
    accepts=lambda value: isinstance(value, str) and kinds.encodable(value),
)

_PART = {
    "type": kinds.Kind(
        allowed="text: kernels read nothing else",
        schema={"enum": ["text"]},
        accepts=lambda value: value == "text",
    ),
    "text": _TEXT,
}

_MESSAGE = {
    "role": kinds.Kind(
        allowed=", ".join(_ROLES),
        schema={"enum": list(_ROLES)},
        accepts=lambda value: value in _ROLES if isinstance(value, str) else False,
    ),
    "content": kinds.Kind(
        allowed="a text that UTF-8 can carry, or a list of parts with text",
        schema={
            "anyOf": [
                dict(_TEXT.schema),
                {"type": "array", "items": kinds.object_schema(_PART, "type", "text")},
            ]
        },
        accepts=lambda value: isinstance(value, list) or _TEXT.accepts(value),
    ),
    "name": kinds.text(0),  # says who speaks, as the role does; neither leaves a mark
    # Clients send a reply's message back with what stands in it.
    "refusal": kinds.only(why="kernels refuse nothing in words"),
    "annotations": kinds.only([], why="kernels cite nothing"),
    "audio": kinds.only(why="kernels write text"),
    "tool_calls": kinds.only([], why=_NO_TOOLS),
    "function_call": kinds.only(why=_NO_TOOLS),
}

MESSAGES = kinds.Kind(
    allowed=f"a list of 1 to {MESSAGES_MAX} messages",
    schema={
        "type": "array",
        "items": kinds.object_schema(_MESSAGE, "role"),
        "minItems": 1,
        "maxItems": MESSAGES_MAX,
    },
    accepts=lambda value: isinstance(value, list) and 1 <= len(value) <= MESSAGES_MAX,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class ChatPrompt:
    """A conversation as the constellation reads it."""

    prompt: str
    """What the kernel goes on from."""
    turn: str
    """What decides the route: the user's last message, or everything when there is none."""
    messages: tuple[Message, ...] = ()
    """Who said what, for kernels with a prompt format of their own."""


def chat_prompt(messages: list[Any]) -> ChatPrompt:
    """Return the prompt of a conversation.

    Raises:
        InvalidRequest: Names the message and the field that is wrong.
        InvalidPrompt: The prompt is over 1 MiB, or no message says anything.
    """
    contents, last, said = [], None, []
    for place, message in enumerate(messages):
        role, content = _read(message, f"messages[{place}]")
        contents.append(content)
        said.append(Message(role, content))
        if role == "user":
            last = content
    convert.check_text("messages", "".join(contents))
    prompt = convert.check_text("messages", transcript(contents))
    turn = prompt if last is None else transcript([last])
    return ChatPrompt(prompt=prompt, turn=turn, messages=tuple(said))


def _read(message: Any, path: str) -> tuple[str, str]:
    if not isinstance(message, dict):
        raise kinds.refused(path, message, "an object with role and content")
    given = kinds.check(message, _MESSAGE, path=f"{path}.")
    role: str = kinds.required(given, "role", _MESSAGE, path=f"{path}.")
    if role == _ANSWERS:  # an answer may have said nothing, and clients send that back as null
        given.setdefault("content", "")
    content = kinds.required(given, "content", _MESSAGE, path=f"{path}.")
    if isinstance(content, str):
        return role, content
    return role, "".join(
        _part(part, f"{path}.content[{place}]") for place, part in enumerate(content)
    )


def _part(part: Any, path: str) -> str:
    if not isinstance(part, dict):
        raise kinds.refused(path, part, "an object with type and text")
    given = kinds.check(part, _PART, path=f"{path}.")
    kinds.required(given, "type", _PART, path=f"{path}.")
    text: str = kinds.required(given, "text", _PART, path=f"{path}.")
    return text
