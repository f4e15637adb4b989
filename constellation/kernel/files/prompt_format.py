"""How a kernel wants a conversation to be written: the prompt format in its folder.

    prompt_format.json     {"format": 1, "kind": "plain" | "sections" | "template", ...}
    chat_template.jinja    of a model of `transformers`; comes before the one in the next file
    tokenizer_config.json  of such a model: "chat_template", and the texts of its special tokens

A kernel without a format, or with `plain`, reads the messages one after the other; roles leave no
mark there. Nothing needs torch or `transformers`; Jinja is imported when a template is rendered.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Protocol

from constellation.errors import ArtifactError
from constellation.kernel.files.chat_template import compile_template, rendered
from constellation.kernel.files.transformers_folder import (
    TEMPLATE_FILE,
    TOKENIZER_CONFIG_FILE,
    is_imported,
    read_json,
)
from constellation.records import Message

PROMPT_FILE: Final = "prompt_format.json"
"""In the folder of a kernel that has a format of its own."""
FORMAT: Final = 1
"""Version of that file's layout."""
SPECIAL_TOKENS: Final = (
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
)
"""Names by which templates ask for special tokens."""


class PromptFormat(Protocol):
    """Writes a conversation as the prompt that a kernel goes on from."""

    def render(self, messages: Sequence[Message]) -> str:
        """Return the prompt, up to where the kernel's answer begins.

        Raises:
            InvalidRequest: The format has no place for such a conversation; says why.
        """
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Sections:
    """Every message between the two marks of its role."""

    marks: Mapping[str, tuple[str, str]]
    """Role -> what stands before and after a message; a role without marks leaves none."""
    answer: str = ""
    """What stands before the kernel's answer."""

    def render(self, messages: Sequence[Message]) -> str:
        """Return the sections one after the other, and the beginning of the answer's."""
        parts = []
        for message in messages:
            before, after = self.marks.get(message.role, ("", "\n"))
            parts.append(f"{before}{message.content}{after}")
        return "".join(parts) + self.answer


@dataclass(frozen=True, kw_only=True)
class ChatTemplate:
    """A Jinja template, rendered as `transformers` renders it."""

    source: str
    special: Mapping[str, str] = field(default_factory=dict)
    """Name of a special token, such as "eos_token" -> its text."""

    def render(self, messages: Sequence[Message]) -> str:
        """Return what the template writes, with the beginning of the answer's message."""
        return rendered(self._compiled, messages, self.special)

    @cached_property
    def _compiled(self) -> Any:
        return compile_template(self.source)


def read_prompt_format(folder: Path) -> PromptFormat | None:
    """Return the format of the kernel in a folder; None for one whose prompts are plain.

    Raises:
        ArtifactError: The file of the format is damaged, or a template is no Jinja.
    """
    if (folder / PROMPT_FILE).is_file():
        return _own(folder / PROMPT_FILE)
    if not is_imported(folder):
        return None
    source, path = _template_of(folder)
    if source is None:
        return None
    return _checked(path, ChatTemplate(source=source, special=_special_of(folder)))


def _own(path: Path) -> PromptFormat | None:
    values = read_json(path)
    kind = values.get("kind")
    if values.get("format") != FORMAT or kind not in ("plain", "sections", "template"):
        raise ArtifactError(
            path, f'it must hold "format" {FORMAT} and "kind": plain, sections or template'
        )
    if kind == "plain":
        return None
    return _sections(path, values) if kind == "sections" else _template(path, values)


def _sections(path: Path, values: Mapping[str, Any]) -> Sections:
    marks, answer = values.get("sections"), values.get("answer", "")
    well = isinstance(marks, dict) and all(_is_pair(each) for each in marks.values())
    if not well or not isinstance(answer, str):
        raise ArtifactError(
            path, '"sections" must give for every role two texts, and "answer" must be a text'
        )
    assert isinstance(marks, dict)
    return Sections(marks={role: (pair[0], pair[1]) for role, pair in marks.items()}, answer=answer)


def _is_pair(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(isinstance(v, str) for v in value)


def _template(path: Path, values: Mapping[str, Any]) -> ChatTemplate:
    source, special = values.get("template"), values.get("special", {})
    well = isinstance(special, dict) and all(isinstance(text, str) for text in special.values())
    if not isinstance(source, str) or not well:
        raise ArtifactError(path, '"template" must be a text and "special" name -> text')
    return _checked(path, ChatTemplate(source=source, special=special))


def _template_of(folder: Path) -> tuple[str | None, Path]:
    """Return the template of a model of `transformers`, and the file that holds it."""
    path = folder / TEMPLATE_FILE
    if path.is_file():
        return _text(path), path
    path = folder / TOKENIZER_CONFIG_FILE
    named = read_json(path).get("chat_template") if path.is_file() else None
    if isinstance(named, list):  # several, by name
        known = {each.get("name"): each.get("template") for each in named if isinstance(each, dict)}
        named = known.get("default")
    return (named if isinstance(named, str) else None), path


def _special_of(folder: Path) -> dict[str, str]:
    """Return the texts of a model's special tokens, as its configuration names them."""
    path = folder / TOKENIZER_CONFIG_FILE
    values = read_json(path) if path.is_file() else {}
    found = {}
    for name in SPECIAL_TOKENS:
        value = values.get(name)
        text = value.get("content") if isinstance(value, dict) else value
        if isinstance(text, str):
            found[name] = text
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ArtifactError(path, f"it cannot be read: {error}") from error


def _checked(path: Path, template: ChatTemplate) -> ChatTemplate:
    """Return a template that compiles."""
    try:
        compile_template(template.source)
    except ValueError as error:
        raise ArtifactError(path, f"its chat template is refused: {error}") from error
    return template
