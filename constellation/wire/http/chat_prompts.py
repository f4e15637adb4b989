"""Chat messages -> one prompt: every message's text, each followed by a line break.

That is how conversations are trained on and how `constellation chat` asks (`records.transcript`);
the kernel goes on from there. Roles leave their mark where the kernel has a prompt format of its
own, and none elsewhere. As in `chat`, the last thing the user said
decides where the query goes; what was said before is context.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

from pydantic import Field

from constellation.records import Message as RoleMessage
from constellation.records import transcript
from constellation.wire import convert
from constellation.wire.http.body_model import (
    Body,
    OpenAIBody,
    Text,
    allowed_in,
    missing,
    only,
    text,
)

MESSAGES_MAX = 4096
"""Most messages of one conversation."""
PARTS_MAX = 4096
"""Most parts of all messages of one conversation together: reading a part takes 8 us, during which
the router does nothing else."""
NO_TOOLS = "kernels call no tools"

Role = Literal["system", "developer", "user", "assistant"]


class Part(Body):
    """A part of a message's content."""

    type: Annotated[Literal["text"], Field(description="text: kernels read nothing else")]
    text: Text


class Message(OpenAIBody):
    """A message of a conversation."""

    role: Annotated[Role, Field(description=", ".join(get_args(Role)))]
    content: Annotated[
        Text | Annotated[list[Part], Field(fail_fast=True)] | None,
        Field(description="a text that UTF-8 can carry, or a list of parts with text"),
    ] = None
    name: Annotated[str | None, text(0)] = None  # says who speaks, as the role does
    # Clients send a reply's message back with what stands in it.
    refusal: Any = only(why="kernels refuse nothing in words")
    annotations: Any = only([], why="kernels cite nothing")
    audio: Any = only(why="kernels write text")
    tool_calls: Any = only([], why=NO_TOOLS)
    function_call: Any = only(why=NO_TOOLS)

    @property
    def words(self) -> str:
        """The text of the content, all parts together."""
        if isinstance(self.content, str) or self.content is None:
            return self.content or ""
        return "".join(part.text for part in self.content)


@dataclass(frozen=True, kw_only=True, slots=True)
class ChatPrompt:
    """A conversation as the constellation reads it."""

    prompt: str
    """What the kernel goes on from."""
    turn: str
    """What decides the route: the user's last message, or everything when there is none."""
    messages: tuple[RoleMessage, ...] = ()
    """Who said what, for kernels with a prompt format of their own."""


def chat_prompt(messages: Sequence[Message]) -> ChatPrompt:
    """Return the prompt of a conversation.

    Raises:
        InvalidRequest: A message other than an assistant's has no content.
        InvalidPrompt: The prompt is over 1 MiB, or no message says anything.
    """
    for place, message in enumerate(messages):
        # An answer may have said nothing, and clients send that back as null.
        if message.content is None and message.role != "assistant":
            raise missing(f"messages[{place}].content", allowed_in(Message, "content"))
    said = tuple(RoleMessage(message.role, message.words) for message in messages)
    contents = [each.content for each in said]
    convert.check_text("messages", "".join(contents))
    prompt = convert.check_text("messages", transcript(contents))
    asked = [each.content for each in said if each.role == "user"]
    turn = transcript(asked[-1:]) if asked else prompt
    return ChatPrompt(prompt=prompt, turn=turn, messages=said)
