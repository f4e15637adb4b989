"""Messages of a conversation, with who says each."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Message:
    """What one side says."""

    role: str
    """Who: system, developer, user or assistant."""
    content: str
    """May be empty."""
