"""Chat templates: Jinja in a sandbox, with what the templates of `transformers` expect of it.

A template is part of a model's folder and is trusted as far as a model is: it can reach no
attribute beyond the conversation, and what it writes is bounded, but it can waste time.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NoReturn

from constellation.errors import InvalidPrompt, InvalidRequest
from constellation.records import Message

RENDERED_MAX: Final = 4 * 2**20
"""Most bytes that a template may write."""


def compile_template(source: str) -> Any:
    """Return a template that is ready to be rendered.

    Raises:
        ValueError: It is no Jinja; says where.
    """
    import jinja2

    try:
        return _environment().from_string(source)
    except jinja2.TemplateSyntaxError as error:
        raise ValueError(f"line {error.lineno}: {error}") from error


def rendered(template: Any, messages: Sequence[Message], special: Mapping[str, str]) -> str:
    """Return what a template writes, with the beginning of the answer's message.

    `special` maps the name of a special token to its text.

    Raises:
        InvalidRequest: The template refuses the conversation, or fails at it; says why.
        InvalidPrompt: It writes more than `RENDERED_MAX` bytes.
    """
    import jinja2

    given = [{"role": message.role, "content": message.content} for message in messages]
    parts, length = [], 0
    try:
        for part in template.generate(
            messages=given, tools=None, documents=None, add_generation_prompt=True, **special
        ):
            parts.append(part)
            length += len(part.encode())
            if length > RENDERED_MAX:
                raise InvalidPrompt(length=length, limit=RENDERED_MAX, unit="bytes")
    except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError, LookupError) as error:
        why = f"conversations that the kernel's chat template takes ({error})"
        raise InvalidRequest("messages", [message.role for message in messages], why) from error
    return "".join(parts)


def _environment() -> Any:
    from jinja2 import TemplateError, ext, nodes, sandbox

    class Generation(ext.Extension):
        """`{% generation %}` marks what an assistant said, for training; it is written as it is."""

        tags: frozenset[str] = frozenset({"generation"})  # type: ignore[assignment]

        def parse(self, parser: Any) -> Any:
            """Return the body as a scope of its own."""
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.Scope(body).set_lineno(line)

    def refuse(message: str) -> NoReturn:
        raise TemplateError(message)

    environment = sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, ext.loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = _now
    return environment


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Return JSON as templates of `transformers` want it: without escapes for HTML."""
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _now(form: str) -> str:
    """Return this machine's time, which some templates write into the system's message."""
    return datetime.now().strftime(form)
