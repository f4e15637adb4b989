"""Prompt formats: what `transformers` writes by a chat template, to the byte, and role sections."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from constellation.errors import ArtifactError, InvalidPrompt, InvalidRequest
from constellation.kernel.files.chat_template import compile_template, rendered
from constellation.kernel.files.prompt_format import (
    PROMPT_FILE,
    ChatTemplate,
    Sections,
    read_prompt_format,
)
from constellation.kernel.files.transformers_folder import RECORD_FILE, import_model
from constellation.records import Message
from tests.support.hugging_face import build_model, qwen2, tokenizer

CHATML = """{%- if messages[0].role != 'system' -%}
    {{- '<|im_start|>system\\nYou help.<|im_end|>\\n' -}}
{%- endif -%}
{% for message in messages %}
{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' }}
{% endfor %}
{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}
"""
LLAMA_3 = """{{- bos_token -}}
{%- for message in messages -%}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' -}}
    {{- message['content'] | trim + '<|eot_id|>' -}}
{%- endfor -%}
{%- if tools -%}{{- raise_exception('no tools') -}}{%- endif -%}
{%- if add_generation_prompt -%}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}
{%- endif -%}
"""
GEMMA = """{{ bos_token }}
{%- set ns = namespace(opening='') -%}
{%- for message in messages -%}
    {%- if message['role'] in ('system', 'developer') -%}
        {%- set ns.opening = ns.opening + message['content'] + '\\n\\n' -%}
        {%- continue -%}
    {%- endif -%}
    {%- set role = 'model' if message['role'] == 'assistant' else message['role'] -%}
    {{ '<start_of_turn>' + role + '\\n' + ns.opening + message['content'] | trim }}
    {%- set ns.opening = '' -%}
    {{ '<end_of_turn>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt %}
{{ '<start_of_turn>model\\n' }}
{%- endif %}"""
MISTRAL = """{{ bos_token }}
{%- for message in messages %}
    {%- if message['role'] == 'user' %}
        {{- '[INST] ' + message['content'] + ' [/INST]' }}
    {%- elif message['role'] == 'assistant' %}
        {%- generation %}
        {{- ' ' + message['content'] + eos_token }}
        {%- endgeneration %}
    {%- else %}
        {{- '[SYSTEM_PROMPT] ' + message['content'] | tojson + '[/SYSTEM_PROMPT]' }}
    {%- endif %}
{%- endfor %}
"""
ZEPHYR = """{% for message in messages %}
{% if message['role'] == 'user' %}
{{ '<|user|>\\n' + message['content'] + eos_token }}
{% elif message['role'] == 'assistant' %}
{{ '<|assistant|>\\n'  + message['content'] + eos_token }}
{% else %}
{{ '<|system|>\\n' + message['content'] + eos_token }}
{% endif %}
{% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
{% endif %}
{% endfor %}"""
FAMILIES = {
    "chatml": CHATML,
    "llama3": LLAMA_3,
    "gemma": GEMMA,
    "mistral": MISTRAL,
    "zephyr": ZEPHYR,
}
TEXTS = ["hello", "  two\nlines  ", "", "日本 'quotes' & <tags> {{ x }}", '{"a": [1]}', "\t\\n"]


def conversations() -> list[list[Message]]:
    source = random.Random(0)
    roles = ("system", "user", "assistant", "developer")
    drawn = [
        [Message(source.choice(roles), source.choice(TEXTS)) for _ in range(source.randint(1, 7))]
        for _ in range(40)
    ]
    return [[Message("user", "hi")], *drawn]


def library(folder: Path) -> Any:
    return AutoTokenizer.from_pretrained(folder)


def applied(reader: Any, messages: list[Message]) -> str:
    given = [{"role": each.role, "content": each.content} for each in messages]
    return str(reader.apply_chat_template(given, tokenize=False, add_generation_prompt=True))


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of an imported model, as the library wrote its tokenizer."""
    source, target = (tmp_path_factory.mktemp(name) for name in (request.param, "imported"))
    build_model(source, qwen2)
    reader = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer(), bos_token="<s>", eos_token=AddedToken("</s>", special=True)
    )
    reader.chat_template = FAMILIES[request.param]
    reader.save_pretrained(source)
    import_model(source, target)
    return target


def test_prompts_are_those_of_the_library_to_the_byte(folder: Path) -> None:
    form, reader = read_prompt_format(folder), library(folder)
    assert form is not None
    prompts = [form.render(messages) for messages in conversations()]
    assert prompts == [applied(reader, messages) for messages in conversations()]
    assert len(set(prompts)) > 30


@pytest.mark.parametrize("named", [True, False])
def test_a_template_in_the_tokenizers_configuration_is_found(tmp_path: Path, named: bool) -> None:
    template: Any = ZEPHYR
    if named:
        template = [
            {"name": "tool_use", "template": CHATML},
            {"name": "default", "template": ZEPHYR},
        ]
    values = {
        "chat_template": template,
        "eos_token": {"content": "</s>", "__type": "AddedToken"},
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    (tmp_path / RECORD_FILE).write_text("{}", encoding="utf-8")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(values), encoding="utf-8")
    tokenizer().save(str(tmp_path / "tokenizer.json"))
    form = read_prompt_format(tmp_path)
    assert isinstance(form, ChatTemplate)
    assert form.special == {"eos_token": "</s>"}
    for messages in conversations():
        assert form.render(messages) == applied(library(tmp_path), messages)


def test_a_folder_without_a_template_is_plain(tmp_path: Path) -> None:
    build_model(tmp_path / "source", qwen2)
    import_model(tmp_path / "source", tmp_path / "target")
    assert read_prompt_format(tmp_path / "target") is None
    assert read_prompt_format(tmp_path) is None
    (tmp_path / PROMPT_FILE).write_text('{"format": 1, "kind": "plain"}', encoding="utf-8")
    assert read_prompt_format(tmp_path) is None


def test_sections_leave_the_mark_of_every_role(tmp_path: Path) -> None:
    values = {
        "format": 1,
        "kind": "sections",
        "sections": {"system": ["[S]", "[/S]\n"], "user": ["[U]", "[/U]\n"]},
        "answer": "[A]",
    }
    (tmp_path / PROMPT_FILE).write_text(json.dumps(values), encoding="utf-8")
    form = read_prompt_format(tmp_path)
    assert isinstance(form, Sections)
    said = [Message("system", "be brief"), Message("user", "why?"), Message("assistant", "so")]
    assert form.render(said) == "[S]be brief[/S]\n[U]why?[/U]\nso\n[A]"


def test_a_kernel_of_ours_may_have_a_template(tmp_path: Path) -> None:
    values = {"format": 1, "kind": "template", "template": ZEPHYR, "special": {"eos_token": "."}}
    (tmp_path / PROMPT_FILE).write_text(json.dumps(values), encoding="utf-8")
    form = read_prompt_format(tmp_path)
    assert form is not None
    assert form.render([Message("user", "hi")]) == "<|user|>\nhi.\n<|assistant|>\n"


@pytest.mark.parametrize(
    "content",
    [
        "{",
        '{"format": 2, "kind": "plain"}',
        '{"format": 1, "kind": "other"}',
        '{"format": 1, "kind": "sections", "sections": {"user": ["one"]}}',
        '{"format": 1, "kind": "template"}',
        '{"format": 1, "kind": "template", "template": "{% for %}"}',
    ],
)
def test_a_damaged_format_is_refused_by_the_name_of_its_file(tmp_path: Path, content: str) -> None:
    (tmp_path / PROMPT_FILE).write_text(content, encoding="utf-8")
    with pytest.raises(ArtifactError, match=PROMPT_FILE):
        read_prompt_format(tmp_path)


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("{{ raise_exception('roles must alternate') }}", "roles must alternate"),
        ("{{ messages.__class__.__mro__ }}", "unsafe"),
        ("{{ messages.append(1) }}", "unsafe"),
        ("{{ messages[99].content + 'a' }}", "no element 99"),
        ("{{ 1 // 0 }}", "zero"),
    ],
)
def test_a_template_that_refuses_or_leaves_its_sandbox_is_a_typed_error(
    source: str, why: str
) -> None:
    with pytest.raises(InvalidRequest, match=f"messages.*{why}"):
        ChatTemplate(source=source).render([Message("user", "hi")])


def test_what_a_template_writes_is_bounded() -> None:
    template = compile_template("{% for n in range(9999) %}{{ 'a' * 9999 }}{% endfor %}")
    with pytest.raises(InvalidPrompt):
        rendered(template, [Message("user", "hi")], {})
